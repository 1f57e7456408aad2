//! Both sides of joining: a stranger that says anything to a session, and a session that answers anything to a stranger.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use park_core::sys::{memfd, socket};
use park_core::{Config, Session};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::input::Input;

// --- a stranger -----------------------------------------------------------------------------------------------------------------

static SESSION: LazyLock<Session> = LazyLock::new(|| {
    let config = Config::default().capacity(1 << 20).max_objects(64).native_threads(1);
    Session::open(&config).expect("a session opens")
});

/// One connection: any first packet, perhaps with a descriptor, perhaps a second one.
pub(crate) fn welcome(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.byte();
    let Ok(connection) = socket::connect_to(SESSION.address()) else {
        return;
    };
    let first = input.bytes(usize::from(how % 32));
    let extra = memfd::create("park-fuzz", 4096).expect("memory");
    let fds = [extra.as_fd()];
    if first.is_empty() || socket::send(&connection, first, if how & 32 == 0 { &[] } else { &fds }).is_err() {
        return;
    }
    if how & 64 != 0 {
        let _ = socket::send(&connection, input.rest(), &[]);
    }
    if how & 128 == 0 {
        // The answer is a welcome or a refusal, within the second that the head gives a stranger.
        let mut ready = [PollFd::new(&connection, PollFlags::IN)];
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(
            poll(&mut ready, Some(&limit)),
            Ok(1),
            "the head does not answer strangers any more"
        );
    }
}

// --- a session ------------------------------------------------------------------------------------------------------------------

const ADDRESS: &str = "park-00000000000000000000000000000000";

/// A listener at a well-formed address, on a thread of its own that answers each connection with the packet it was given.
struct Liar {
    answers: SyncSender<(Vec<u8>, Vec<OwnedFd>)>,
    address: String,
}

static LIAR: LazyLock<Liar> = LazyLock::new(|| {
    // The process id keeps two fuzzers apart.
    let id = format!("{:08x}", std::process::id());
    let address = format!("{}{id}", &ADDRESS[..ADDRESS.len() - id.len()]);
    let listener = socket::listen_at(&address).expect("nobody else has this address");
    let (answers, given): (_, Receiver<(Vec<u8>, Vec<OwnedFd>)>) = sync_channel(1);
    std::thread::Builder::new()
        .name("liar".to_owned())
        .spawn(move || {
            while let Ok((bytes, fds)) = given.recv() {
                let Ok((connection, _)) = socket::accept_from(&listener) else {
                    return;
                };
                let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                if !bytes.is_empty() {
                    let _ = socket::send(&connection, &bytes, &fds);
                }
            }
        })
        .expect("a thread");
    Liar { answers, address }
});

/// An answer of any bytes, with up to three descriptors of any kind.
pub(crate) fn join(data: &[u8]) {
    let mut input = Input::new(data);
    let mut fds: Vec<OwnedFd> = Vec::new();
    for _ in 0..input.byte() % 4 {
        let real = SESSION.store().fds();
        fds.push(match input.byte() % 6 {
            0 => real[0].try_clone_to_owned().expect("a copy"),
            1 => real[1].try_clone_to_owned().expect("a copy"),
            2 => memfd::read_only(real[usize::from(input.byte() % 2)]).expect("/proc is mounted"),
            3 => memfd::create("park-fuzz", input.number() % (1 << 20)).expect("memory"),
            4 => std::fs::File::open("/dev/null").expect("it is there").into(),
            _ => socket::pair().expect("sockets").0,
        });
    }
    let read_only = input.byte() % 2 == 1;
    let _ = LIAR.answers.send((input.rest().to_vec(), fds));
    let joined = if read_only {
        Session::attach_read_only(&LIAR.address)
    } else {
        Session::attach(&LIAR.address)
    };
    if let Ok(session) = joined {
        let _ = session.store().put(&[1; 100]);
        session.close();
    }
}
