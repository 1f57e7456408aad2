//! Transfers: copies that a thread of their own makes, one job after another, while the engine computes.
//!
//! The queue is bounded: whoever asks for more than the thread gets done is told so at once, and nothing grows. A job says in its ticket
//! what came of it; one that fails, or panics, fails its ticket and no other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorKind, Result, bail};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sys::fork;

/// What a job does: how many blocks arrived.
pub(super) type Job = Box<dyn FnOnce() -> Result<u32> + Send>;

#[derive(Debug, Default)]
struct State {
    result: Mutex<Option<Result<u32>>>,
    ready: Condvar,
}

/// A transfer under way. Dropping it changes nothing: the transfer goes on.
#[derive(Clone, Debug)]
#[must_use]
pub struct Ticket {
    state: Arc<State>,
}

impl Ticket {
    fn new() -> Self {
        Self { state: Arc::default() }
    }

    fn finish(&self, result: Result<u32>) {
        *self.state.result.lock() = Some(result);
        self.state.ready.notify_all();
    }

    /// What came of it, if it is over: how many blocks arrived, or why it failed.
    pub fn poll(&self) -> Option<Result<u32>> {
        self.state.result.lock().clone()
    }

    /// Waits until it is over.
    ///
    /// # Errors
    /// `Timeout` if it takes longer; else what the transfer failed with; `Cancelled` if the tiers were dropped before its turn came.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<u32> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut result = self.state.result.lock();
        loop {
            if let Some(result) = &*result {
                return result.clone();
            }
            match deadline {
                None => self.state.ready.wait(&mut result),
                Some(deadline) => {
                    if self.state.ready.wait_until(&mut result, deadline).timed_out() && result.is_none() {
                        bail!(
                            Timeout,
                            "the transfer was not over after {:?}",
                            timeout.unwrap_or_default()
                        );
                    }
                }
            }
        }
    }
}

/// See the module.
pub(super) struct Transfers {
    /// None once it is being dropped.
    queue: Option<Sender<(Job, Ticket)>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    depth: usize,
    fork_epoch: u32,
}

impl Transfers {
    /// Starts the thread, with room for `depth` jobs that wait.
    pub(super) fn start(depth: usize) -> Result<Self> {
        if depth == 0 {
            bail!(InvalidArgument, "a queue of 0 transfers was asked for");
        }
        let (queue, jobs) = bounded(depth);
        let closing = Arc::new(AtomicBool::new(false));
        let run = {
            let closing = closing.clone();
            move || run(&jobs, &closing)
        };
        let thread = std::thread::Builder::new()
            .name("park-kv".into())
            .spawn(run)
            .map_err(|error| Error::new(ErrorKind::Io, format!("cannot start the thread of transfers: {error}")))?;
        Ok(Self {
            queue: Some(queue),
            closing,
            thread: Some(thread),
            depth,
            fork_epoch: fork::epoch(),
        })
    }

    /// Puts a job at the end of the queue.
    ///
    /// # Errors
    /// `TableFull` if the queue is: try again when a ticket is done.
    pub(super) fn submit(&self, job: Job) -> Result<Ticket> {
        let ticket = Ticket::new();
        let Some(queue) = &self.queue else {
            bail!(Internal, "the tiers are being dropped");
        };
        match queue.try_send((job, ticket.clone())) {
            Ok(()) => Ok(ticket),
            Err(TrySendError::Full(_)) => bail!(TableFull, "{} transfers wait already", self.depth),
            Err(TrySendError::Disconnected(_)) => bail!(Internal, "the thread of transfers has ended"),
        }
    }
}

impl Drop for Transfers {
    /// The job that runs is finished, those that wait are cancelled.
    fn drop(&mut self) {
        if fork::crossed(self.fork_epoch) {
            // The thread is the parent's, and so may be the lock of the queue for ever.
            Box::leak(Box::new(self.queue.take()));
            return;
        }
        self.closing.store(true, Ordering::Relaxed);
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // Panics of jobs are caught; what is left would be one of the loop itself, and there is nobody to tell.
            let _ = thread.join();
        }
    }
}

fn run(jobs: &Receiver<(Job, Ticket)>, closing: &AtomicBool) {
    for (job, ticket) in jobs {
        if closing.load(Ordering::Relaxed) {
            ticket.finish(Err(Error::new(
                ErrorKind::Cancelled,
                "the tiers were dropped before the transfer's turn came",
            )));
            continue;
        }
        let result = catch_unwind(AssertUnwindSafe(job));
        ticket.finish(result.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Internal,
                "a transfer panicked; the tiers go on without it",
            ))
        }));
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_job_that_fails_or_panics_fails_its_own_ticket() {
        let transfers = Transfers::start(8).unwrap();
        let good = transfers.submit(Box::new(|| Ok(3))).unwrap();
        let bad = transfers.submit(Box::new(|| bail!(NotFound, "nothing"))).unwrap();
        let worse = transfers.submit(Box::new(|| panic!("on purpose"))).unwrap();
        let after = transfers.submit(Box::new(|| Ok(4))).unwrap();
        assert_eq!(good.wait(None).unwrap(), 3);
        assert_eq!(bad.wait(None).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(worse.wait(None).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(after.wait(None).unwrap(), 4);
        assert_eq!(after.poll().unwrap().unwrap(), 4);
    }

    #[test]
    fn a_full_queue_says_so_and_what_waits_at_the_end_is_cancelled() {
        let transfers = Transfers::start(1).unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let running = transfers
            .submit(Box::new(move || {
                begun.send(()).unwrap();
                let _ = wait.recv();
                Ok(1)
            }))
            .unwrap();
        has_begun.recv().unwrap();
        let waiting = transfers.submit(Box::new(|| Ok(2))).unwrap();
        let full = transfers.submit(Box::new(|| Ok(3))).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::TableFull);
        assert!(full.kind().is_retryable());
        assert!(running.poll().is_none());
        let late = running.wait(Some(Duration::from_millis(1))).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Timeout);
        transfers.closing.store(true, Ordering::Relaxed);
        go.send(()).unwrap();
        drop(transfers);
        assert_eq!(running.wait(None).unwrap(), 1);
        assert_eq!(waiting.wait(None).unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(Transfers::start(0).is_err());
    }
}
