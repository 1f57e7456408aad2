//! `Store`: one process's membership in a session's object store, and the verbs.
//!
//! A `Store` is shared by `Arc`: every `ObjectRef` and `Object` holds one, so the mappings outlive the last view of them, also
//! after the session was closed. Closing only refuses new work.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::format::{Format, TensorSpec, View, encode_error};
use super::mapped::FileTable;
use super::read_only::HandOver;
use super::refs::stored_len;
use super::slot::{PROMISED, Phase, Slot, State};
use super::spill::SpillThread;
use super::warm::WarmSlots;
use super::{Interrupt, MutableObject, Object, ObjectRef, never};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::{ObjectId, ParticipantId};
use crate::shm::alloc::{Allocator, address_bytes};
use crate::shm::journal::LANES;
use crate::shm::layout::{MAX_PARTICIPANTS, STATE_CLOSED, STATE_OPEN};
use crate::shm::{Allocation, Arena, Header, Layout, Participant, Segment};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, Ring, SpinPolicy};
use crate::sys::failpoint::fail_point;
use crate::sys::{cgroup, clock, fork, process};

/// Called with the id of an actor's handle object when its last reference is gone.
pub(crate) type ActorFreed = Box<dyn Fn(ObjectId) + Send + Sync>;

/// What to create: how many bytes, what they mean, and which references they hold.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    /// Payload bytes.
    pub len: u64,
    /// What they mean.
    pub format: Format,
    /// For tensors: the Python type.
    pub view: View,
    /// References inside the payload. The object keeps them alive.
    pub nested: &'a [ObjectId],
}

impl Spec<'_> {
    /// Plain bytes without references.
    pub fn raw(len: u64) -> Self {
        Self {
            len,
            format: Format::Raw,
            view: View::Numpy,
            nested: &[],
        }
    }

    /// Bytes of payload and references; of a length that no store has, as many as there can be.
    pub(super) fn stored(&self) -> u64 {
        if self.len > 1 << 48 {
            return u64::MAX;
        }
        stored_len(self.len, u32::try_from(self.nested.len()).unwrap_or(u32::MAX))
    }
}

/// See the module's documentation.
pub struct Store {
    pub(super) control: Segment,
    pub(super) arena: Arena,
    pub(super) layout: Layout,
    me: ParticipantId,
    fork_epoch: u32,
    closed: AtomicBool,
    pub(super) cache: Mutex<Vec<u32>>,
    pub(super) warm: Mutex<WarmSlots>,
    /// One thread of this process at a time writes a lane of its journal.
    pub(super) lanes: [Mutex<()>; LANES + 1],
    pub(super) full_wait: Duration,
    /// Whether huge pages were asked for and the machine allows them.
    pub(super) huge_pages: AtomicBool,
    pub(super) spin: SpinPolicy,
    head: Option<OwnedFd>,
    /// The tick in which the head was last seen alive.
    head_seen: AtomicU64,
    /// In the head: the processes that joined by themselves.
    strangers: Mutex<HashMap<ParticipantId, OwnedFd>>,
    /// Kept open as long as the store: its end tells the head that this process has left.
    _membership: Option<OwnedFd>,
    pub(super) actor_freed: OnceLock<ActorFreed>,
    pub(super) hand_over: OnceLock<HandOver>,
    /// In the head process, if its session may spill.
    pub(super) spill_thread: OnceLock<SpillThread>,
    /// Files that MAPPED objects point into.
    pub(super) files: FileTable,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("session", &self.layout.session)
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Creates the segments of a new session; this process is its head and driver.
    pub fn open(config: &Config, session: u64) -> Result<Self> {
        let capacity = config.checked_capacity(cgroup::memory_limit() / 10 * 3)?;
        let addresses = if config.reserves() {
            capacity
        } else {
            address_bytes(capacity)
        };
        let layout = Layout::new(config.checked_max_objects()?, addresses, session);
        let control = Segment::create("park-control", layout.control_bytes())?;
        let arena = Arena::create("park-arena", addresses)?;
        layout.write_header(&control, process::pid())?;
        let store = Self::assemble(
            control,
            arena,
            layout,
            ParticipantId::DRIVER,
            config.full_wait(),
            None,
            None,
        );
        for index in [ParticipantId::HEAD, ParticipantId::DRIVER] {
            let entry = store.participant(index);
            entry.pid.store(process::pid(), Ordering::Relaxed);
            entry.state.store(crate::shm::participant::LIVE, Ordering::Release);
        }
        store.header().participants_used.store(2, Ordering::Relaxed);
        store.set_up_arena(config, capacity)?;
        Ok(store)
    }

    /// Joins a session through descriptors received from its head, as participant `me`. With a descriptor of the arena that was
    /// opened for reading only, the process may look, and make nothing.
    pub fn join(
        control: OwnedFd,
        arena: OwnedFd,
        me: ParticipantId,
        membership: Option<OwnedFd>,
        head: Option<OwnedFd>,
    ) -> Result<Self> {
        let control = Segment::open(control)?;
        let arena = Arena::open(arena)?;
        let layout = Layout::read_header(&control, arena.size())?;
        if u32::from(me.0) >= MAX_PARTICIPANTS {
            bail!(BadSegment, "participant number {} is out of range", me.0);
        }
        let store = Self::assemble(
            control,
            arena,
            layout,
            me,
            Config::default().full_wait(),
            membership,
            head,
        );
        store.participant(me).pid.store(process::pid(), Ordering::Relaxed);
        store.follow_huge_pages();
        Ok(store)
    }

    fn assemble(
        control: Segment,
        arena: Arena,
        layout: Layout,
        me: ParticipantId,
        full_wait: Duration,
        membership: Option<OwnedFd>,
        head: Option<OwnedFd>,
    ) -> Self {
        Self {
            control,
            arena,
            layout,
            me,
            fork_epoch: fork::epoch(),
            closed: AtomicBool::new(false),
            cache: Mutex::new(Vec::new()),
            warm: Mutex::default(),
            lanes: Default::default(),
            full_wait,
            huge_pages: AtomicBool::new(false),
            spin: SpinPolicy::default(),
            head,
            head_seen: AtomicU64::new(0),
            strangers: Mutex::default(),
            _membership: membership,
            actor_freed: OnceLock::new(),
            hand_over: OnceLock::new(),
            spill_thread: OnceLock::new(),
            files: FileTable::default(),
        }
    }

    /// This process's participant number.
    pub fn me(&self) -> ParticipantId {
        self.me
    }

    /// Whether this process opened the session: what it holds ends with the session, so nobody ever gives it back for it.
    pub fn is_head(&self) -> bool {
        self.me <= ParticipantId::DRIVER
    }

    /// Seconds since the session was opened, as `born` of a slot counts them.
    pub(super) fn age(&self) -> u32 {
        let now = clock::coarse_seconds();
        now.saturating_sub(self.header().opened.load(Ordering::Relaxed))
    }

    /// The session's random tag.
    pub fn session(&self) -> u64 {
        self.layout.session
    }

    /// Bytes that objects may take.
    pub fn capacity(&self) -> u64 {
        self.layout
            .arena_root(&self.control)
            .capacity()
            .min(self.layout.arena_bytes)
    }

    /// Where this process has mapped the arena: for its writers, for readers, and how many bytes. None if it may only read. Whoever goes there
    /// without a handle of an object may hand the addresses on, and touch nothing.
    pub(crate) fn arena_memory(&self) -> Option<(*mut u8, *const u8, u64)> {
        let len = self.arena.size();
        let base = self.arena.write_address(0, len).ok()?;
        Some((base, self.arena.read_address(0, len).ok()?, len))
    }

    /// How many objects may exist at once.
    pub fn max_objects(&self) -> u32 {
        self.layout.max_objects
    }

    /// The control segment's descriptor, then the arena's.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.control.fd(), self.arena.fd()]
    }

    pub(crate) fn header(&self) -> &Header {
        self.layout.header(&self.control)
    }

    pub(crate) fn participant(&self, id: ParticipantId) -> &Participant {
        // Numbers read from shared memory may be anything; a number out of range is nobody, whom entry 0's page stands in for.
        let index = if u32::from(id.0) < MAX_PARTICIPANTS {
            id.index()
        } else {
            0
        };
        self.layout.participant(&self.control, index)
    }

    pub(crate) fn ring(&self, id: ParticipantId) -> Ring<'_> {
        let entry = self.participant(id);
        Ring::new(
            &entry.ring,
            self.layout
                .ring_words(&self.control, id.index().min(MAX_PARTICIPANTS as usize - 1)),
        )
    }

    /// Whether a participant's process is known to have ended, so that its locks may be taken over.
    pub(crate) fn is_dead(&self) -> impl Fn(ParticipantId) -> bool + '_ {
        |id| u32::from(id.0) >= MAX_PARTICIPANTS || !self.participant(id).is_live() || self.ended_unheard(id)
    }

    /// Whether a participant has ended though its entry does not say so. The head must not wait to be told: the thread that would be
    /// told may be the one that waits. And once the head itself is gone, nobody is ever told.
    fn ended_unheard(&self, id: ParticipantId) -> bool {
        let ended = |process: &OwnedFd| process::has_ended(process.as_fd());
        if self.is_head() {
            if id <= ParticipantId::DRIVER {
                return false;
            }
            if let Some(process) = self.strangers.lock().get(&id) {
                return ended(process);
            }
        } else if !self.head.as_ref().is_some_and(ended) {
            return false;
        }
        // A worker: a descendant of the head, so the number that it wrote down means the same process here.
        let pid = self.participant(id).pid.load(Ordering::Relaxed);
        pid != 0 && process::watch(pid).map_or(true, |process| ended(&process))
    }

    /// Which process an entry was given to, for the head; what the entry itself says was written by that process, in numbers of its own.
    pub(crate) fn know(&self, id: ParticipantId, process: Option<OwnedFd>) {
        let mut strangers = self.strangers.lock();
        match process {
            Some(process) => strangers.insert(id, process),
            None => strangers.remove(&id),
        };
    }

    pub(super) fn allocator(
        &self,
        me: ParticipantId,
    ) -> Allocator<'_, impl Fn(ParticipantId) -> bool + '_, impl Fn() -> Vec<Allocation> + '_> {
        Allocator {
            root: self.layout.arena_root(&self.control),
            arena: &self.arena,
            map: self.layout.page_map(&self.control),
            me,
            is_dead: self.is_dead(),
            live: || self.live_allocations(),
        }
    }

    /// The slot at an index that was checked against the table.
    pub(super) fn slot(&self, index: u32) -> &Slot {
        self.control.must(self.layout.slot(index))
    }

    /// Refuses ids of other sessions and of no slot.
    pub(super) fn checked_slot(&self, id: ObjectId) -> Result<&Slot> {
        if id.session != self.layout.session {
            bail!(
                ForeignSession,
                "object {id} belongs to session {:016x}, this is session {:016x}",
                id.session,
                self.layout.session
            );
        }
        if id.index >= self.layout.max_objects {
            bail!(NotFound, "there is no object {id}");
        }
        Ok(self.slot(id.index))
    }

    // --- open, closed, forked -------------------------------------------------------------------------------------------------

    /// Fails if the session is closed, its head is gone, or this handle crossed a `fork()`.
    pub fn check_open(&self) -> Result<()> {
        if self.is_forked() {
            bail!(
                Forked,
                "this park session was opened before fork(); a forked child must not use it: attach to it, or start a session of its own"
            );
        }
        if self.closed.load(Ordering::Relaxed) || self.header().state.load(Ordering::Relaxed) != STATE_OPEN {
            bail!(SessionClosed, "the park session is closed");
        }
        Ok(())
    }

    /// As `check_open`, and in a process that joined by itself also asks the system whether the head still lives. Workers need not
    /// ask: they die with it.
    pub(crate) fn check_head(&self) -> Result<()> {
        self.check_open()?;
        if self.head.as_ref().is_some_and(|head| process::has_ended(head.as_fd())) {
            bail!(SessionClosed, "the process that opened the park session has ended");
        }
        Ok(())
    }

    /// As `check_head`, for calls that take less than a microsecond: the system is asked once a tick of its clock, not once a call.
    fn check_head_lately(&self) -> Result<()> {
        if self.head.is_none() {
            return self.check_open();
        }
        let now = clock::coarse_ms();
        if self.head_seen.swap(now, Ordering::Relaxed) == now {
            return self.check_open();
        }
        // Once it is gone, every call says so.
        self.check_head()
            .inspect_err(|_| self.head_seen.store(0, Ordering::Relaxed))
    }

    /// Whether this handle was inherited through `fork()`.
    pub fn is_forked(&self) -> bool {
        // In a shuttle test a thread that unwinds plays a process that was killed: it, too, must not touch what it leaves behind.
        fork::crossed(self.fork_epoch) || (cfg!(shuttle) && std::thread::panicking())
    }

    /// Refuses new work in this process from now on. Views and references stay valid until dropped.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.participant(self.me).doorbell.ring();
    }

    /// Closes the session for every process in it. The head calls this.
    pub(crate) fn close_session(&self) {
        self.header().state.store(STATE_CLOSED, Ordering::Release);
        fail_point!("session.closed");
        self.close();
        self.ring_everyone();
    }

    /// Makes threads of this process look at whatever they wait for.
    pub(crate) fn wake(&self) {
        self.participant(self.me).doorbell.ring();
        self.header().space.ring();
    }

    /// Makes every process look at whatever it waits for.
    pub(crate) fn ring_everyone(&self) {
        for index in 0..self.participants_used() {
            self.participant(ParticipantId(index)).doorbell.ring();
        }
        self.header().space.ring();
        self.board().bell.ring();
    }

    pub(crate) fn participants_used(&self) -> u16 {
        let used = self
            .header()
            .participants_used
            .load(Ordering::Acquire)
            .min(MAX_PARTICIPANTS);
        u16::try_from(used).unwrap_or(0)
    }

    // --- verbs ----------------------------------------------------------------------------------------------------------------

    /// Stores a copy of `bytes` as a RAW object.
    pub fn put(self: &Arc<Self>, bytes: &[u8]) -> Result<ObjectRef> {
        let mut object = self.create(Spec::raw(bytes.len() as u64), &mut never)?;
        object.write(0, bytes)?;
        object.seal()
    }

    /// Lends room for one object. Waits for room as long as the configuration says, then fails with `StoreFull`.
    pub fn create(self: &Arc<Self>, spec: Spec<'_>, interrupt: Interrupt<'_>) -> Result<MutableObject> {
        self.check_writable()?;
        self.check_head_lately()?;
        let (index, generation) = match self.take_warm(spec.stored()) {
            Some(warm) => warm,
            None => self.take_to_write()?,
        };
        fail_point!("object.create.writing");
        self.start_references(index, 1);
        self.fill(index, generation, spec, interrupt)
            .inspect_err(|_| self.discard(index, generation))
    }

    /// A slot without memory that is WRITING by this process: index and generation.
    fn take_to_write(&self) -> Result<(u32, u32)> {
        let index = self.take_slot()?;
        let slot = self.slot(index);
        let generation = slot.state()?.generation;
        slot.assign(State {
            generation,
            owner: self.me,
            flags: 0,
            phase: Phase::Writing,
        });
        Ok((index, generation))
    }

    /// Lends room for a tensor, its header already written.
    pub fn create_tensor(self: &Arc<Self>, spec: &TensorSpec, interrupt: Interrupt<'_>) -> Result<MutableObject> {
        let len = super::format::TENSOR_HEADER + spec.nbytes();
        let mut object = self.create(
            Spec {
                len,
                format: Format::Tensor,
                view: spec.view,
                nested: &[],
            },
            interrupt,
        )?;
        object.write(0, &spec.header())?;
        Ok(object)
    }

    /// Promises an object that participant `producer` will make. The caller gets a reference; the promise owns a hold on top.
    pub fn promise(self: &Arc<Self>, producer: ParticipantId) -> Result<ObjectRef> {
        self.check_writable()?;
        self.check_head_lately()?;
        let index = self.take_slot()?;
        let slot = self.slot(index);
        let generation = slot.state()?.generation;
        // The caller's, and the hold that the promise's message will own.
        self.start_references(index, 2);
        slot.offer_first(generation);
        slot.forget_origin();
        slot.assign(State {
            generation,
            owner: producer,
            flags: PROMISED,
            phase: Phase::Pending,
        });
        fail_point!("object.promise.pending");
        Ok(ObjectRef::owned(self, index, generation))
    }

    /// Starts writing a promised object. `None` if another producer was first, whose result stands, or if nobody refers to it any more.
    pub fn fulfil(
        self: &Arc<Self>,
        id: ObjectId,
        spec: Spec<'_>,
        interrupt: Interrupt<'_>,
    ) -> Result<Option<MutableObject>> {
        self.check_writable()?;
        let slot = self.checked_slot(id)?;
        // The writer's own reference, given back when the object is sealed or returned to the promise. Taken first: without it the
        // last other one may go while the object is WRITING, and nobody would free it.
        if !self.try_reference(id) {
            return Ok(None);
        }
        let begun = slot.begin_promised(id.generation, self.me);
        if !matches!(begun, Ok(true)) {
            self.drop_reference(id.index, id.generation);
            return begun.map(|_| None);
        }
        fail_point!("object.fulfil.writing");
        self.fill(id.index, id.generation, spec, interrupt)
            .map(Some)
            .inspect_err(|_| self.discard(id.index, id.generation))
    }

    /// Fulfils a promise with a failure that `get` raises. Does nothing if the object was made already.
    pub fn fail(self: &Arc<Self>, id: ObjectId, error: &Error) -> Result<()> {
        let bytes = encode_error(error);
        let spec = Spec {
            len: bytes.len() as u64,
            format: Format::Error,
            view: View::Numpy,
            nested: &[],
        };
        match self.fulfil(id, spec, &mut never) {
            Ok(Some(mut object)) => {
                object.write(0, &bytes)?;
                object.seal()?;
            }
            Ok(None) => {}
            Err(full) if full.kind() == ErrorKind::StoreFull && !error.message().is_empty() => {
                // No room even for the text: the kind fits into the slot itself.
                return self.fail(id, &Error::new(error.kind(), ""));
            }
            Err(other) => return Err(other),
        }
        Ok(())
    }

    /// An ERROR object by itself.
    pub fn put_error(self: &Arc<Self>, error: &Error) -> Result<ObjectRef> {
        let bytes = encode_error(error);
        let spec = Spec {
            len: bytes.len() as u64,
            format: Format::Error,
            view: View::Numpy,
            nested: &[],
        };
        let mut object = self.create(spec, &mut never)?;
        object.write(0, &bytes)?;
        object.seal()
    }

    /// Waits for an object and returns a view that keeps it alive. ERROR objects come back as their error.
    pub fn get(self: &Arc<Self>, object: &ObjectRef, timeout: Option<Duration>) -> Result<Object> {
        let started = Instant::now();
        self.wait(std::slice::from_ref(&object), 1, timeout, &mut never)?;
        object.open_within(
            timeout.map(|timeout| timeout.saturating_sub(started.elapsed())),
            &mut never,
        )
    }

    /// Whether an object of this id is sealed now.
    pub fn contains(&self, id: ObjectId) -> bool {
        self.checked_slot(id).is_ok_and(|slot| slot.is_sealed(id.generation))
    }

    /// Whether an object of this id is promised and not made yet.
    pub fn is_promised(&self, id: ObjectId) -> bool {
        !self.contains(id) && self.checked_slot(id).is_ok_and(|_| self.may_be_sealed(id))
    }

    /// A reference by id, for ids that came through text or another library. Fails unless something keeps the object alive.
    pub fn resolve(self: &Arc<Self>, id: ObjectId) -> Result<ObjectRef> {
        self.check_open()?;
        self.hold(id)?;
        Ok(ObjectRef::owned(self, id.index, id.generation))
    }

    fn fill(
        self: &Arc<Self>,
        index: u32,
        generation: u32,
        spec: Spec<'_>,
        interrupt: Interrupt<'_>,
    ) -> Result<MutableObject> {
        // Before any arithmetic on a length that may be anything.
        if spec.len > self.capacity() {
            bail!(
                StoreFull,
                "the object of {} bytes is larger than the store of {} bytes",
                spec.len,
                self.capacity()
            );
        }
        let stored = super::refs::stored_len(spec.len, u32::try_from(spec.nested.len()).unwrap_or(u32::MAX));
        self.with_room(stored, interrupt, || MutableObject::lend(self, index, generation, spec))
    }
}
