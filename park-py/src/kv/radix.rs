//! `RadixTree`: the core's tree of prefixes ([`kv::RadixTree`]) for engines written in Python.
//!
//! Nodes are ints, results tuples: a call makes no object of a class of its own. Tokens come as any one-dimensional buffer of 32 or 64
//! bits (`array`, numpy, a torch tensor's numpy view) or as a sequence of ints, and are cut to 32 bits as they are copied into a buffer
//! that is kept; slots and tokens go out as `bytes` of this machine's int64 and uint32, for `numpy.frombuffer`.
//!
//! The lock is never held while Python runs.

use park_core::kv::{self, RadixConfig, RadixEviction, RadixInsertion, RadixNode, RadixSplit};
use park_core::{Error, ErrorKind};
use parking_lot::Mutex;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::gate::{OrRaise, raise};

/// Of a node that was divided: the new upper part, the old node, and how long the edge to the upper part is.
type Split = (u64, u64, usize);

struct Inner {
    tree: kv::RadixTree,
    /// Between calls empty; kept for its memory.
    tokens: Vec<u32>,
}

/// A radix tree over tokens: which prefixes are cached, what may be evicted, and where each prefix lies. `bigrams` keys it by pairs of
/// tokens; without `slots` it keeps none, and whoever keeps something by node heeds the splits that `match_prefix` and `insert` report.
/// `eviction` is "lru", "lfu", "fifo", "mru", "filo", "priority" or "slru", which keeps what was inserted `protected` times. `secret`,
/// 32 bytes, makes the tree's hashes unpredictable.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct RadixTree {
    inner: Mutex<Inner>,
}

#[pymethods]
impl RadixTree {
    #[new]
    #[pyo3(signature = (page=1, *, secret, bigrams=false, slots=true, eviction="lru", protected=2))]
    fn new(
        py: Python<'_>,
        page: u32,
        secret: [u8; 32],
        bigrams: bool,
        slots: bool,
        eviction: &str,
        protected: u32,
    ) -> PyResult<Self> {
        let eviction = match eviction {
            "lru" => RadixEviction::Lru,
            "lfu" => RadixEviction::Lfu,
            "fifo" => RadixEviction::Fifo,
            "mru" => RadixEviction::Mru,
            "filo" => RadixEviction::Filo,
            "priority" => RadixEviction::Priority,
            "slru" => RadixEviction::Slru { protected },
            _ => {
                return Err(invalid(
                    py,
                    format!(
                        "no order of eviction is named {eviction:?}: lru, lfu, fifo, mru, filo, priority and slru are"
                    ),
                ));
            }
        };
        let config = RadixConfig {
            page,
            bigrams,
            slots,
            eviction,
            secret,
        };
        let tree = kv::RadixTree::new(&config).or_raise(py)?;
        Ok(Self {
            inner: Mutex::new(Inner {
                tree,
                tokens: Vec::new(),
            }),
        })
    }

    /// The longest cached prefix, in whole pages: its last node (0 for none), its length, and the split that it took, if any.
    fn match_prefix(
        &self,
        py: Python<'_>,
        namespace: &[u8],
        tokens: &Bound<'_, PyAny>,
    ) -> PyResult<(u64, usize, Option<Split>)> {
        let tokens = self.read(tokens)?;
        let mut inner = self.inner.lock();
        let found = inner.tree.match_prefix(namespace, &tokens);
        inner.keep(tokens);
        drop(inner);
        let found = found.or_raise(py)?;
        Ok((found.node.raw(), found.units, found.split.map(split)))
    }

    /// Caches a prefix, in whole pages: its last node, how many units were there before, whether the node is new, and the split.
    #[pyo3(signature = (namespace, tokens, slots=None, *, priority=0, counted=0))]
    fn insert(
        &self,
        py: Python<'_>,
        namespace: &[u8],
        tokens: &Bound<'_, PyAny>,
        slots: Option<&Bound<'_, PyAny>>,
        priority: i64,
        counted: usize,
    ) -> PyResult<(u64, usize, bool, Option<Split>)> {
        let slots = slots.map_or(Ok(Vec::new()), read_slots)?;
        let tokens = self.read(tokens)?;
        let mut inner = self.inner.lock();
        let done = inner
            .tree
            .insert(namespace, &tokens, &slots, RadixInsertion { priority, counted });
        inner.keep(tokens);
        drop(inner);
        let done = done.or_raise(py)?;
        Ok((done.node.raw(), done.matched, done.added, done.split.map(split)))
    }

    /// Protects the prefix that ends with a node; returns how many units no other lock protects.
    fn lock(&self, py: Python<'_>, node: u64) -> PyResult<usize> {
        let locked = self.inner.lock().tree.lock(RadixNode::from_raw(node));
        locked.or_raise(py)
    }

    /// Takes one lock back; returns how many units nothing protects any more.
    fn unlock(&self, py: Python<'_>, node: u64) -> PyResult<usize> {
        let unlocked = self.inner.lock().tree.unlock(RadixNode::from_raw(node));
        unlocked.or_raise(py)
    }

    /// The node that the next eviction takes.
    fn victim(&self) -> Option<u64> {
        self.inner.lock().tree.victim().map(RadixNode::raw)
    }

    /// Evicts leaves until so many units are gone or none may go: how many went, the nodes, and their slots as bytes of int64.
    fn evict<'py>(&self, py: Python<'py>, units: usize) -> (usize, Vec<u64>, Bound<'py, PyBytes>) {
        let (mut gone, mut slots) = (Vec::new(), Vec::new());
        let evicted = self.inner.lock().tree.evict(units, &mut gone, &mut slots);
        let gone = gone.into_iter().map(RadixNode::raw).collect();
        (evicted, gone, numbers(py, &slots, i64::to_ne_bytes))
    }

    /// Forgets everything, locks included.
    fn reset(&self) {
        self.inner.lock().tree.reset();
    }

    /// Units that no lock protects.
    fn evictable(&self) -> usize {
        self.inner.lock().tree.evictable()
    }

    /// Units that a lock protects.
    fn protected(&self) -> usize {
        self.inner.lock().tree.protected()
    }

    /// The slots of the prefix that ends with a node, as bytes of int64.
    fn slots_to<'py>(&self, py: Python<'py>, node: u64) -> PyResult<Bound<'py, PyBytes>> {
        let mut slots = Vec::new();
        let found = self.inner.lock().tree.slots_to(RadixNode::from_raw(node), &mut slots);
        found.or_raise(py)?;
        Ok(numbers(py, &slots, i64::to_ne_bytes))
    }

    /// The nodes from below the root to a node.
    fn path(&self, py: Python<'_>, node: u64) -> PyResult<Vec<u64>> {
        let path = self.inner.lock().tree.path(RadixNode::from_raw(node));
        Ok(path.or_raise(py)?.into_iter().map(RadixNode::raw).collect())
    }

    /// The node above; the root's is itself.
    fn parent(&self, py: Python<'_>, node: u64) -> PyResult<u64> {
        let parent = self.inner.lock().tree.parent(RadixNode::from_raw(node));
        parent.map(RadixNode::raw).or_raise(py)
    }

    /// The nodes below. Looks at every node: for inspection.
    fn children(&self, py: Python<'_>, node: u64) -> PyResult<Vec<u64>> {
        let children = self.inner.lock().tree.children(RadixNode::from_raw(node));
        Ok(children.or_raise(py)?.into_iter().map(RadixNode::raw).collect())
    }

    /// The tokens of the edge to a node, as bytes of uint32.
    fn tokens<'py>(&self, py: Python<'py>, node: u64) -> PyResult<Bound<'py, PyBytes>> {
        let tokens = self
            .inner
            .lock()
            .tree
            .tokens(RadixNode::from_raw(node))
            .map(<[u32]>::to_vec);
        Ok(numbers(py, &tokens.or_raise(py)?, u32::to_ne_bytes))
    }

    /// The namespace of a node.
    fn namespace<'py>(&self, py: Python<'py>, node: u64) -> PyResult<Bound<'py, PyBytes>> {
        let name = self
            .inner
            .lock()
            .tree
            .namespace(RadixNode::from_raw(node))
            .map(<[u8]>::to_vec);
        Ok(PyBytes::new(py, &name.or_raise(py)?))
    }

    /// How many locks protect a node.
    fn locks(&self, py: Python<'_>, node: u64) -> PyResult<u32> {
        let locks = self.inner.lock().tree.locks(RadixNode::from_raw(node));
        locks.or_raise(py)
    }

    /// How many insertions went through a node.
    fn hits(&self, py: Python<'_>, node: u64) -> PyResult<u32> {
        let hits = self.inner.lock().tree.hits(RadixNode::from_raw(node));
        hits.or_raise(py)
    }

    /// Raises if an invariant of the tree does not hold.
    fn audit(&self, py: Python<'_>) -> PyResult<()> {
        let sound = self.inner.lock().tree.audit();
        sound.or_raise(py)
    }

    /// Nodes, the root not counted.
    fn __len__(&self) -> usize {
        self.inner.lock().tree.len()
    }
}

impl RadixTree {
    /// Tokens, in the buffer that `keep` takes back.
    fn read(&self, tokens: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
        let mut kept = std::mem::take(&mut self.inner.lock().tokens);
        kept.clear();
        read_tokens(tokens, &mut kept)?;
        Ok(kept)
    }
}

impl Inner {
    fn keep(&mut self, tokens: Vec<u32>) {
        self.tokens = tokens;
    }
}

fn split(split: RadixSplit) -> Split {
    (split.upper.raw(), split.lower.raw(), split.units)
}

fn invalid(py: Python<'_>, message: String) -> PyErr {
    raise(py, &Error::new(ErrorKind::InvalidArgument, message))
}

fn numbers<'py, T: Copy, const N: usize>(py: Python<'py>, of: &[T], bytes: fn(T) -> [u8; N]) -> Bound<'py, PyBytes> {
    let all: Vec<u8> = of.iter().flat_map(|number| bytes(*number)).collect();
    PyBytes::new(py, &all)
}

/// Appends tokens: numbers from 0 to 2^32 - 1. After an error there may be more than were.
fn read_tokens(from: &Bound<'_, PyAny>, tokens: &mut Vec<u32>) -> PyResult<()> {
    let py = from.py();
    if let Ok(buffer) = PyBuffer::<i64>::get(from) {
        let numbers = buffer.to_vec(py)?;
        // Looked at once more only if one of them does not fit: both loops are then vectors.
        let mut beyond = 0;
        tokens.extend(numbers.iter().map(|number| {
            beyond |= number >> 32;
            *number as u32
        }));
        if beyond == 0 {
            return Ok(());
        }
        let at = numbers.iter().position(|number| number >> 32 != 0).unwrap_or_default();
        return Err(no_token(py, at, numbers[at]));
    }
    if let Ok(buffer) = PyBuffer::<u32>::get(from) {
        tokens.extend(buffer.to_vec(py)?);
        return Ok(());
    }
    for (at, number) in from.try_iter()?.enumerate() {
        let number: i64 = number?.extract()?;
        match u32::try_from(number) {
            Ok(token) => tokens.push(token),
            Err(_) => return Err(no_token(py, at, number)),
        }
    }
    Ok(())
}

fn no_token(py: Python<'_>, at: usize, number: i64) -> PyErr {
    invalid(py, format!("token {at} is {number}, and tokens are from 0 to 2^32 - 1"))
}

fn read_slots(from: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    match PyBuffer::<i64>::get(from) {
        Ok(buffer) => buffer.to_vec(from.py()),
        Err(_) => from.try_iter()?.map(|number| number?.extract()).collect(),
    }
}
