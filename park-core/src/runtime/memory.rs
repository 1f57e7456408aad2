//! Ending workers before the machine runs out of memory.
//!
//! The watcher looks at the use of memory once each period: that of the machine, or of the control group that is nearest to its limit.
//! Above the threshold one worker is killed, and no other before it is gone: rather one whose work is repeated than one whose work fails,
//! and of those the one that has its work for the shortest time, which loses the least. A task is repeated on a counter of its own, as
//! it is seldom to blame; an actor by its usual one. What is not repeated fails with `OutOfMemory` and what there was to see.
//!
//! Workers that are threads cannot be killed: there is no watch where they are.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};
use crate::id::ParticipantId;
use crate::proc::pool::{Hold, Role, Worker};
use crate::sys::cgroup::{MemoryGauge, MemoryUse};
use crate::sys::usage::Usage;
use crate::sys::{process, usage};

use super::head::{Head, State};

/// Processes that an error names.
const SHOWN: usize = 10;

/// When workers are ended for want of memory.
#[derive(Clone, Copy, Debug)]
pub struct MemoryWatch {
    /// How often to look; zero: never.
    pub period: Duration,
    /// The share of memory in use above which a worker is ended.
    pub threshold: f64,
    /// How often a task is repeated that was ended so, if it is repeated after other deaths at all; negative: without end.
    pub retries: i32,
}

impl Default for MemoryWatch {
    /// Nobody looks.
    fn default() -> Self {
        Self {
            period: Duration::ZERO,
            threshold: 1.0,
            retries: 0,
        }
    }
}

/// What the watcher's thread keeps.
#[derive(Debug)]
pub(super) struct Monitor {
    watch: MemoryWatch,
    gauge: MemoryGauge,
    next: Instant,
}

impl Monitor {
    /// None if nobody is to look.
    pub(super) fn new(head: &Head) -> Option<Self> {
        let watch = head.lock().memory_watch()?;
        let next = Instant::now() + watch.period;
        let gauge = MemoryGauge::of_this_process();
        Some(Self { watch, gauge, next })
    }

    /// How long until the next look.
    pub(super) fn left(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Looks, if it is time.
    pub(super) fn look(&mut self, head: &Head) {
        if !self.left().is_zero() {
            return;
        }
        self.next = Instant::now() + self.watch.period;
        if !head.lock().has_victims() {
            return;
        }
        if let Some(memory) = self.gauge.read()
            && memory.share() > self.watch.threshold
        {
            let largest = usage::largest(SHOWN);
            head.lock().relieve(memory, self.watch.threshold, &largest);
        }
    }
}

/// A worker that may be ended.
struct Victim {
    id: ParticipantId,
    /// Its work will be repeated.
    repeated: bool,
    /// When it got its work, as `Worker::since`.
    since: u64,
    what: String,
}

impl State {
    fn memory_watch(&self) -> Option<MemoryWatch> {
        let watch = self.setup.as_ref()?.memory;
        let on = !watch.period.is_zero() && self.spawner.as_ref().is_some_and(|spawner| spawner.zygote().is_some());
        on.then_some(watch)
    }

    fn has_victims(&self) -> bool {
        self.pool.running() > 0 || self.actors.iter().next().is_some()
    }

    /// Too much memory is in use: ends one worker, unless one is about to end for that already.
    fn relieve(&mut self, memory: MemoryUse, threshold: f64, largest: &[Usage]) {
        if self.closed || self.pool.iter().any(|(_, worker)| worker.verdict.is_some()) {
            return;
        }
        let victims = self.pool.iter().filter_map(|(id, worker)| self.victim(id, worker));
        let Some(victim) = victims.min_by_key(|victim| (!victim.repeated, Reverse(victim.since))) else {
            return;
        };
        let Some(worker) = self.pool.get_mut(victim.id) else {
            return;
        };
        let Some(Hold::Process(pidfd)) = &worker.hold else {
            return;
        };
        let text = explain(&victim, worker.pid.unwrap_or(0), memory, threshold, largest);
        process::kill(pidfd);
        worker.verdict = Some(Error::new(ErrorKind::OutOfMemory, text.clone()));
        if let Some(setup) = &self.setup {
            (setup.warn)(&text);
        }
    }

    fn victim(&self, id: ParticipantId, worker: &Worker) -> Option<Victim> {
        worker.pid?;
        let (repeated, what) = match worker.role {
            Role::Surplus => return None,
            Role::Actor(id) => {
                let (_, actor) = self.actors.iter().find(|(other, _)| *other == id)?;
                (actor.has_restart(), format!("the actor {}", actor.spec.class_name))
            }
            Role::Tasks => {
                let open = |task: &&crate::sched::task::Task| !task.returns.iter().all(|id| self.store.contains(*id));
                let task = worker.sent.iter().filter_map(|id| self.tasks.get(id)).find(open)?;
                (task.has_memory_retry(), format!("the task {}", task.name))
            }
        };
        Some(Victim {
            id,
            repeated,
            since: worker.since,
            what,
        })
    }
}

/// Why this one was ended, and what can be done.
fn explain(victim: &Victim, pid: u32, memory: MemoryUse, threshold: f64, largest: &[Usage]) -> String {
    let Victim { repeated, what, .. } = victim;
    let among = if *repeated {
        "whose work can be repeated"
    } else {
        "that there was"
    };
    let mut text = format!(
        "1 worker(s) were killed due to the node running low on memory: {} of {} ({:.4}) were in use, which is above the threshold of \
         {threshold}. The worker ran {what} (pid={pid}, memory used={}) and was the newest one {among}. Let fewer run at a time, by having \
         each ask for more CPUs or for memory, or use a machine with more memory. The environment variable RAY_memory_usage_threshold \
         sets the threshold, and RAY_memory_monitor_refresh_ms=0 turns this off. The largest processes:\nPID\tMEM(GB)\tCOMMAND",
        gigabytes(memory.used),
        gigabytes(memory.total),
        memory.share(),
        gigabytes(usage::own_memory(pid)),
    );
    for one in largest {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{}\t{:.2}\t{}", one.pid, in_gigabytes(one.bytes), one.command);
    }
    text
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2}GB", in_gigabytes(bytes))
}

#[allow(clippy::cast_precision_loss, reason = "shown to people with two digits")]
fn in_gigabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
