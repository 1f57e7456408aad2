//! The head: scheduler, worker pool and actor registry of one session, under one mutex.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use crate::actor::call::Caller;
use crate::actor::registry::ActorRegistry;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ObjectId, ParticipantId, TaskId};
use crate::ipc::message::{ActorSpec, Envelope, PairsRequest, Submission, ToHead, decode, encode};
use crate::ipc::parcel::unpack;
use crate::ipc::placement::NodeSpec;
use crate::proc::pool::WorkerPool;
use crate::proc::zygote::Zygote;
use crate::sched::dependency::DependencyTable;
use crate::sched::group::GroupTable;
use crate::sched::node::{Demand, Nodes};
use crate::sched::queue::{ReadyQueue, ShapeId};
use crate::sched::resource::UNIT;
use crate::sched::task::Task;
use crate::store::{IdleTrim, ObjectRef, Spec, Store, never};
use crate::sync::RingReader;
use crate::sync::atomic::Ordering;

use super::actors::KILLED;
use super::cancel::Families;
use super::describe::{CallRow, Description, DriverRow};
use super::history::{EndedRow, History};
use super::lineage::Lineage;
use super::memory::MemoryWatch;
use super::spawner::{Spawner, WorkerSource};

/// What a session with workers needs to know.
#[derive(Debug)]
pub struct WorkerSetup {
    /// What workers are, and how they are started.
    pub source: WorkerSource,
    /// The first node: what the machine offers to tasks and actors.
    pub node: NodeSpec,
    /// Workers started before the first task asks for one.
    pub prestart: usize,
    /// When workers are ended for want of memory.
    pub memory: MemoryWatch,
    /// Shows people a sentence. Called under the head's lock.
    pub warn: fn(&str),
}

/// Numbers about scheduling, for people and tests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeadStats {
    /// The zygote's process; 0 if workers are threads.
    pub zygote_pid: u32,
    /// Worker processes that run.
    pub worker_pids: Vec<u32>,
    /// Tasks submitted so far.
    pub submitted: u64,
    /// Tasks that ended, well or not.
    pub finished: u64,
    /// Attempts of tasks and calls that were repeated after a death.
    pub retried: u64,
    /// Worker processes that ended unasked.
    pub workers_died: u64,
    /// Restarts of actors.
    pub actors_restarted: u64,
    /// Tasks that are ready or wait for arguments.
    pub queued: usize,
    /// Tasks that run.
    pub running: usize,
    /// Total and free amount of each resource.
    pub resources: Vec<(String, f64, f64)>,
}

/// A bell whose word was scribbled over is not heard: the head looks by itself this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What waits for objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Task(TaskId),
    Actor(ObjectId),
}

/// A process that joined by itself: its connection and its pidfd.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) connection: OwnedFd,
    pub(super) pidfd: OwnedFd,
}

/// The head's state; see the other files of this folder for what is done to it.
pub(super) struct State {
    pub(super) store: Arc<Store>,
    pub(super) caller: Arc<Caller>,
    reader: RingReader,
    pub(super) tasks: HashMap<TaskId, Task>,
    pub(super) next_task: u64,
    pub(super) waiting: DependencyTable<Work>,
    pub(super) ready: ReadyQueue,
    pub(super) nodes: Nodes,
    pub(super) groups: GroupTable,
    /// How often room had come into being when groups were last tried to be placed.
    pub(super) groups_tried: Option<u64>,
    /// The usual shape: one CPU, anywhere.
    pub(super) plain: ShapeId,
    pub(super) pool: WorkerPool,
    pub(super) actors: ActorRegistry,
    /// The head that this is the state of.
    pub(super) head: Weak<Head>,
    pub(super) spawner: Option<Spawner>,
    /// Wakes the watcher, once there is one.
    pub(super) watcher: Option<Arc<OwnedFd>>,
    pub(super) setup: Option<WorkerSetup>,
    pub(super) peers: HashMap<ParticipantId, Peer>,
    /// The last of those that are not there any more.
    pub(super) left: VecDeque<DriverRow>,
    /// What the session's processes note for each other.
    pub(super) pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Actors whose last handle went in this process.
    released: Arc<Mutex<Vec<ObjectId>>>,
    /// Objects whose bytes on disk are gone.
    lost: Arc<Mutex<Vec<(ObjectId, Error)>>>,
    pub(super) lineage: Lineage,
    pub(super) history: History,
    pub(super) families: Families,
    pub(super) counts: HeadStats,
    /// The worker that was sent the last task.
    pub(super) hot: Option<ParticipantId>,
    /// Workers that ended in a row before anything was finished.
    pub(super) fruitless: u32,
    pub(super) closed: bool,
}

/// See the module's documentation.
pub struct Head {
    store: Arc<Store>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Head").finish_non_exhaustive()
    }
}

impl Head {
    /// A head without workers: `start` comes next.
    pub(super) fn new(store: &Arc<Store>, caller: &Arc<Caller>, setup: Option<WorkerSetup>) -> Result<Self> {
        let mut nodes = Nodes::default();
        nodes.add(
            setup
                .as_ref()
                .map_or_else(NodeSpec::default, |setup| setup.node.clone()),
        );
        let mut ready = ReadyQueue::default();
        let plain = ready.shape(&Demand {
            amounts: vec![("CPU".to_owned(), UNIT)],
            place: None,
        });
        let state = State {
            store: store.clone(),
            caller: caller.clone(),
            reader: RingReader::new(store.ring(ParticipantId::HEAD)),
            tasks: HashMap::new(),
            next_task: 0,
            waiting: DependencyTable::default(),
            ready,
            nodes,
            groups: GroupTable::default(),
            groups_tried: None,
            plain,
            pool: WorkerPool::default(),
            actors: ActorRegistry::default(),
            head: Weak::new(),
            spawner: None,
            watcher: None,
            setup,
            peers: HashMap::new(),
            left: VecDeque::new(),
            pairs: BTreeMap::new(),
            released: Arc::default(),
            lost: Arc::default(),
            history: History::default(),
            lineage: Lineage::default(),
            families: Families::default(),
            counts: HeadStats::default(),
            hot: None,
            fruitless: 0,
            closed: false,
        };
        // An actor's last handle may go anywhere, also under the head's own lock and while its ring is full: a list of its own.
        let (weak, released) = (Arc::downgrade(store), state.released.clone());
        store.on_actor_freed(Box::new(move |actor| {
            released.lock().push(actor);
            if let Some(store) = weak.upgrade() {
                store.ring_head();
            }
        }));
        // The spiller must not wait for the head's lock, under which somebody may wait for the spiller.
        let (weak, lost) = (Arc::downgrade(store), state.lost.clone());
        store.on_lost(Box::new(move |object, error| {
            lost.lock().push((object, error));
            if let Some(store) = weak.upgrade() {
                store.ring_head();
            }
        }));
        Ok(Self {
            store: store.clone(),
            state: Mutex::new(state),
        })
    }

    /// From now on there can be workers.
    pub(super) fn start(self: &Arc<Self>) -> Result<()> {
        let mut state = self.lock();
        state.head = Arc::downgrade(self);
        state.start_workers()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Runs a task. The submission's holds are the head's from here on, also if this fails.
    pub fn submit(&self, submission: Submission) -> Result<()> {
        let mut state = self.lock();
        state.check_open()?;
        state.drain()?;
        state.submit(submission)?;
        state.pump();
        Ok(())
    }

    /// Creates an actor, which ends with its owner. The spec's holds are the head's from here on, unless this fails.
    pub fn create_actor(&self, spec: ActorSpec, owner: ParticipantId) -> Result<()> {
        let mut state = self.lock();
        state.check_open()?;
        state.drain()?;
        state.create_actor(spec, owner)?;
        state.pump();
        Ok(())
    }

    /// Creates an actor with a name, or finds the one that has it, if that will do. The spec's holds are the head's from here on, unless
    /// this fails.
    pub fn create_named(
        &self,
        spec: ActorSpec,
        get_if_exists: bool,
        owner: ParticipantId,
    ) -> Result<Option<(ObjectRef, ObjectRef)>> {
        let mut state = self.lock();
        state.check_open()?;
        state.drain()?;
        let found = state.create_named(spec, get_if_exists, owner)?;
        state.pump();
        Ok(found)
    }

    /// Kills an actor's process.
    pub fn kill_actor(&self, actor: ObjectId, no_restart: bool) -> Result<()> {
        let mut state = self.lock();
        state.drain()?;
        state.kill_actor(actor, no_restart, KILLED);
        Ok(())
    }

    /// Cancels the task that is to make this object, if one is.
    pub fn cancel(&self, object: ObjectId, force: bool, recursive: bool) -> Result<()> {
        let mut state = self.lock();
        state.drain()?;
        state.cancel(object, force, recursive);
        state.pump();
        Ok(())
    }

    /// Cancels what a call submitted that was cancelled while it ran.
    pub fn cancel_children(&self, parent: ObjectId, force: bool) -> Result<()> {
        let mut state = self.lock();
        state.drain()?;
        state.cancel_children(parent, force);
        state.pump();
        Ok(())
    }

    /// Handle and class of the actor with this namespace and name.
    pub fn find_actor(&self, name: &(String, String)) -> Result<(ObjectRef, ObjectRef)> {
        let mut state = self.lock();
        state.drain()?;
        state.find_actor(name)
    }

    /// Numbers for people.
    pub fn stats(&self) -> HeadStats {
        let mut state = self.lock();
        // Reports that lie in the ring belong into the numbers; a malformed one is the head thread's to complain about.
        let _ = state.drain();
        state.stats()
    }

    /// Tasks that ended lately, oldest first.
    pub fn ended_tasks(&self) -> Vec<EndedRow> {
        let mut state = self.lock();
        // As for the numbers.
        let _ = state.drain();
        state.history.rows()
    }

    /// Calls of actors that are not done, as they are now.
    pub fn calls(&self) -> Vec<CallRow> {
        let mut state = self.lock();
        // As for the numbers.
        let _ = state.drain();
        state.describe_calls()
    }

    /// Reads or changes the table of keys and values.
    pub fn pairs(&self, request: PairsRequest) -> Result<Vec<Vec<u8>>> {
        let mut state = self.lock();
        state.drain()?;
        Ok(state.pairs(request))
    }

    /// Actors, tasks and workers as they are now.
    pub fn describe(&self) -> Description {
        let mut state = self.lock();
        // As for the numbers.
        let _ = state.drain();
        state.describe()
    }

    /// The head's own thread: sleeps on its doorbell, handles what others sent, notices sealed objects,
    /// and gives memory back when the store is idle.
    pub(super) fn run(&self) {
        let bell = &self.store.participant(ParticipantId::HEAD).doorbell;
        let mut idle = IdleTrim::default();
        loop {
            let ticket = bell.ticket();
            self.store.tend_spilling();
            {
                let mut state = self.lock();
                if state.closed {
                    return;
                }
                if let Err(error) = state.drain() {
                    // A record that cannot be read may have been anybody's work: going on would lose it silently.
                    state.abandon(&error);
                    return;
                }
                state.notice_sealed();
                state.pump();
                state.tend_foreign();
            }
            let sleep = idle
                .step(&self.store)
                .map_or(LONGEST_SLEEP, |idle| idle.min(LONGEST_SLEEP));
            bell.wait(ticket, Some(sleep));
        }
    }
}

impl State {
    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed {
            return Err(Error::new(ErrorKind::SessionClosed, "the park session is closed"));
        }
        self.store.check_open()
    }

    /// Handles everything in the head's ring.
    pub(super) fn drain(&mut self) -> Result<()> {
        let store = self.store.clone();
        let ring = store.ring(ParticipantId::HEAD);
        while let Some((position, record)) = self.reader.next(ring)? {
            let (bytes, parcel) = unpack(&store, &record)?;
            let (from, message) = decode::<Envelope>(&bytes)?;
            // What the record owns is the head's from here on.
            let names = message.holds();
            match parcel {
                None => store.adopt(&names),
                Some(parcel) => {
                    for id in names {
                        store.hold(id)?;
                    }
                    store.adopt(&[parcel]);
                    store.drop_hold(parcel);
                }
            }
            self.reader.finish(ring, position)?;
            self.handle(from, message);
        }
        let lost = std::mem::take(&mut *self.lost.lock());
        for (object, error) in lost {
            self.object_lost(object, &error);
        }
        loop {
            // Taken first: retiring one may release another.
            let Some(actor) = self.released.lock().pop() else {
                return Ok(());
            };
            self.retire_actor(actor);
        }
    }

    fn handle(&mut self, from: ParticipantId, message: ToHead) {
        match message {
            ToHead::Done { task, attempt, span } => self.task_done(from, task, attempt, span),
            ToHead::Submit(submission) => {
                let returns = submission.returns.clone();
                if let Err(error) = self.submit(submission) {
                    returns.iter().for_each(|id| self.raise(*id, &error));
                }
            }
            ToHead::CreateActor(spec) => {
                let (actor, holds) = (spec.actor, spec.holds().collect::<Vec<_>>());
                if let Err(error) = self.create_actor(spec, from) {
                    self.bury(actor, &error);
                    holds.iter().for_each(|id| self.store.drop_hold(*id));
                }
            }
            ToHead::CreateNamed {
                spec,
                get_if_exists,
                reply,
            } => {
                let holds = spec.holds().collect::<Vec<_>>();
                let answer = self.create_named(spec, get_if_exists, from);
                if answer.is_err() {
                    holds.iter().for_each(|id| self.store.drop_hold(*id));
                }
                match answer {
                    Ok(None) => self.reply(reply, &[], &[]),
                    Ok(Some(found)) => self.reply_with_actor(reply, Ok(found)),
                    Err(error) => self.reply_with_actor(reply, Err(error)),
                }
            }
            ToHead::ActorReady { actor } => self.actor_ready(actor),
            ToHead::ActorEnded { actor, cause } => self.actor_ended(actor, cause),
            ToHead::ActorReleased { actor } => self.retire_actor(actor),
            ToHead::KillActor { actor, no_restart } => self.kill_actor(actor, no_restart, KILLED),
            ToHead::FindActor { name, reply } => self.reply_with_actor(reply, self.find_actor(&name)),
            ToHead::Stats { reply } => self.reply(reply, &encode(&self.stats()).unwrap_or_default(), &[]),
            ToHead::Describe { reply } => self.reply(reply, &encode(&self.describe()).unwrap_or_default(), &[]),
            ToHead::Calls { reply } => self.reply(reply, &encode(&self.describe_calls()).unwrap_or_default(), &[]),
            ToHead::Ended { reply } => self.reply(reply, &encode(&self.history.rows()).unwrap_or_default(), &[]),
            ToHead::Pairs { request, reply } => {
                let found = self.pairs(request);
                self.reply(reply, &encode(&found).unwrap_or_default(), &[]);
            }
            ToHead::Placement { request, reply } => self.placement_request(from, request, reply),
            ToHead::Cancel {
                object,
                force,
                recursive,
            } => self.cancel(object, force, recursive),
            ToHead::CancelChildren { parent, force } => self.cancel_children(parent, force),
            ToHead::Leave => self.worker_leaves(from),
            ToHead::Blocked => self.worker_blocked(from),
            ToHead::Unblocked => self.worker_unblocked(from),
            ToHead::Free { object } => self.store.finish_freeing(object),
        }
    }

    fn stats(&self) -> HeadStats {
        let mut worker_pids: Vec<u32> = self.pool.iter().filter_map(|(_, worker)| worker.pid).collect();
        worker_pids.sort_unstable();
        HeadStats {
            zygote_pid: self.spawner.as_ref().and_then(Spawner::zygote).map_or(0, Zygote::pid),
            worker_pids,
            queued: self.ready.len() + self.waiting.len() + self.pool.backlog(),
            running: self.pool.running(),
            resources: self.nodes.table(),
            ..self.counts.clone()
        }
    }

    /// Answers with the ids of an actor and its class.
    fn reply_with_actor(&self, reply: ObjectId, found: Result<(ObjectRef, ObjectRef)>) {
        match found {
            Ok((actor, class)) => {
                let ids = [actor.id(), class.id()];
                self.reply(reply, &ids.map(ObjectId::to_bytes).concat(), &ids);
            }
            Err(error) => {
                self.raise(reply, &error);
                self.store.drop_hold(reply);
            }
        }
    }

    /// Answers a question with bytes, and gives the question's hold back. What `nested` names lives until the answer is read.
    pub(super) fn reply(&self, reply: ObjectId, bytes: &[u8], nested: &[ObjectId]) {
        let spec = Spec {
            nested,
            ..Spec::raw(bytes.len() as u64)
        };
        let written = self
            .store
            .fulfil(reply, spec, &mut never)
            .and_then(|object| match object {
                Some(mut object) => object.write(0, bytes).and_then(|()| object.seal().map(drop)),
                None => Ok(()),
            });
        if let Err(error) = written {
            self.raise(reply, &error);
        }
        self.store.drop_hold(reply);
    }

    /// Raises a promised object. If even that fails the object stays open, and the store's statistics show it.
    pub(super) fn raise(&self, id: ObjectId, error: &Error) {
        let _ = self.store.fail(id, error);
    }

    /// Starts what waited for objects that are sealed now.
    pub(super) fn notice_sealed(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let sealed: Vec<ObjectId> = self.waiting.objects().filter(|id| self.store.contains(*id)).collect();
        for id in sealed {
            self.object_sealed(id);
        }
    }

    pub(super) fn object_sealed(&mut self, id: ObjectId) {
        for work in self.waiting.sealed(id) {
            match work {
                Work::Task(task) => self.enqueue(task),
                Work::Actor(actor) => self.queue_actor(actor),
            }
        }
    }

    /// Those of `objects` that are not sealed; the head is rung when they are.
    pub(super) fn open_among(&self, objects: &[ObjectId]) -> Vec<ObjectId> {
        let open =
            |id: &ObjectId| !self.store.contains(*id) && !self.store.watch_as(*id, ParticipantId::HEAD).unwrap_or(true);
        objects.iter().copied().filter(open).collect()
    }

    /// Tells workers whether to report at once.
    pub(super) fn publish_hint(&self) {
        let ready = u32::try_from(self.ready.len()).unwrap_or(u32::MAX);
        self.store.header().ready_hint.store(ready, Ordering::Relaxed);
    }
}
