//! Processes: watching them by pidfd (immune to pid reuse) and ending them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, getpid, kill_process, kill_process_group, pidfd_open, pidfd_send_signal,
};

use crate::error::{Error, ErrorKind, Result};

/// This process's id.
pub fn pid() -> u32 {
    getpid().as_raw_nonzero().get().unsigned_abs()
}

/// A descriptor that becomes readable when the process ends.
pub fn watch(pid: u32) -> Result<OwnedFd> {
    let gone = || Error::new(ErrorKind::NotFound, format!("there is no process {pid}"));
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
    pidfd_open(raw, PidfdFlags::empty()).map_err(|_| gone())
}

/// Whether the watched process has ended.
pub fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(n) if n > 0)
}

/// Waits until the watched process has ended; false if it has not within `timeout`.
pub fn wait_ended(pidfd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let deadline = std::time::Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let wait = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&wait)) {
            Ok(n) if n > 0 => return true,
            Err(rustix::io::Errno::INTR) => {}
            _ if left.is_zero() => return false,
            _ => {}
        }
    }
}

/// SIGKILL through a pidfd: it can never hit another process that took over the number.
pub fn kill(pidfd: impl AsFd) {
    // A process that has ended already is what the caller wants.
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
}

/// What tells a worker process to look whether the work that it runs was cancelled. User code has hardly a use for SIGURG, and a
/// process that does not handle it ignores it.
pub const CANCEL_SIGNAL: i32 = Signal::URG.as_raw();

/// Sends `CANCEL_SIGNAL`.
pub fn tell_cancelled(pidfd: impl AsFd) {
    // A process that has ended needs no telling.
    let _ = pidfd_send_signal(pidfd, Signal::URG);
}

/// SIGKILL by number, for a child that is not reaped yet (so that its number cannot be reused).
pub fn kill_child(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// SIGKILL for a child that leads a process group and is not reaped yet, and for all that is in its group.
pub fn kill_group(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Sleeps until at least one descriptor is readable or closed by its other end, or the time is up; returns which.
pub fn poll_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> Vec<usize> {
    let timeout = timeout.map(|left| Timespec {
        tv_sec: left.as_secs().cast_signed(),
        tv_nsec: i64::from(left.subsec_nanos()),
    });
    let mut polled: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    loop {
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Vec::new(),
        }
    }
    polled
        .iter()
        .enumerate()
        .filter(|(_, fd)| !fd.revents().is_empty())
        .map(|(at, _)| at)
        .collect()
}
