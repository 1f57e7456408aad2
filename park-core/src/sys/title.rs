//! The title of this process: what `ps` and `top -c` show as its command line. The kernel reads it from where the arguments of `execve`
//! lie in the process's own memory, and shows whatever stands there by now, up to the first byte that is zero.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// The place of the title. Any thread may change it; what two threads write at once may be mixed up, and is for people only.
#[derive(Debug)]
pub struct Title {
    start: usize,
    room: usize,
    /// From there on everything is zero.
    used: AtomicUsize,
}

impl Title {
    /// That of this process. None if the system does not say where it is.
    pub fn of_this_process() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may hold anything; what follows are numbers, of which the 48th and 49th of all are ours.
        let (_, numbers) = stat.rsplit_once(')')?;
        let mut numbers = numbers.split_ascii_whitespace().skip(45);
        let start: usize = numbers.next()?.parse().ok()?;
        let end: usize = numbers.next()?.parse().ok()?;
        (start != 0 && end > start).then(|| Self {
            start,
            room: end - start,
            used: AtomicUsize::new(end - start),
        })
    }

    /// Makes these parts, one behind the other, the title, cut to the room that there is.
    pub fn set(&self, parts: &[&str]) {
        // The last byte stays zero: without that the kernel would read on into the environment.
        let len = parts.iter().map(|part| part.len()).sum::<usize>().min(self.room - 1);
        let used = self.used.swap(len, Ordering::Relaxed);
        let text = parts.iter().flat_map(|part| part.bytes()).take(len);
        for (at, byte) in text.chain(std::iter::repeat_n(0, used.saturating_sub(len))).enumerate() {
            // SAFETY: the kernel says that `start` and the `room` bytes after it are this process's arguments: memory of its first stack,
            // which is writable and stays mapped for the life of the process, and so of those that are forked from it. No reference to
            // it exists in Rust; the C library reads it as bytes that end with a zero, of which there is one at every moment.
            unsafe { AtomicU8::from_ptr((self.start + at) as *mut u8) }.store(byte, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;
    use std::process::Command;

    fn shown() -> Vec<u8> {
        std::fs::read("/proc/self/cmdline").unwrap()
    }

    /// Runs the test that is called so in a process of its own: the title of this one is others' too.
    fn alone(name: &str) -> bool {
        if std::env::var_os("PARK_TITLE_TEST").is_some() {
            return true;
        }
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("sys::title::tests::{name}")])
            .env("PARK_TITLE_TEST", "1")
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        false
    }

    #[test]
    fn a_title_is_what_others_read() {
        if !alone("a_title_is_what_others_read") {
            return;
        }
        let title = Title::of_this_process().unwrap();
        let room = shown().len();
        title.set(&["a::", "b"]);
        assert!(shown().starts_with(b"a::b\0") && shown().len() == room);
        title.set(&["x"]);
        assert!(shown().starts_with(b"x\0\0\0"));
    }

    #[test]
    fn a_title_that_is_too_long_is_cut() {
        if !alone("a_title_that_is_too_long_is_cut") {
            return;
        }
        let room = shown().len();
        Title::of_this_process().unwrap().set(&[&"y".repeat(5000)]);
        assert_eq!(shown(), [vec![b'y'; room - 1], vec![0]].concat());
    }
}
