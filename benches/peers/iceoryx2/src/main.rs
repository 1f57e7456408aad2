//! The peer iceoryx2 of the store bench (`make bench-store`): the rows of `benches/peers/store_rows.py` that it has a shape for.
//!
//! iceoryx2 has no objects: a publisher lends samples from a pool of its own and sends them to subscribers, who give them back. So
//! "create" is loan, write, send, receive and drop, all in one process, and "get" is receive in another. What stays is what both do:
//! lend memory, fill it, make it visible, read it in place, give it back. With `child` as its first argument the program is one of the
//! other processes that rows need.
//!
//! How to measure, how to have a second process and which bytes to move are park's own peer's, included as files.

#[path = "../../../src/bytes.rs"]
mod bytes;
#[path = "../../../src/child.rs"]
#[allow(dead_code, reason = "park's own peer uses more of it")]
mod child;
#[path = "../../../src/measure.rs"]
#[allow(dead_code, reason = "park's own peer uses more of it")]
mod measure;

mod crowd;
mod get;
mod hop;
mod port;
mod put;

use iceoryx2::prelude::{LogLevel, set_log_level};

use child::CHILD;
use measure::{Peer, Result};

fn main() -> Result<()> {
    set_log_level(LogLevel::Error);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == CHILD) {
        let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
        return match words[..] {
            ["get", service] => get::child(service),
            ["hop", way, there, back] => hop::child(way, there, back),
            ["crowd"] => crowd::child(),
            _ => Err(format!("there is no child {words:?}").into()),
        };
    }
    let mut peer = Peer::from_arguments("iceoryx2", version()?)?;
    put::rows(&mut peer)?;
    get::rows(&mut peer)?;
    hop::rows(&mut peer)?;
    crowd::rows(&mut peer)?;
    peer.write()
}

/// The version that this was built with, from the lock file.
fn version() -> Result<&'static str> {
    include_str!("../Cargo.lock")
        .split("name = \"iceoryx2\"\nversion = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .ok_or_else(|| "the lock file names no iceoryx2".into())
}
