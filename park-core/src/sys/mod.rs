//! The only module that talks to the operating system. Everything above sees typed calls and `Error`s.
#![allow(unsafe_code, reason = "system calls and memory mappings; each site argues its case")]

pub mod cgroup;
pub mod clock;
pub mod disk;
pub mod failpoint;
pub mod fork;
pub mod futex;
pub mod memfd;
pub mod mmap;
pub mod process;
pub mod socket;
pub mod title;
pub mod usage;
