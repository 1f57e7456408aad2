//! The attacker: flips words in the pages that are in use.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use park_core::Session;
use park_tests::random::Random;
use park_tests::role::say;

const PAGE: usize = 4096;
/// The word of the header that says whether the session is open: flipping it ends the round at once, so most rounds leave it alone.
const STATE: usize = 40;

/// A segment, mapped once more by the attacker itself.
struct Target {
    base: *mut u8,
    pages: usize,
}

impl Target {
    fn map(fd: BorrowedFd<'_>, len: usize) -> Self {
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED, "the segment can be mapped");
        Self {
            base: base.cast(),
            pages: len / PAGE,
        }
    }

    /// The pages that anyone has touched: the segments are sparse, and garbage where nobody looks tests nothing.
    fn resident(&self) -> Vec<usize> {
        let mut found = vec![0u8; self.pages];
        // SAFETY: the range is mapped, and there is one byte for each of its pages.
        let done = unsafe { libc::mincore(self.base.cast(), self.pages * PAGE, found.as_mut_ptr()) };
        assert_eq!(done, 0, "mincore works on our own mapping");
        (0..self.pages).filter(|page| found[*page] & 1 == 1).collect()
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: inside the mapping and aligned, as its caller picked it; atomics are valid for any bits.
        unsafe { &*self.base.wrapping_add(at).cast::<AtomicU64>() }
    }

    fn half(&self, at: usize) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { &*self.base.wrapping_add(at).cast::<AtomicU32>() }
    }

    /// Writes something else to one place: what a stray pointer, a wild copy or malice would.
    fn flip(&self, random: &mut Random, at: usize) {
        let word = self.word(at & !7);
        match random.below(8) {
            0 | 1 => word.fetch_xor(1 << random.below(64), Ordering::Relaxed),
            2 => word.swap(random.next(), Ordering::Relaxed),
            3 => word.swap([0, u64::MAX, 1 << 63, 1 << 32][random.below(4)], Ordering::Relaxed),
            4 => word.fetch_add(random.next() % 256, Ordering::Relaxed),
            5 => word.swap(random.next() % 4096, Ordering::Relaxed),
            _ => {
                let half = self.half(at & !3);
                let value = [random.next() as u32, 0, u32::MAX, random.next() as u32 % 1024][random.below(4)];
                u64::from(half.swap(value, Ordering::Relaxed))
            }
        };
    }
}

pub(crate) fn run(argument: &str, how_long: Duration) {
    let (address, seed) = argument.split_once(' ').expect("address and seed");
    let seed: u64 = seed.parse().expect("a number");
    let mut random = Random::new(seed);
    let session = Session::attach(address).expect("same user");
    let store = session.store();
    let [control, arena] = store.fds();
    let len = |fd| park_core::sys::memfd::verify(fd).expect("a segment") as usize;
    let targets = [Target::map(control, len(control)), Target::map(arena, len(arena))];
    let mut pages: Vec<Vec<usize>> = targets.iter().map(Target::resident).collect();
    let end = Instant::now() + how_long;
    let mut flips = 0u64;
    while Instant::now() < end {
        // Mostly the control segment, whose words decide things.
        let which = usize::from(random.below(4) == 0);
        let Some(page) = pages[which].get(random.below(pages[which].len().max(1))) else {
            continue;
        };
        // Half of all blows go to the first words of a line: headers of blocks, states of slots, cursors.
        let mask = if random.below(2) == 0 { 0xfff } else { 0xfdf };
        let at = page * PAGE + (random.next() as usize & mask);
        if which == 0 && at & !7 == STATE && !seed.is_multiple_of(8) {
            continue;
        }
        targets[which].flip(&mut random, at);
        flips += 1;
        if flips.is_multiple_of(64) {
            std::thread::sleep(Duration::from_micros(300));
        }
        if flips.is_multiple_of(4096) {
            pages = targets.iter().map(Target::resident).collect();
        }
    }
    say(&format!("flipped {flips}"));
    // Not even its own exit is orderly.
    std::process::exit(0);
}
