//! How much memory processes use, as the system counts it.

use std::fs;

/// A process and the memory that is its alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Its number.
    pub pid: u32,
    /// Bytes in memory that it does not share with others; what it maps of files and of shared memory does not count.
    pub bytes: u64,
    /// What it was started as, or shows itself as.
    pub command: String,
}

/// Bytes of a process's own memory; 0 if it is gone.
pub fn own_memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut pages = text
        .split_whitespace()
        .skip(1)
        .map_while(|word| word.parse::<u64>().ok());
    let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

/// The processes of this machine that use the most memory, at most `most` of them, the largest first.
pub fn largest(most: usize) -> Vec<Usage> {
    let mut all: Vec<(u64, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(|pid| (own_memory(pid), pid))
        .collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.truncate(most);
    let named = |(bytes, pid)| Usage {
        pid,
        bytes,
        command: command(pid),
    };
    all.into_iter().map(named).collect()
}

/// The beginning of its command line.
fn command(pid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = text
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    words.join(" ").chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_is_found() {
        let own = std::process::id();
        let before = own_memory(own);
        let held = vec![1u8; 64 << 20];
        assert!(own_memory(own) >= before + (60 << 20), "{} more", held.len());
        assert!(largest(1000).windows(2).all(|pair| pair[0].bytes >= pair[1].bytes));
        assert!(
            largest(100_000)
                .iter()
                .any(|one| one.pid == own && !one.command.is_empty())
        );
        assert_eq!(own_memory(0), 0);
    }
}
