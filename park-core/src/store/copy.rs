//! Copying payloads. One thread does not saturate memory, so a large copy is split over a few.
#![allow(unsafe_code, reason = "copies between raw addresses")]

use std::thread;

use crate::sys::cgroup;

/// Smaller copies are done before a second thread has started.
const LARGE: usize = 16 << 20;
/// More threads than this only take turns at the memory bus.
const MOST_THREADS: usize = 4;

/// A part of one copy, for another thread.
#[derive(Clone, Copy)]
struct Part {
    source: *const u8,
    target: *mut u8,
    len: usize,
}

// SAFETY: parts of one copy do not overlap, and `copy_with` returns only after each is done.
unsafe impl Send for Part {}

impl Part {
    /// # Safety
    /// `source` is readable and `target` writable for `len` bytes, and they do not overlap.
    unsafe fn copy(self) {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(self.source, self.target, self.len) };
    }
}

/// Copies `len` bytes, on several threads if that pays.
///
/// # Safety
/// `source` is readable and `target` writable for `len` bytes, and they do not overlap.
pub(super) unsafe fn copy(source: *const u8, target: *mut u8, len: usize) {
    if len < LARGE || cgroup::cpus() == 1 {
        // SAFETY: the caller's promise.
        return unsafe { std::ptr::copy_nonoverlapping(source, target, len) };
    }
    // SAFETY: as above.
    unsafe { copy_with(source, target, len, cgroup::cpus().min(MOST_THREADS)) };
}

/// # Safety
/// As `copy`.
unsafe fn copy_with(source: *const u8, target: *mut u8, len: usize, threads: usize) {
    // Whole pages, so that no two threads write to one.
    let piece = len.div_ceil(threads).next_multiple_of(4096).max(4096);
    let part = |at: usize| Part {
        source: source.wrapping_add(at),
        target: target.wrapping_add(at),
        len: piece.min(len - at),
    };
    thread::scope(|scope| {
        for at in (piece..len).step_by(piece) {
            let part = part(at);
            let run = move || {
                let part: Part = part;
                // SAFETY: a part of the range that the caller vouches for, which outlives the scope.
                unsafe { part.copy() }
            };
            if thread::Builder::new().spawn_scoped(scope, run).is_err() {
                // The system has no thread to spare: this one does the work.
                // SAFETY: as above.
                unsafe { part.copy() };
            }
        }
        if len > 0 {
            // SAFETY: as above.
            unsafe { part(0).copy() };
        }
    });
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_byte_arrives_whatever_the_number_of_threads() {
        for len in [0, 1, 4095, 4096, 4097, 100_001] {
            let source: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            for threads in 1..=5 {
                let mut target = vec![0; len];
                // SAFETY: two vectors of `len` bytes.
                unsafe { copy_with(source.as_ptr(), target.as_mut_ptr(), len, threads) };
                assert!(target == source, "{len} bytes by {threads} threads");
            }
        }
    }
}
