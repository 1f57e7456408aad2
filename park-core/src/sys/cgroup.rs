//! How much memory and how many CPUs this process may really use, as containers limit them.

use std::fs;
use std::path::{Path, PathBuf};
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

/// Bytes of memory that this process could take now without the system killing somebody for them.
pub fn memory_available() -> u64 {
    memory_available_under(Path::new("/"))
}

fn memory_limit_under(root: &Path) -> u64 {
    let limits = groups(root).filter_map(|(dir, names)| number(&dir.join(names.limit)));
    limits.fold(meminfo(root, "MemTotal:").unwrap_or(1 << 30), u64::min)
}

fn memory_available_under(root: &Path) -> u64 {
    let left = groups(root).filter_map(|(dir, names)| {
        let limit = number(&dir.join(names.limit))?;
        let used = number(&dir.join(names.used))?;
        // Pages of files that nobody has looked at lately are counted as used and go first.
        let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
        let cached = field(&stat, names.cached).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    });
    left.fold(meminfo(root, "MemAvailable:").unwrap_or(u64::MAX), u64::min)
}

/// File and field names of one version of the memory controller.
struct Names {
    limit: &'static str,
    used: &'static str,
    cached: &'static str,
}

const VERSION_1: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: "total_inactive_file",
};
const VERSION_2: Names = Names {
    limit: "memory.max",
    used: "memory.current",
    cached: "inactive_file",
};

/// The memory cgroups of this process, innermost first: every ancestor can be the one that binds.
fn groups(root: &Path) -> impl Iterator<Item = (PathBuf, &'static Names)> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (mount, names) = match controllers {
            "" => ("sys/fs/cgroup", &VERSION_2),
            list if list.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", &VERSION_1),
            _ => continue,
        };
        let own = Path::new(path.trim_start_matches('/'));
        found.extend(own.ancestors().map(|group| (root.join(mount).join(group), names)));
    }
    found.into_iter()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind `name` in a file of lines `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn meminfo(root: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    field(&text, name)?.checked_mul(1024)
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

    #[test]
    fn what_is_available_counts_use_without_idle_file_pages() {
        let dir = tree(&[
            ("proc/meminfo", "MemTotal: 1000000 kB\nMemAvailable:   800000 kB\n"),
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/memory.max", "500000\n"),
            ("sys/fs/cgroup/a/memory.current", "300000\n"),
            (
                "sys/fs/cgroup/a/memory.stat",
                "anon 1\nactive_file 5\ninactive_file 100000\n",
            ),
        ]);
        assert_eq!(memory_available_under(dir.path()), 300_000);
        let free = tree(&[("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 800 kB\n")]);
        assert_eq!(memory_available_under(free.path()), 819_200);
    }
}
