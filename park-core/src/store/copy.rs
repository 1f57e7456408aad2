//! Copying payloads. A large copy passes by the caches, whose lines would be read from memory only to be overwritten: measured here,
//! that moves 1.6 times as much a second. Where one thread does not saturate memory, a few share the work.
#![allow(unsafe_code, reason = "copies between raw addresses")]

use std::thread;

use crate::sys::cgroup;

/// Smaller copies are done before a second thread has started.
const LARGE: usize = 16 << 20;
/// Of smaller copies a good part is still in the cache when somebody reads them. The C library's own limit follows from the size of
/// the last level cache, of which a guest on a large host is told all and has little.
const PASSES_BY_THE_CACHES: usize = 8 << 20;
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
        unsafe { stream(self.source, self.target, self.len) };
    }
}

/// Copies past the caches: four pages side by side, which keeps more of the memory's banks busy than one after the other does.
///
/// # Safety
/// As `copy`.
#[cfg(target_arch = "x86_64")]
unsafe fn stream(source: *const u8, target: *mut u8, len: usize) {
    const LINE: usize = 64;
    const PAGE: usize = 4096;
    const PAGES: usize = 4;

    let mut at = target.align_offset(LINE).min(len);
    // SAFETY: `at` bytes are part of both ranges.
    unsafe { std::ptr::copy_nonoverlapping(source, target, at) };
    while len - at >= PAGES * PAGE {
        for line in (at..at + PAGE).step_by(LINE) {
            for line in [line, line + PAGE, line + 2 * PAGE, line + 3 * PAGE] {
                // SAFETY: the line lies inside the four pages from `at` on, which are part of both ranges.
                unsafe { stream_line(source.wrapping_add(line), target.wrapping_add(line)) };
            }
        }
        at += PAGES * PAGE;
    }
    while len - at >= LINE {
        // SAFETY: a line from `at` on is part of both ranges.
        unsafe { stream_line(source.wrapping_add(at), target.wrapping_add(at)) };
        at += LINE;
    }
    // Stores of this kind are ordered by nothing else, not even by the release store that seals the object.
    // SAFETY: every processor of x86-64 has it.
    unsafe { std::arch::x86_64::_mm_sfence() };
    // SAFETY: the rest of both ranges.
    unsafe { std::ptr::copy_nonoverlapping(source.wrapping_add(at), target.wrapping_add(at), len - at) };
}

/// # Safety
/// 64 bytes are readable at `source` and writable at `target`, which is aligned to 64.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn stream_line(source: *const u8, target: *mut u8) {
    use std::arch::x86_64::{__m128i, _MM_HINT_NTA, _mm_prefetch, _mm_stream_si128};

    // SAFETY: a prefetch may name any address.
    unsafe { _mm_prefetch::<_MM_HINT_NTA>(source.wrapping_add(AHEAD).cast()) };
    // SAFETY: 64 bytes are readable at `source`, by the caller's promise.
    let words = unsafe { source.cast::<[__m128i; 4]>().read_unaligned() };
    let to = target.cast::<__m128i>();
    for (word, value) in words.into_iter().enumerate() {
        // SAFETY: a quarter of the line at `target`, which is writable and aligned, by the caller's promise.
        unsafe { _mm_stream_si128(to.wrapping_add(word), value) };
    }
}

/// How far ahead a line is asked for, in bytes.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 512;

/// Copies as the C library does.
///
/// # Safety
/// As `copy`.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn stream(source: *const u8, target: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(source, target, len) };
}

/// Copies `len` bytes, on several threads if that pays.
///
/// # Safety
/// `source` is readable and `target` writable for `len` bytes, and they do not overlap.
pub(super) unsafe fn copy(source: *const u8, target: *mut u8, len: usize) {
    let threads = if len < LARGE {
        1
    } else {
        cgroup::cpus().min(MOST_THREADS)
    };
    if len < PASSES_BY_THE_CACHES {
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(source, target, len) };
    } else if threads == 1 {
        // SAFETY: the caller's promise.
        unsafe { stream(source, target, len) };
    } else {
        // SAFETY: the caller's promise.
        unsafe { copy_with(source, target, len, threads) };
    }
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
    fn streams_begin_and_end_anywhere() {
        let source: Vec<u8> = (0..1000u32).map(|n| (n % 251) as u8).collect();
        for (from, to) in [(0, 0), (0, 1), (1, 0), (7, 63), (64, 3)] {
            for len in [0, 1, 15, 16, 63, 64, 65, 127, 128, 900] {
                let mut target = vec![255; 1000];
                let (first, second) = (source.as_ptr().wrapping_add(from), target.as_mut_ptr().wrapping_add(to));
                // SAFETY: both ranges lie inside vectors of 1000 bytes.
                unsafe { stream(first, second, len) };
                assert_eq!(target[to..to + len], source[from..from + len]);
                assert!(target[..to].iter().chain(&target[to + len..]).all(|byte| *byte == 255));
            }
        }
    }

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
