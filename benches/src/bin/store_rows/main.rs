//! The peer "park Rust" of the store bench (`make bench-store`): the rows of `benches/peers/store_rows.py`, measured through the
//! crate's public interface. Started with `child` as its first argument it is one of the other processes that rows need.

mod crowd;
mod get;
mod hop;
mod put;

use park_bench::child::{CHILD, echo};
use park_bench::measure::{Peer, Result};
use park_core::{Config, Session};

/// As much as the Python peers give to park and to Ray.
const STORE_BYTES: u64 = 1_500_000_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == CHILD) {
        let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
        return child(&words);
    }
    let mut peer = Peer::from_arguments("park-rust", env!("CARGO_PKG_VERSION"))?;
    let session = Session::open(&Config::default().capacity(STORE_BYTES))?;
    put::rows(&mut peer, session.store())?;
    get::rows(&mut peer, &session)?;
    hop::rows(&mut peer, &session)?;
    crowd::rows(&mut peer, &session)?;
    session.close();
    peer.write()
}

fn child(words: &[&str]) -> Result<()> {
    match words {
        ["pipe"] => echo(hop::MESSAGE),
        ["get", address] => get::child(Session::attach(address)?.store()),
        ["hop", address] => hop::child(Session::attach(address)?.store()),
        ["channel", address, there, back] => hop::channel_child(Session::attach(address)?.store(), there, back),
        ["crowd", address] => crowd::child(Session::attach(address)?.store()),
        _ => Err(format!("there is no child {words:?}").into()),
    }
}
