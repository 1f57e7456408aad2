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

/// Memory that is in use, of the memory that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes in use, without pages of files that can go at once.
    pub used: u64,
    /// Bytes that there are.
    pub total: u64,
}

impl MemoryUse {
    /// From 0 to 1; a little more is possible.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a share, to be compared with one that people chose"
    )]
    pub fn share(self) -> f64 {
        self.used as f64 / self.total.max(1) as f64
    }
}

/// Reads the use of memory again and again, where it is nearest to what there is: in the machine, or in one of the cgroups that limit
/// this process (v2 and v1). Which those are is found out once, so that a reading takes three files of each, or one without any.
#[derive(Debug)]
pub struct MemoryGauge {
    root: PathBuf,
    groups: Vec<(PathBuf, &'static Names)>,
}

impl MemoryGauge {
    /// That of this process.
    pub fn of_this_process() -> Self {
        Self::under(Path::new("/"))
    }

    fn under(root: &Path) -> Self {
        let total = meminfo(root, "MemTotal:").unwrap_or(u64::MAX);
        // Without a limit version 1 names one that no machine reaches.
        let binds =
            |(dir, names): &(PathBuf, &Names)| number(&dir.join(names.limit)).is_some_and(|limit| limit < total);
        Self {
            root: root.to_owned(),
            groups: groups(root).filter(binds).collect(),
        }
    }

    /// The use now; None if the system does not say.
    pub fn read(&self) -> Option<MemoryUse> {
        let text = fs::read_to_string(self.root.join("proc/meminfo")).unwrap_or_default();
        let bytes = |name| field(&text, name)?.checked_mul(1024);
        let machine = bytes("MemTotal:").zip(bytes("MemAvailable:"));
        let machine = machine.map(|(total, available)| MemoryUse {
            used: total.saturating_sub(available),
            total,
        });
        let groups = self.groups.iter().filter_map(|(dir, names)| in_group(dir, names));
        groups.chain(machine).max_by(|a, b| a.share().total_cmp(&b.share()))
    }
}

/// Of a cgroup that has a limit.
fn in_group(dir: &Path, names: &Names) -> Option<MemoryUse> {
    let total = number(&dir.join(names.limit))?;
    let used = number(&dir.join(names.used))?;
    // Pages of files that nobody has looked at lately are counted as used and go first.
    let stat = fs::read_to_string(dir.join("memory.stat")).unwrap_or_default();
    let cached = field(&stat, names.cached).unwrap_or(0);
    Some(MemoryUse {
        used: used.saturating_sub(cached),
        total,
    })
}

fn memory_limit_under(root: &Path) -> u64 {
    let limits = groups(root).filter_map(|(dir, names)| number(&dir.join(names.limit)));
    limits.fold(meminfo(root, "MemTotal:").unwrap_or(1 << 30), u64::min)
}

fn memory_available_under(root: &Path) -> u64 {
    let all = groups(root).filter_map(|(dir, names)| in_group(&dir, names));
    let left = all.map(|memory| memory.total.saturating_sub(memory.used));
    left.fold(meminfo(root, "MemAvailable:").unwrap_or(u64::MAX), u64::min)
}

/// File and field names of one version of the memory controller.
#[derive(Debug)]
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

    #[test]
    fn the_use_is_that_of_whatever_is_nearest_to_its_limit() {
        let of = |used, total| Some(MemoryUse { used, total });
        let version_2 = |current| {
            tree(&[
                ("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 500 kB\n"),
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/memory.max", "500000\n"),
                ("sys/fs/cgroup/a/memory.current", current),
                ("sys/fs/cgroup/a/memory.stat", "inactive_file 100000\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/b/memory.current", "490000\n"),
            ])
        };
        assert_eq!(
            MemoryGauge::under(version_2("590000\n").path()).read(),
            of(490_000, 500_000)
        );
        assert_eq!(
            MemoryGauge::under(version_2("300000\n").path()).read(),
            of(512_000, 1_024_000)
        );
        let version_1 = tree(&[
            ("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 500 kB\n"),
            ("proc/self/cgroup", "5:cpu,memory:/x\n"),
            ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "400000\n"),
            ("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "380000\n"),
            (
                "sys/fs/cgroup/memory/x/memory.stat",
                "inactive_file 9\ntotal_inactive_file 80000\n",
            ),
        ]);
        assert_eq!(MemoryGauge::under(version_1.path()).read(), of(300_000, 400_000));
        assert_eq!(MemoryGauge::under(tree(&[]).path()).read(), None);
    }
}
