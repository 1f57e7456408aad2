//! `RadixTree`: the core's tree of prefixes ([`kv::RadixTree`]) for engines written in Python.
//!
//! Nodes are ints, results tuples: a call makes no object of a class of its own. Tokens come as arrays or as a list of ints
//! (`numbers`); slots and tokens go out as `bytes` of this machine's int64 and uint32, for `numpy.frombuffer`.
//!
//! The lock is never held while Python runs.

use park_core::kv::{self, RadixConfig, RadixEviction, RadixInsertion, RadixNode, RadixSplit};
use park_core::{Error, ErrorKind};
use parking_lot::Mutex;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::numbers::read_u32;
use crate::gate::{OrRaise, raise};

/// Of a node that was divided: the new upper part, the old node, and how long the edge to the upper part is.
type Split = (u64, u64, usize);

/// A radix tree over tokens: which prefixes are cached, what may be evicted, and where each prefix lies. `bigrams` keys it by pairs of
/// tokens; without `slots` it keeps none, and whoever keeps something by node heeds the splits that `match_prefix` and `insert` report.
/// `eviction` is "lru", "lfu", "fifo", "mru", "filo", "priority" or "slru", which keeps what was inserted `protected` times. `secret`,
/// 32 bytes, makes the tree's hashes unpredictable.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct RadixTree {
    tree: Mutex<kv::RadixTree>,
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
        Ok(Self { tree: Mutex::new(tree) })
    }

    /// The longest cached prefix, in whole pages: its last node (0 for none), its length, and the split that it took, if any.
    fn match_prefix(
        &self,
        py: Python<'_>,
        namespace: &[u8],
        tokens: &Bound<'_, PyAny>,
    ) -> PyResult<(u64, usize, Option<Split>)> {
        let tokens = read_u32(tokens, "tokens")?;
        let found = self.tree.lock().match_prefix(namespace, &tokens);
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
        let tokens = read_u32(tokens, "tokens")?;
        let done = self
            .tree
            .lock()
            .insert(namespace, &tokens, &slots, RadixInsertion { priority, counted });
        let done = done.or_raise(py)?;
        Ok((done.node.raw(), done.matched, done.added, done.split.map(split)))
    }

    /// Protects the prefix that ends with a node; returns how many units no other lock protects.
    fn lock(&self, py: Python<'_>, node: u64) -> PyResult<usize> {
        let locked = self.tree.lock().lock(RadixNode::from_raw(node));
        locked.or_raise(py)
    }

    /// Takes one lock back; returns how many units nothing protects any more.
    fn unlock(&self, py: Python<'_>, node: u64) -> PyResult<usize> {
        let unlocked = self.tree.lock().unlock(RadixNode::from_raw(node));
        unlocked.or_raise(py)
    }

    /// The node that the next eviction takes.
    fn victim(&self) -> Option<u64> {
        self.tree.lock().victim().map(RadixNode::raw)
    }

    /// Evicts leaves until so many units are gone or none may go: how many went, the nodes, and their slots as bytes of int64.
    fn evict<'py>(&self, py: Python<'py>, units: usize) -> (usize, Vec<u64>, Bound<'py, PyBytes>) {
        let (mut gone, mut slots) = (Vec::new(), Vec::new());
        let evicted = self.tree.lock().evict(units, &mut gone, &mut slots);
        let gone = gone.into_iter().map(RadixNode::raw).collect();
        (evicted, gone, numbers(py, &slots, i64::to_ne_bytes))
    }

    /// Forgets everything, locks included.
    fn reset(&self) {
        self.tree.lock().reset();
    }

    /// Units that no lock protects.
    fn evictable(&self) -> usize {
        self.tree.lock().evictable()
    }

    /// Units that a lock protects.
    fn protected(&self) -> usize {
        self.tree.lock().protected()
    }

    /// The slots of the prefix that ends with a node, as bytes of int64.
    fn slots_to<'py>(&self, py: Python<'py>, node: u64) -> PyResult<Bound<'py, PyBytes>> {
        let mut slots = Vec::new();
        let found = self.tree.lock().slots_to(RadixNode::from_raw(node), &mut slots);
        found.or_raise(py)?;
        Ok(numbers(py, &slots, i64::to_ne_bytes))
    }

    /// The nodes from below the root to a node.
    fn path(&self, py: Python<'_>, node: u64) -> PyResult<Vec<u64>> {
        let path = self.tree.lock().path(RadixNode::from_raw(node));
        Ok(path.or_raise(py)?.into_iter().map(RadixNode::raw).collect())
    }

    /// The node above; the root's is itself.
    fn parent(&self, py: Python<'_>, node: u64) -> PyResult<u64> {
        let parent = self.tree.lock().parent(RadixNode::from_raw(node));
        parent.map(RadixNode::raw).or_raise(py)
    }

    /// The nodes below. Looks at every node: for inspection.
    fn children(&self, py: Python<'_>, node: u64) -> PyResult<Vec<u64>> {
        let children = self.tree.lock().children(RadixNode::from_raw(node));
        Ok(children.or_raise(py)?.into_iter().map(RadixNode::raw).collect())
    }

    /// The tokens of the edge to a node, as bytes of uint32.
    fn tokens<'py>(&self, py: Python<'py>, node: u64) -> PyResult<Bound<'py, PyBytes>> {
        let tokens = self.tree.lock().tokens(RadixNode::from_raw(node)).map(<[u32]>::to_vec);
        Ok(numbers(py, &tokens.or_raise(py)?, u32::to_ne_bytes))
    }

    /// The namespace of a node.
    fn namespace<'py>(&self, py: Python<'py>, node: u64) -> PyResult<Bound<'py, PyBytes>> {
        let name = self
            .tree
            .lock()
            .namespace(RadixNode::from_raw(node))
            .map(<[u8]>::to_vec);
        Ok(PyBytes::new(py, &name.or_raise(py)?))
    }

    /// How many locks protect a node.
    fn locks(&self, py: Python<'_>, node: u64) -> PyResult<u32> {
        let locks = self.tree.lock().locks(RadixNode::from_raw(node));
        locks.or_raise(py)
    }

    /// How many insertions went through a node.
    fn hits(&self, py: Python<'_>, node: u64) -> PyResult<u32> {
        let hits = self.tree.lock().hits(RadixNode::from_raw(node));
        hits.or_raise(py)
    }

    /// Raises if an invariant of the tree does not hold.
    fn audit(&self, py: Python<'_>) -> PyResult<()> {
        let sound = self.tree.lock().audit();
        sound.or_raise(py)
    }

    /// Nodes, the root not counted.
    fn __len__(&self) -> usize {
        self.tree.lock().len()
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

fn read_slots(from: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    match PyBuffer::<i64>::get(from) {
        Ok(buffer) => buffer.to_vec(from.py()),
        Err(_) => from.try_iter()?.map(|number| number?.extract()).collect(),
    }
}
