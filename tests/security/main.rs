//! Who may join a session, and what those who joined can do to each other: another user, a shrunk segment, a process that may only look.
#![allow(unsafe_code, reason = "becomes another user, and writes where it must not")]

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use park_core::store::never;
use park_core::sys::mmap::Mapping;
use park_core::sys::{memfd, socket};
use park_core::{Config, ErrorKind, Session, Spec, Store};
use park_tests::role::{self, say, spawn};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// `nobody` on every Linux.
const NOBODY: u32 = 65534;
const PATIENCE: Duration = Duration::from_secs(20);

fn open() -> Session {
    let config = Config::default().capacity(4 << 20).max_objects(1024).native_threads(1);
    Session::open(&config).expect("a session opens")
}

fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(std::time::Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn role() {
    let Some((role, argument)) = role::asked() else { return };
    match role.as_str() {
        "stranger" => stranger(&argument),
        "scribbler" => scribbler(&argument),
        "looker" => looker(&argument),
        other => panic!("no role {other}"),
    }
}

// --- another user ----------------------------------------------------------------------------------------------------------------

fn stranger(address: &str) {
    // SAFETY: changes the user of this process, which has nothing else to do.
    assert_eq!(unsafe { libc::setuid(NOBODY) }, 0);
    let polite = Session::attach(address).map_err(|error| error.kind()).err();
    say(&format!("{polite:?}"));
    // One that does not look whom it talks to, and says what a member of the same user would say.
    let name = SocketAddrUnix::new_abstract_name(address.as_bytes()).expect("a short name");
    let rude: OwnedFd =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a socket");
    connect(&rude, &name).expect("anyone may knock");
    let answer = socket::send(&rude, &[2, 0], &[]).and_then(|()| socket::receive(&rude));
    say(match answer {
        Ok(Some(_)) => "was answered",
        Ok(None) | Err(_) => "was hung up on",
    });
}

#[test]
fn another_user_may_not_attach() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can start a process of another user");
        return;
    }
    let session = open();
    let mut stranger = spawn("stranger", session.address());
    assert_eq!(stranger.line().as_deref(), Some("Some(PermissionDenied)"));
    assert_eq!(stranger.line().as_deref(), Some("was hung up on"));
    // And it took no place in the table: the next one to join gets the first.
    assert_eq!(Session::attach(session.address()).expect("same user").store().me().0, 2);
}

// --- sealed segments -------------------------------------------------------------------------------------------------------------

#[test]
fn no_member_can_shrink_or_grow_a_segment() {
    let session = open();
    for peer in [
        Session::attach(session.address()),
        Session::attach_read_only(session.address()),
    ] {
        let peer = peer.expect("same user");
        for fd in peer.store().fds() {
            let len = memfd::verify(fd).expect("sealed against shrinking");
            for other in [0, 4096, len - 1, len + 1] {
                assert!(rustix::fs::ftruncate(fd, other).is_err(), "truncated to {other}");
            }
            assert!(
                rustix::fs::fcntl_add_seals(fd, rustix::fs::SealFlags::WRITE).is_err(),
                "sealed further"
            );
            assert_eq!(memfd::verify(fd).expect("as it was"), len);
        }
    }
}

// --- to look only ----------------------------------------------------------------------------------------------------------------

fn denied<T>(result: park_core::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

fn last_reference(host: &Store, store: &Arc<Store>, host_ref: park_core::ObjectRef) -> park_core::ObjectRef {
    let theirs = store.resolve(host_ref.id()).expect("alive");
    drop(host_ref);
    assert_eq!(host.stats().objects, 2, "it and what it holds");
    theirs
}

fn outer(store: &Arc<Store>) -> park_core::ObjectRef {
    let inner = store.put(&[1; 10_000]).expect("room");
    let spec = Spec {
        nested: &[inner.id()],
        ..Spec::raw(10_000)
    };
    store
        .create(spec, &mut never)
        .and_then(|object| object.seal())
        .expect("room")
}

#[test]
fn a_looker_reads_waits_releases_and_does_nothing_else() {
    let session = open();
    let looker = Session::attach_read_only(session.address()).expect("same user");
    let (host, store) = (session.store(), looker.store());
    let [_, arena] = store.fds();
    assert!(
        Mapping::read_write(arena, store.capacity()).is_err(),
        "its descriptor cannot be mapped for writing"
    );
    assert!(denied(store.put(b"x")) && denied(store.create(Spec::raw(1), &mut never)));
    assert!(denied(store.promise(store.me())));
    let pool = looker.pool().expect("threads start");
    pool.register("task", |_| Ok(())).expect("a free name");
    assert!(denied(pool.submit("task", &[], 1)));

    // The last reference is the looker's: what it kept goes all the same, and so does what that held.
    let theirs = last_reference(host, store, outer(host));
    assert_eq!(
        store.get(&theirs, Some(PATIENCE)).expect("sealed").bytes().len(),
        10_000
    );
    drop(theirs);
    until("the head frees for the looker", || host.stats().used == 0);
    assert_eq!(host.stats().objects, 0);
    // Nothing leaks over many: as many objects as the table has slots, several times.
    for number in 0..5_000 {
        let made = host.put(&[3; 100]).expect("room");
        let theirs = store.resolve(made.id()).expect("alive");
        drop(made);
        drop(theirs);
        if number % 256 == 0 {
            // A full table is an error at once, and a host that makes objects all the time may outrun its own head.
            until("the head keeps up", || host.stats().used == 0);
        }
    }
    until("everything is freed", || {
        host.stats().used == 0 && host.stats().objects == 0
    });
}

fn looker(address: &str) {
    let (address, id) = address.split_once(' ').expect("address and id");
    let looker = Session::attach_read_only(address).expect("same user");
    let reference = looker.store().resolve(id.parse().expect("an id")).expect("alive");
    say("holds it");
    // Killed while it holds the last reference.
    std::thread::sleep(PATIENCE);
    drop(reference);
}

#[test]
fn a_looker_that_is_killed_leaves_nothing() {
    let session = open();
    let reference = outer(session.store());
    let mut looker = spawn("looker", &format!("{} {}", session.address(), reference.id()));
    assert_eq!(looker.line().as_deref(), Some("holds it"));
    drop(reference);
    assert_eq!(session.store().stats().objects, 2);
    drop(looker);
    until("the reaper gives it back", || session.store().stats().used == 0);
}

fn scribbler(address: &str) {
    let (address, id) = address.split_once(' ').expect("address and id");
    let looker = Session::attach_read_only(address).expect("same user");
    let store = looker.store();
    let object = store
        .get(&store.resolve(id.parse().expect("an id")).expect("alive"), None)
        .expect("sealed");
    say("writes");
    // SAFETY: not at all: the page is mapped for reading only, and the fault is what the test waits for.
    unsafe { object.bytes().as_ptr().cast_mut().write_volatile(7) };
    say("was let");
}

#[test]
fn a_stray_write_of_a_looker_faults() {
    let session = open();
    let reference = session.store().put(&[9; 1000]).expect("room");
    let mut role = spawn("scribbler", &format!("{} {}", session.address(), reference.id()));
    assert_eq!(role.line().as_deref(), Some("writes"));
    assert_eq!(role.line(), None);
    let status = role.end(PATIENCE).expect("it ends");
    assert_eq!(status.signal(), Some(libc::SIGSEGV));
    assert_eq!(
        session.store().get(&reference, None).expect("sealed").bytes(),
        [9; 1000]
    );
}

#[test]
fn a_descriptor_for_reading_is_not_the_other_one() {
    let memory = memfd::create("park-test", 8192).expect("memory");
    let reading = memfd::read_only(memory.as_fd()).expect("/proc is mounted");
    assert!(memfd::is_writable(&memory).expect("open") && !memfd::is_writable(&reading).expect("open"));
    assert_eq!(memfd::verify(&reading).expect("the same seals"), 8192);
    assert!(Mapping::read_only(&reading, 8192).is_ok() && Mapping::read_write(&reading, 8192).is_err());
}
