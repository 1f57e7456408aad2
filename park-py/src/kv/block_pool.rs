//! The native half of `park.interop.vllm`: a pool of blocks that are found by hashes the engine made, and the blocks as objects.
//!
//! All state is the core's ([`kv::NamedPool`]). A [`NamedBlock`] is a number and a way to its pool; what vLLM reads from a block
//! (`ref_cnt`, `block_hash`) is looked up there. Calls take and return lists of blocks, so that what vLLM does with a list is one call.
//! The list of all blocks belongs to the Python pool, which passes it in: were it here, pool and blocks would hold each other.
//!
//! The lock is never held while Python runs: making a list may collect garbage, and that may call anything.

use std::sync::Arc;

use park_core::kv::{self, BlockId, Eviction, Name, PoolConfig};
use park_core::{Error, ErrorKind};
use parking_lot::Mutex;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyWeakrefMethods, PyWeakrefReference};

use crate::gate::{self, OrRaise};

struct Shared {
    pool: Mutex<kv::NamedPool>,
    /// The Python pool, which owns this one.
    owner: Mutex<Option<Py<PyWeakrefReference>>>,
}

impl Shared {
    fn owner<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let weak = self.owner.lock().as_ref().map(|weak| weak.clone_ref(py))?;
        weak.bind(py).upgrade()
    }
}

/// A block of a `NamedPool`, with vLLM's names for what there is to know about it. Use `park.interop.vllm`.
#[pyclass(frozen, weakref, module = "park._park")]
pub(crate) struct NamedBlock {
    shared: Arc<Shared>,
    id: BlockId,
}

#[pymethods]
impl NamedBlock {
    /// Its number.
    #[getter]
    fn block_id(&self) -> u32 {
        self.id.0
    }

    /// Whether it is the null block.
    #[getter]
    fn is_null(&self) -> bool {
        self.id.is_null()
    }

    /// How many use it.
    #[getter]
    fn ref_cnt(&self) -> u32 {
        self.shared.pool.lock().pool().references(self.id)
    }

    /// One that is used gets so many users. Only the pool's calls take a block out of the free ones or put it there.
    #[setter]
    fn set_ref_cnt(&self, py: Python<'_>, count: u32) -> PyResult<()> {
        let mut pool = self.shared.pool.lock();
        let old = pool.pool().references(self.id);
        if old == count {
            return Ok(());
        }
        let changed = if old == 0 || count == 0 {
            Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "block {} has {old} references and cannot be set to {count}: free blocks are taken by get_new_blocks and touch, \
                     and given back by free_blocks",
                    self.id.0
                ),
            ))
        } else if count > old {
            pool.touch(&vec![self.id; (count - old) as usize])
        } else {
            pool.release(&vec![self.id; (old - count) as usize])
        };
        drop(pool);
        changed.or_raise(py)
    }

    /// What it is found by: a hash and four bytes of group.
    #[getter]
    fn block_hash<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let name = self.shared.pool.lock().first_name(self.id);
        name.map(|name| PyBytes::new(py, name.as_bytes()))
    }

    /// How many tokens of a prefix its hash stands for.
    #[getter]
    fn block_hash_num_tokens(&self) -> Option<u32> {
        self.shared.pool.lock().tokens_of(self.id)
    }

    /// From now on it is found by this hash.
    #[pyo3(signature = (block_hash, num_tokens=None))]
    fn set_block_hash(&self, py: Python<'_>, block_hash: &[u8], num_tokens: Option<u32>) -> PyResult<()> {
        let name = Name::new(block_hash).or_raise(py)?;
        let mut pool = self.shared.pool.lock();
        let named = match pool.first_name(self.id) {
            Some(_) => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("block {} has a hash already", self.id.0),
            )),
            None => pool.name(self.id, name, num_tokens),
        };
        drop(pool);
        named.map(|_| ()).or_raise(py)
    }

    /// It cannot be found any more.
    fn reset_hash(&self, py: Python<'_>) -> PyResult<()> {
        let forgotten = self.shared.pool.lock().forget(self.id, &mut Vec::new());
        forgotten.or_raise(py)
    }

    /// The pool that it belongs to; `None` once that is gone.
    #[getter]
    fn pool<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.shared.owner(py)
    }

    /// The free block that is taken after it, or the end of the queue; `None` for a block that is not free.
    #[getter]
    fn next_free_block<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        neighbour(slf, "after")
    }

    /// The free block that is taken before it, or the head of the queue; `None` for a block that is not free.
    #[getter]
    fn prev_free_block<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
        neighbour(slf, "before")
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let hash = self.block_hash(py);
        let hash = hash.map_or(Ok("None".to_owned()), |hash| hash.repr()?.extract::<String>())?;
        Ok(format!(
            "NamedBlock(block_id={}, ref_cnt={}, block_hash={hash})",
            self.id.0,
            self.ref_cnt()
        ))
    }
}

/// What the queue of the block's pool says is before or after it.
fn neighbour<'py>(block: &Bound<'py, NamedBlock>, side: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    match block.get().shared.owner(block.py()) {
        Some(owner) => owner
            .getattr("free_block_queue")?
            .call_method1(side, (block,))
            .map(Some),
        None => Ok(None),
    }
}

/// A pool of blocks that are found by hashes. Use `park.interop.vllm`.
#[pyclass(frozen, module = "park._park")]
pub(crate) struct NamedPool {
    shared: Arc<Shared>,
}

#[pymethods]
impl NamedPool {
    /// A pool of `blocks` free blocks, the null block among them. Who cannot guess `secret`, 32 bytes, cannot make hashes that collide.
    #[new]
    fn new(py: Python<'_>, blocks: u32, secret: [u8; 32]) -> PyResult<Self> {
        let config = PoolConfig {
            blocks,
            eviction: Eviction::Lru,
            events: false,
        };
        let pool = kv::NamedPool::new(&config, &secret).or_raise(py)?;
        Ok(Self {
            shared: Arc::new(Shared {
                pool: Mutex::new(pool),
                owner: Mutex::new(None),
            }),
        })
    }

    /// Makes an object of each block, for the Python pool that owns this one.
    fn adopt<'py>(&self, owner: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let py = owner.py();
        *self.shared.owner.lock() = Some(PyWeakrefReference::new(owner)?.unbind());
        let count = self.shared.pool.lock().pool().blocks();
        let blocks = (0..count).map(|id| {
            Py::new(
                py,
                NamedBlock {
                    shared: self.shared.clone(),
                    id: BlockId(id),
                },
            )
        });
        PyList::new(py, blocks.collect::<PyResult<Vec<_>>>()?)
    }

    /// Takes `count` blocks. Returns them, from the list of all, and the hashes that they have lost.
    fn allocate<'py>(
        &self,
        count: u32,
        all: &Bound<'py, PyList>,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        let py = all.py();
        let (mut taken, mut lost) = (Vec::new(), Vec::new());
        let mut pool = self.shared.pool.lock();
        let fits = pool.allocate(count, &mut taken, &mut lost);
        let free = pool.pool().free_blocks();
        drop(pool);
        if !fits {
            let text = format!("{count} blocks were asked for, and {free} are free");
            return Err(gate::raise(py, &Error::new(ErrorKind::TableFull, text)));
        }
        Ok((objects(&taken, all)?, hashes(py, &lost)?))
    }

    /// One more user of each block. The null block is passed over.
    fn touch(&self, blocks: &Bound<'_, PyAny>) -> PyResult<()> {
        let ids = self.all_own(blocks)?;
        let touched = self.shared.pool.lock().touch(&ids);
        touched.or_raise(blocks.py())
    }

    /// One user less of each block, which are free after the last, in this order: see `BlockPool.free_blocks` of vLLM. Blocks of other
    /// pools are left alone and returned.
    fn release<'py>(&self, blocks: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let (ids, others) = self.own(blocks)?;
        let released = self.shared.pool.lock().release(&ids);
        released.or_raise(blocks.py())?;
        PyList::new(blocks.py(), others)
    }

    /// As `release`, but they are taken after all blocks that are free now.
    fn release_last(&self, blocks: &Bound<'_, PyAny>) -> PyResult<()> {
        let ids = self.all_own(blocks)?;
        let released = self.shared.pool.lock().release_last(&ids);
        released.or_raise(blocks.py())
    }

    /// The block of each group that is found by `hash`; `None` if one group has none.
    fn find<'py>(
        &self,
        hash: &[u8],
        groups: Vec<u32>,
        all: &Bound<'py, PyList>,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let names: park_core::Result<Vec<Name>> = groups.iter().map(|group| name_of(hash, *group)).collect();
        let names = names.or_raise(all.py())?;
        let pool = self.shared.pool.lock();
        let found: Option<Vec<BlockId>> = names.iter().map(|name| pool.find(*name)).collect();
        drop(pool);
        let Some(found) = found else {
            return Ok(None);
        };
        objects(&found, all).map(Some)
    }

    /// The first block that has this name (a hash with its group).
    fn first(&self, py: Python<'_>, name: &[u8]) -> PyResult<Option<u32>> {
        let name = Name::new(name).or_raise(py)?;
        Ok(self.shared.pool.lock().find(name).map(|block| block.0))
    }

    /// Full blocks of a request become findable: block `i` of them by `hashes[i]`, unless `mask[i]` is false or it is the null block.
    /// `done` blocks of the request are before them. A block that was found by a shorter prefix loses that; returns those hashes.
    #[pyo3(signature = (blocks, hashes, mask, group, block_size, done))]
    fn cache<'py>(
        &self,
        blocks: &Bound<'py, PyAny>,
        hashes: &Bound<'py, PyAny>,
        mask: Option<Vec<bool>>,
        group: u32,
        block_size: u32,
        done: u32,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = blocks.py();
        let ids = self.all_own(blocks)?;
        let mut names = Vec::with_capacity(ids.len());
        for hash in hashes.try_iter()?.take(ids.len()) {
            names.push(name_of(hash?.extract::<&[u8]>()?, group).or_raise(py)?);
        }
        if names.len() != ids.len() || mask.as_ref().is_some_and(|mask| mask.len() != ids.len()) {
            let (hashes, mask) = (names.len(), mask.map_or(ids.len(), |mask| mask.len()));
            let text = format!("{} blocks came with {hashes} hashes and a mask of {mask}", ids.len());
            return Err(gate::raise(py, &Error::new(ErrorKind::InvalidArgument, text)));
        }
        let mut lost = Vec::new();
        let cached = cache(
            &mut self.shared.pool.lock(),
            &ids,
            &names,
            mask.as_deref(),
            (block_size, done),
            &mut lost,
        );
        cached.or_raise(py)?;
        self::hashes(py, &lost)
    }

    /// One more name for a block; `tokens` is what it stands for, if it is the first. Whether the block had not got it yet.
    fn name(&self, block: &Bound<'_, PyAny>, name: &[u8], tokens: Option<u32>) -> PyResult<bool> {
        let py = block.py();
        let (id, name) = (self.id_of(block)?, Name::new(name).or_raise(py)?);
        let named = self.shared.pool.lock().name(id, name, tokens);
        named.or_raise(py)
    }

    /// The block cannot be found any more; returns the names that it had.
    fn forget<'py>(&self, block: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let (id, mut lost) = (self.id_of(block)?, Vec::new());
        let forgotten = self.shared.pool.lock().forget(id, &mut lost);
        forgotten.or_raise(block.py())?;
        hashes(block.py(), &lost)
    }

    /// Whether a block has this name.
    fn has(&self, py: Python<'_>, block_id: u32, name: &[u8]) -> PyResult<bool> {
        let name = Name::new(name).or_raise(py)?;
        Ok(self.shared.pool.lock().has(BlockId(block_id), name))
    }

    /// All names, and the numbers of the blocks that have them, oldest first.
    fn holders<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let held = self.shared.pool.lock().holders();
        let made = PyDict::new(py);
        for (name, blocks) in held {
            let ids: Vec<u32> = blocks.iter().map(|block| block.0).collect();
            made.set_item(PyBytes::new(py, name.as_bytes()), ids)?;
        }
        Ok(made)
    }

    /// The names past the first of blocks that have such, by the block's number.
    fn more_names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let pool = self.shared.pool.lock();
        let named: Vec<(u32, Vec<Name>)> = pool
            .many_named()
            .map(|block| (block.0, pool.more_names(block).to_vec()))
            .collect();
        drop(pool);
        let made = PyDict::new(py);
        for (block, names) in named {
            made.set_item(block, hashes(py, &names)?)?;
        }
        Ok(made)
    }

    /// No block can be found any more. False, and nothing happens, while a block is in use.
    fn reset(&self) -> bool {
        self.shared.pool.lock().reset()
    }

    /// How many blocks are free.
    #[getter]
    fn free(&self) -> u32 {
        self.shared.pool.lock().pool().free_blocks()
    }

    /// How many blocks can be found.
    #[getter]
    fn cached(&self) -> u32 {
        self.shared.pool.lock().pool().cached_blocks()
    }

    /// The numbers of the free blocks, in the order in which they are taken.
    fn free_order(&self) -> Vec<u32> {
        let order = self.shared.pool.lock().pool().free_order();
        order.into_iter().map(|block| block.0).collect()
    }

    /// The free block that is taken after `block_id`, or first of all; `None` after the last, and for one that is not free.
    fn free_after(&self, block_id: Option<u32>) -> Option<u32> {
        let after = self.shared.pool.lock().pool().free_after(block_id.map(BlockId));
        after.map(|block| block.0)
    }

    /// Checks every invariant of the pool; `references` are those that the caller counts, by block.
    fn audit(&self, py: Python<'_>, references: Vec<u32>) -> PyResult<()> {
        let audited = self.shared.pool.lock().audit(&references);
        audited.or_raise(py)
    }
}

impl NamedPool {
    fn id_of(&self, block: &Bound<'_, PyAny>) -> PyResult<BlockId> {
        match block.cast::<NamedBlock>() {
            Ok(block) if Arc::ptr_eq(&block.get().shared, &self.shared) => Ok(block.get().id),
            _ => Err(PyTypeError::new_err(format!(
                "a block of this pool was expected, and {} came",
                block.repr()?
            ))),
        }
    }

    fn all_own(&self, blocks: &Bound<'_, PyAny>) -> PyResult<Vec<BlockId>> {
        blocks.try_iter()?.map(|block| self.id_of(&block?)).collect()
    }

    /// The numbers of those blocks that are of this pool, and the others as they came.
    fn own<'py>(&self, blocks: &Bound<'py, PyAny>) -> PyResult<(Vec<BlockId>, Vec<Bound<'py, PyAny>>)> {
        let (mut ids, mut others) = (Vec::new(), Vec::new());
        for block in blocks.try_iter()? {
            let block = block?;
            match block.cast::<NamedBlock>() {
                Ok(own) if Arc::ptr_eq(&own.get().shared, &self.shared) => ids.push(own.get().id),
                _ => others.push(block),
            }
        }
        Ok((ids, others))
    }
}

/// See [`NamedPool::cache`]. What cannot be cached is found before anything is changed.
fn cache(
    pool: &mut kv::NamedPool,
    ids: &[BlockId],
    names: &[Name],
    mask: Option<&[bool]>,
    (block_size, done): (u32, u32),
    lost: &mut Vec<Name>,
) -> park_core::Result<()> {
    let tokens = |at: usize| (done + at as u32 + 1).saturating_mul(block_size);
    let wanted = |at: &usize| !ids[*at].is_null() && mask.is_none_or(|mask| mask[*at]);
    for at in (0..ids.len()).filter(wanted) {
        let (block, tokens) = (ids[at], tokens(at));
        let free = pool.pool().references(block) == 0;
        let longer = pool.first_name(block).is_some() && pool.tokens_of(block).is_none_or(|old| old >= tokens);
        if free || longer {
            let text = format!(
                "block {} cannot be cached for {tokens} tokens: {}",
                block.0,
                if free {
                    "nobody uses it"
                } else {
                    "it is cached for as many already"
                }
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
    }
    for at in (0..ids.len()).filter(wanted) {
        pool.forget(ids[at], lost)?;
        pool.name(ids[at], names[at], Some(tokens(at)))?;
    }
    Ok(())
}

/// The name of a hash in a group of layers: vLLM's way to write the two in one string.
fn name_of(hash: &[u8], group: u32) -> park_core::Result<Name> {
    let mut bytes = [0; 64];
    let Some(room) = bytes.get_mut(..hash.len() + 4) else {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("a block hash has at most 35 bytes, and {} came", hash.len()),
        ));
    };
    room[..hash.len()].copy_from_slice(hash);
    room[hash.len()..].copy_from_slice(&group.to_be_bytes());
    Name::new(room)
}

fn objects<'py>(ids: &[BlockId], all: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
    let made = PyList::empty(all.py());
    for id in ids {
        made.append(all.get_item(id.0 as usize)?)?;
    }
    Ok(made)
}

fn hashes<'py>(py: Python<'py>, names: &[Name]) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, names.iter().map(|name| PyBytes::new(py, name.as_bytes())))
}
