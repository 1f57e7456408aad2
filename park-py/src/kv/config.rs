//! What caches and schedulers are made of, from keyword arguments.

use park_core::kv::{Algorithm, CacheConfig, Eviction, Group, Media, OnEpoch, Policy};
use pyo3::prelude::*;

use super::errors::invalid;
use super::numbers::Whole;

/// A group of layers: "full", or the tokens of a window.
#[derive(FromPyObject)]
pub(super) enum GroupArgument {
    Window(Whole),
    Name(String),
}

/// A place in the prompt that stands for something else: start, length, and 32 bytes of digest.
pub(super) type MediaArgument<'py> = (Whole, Whole, Bound<'py, PyAny>);

/// The options of a cache as Python gives them.
pub(super) struct CacheOptions<'a, 'py> {
    pub(super) blocks: Whole,
    pub(super) block_size: Whole,
    pub(super) groups: Option<Vec<GroupArgument>>,
    pub(super) caching: bool,
    pub(super) eviction: &'a str,
    pub(super) algorithm: &'a str,
    pub(super) secret: Option<Bound<'py, PyAny>>,
    pub(super) verify: bool,
    pub(super) partial: bool,
    pub(super) events: bool,
}

/// One of several names.
fn choose<T: Copy>(py: Python<'_>, what: &str, given: &str, choices: &[(&str, T)]) -> PyResult<T> {
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == given) {
        return Ok(*choice);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    Err(invalid(py, format!("`{what}` is one of {names:?}, not {given:?}")))
}

fn bytes_32(py: Python<'_>, what: &str, given: &Bound<'_, PyAny>) -> PyResult<[u8; 32]> {
    let bytes: Vec<u8> = given.extract()?;
    let count = bytes.len();
    <[u8; 32]>::try_from(bytes).map_err(|_| invalid(py, format!("`{what}` has 32 bytes, not {count}")))
}

impl CacheOptions<'_, '_> {
    pub(super) fn config(self, py: Python<'_>) -> PyResult<CacheConfig> {
        let groups = match self.groups {
            None => vec![Group::Full],
            Some(groups) => groups
                .into_iter()
                .map(|group| match group {
                    GroupArgument::Window(tokens) => tokens.to(py, "groups").map(Group::Window),
                    GroupArgument::Name(name) => choose(py, "groups", &name, &[("full", Group::Full)]),
                })
                .collect::<PyResult<_>>()?,
        };
        let secret = match self.secret {
            Some(secret) => bytes_32(py, "secret", &secret)?,
            None => bytes_32(py, "secret", &py.import("os")?.call_method1("urandom", (32,))?)?,
        };
        Ok(CacheConfig {
            blocks: self.blocks.to(py, "blocks")?,
            block_size: self.block_size.to(py, "block_size")?,
            groups,
            caching: self.caching,
            eviction: choose(
                py,
                "eviction",
                self.eviction,
                &[
                    ("lru", Eviction::Lru),
                    ("tiny_lfu", Eviction::TinyLfu),
                    ("retention", Eviction::Retention),
                ],
            )?,
            algorithm: choose(
                py,
                "algorithm",
                self.algorithm,
                &[
                    ("xxh3", Algorithm::Xxh3),
                    ("sha256", Algorithm::Sha256),
                    ("blake3", Algorithm::Blake3),
                ],
            )?,
            secret,
            verify: self.verify,
            partial: self.partial,
            events: self.events,
        })
    }
}

pub(super) fn policy(py: Python<'_>, name: &str, quantum: Whole) -> PyResult<Policy> {
    let quantum = quantum.to(py, "quantum")?;
    let choices = [
        ("fcfs", Policy::Fcfs),
        ("priority", Policy::Priority),
        ("longest_prefix", Policy::LongestPrefix),
        ("fair", Policy::Fair { quantum }),
    ];
    choose(py, "policy", name, &choices)
}

pub(super) fn on_epoch(py: Python<'_>, name: &str) -> PyResult<OnEpoch> {
    let choices = [
        ("finish", OnEpoch::Finish),
        ("drop", OnEpoch::Drop),
        ("draft", OnEpoch::Draft),
    ];
    choose(py, "on_epoch", name, &choices)
}

pub(super) fn media(py: Python<'_>, given: Vec<MediaArgument<'_>>) -> PyResult<Vec<Media>> {
    let one = |(start, length, digest): MediaArgument<'_>| {
        Ok(Media {
            start: start.to::<u32>(py, "media")? as usize,
            length: length.to::<u32>(py, "media")? as usize,
            digest: bytes_32(py, "media", &digest)?,
        })
    };
    given.into_iter().map(one).collect()
}
