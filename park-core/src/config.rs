//! What a caller may choose when opening a session. Everything has a default that suits one machine.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Result, bail};

/// Settings of a new session.
#[derive(Clone, Debug)]
pub struct Config {
    capacity: Option<u64>,
    max_objects: u32,
    full_timeout: Duration,
    native_threads: Option<usize>,
    reserve: bool,
    prefault: bool,
    huge_pages: bool,
    spill_directory: Option<PathBuf>,
    spill_limit: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capacity: None,
            max_objects: 1 << 21,
            full_timeout: Duration::from_secs(2),
            native_threads: None,
            reserve: false,
            prefault: false,
            huge_pages: false,
            spill_directory: None,
            spill_limit: None,
        }
    }
}

impl Config {
    /// The smallest arena that is accepted, in bytes.
    pub const MIN_CAPACITY: u64 = 1 << 20;

    /// Bytes of object memory. Default: 30 % of the memory the cgroup allows.
    #[must_use]
    pub fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = Some(bytes);
        self
    }

    /// How many objects may exist at once. Default: 2,097,152. Unused entries take no memory.
    #[must_use]
    pub fn max_objects(mut self, count: u32) -> Self {
        self.max_objects = count;
        self
    }

    /// How long a producer waits for room before `StoreFull`. Default: 2 s.
    #[must_use]
    pub fn full_timeout(mut self, timeout: Duration) -> Self {
        self.full_timeout = timeout;
        self
    }

    /// Threads of the in-process pool that runs native tasks. Default: one a CPU.
    #[must_use]
    pub fn native_threads(mut self, threads: usize) -> Self {
        self.native_threads = Some(threads);
        self
    }

    /// Reserves the memory of the whole capacity when the session is opened, and keeps it: opening fails with `StoreFull` if the
    /// machine does not have it, and no later call can. Such an arena has no more addresses than memory, so holes between objects
    /// count. Default: memory is taken as it is needed, and given back when the store is idle.
    #[must_use]
    pub fn reserve(mut self, reserve: bool) -> Self {
        self.reserve = reserve;
        self
    }

    /// As `reserve`, and also fills in the page tables of the process that opens the session, so that its first write to a page costs
    /// no more than the next. Opening takes about a second for 4 GB, and fails with `Unsupported` before Linux 5.14. Default: no.
    #[must_use]
    pub fn prefault(mut self, prefault: bool) -> Self {
        self.prefault = prefault;
        self
    }

    /// Asks for huge pages where the machine allows them for shared memory; [`crate::Store::huge_pages`] says what was got. Memory is
    /// then taken and given back in larger pieces. Default: no.
    #[must_use]
    pub fn huge_pages(mut self, huge_pages: bool) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Where objects go that do not fit into memory: below it the session makes a directory of its own, when it first needs one, and
    /// removes it at its end. Default: the system's directory for temporary files.
    #[must_use]
    pub fn spill_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.spill_directory = Some(path.into());
        self
    }

    /// Bytes that may be on disk at once; 0: nothing is ever spilled. Default: 90 % of what is free there when the first object goes.
    #[must_use]
    pub fn spill_limit(mut self, bytes: u64) -> Self {
        self.spill_limit = Some(bytes);
        self
    }

    pub(crate) fn reserves(&self) -> bool {
        self.reserve || self.prefault
    }

    pub(crate) fn prefaults(&self) -> bool {
        self.prefault
    }

    pub(crate) fn wants_huge_pages(&self) -> bool {
        self.huge_pages
    }

    /// Where to spill to and how much, unless nothing is to be spilled.
    pub(crate) fn spill_plan(&self) -> Option<(PathBuf, Option<u64>)> {
        let parent = self.spill_directory.clone().unwrap_or_else(std::env::temp_dir);
        (self.spill_limit != Some(0)).then_some((parent, self.spill_limit))
    }

    pub(crate) fn checked_capacity(&self, default: u64) -> Result<u64> {
        let capacity = self.capacity.unwrap_or(default);
        if !(Self::MIN_CAPACITY..=1 << 46).contains(&capacity) {
            bail!(
                InvalidArgument,
                "store capacity must be between {} bytes and 64 TiB, got {capacity} bytes",
                Self::MIN_CAPACITY
            );
        }
        Ok(capacity.next_multiple_of(4096))
    }

    pub(crate) fn checked_max_objects(&self) -> Result<u32> {
        if !(64..=1 << 26).contains(&self.max_objects) {
            bail!(
                InvalidArgument,
                "max_objects must be between 64 and 67,108,864, got {}",
                self.max_objects
            );
        }
        Ok(self.max_objects.next_multiple_of(64))
    }

    pub(crate) fn full_wait(&self) -> Duration {
        self.full_timeout
    }

    pub(crate) fn threads(&self) -> usize {
        self.native_threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
            .max(1)
    }
}
