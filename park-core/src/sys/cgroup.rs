//! How much memory and how many CPUs this process may really use, as containers limit them.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Bytes of memory that this process may use: the smallest of physical memory and the cgroup limits above it (v2 and v1).
pub fn memory_limit() -> u64 {
    memory_limit_under(Path::new("/"))
}

/// CPUs this process may run on (affinity and quota), at least 1. Asked once: the answer costs tens of microseconds of file reading.
pub fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn memory_limit_under(root: &Path) -> u64 {
    let mut limit = physical_memory(root).unwrap_or(1 << 30);
    let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // Every ancestor can be the one that binds, so walk to the root of the hierarchy.
        let mut group = Path::new(path.trim_start_matches('/'));
        loop {
            let text = fs::read_to_string(root.join(mount).join(group).join(file)).unwrap_or_default();
            if let Ok(bytes) = text.trim().parse::<u64>() {
                limit = limit.min(bytes);
            }
            match group.parent() {
                Some(parent) => group = parent,
                None => break,
            }
        }
    }
    limit
}

fn physical_memory(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_smallest_limit_binds_in_version_2() {
        let dir = tree(&[
            ("proc/meminfo", "MemTotal:       1000000 kB\n"),
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/memory.max", "500000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
        ]);
        assert_eq!(memory_limit_under(dir.path()), 500_000);
    }

    #[test]
    fn version_1_and_no_limit() {
        let dir = tree(&[
            ("proc/meminfo", "MemTotal:       1000 kB\n"),
            ("proc/self/cgroup", "5:cpu,memory:/x\n3:pids:/y\n"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(memory_limit_under(dir.path()), 1_024_000);
    }
}
