//! The thread that sleeps on descriptors: the zygotes' reports, strangers that want to join, attached processes that leave.
//! Between them it looks at the use of memory (`memory`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::error::{Error, ErrorKind, Result};
use crate::id::ParticipantId;
use crate::ipc::handshake;
use crate::proc::foreign::Foreigners;
use crate::proc::pool::Hold;
use crate::proc::zygote::{Zygote, ZygoteEvent};
use crate::store::Store;
use crate::sys::{fork, process, socket};

use super::head::{Head, Peer};
use super::memory::Monitor;
use super::spawner::Spawner;

/// Ends the thread when dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    fork_epoch: u32,
}

/// What one descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Stop,
    Stranger,
    Zygote,
    /// Of another interpreter, by its serial number: its reports, or its end.
    Foreign(u64),
    ForeignEnd(u64),
    Peer(ParticipantId),
}

impl Watcher {
    pub(super) fn start(head: &Arc<Head>, store: &Arc<Store>, listener: OwnedFd) -> Result<Self> {
        let (stop, stopped) = socket::pair()?;
        let stop = Arc::new(stop);
        head.lock().watcher = Some(stop.clone());
        let (head, store) = (head.clone(), store.clone());
        let thread = std::thread::Builder::new()
            .name("park-watch".into())
            .spawn(move || run(&head, &store, &listener, &stopped))
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot start a thread: {error}")))?;
        Ok(Self {
            stop,
            thread: Some(thread),
            fork_epoch: fork::epoch(),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // In a forked child the thread does not exist, and the socket is the parent's.
        if !fork::crossed(self.fork_epoch) {
            socket::hang_up(&*self.stop);
        }
        if let Some(thread) = self.thread.take()
            && !fork::crossed(self.fork_epoch)
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic there has been printed; there is nothing more to do about it while closing.
            let _ = thread.join();
        }
    }
}

fn run(head: &Head, store: &Store, listener: &OwnedFd, stopped: &OwnedFd) {
    let mut monitor = Monitor::new(head);
    loop {
        // Copies, so that no lock is held while sleeping: the zygote may be replaced and peers may go meanwhile.
        let mut watched: Vec<(Source, OwnedFd)> = Vec::new();
        {
            let state = head.lock();
            let mut add = |source, fd: BorrowedFd<'_>| {
                if let Ok(copy) = fd.try_clone_to_owned() {
                    watched.push((source, copy));
                }
            };
            if let Some(zygote) = state.spawner.as_ref().and_then(Spawner::zygote) {
                add(Source::Zygote, zygote.socket());
            }
            for (serial, reports, end) in state
                .spawner
                .iter()
                .filter_map(Spawner::foreign)
                .flat_map(Foreigners::descriptors)
            {
                add(Source::Foreign(serial), reports);
                end.into_iter().for_each(|end| add(Source::ForeignEnd(serial), end));
            }
            for (id, peer) in &state.peers {
                add(Source::Peer(*id), peer.connection.as_fd());
                add(Source::Peer(*id), peer.pidfd.as_fd());
            }
        }
        let fixed = [(Source::Stop, stopped.as_fd()), (Source::Stranger, listener.as_fd())];
        let all: Vec<_> = fixed
            .into_iter()
            .chain(watched.iter().map(|(source, fd)| (*source, fd.as_fd())))
            .collect();
        let descriptors: Vec<_> = all.iter().map(|(_, fd)| *fd).collect();
        let readable = loop {
            let readable = process::poll_readable(&descriptors, monitor.as_ref().map(Monitor::left));
            match &mut monitor {
                Some(monitor) if readable.is_empty() => monitor.look(head),
                _ => break readable,
            }
        };
        // Also where there is always something to hear.
        monitor.iter_mut().for_each(|monitor| monitor.look(head));
        for (source, fd) in readable.into_iter().filter_map(|at| all.get(at).copied()) {
            match source {
                Source::Stop => match socket::receive(fd) {
                    // There is more to watch.
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return,
                },
                Source::Stranger => {
                    // A stranger that is refused, or that hangs up, is its own problem and has been told.
                    if let Ok((id, connection, pidfd)) = handshake::welcome(store, fd) {
                        head.lock().peers.insert(id, Peer { connection, pidfd });
                    }
                }
                Source::Zygote => match Zygote::event(fd) {
                    Ok(ZygoteEvent::Started {
                        participant,
                        pid,
                        pidfd,
                    }) => head.lock().worker_started(participant, pid, Hold::Process(pidfd)),
                    Ok(ZygoteEvent::Ended { participant, status }) => head.lock().worker_ended(participant, status),
                    Ok(ZygoteEvent::Ready { .. }) => {}
                    Ok(ZygoteEvent::Gone) | Err(_) => {
                        head.lock().zygote_ended();
                        // What else was readable may have been the end of what has been replaced with it.
                        break;
                    }
                },
                Source::Foreign(serial) => match Zygote::event(fd) {
                    Ok(ZygoteEvent::Started {
                        participant,
                        pid,
                        pidfd,
                    }) => head.lock().worker_started(participant, pid, Hold::Process(pidfd)),
                    Ok(ZygoteEvent::Ended { participant, status }) => head.lock().worker_ended(participant, status),
                    Ok(ZygoteEvent::Ready { pidfd }) => head.lock().foreign_ready(serial, pidfd),
                    Ok(ZygoteEvent::Gone) | Err(_) => head.lock().foreign_ended(serial),
                },
                Source::ForeignEnd(serial) => head.lock().foreign_ended(serial),
                Source::Peer(id) => head.lock().peer_ended(id),
            }
        }
    }
}
