//! The zygote and its workers, as the language layer's are, but in Rust: park-core/src/proc/zygote.rs says what they say to the head.
//!
//! A worker is asked to perform an operation by the text of a task's or a call's arguments: `OPERATION [kill POINT PASSES | watch]`.
//! The fail points that it passed until its record was finished are left in a file, and so is a death that was not wanted.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use park_core::ipc::message::{Args, Payload, ToHead, ToWorker};
use park_core::store::never;
use park_core::sys::{failpoint, process, socket};
use park_core::{Error, ErrorKind, ObjectId, ParticipantId, Session, Spec, Store};

use crate::Fallible;
use crate::operations::{Stage, named};

/// Names of the fail points that a worker passed.
pub(crate) const PASSED: &str = "passed";
/// What the next worker to start does at once.
pub(crate) const ON_START: &str = "on-start";
/// A worker that ended otherwise than well or by SIGKILL.
pub(crate) const ODD: &str = "odd";

/// Starts workers until the head hangs up. Its standard input is the socket to the head.
pub(crate) fn zygote() -> Fallible {
    let head = std::io::stdin().as_fd().try_clone_to_owned()?;
    let Some((hello, fds)) = socket::receive(&head)? else {
        return Ok(());
    };
    let folder = String::from_utf8(hello)?;
    let mut workers: Vec<(u16, OwnedFd, Child)> = Vec::new();
    // Workers inherit the segments.
    for fd in &fds {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    }
    let numbers: Vec<String> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    loop {
        let watched: Vec<BorrowedFd<'_>> = std::iter::once(head.as_fd())
            .chain(workers.iter().map(|(_, pidfd, _)| pidfd.as_fd()))
            .collect();
        let ready = process::poll_readable(&watched, None);
        for at in ready.iter().rev().filter_map(|at| at.checked_sub(1)) {
            let (participant, _, mut child) = workers.remove(at);
            let status = child.wait()?;
            if !status.success() && status.signal() != Some(9) {
                fs::write(Path::new(&folder).join(ODD), format!("worker {}: {status}", child.id()))?;
            }
            let [low, high] = participant.to_le_bytes();
            let [a, b, c, d] = status.into_raw().to_le_bytes();
            socket::send(&head, &[b'D', low, high, a, b, c, d], &[])?;
        }
        if ready.contains(&0) {
            let Some((request, _)) = socket::receive(&head)? else {
                break;
            };
            let [b'S', low, high] = request[..] else {
                return Err("the head asked for something else".into());
            };
            let participant = u16::from_le_bytes([low, high]);
            let child = Command::new(std::env::current_exe()?)
                .args([
                    "role:worker",
                    &numbers.join(","),
                    &participant.to_string(),
                    &process::pid().to_string(),
                    &folder,
                ])
                .stdin(Stdio::null())
                .spawn()?;
            let pidfd = process::watch(child.id())?;
            let [a, b, c, d] = child.id().to_le_bytes();
            socket::send(&head, &[b'P', low, high, a, b, c, d], &[pidfd.as_fd()])?;
            workers.push((participant, pidfd, child));
        }
    }
    for (_, _, mut child) in workers {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// `CONTROL,ARENA PARTICIPANT ZYGOTE FOLDER`.
pub(crate) fn main(arguments: &[&str]) -> Fallible {
    let [fds, participant, zygote, folder] = arguments else {
        return Err("a worker gets four arguments".into());
    };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if parent.to_string() != *zygote {
        return Ok(());
    }
    let (control, arena) = fds.split_once(',').ok_or("a worker inherits two descriptors")?;
    let session = Session::join_as_worker(open(control)?, open(arena)?, ParticipantId(participant.parse()?))?;
    let on_start = Path::new(folder).join(ON_START);
    // Taken away by the first: the next worker is to live.
    let claimed = on_start.with_extension(participant);
    if fs::rename(&on_start, &claimed).is_ok() {
        prepare(&fs::read_to_string(&claimed)?)?;
    }
    work(&session, Path::new(folder))
}

fn open(fd: &str) -> Fallible<OwnedFd> {
    let file: File = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/self/fd/{fd}"))?;
    Ok(file.into())
}

/// Whether somebody wants to know that this process lived on, and which fail points it passed.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Arms, or watches, as the text says.
fn prepare(text: &str) -> Fallible {
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["kill", point, passes] => failpoint::arm(point, passes.parse()?),
        ["watch"] => drop(failpoint::trace()),
        _ => return Ok(()),
    }
    WATCHED.store(true, Ordering::Relaxed);
    Ok(())
}

fn work(session: &Session, folder: &Path) -> Fallible {
    let inbox = session.inbox()?;
    let passed = folder.join(PASSED);
    loop {
        let job = match inbox.next(&mut never) {
            Ok(Some(job)) => job,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::SessionClosed => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match &job.message {
            ToWorker::Run {
                function,
                args,
                returns,
                ..
            } => perform(session, *function, args, returns)?,
            ToWorker::Call { args, returns, .. } => perform(session, ObjectId::from_bytes([0; 16]), args, returns)?,
            ToWorker::Create { actor, .. } => session.report_actor(ToHead::ActorReady { actor: *actor })?,
            // Where the work runs makes no difference to it.
            ToWorker::Assign(_) => {}
            ToWorker::Cancel { .. } => {}
            ToWorker::Retire => return Ok(()),
        }
        inbox.finish(&job)?;
        if WATCHED.swap(false, Ordering::Relaxed) {
            let names = failpoint::trace();
            // Renamed, so that whoever sees the file sees all of it.
            let draft = passed.with_extension(process::pid().to_string());
            fs::write(&draft, names.join(" "))?;
            fs::rename(&draft, &passed)?;
        }
    }
}

/// Performs what the arguments ask for, and keeps the promises of the task or call.
fn perform(session: &Session, function: ObjectId, args: &Args, returns: &[ObjectId]) -> Fallible {
    let Payload::Inline(text) = &args.payload else {
        return Err("the arguments are a text".into());
    };
    let text = std::str::from_utf8(text)?;
    let (operation, rest) = text.split_once(':').unwrap_or((text.trim_end(), ""));
    let store: &Arc<Store> = session.store();
    let mut given = args
        .nested
        .iter()
        .map(|id| store.resolve(*id))
        .collect::<Result<Vec<_>, _>>()?;
    // A call has no function of its own; what it submits gets the first of its arguments as one.
    let function = if function.session == 0 && !given.is_empty() {
        given.remove(0).id()
    } else {
        function
    };
    prepare(rest)?;
    let stage = Stage {
        session: session.clone(),
        given: given.into(),
        function,
        tell: |_| {},
    };
    let done = (named(operation)?.act)(&stage);
    drop(stage);
    for id in returns {
        match &done {
            Ok(()) => {
                let inner = store.put(operation.as_bytes())?;
                let spec = Spec {
                    nested: &[inner.id()],
                    ..Spec::raw(1000)
                };
                if let Some(object) = store.fulfil(*id, spec, &mut never)? {
                    object.seal()?;
                }
            }
            Err(error) => store.fail(*id, &Error::new(ErrorKind::TaskFailed, error.to_string()))?,
        }
    }
    Ok(())
}
