//! `Session`: what a program holds. Opening one makes this process the head; attaching or being started as a worker joins one.

use std::hash::{BuildHasher, RandomState};
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::actor::call::Caller;
use crate::actor::cancel::cancel_call;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::{GroupId, ObjectId, ParticipantId};
use crate::ipc::handshake;
use crate::ipc::message::{ActorSpec, PairsRequest, Submission, ToHead, ToWorker, decode};
use crate::ipc::placement::{GroupSpec, NodeSpec, PlacementReport, PlacementRequest};
use crate::proc::inbox::Inbox;
use crate::sched::native::NativePool;
use crate::store::promise::Origin;
use crate::store::{Interrupt, Object, ObjectRef, Store};
use crate::sys::socket;

use super::describe::{CallRow, Description};
use super::head::{Head, HeadStats, WorkerSetup};
use super::history::EndedRow;
use super::spawner::Seat;
use super::watch::Watcher;

/// How long the head may take to answer a question.
const ANSWER: Duration = Duration::from_secs(60);

/// A process's membership in a session. Clones share it; the last one to go closes what this process opened.
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<Store>,
    caller: Arc<Caller>,
    role: Role,
    pool: OnceLock<NativePool>,
    pool_threads: usize,
}

#[derive(Debug)]
enum Role {
    /// This process opened the session.
    Head {
        head: Arc<Head>,
        address: String,
        threads: Mutex<Option<(Watcher, JoinHandle<()>)>>,
    },
    /// The head started this process.
    Worker { inbox: Box<Inbox> },
    /// A thread of the head's process that the head asked for (`spawner`).
    Thread {
        head: Arc<Head>,
        me: ParticipantId,
        inbox: Box<Inbox>,
    },
    /// This process joined by itself.
    Peer { address: String },
}

impl Session {
    /// Opens a session without worker processes: a store and the in-process pool.
    pub fn open(config: &Config) -> Result<Self> {
        Self::open_with(config, None)
    }

    /// Opens a session whose tasks and actors run on worker processes.
    pub fn open_with_workers(config: &Config, setup: WorkerSetup) -> Result<Self> {
        Self::open_with(config, Some(setup))
    }

    fn open_with(config: &Config, setup: Option<WorkerSetup>) -> Result<Self> {
        // RandomState is seeded by the system; two draws make a tag and a secret nobody can guess from the outside.
        let draw = || RandomState::new().hash_one((std::process::id(), std::time::Instant::now()));
        let (session, secret) = (draw(), draw());
        let store = Arc::new(Store::open(config, session)?);
        store.offer_spilling(config);
        let caller = Arc::new(Caller::new(&store));
        let address = handshake::address(session, secret);
        let listener = socket::listen_at(&address)?;
        let head = Arc::new(Head::new(&store, &caller, setup)?);
        head.start()?;
        let watcher = Watcher::start(&head, &store, listener)?;
        let thread = {
            let head = head.clone();
            std::thread::Builder::new()
                .name("park-head".into())
                .spawn(move || head.run())
                .map_err(|error| Error::new(ErrorKind::Io, format!("cannot start a thread: {error}")))?
        };
        let role = Role::Head {
            head,
            address,
            threads: Mutex::new(Some((watcher, thread))),
        };
        let threads = config.threads();
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                caller,
                role,
                pool: OnceLock::new(),
                pool_threads: threads,
            }),
        })
    }

    /// Joins the session at `address` from an unrelated process of the same user.
    pub fn attach(address: &str) -> Result<Self> {
        Self::join(address, false)
    }

    /// Joins to look only: objects can be found, awaited, read and released, and whatever would make one, run a task or call an actor
    /// is `PermissionDenied`. Guards against mistakes of this process, not against malice: the words that count references stay
    /// writable to it, and it runs as the same user.
    pub fn attach_read_only(address: &str) -> Result<Self> {
        Self::join(address, true)
    }

    fn join(address: &str, read_only: bool) -> Result<Self> {
        let store = Arc::new(handshake::join(address, read_only)?);
        Ok(Self::joined(store, |_, _| Role::Peer {
            address: address.to_owned(),
        }))
    }

    /// Joins as the worker process that the head's zygote started with these descriptors and this participant number.
    pub fn join_as_worker(control: OwnedFd, arena: OwnedFd, participant: ParticipantId) -> Result<Self> {
        let store = Arc::new(Store::join(control, arena, participant, None, None)?);
        Ok(Self::joined(store, |store, caller| Role::Worker {
            inbox: Box::new(Inbox::new(store, store.me(), caller)),
        }))
    }

    /// Joins as the worker thread that was to take this seat. Store and outbox are its process's. `tell_seated` comes next.
    pub fn take_seat(seat: Seat) -> Self {
        let Seat {
            head,
            store,
            caller,
            participant: me,
        } = seat;
        let inbox = Box::new(Inbox::new(&store, me, &caller));
        Self {
            inner: Arc::new(Inner {
                store,
                caller,
                role: Role::Thread { head, me, inbox },
                pool: OnceLock::new(),
                pool_threads: Config::default().threads(),
            }),
        }
    }

    /// This worker thread runs: it can be interrupted.
    pub fn tell_seated(&self) {
        if let Role::Thread { head, me, .. } = &self.inner.role {
            head.worker_took(*me);
        }
    }

    /// Makes threads of this process that wait ask their interrupts.
    pub fn wake(&self) {
        self.inner.store.wake();
    }

    /// This worker thread has ended, as a process with this wait status would have: it takes no more jobs and keeps no results. To be
    /// said once, by whoever knows.
    pub fn leave_seat(&self, status: i32) {
        if let Role::Thread { head, me, .. } = &self.inner.role {
            head.worker_left(*me, status);
        }
    }

    fn joined(store: Arc<Store>, role: impl FnOnce(&Arc<Store>, &Arc<Caller>) -> Role) -> Self {
        let caller = Arc::new(Caller::new(&store));
        let weak = Arc::downgrade(&store);
        store.on_actor_freed(Box::new(move |actor| {
            if let Some(store) = weak.upgrade() {
                // Fails only when the session is closed; then there is nothing to retire.
                let _ = store.send_head(ToHead::ActorReleased { actor }, true);
            }
        }));
        let weak = Arc::downgrade(&store);
        store.on_hand_over(Box::new(move |object| {
            if let Some(store) = weak.upgrade() {
                // Fails only when the session is closed; then its memory is given back as a whole.
                let _ = store.send_head(ToHead::Free { object }, true);
            }
        }));
        let role = role(&store, &caller);
        let threads = Config::default().threads();
        Self {
            inner: Arc::new(Inner {
                store,
                caller,
                role,
                pool: OnceLock::new(),
                pool_threads: threads,
            }),
        }
    }

    /// The object store.
    pub fn store(&self) -> &Arc<Store> {
        &self.inner.store
    }

    /// What another process of this user passes to `attach`. Empty in workers.
    pub fn address(&self) -> &str {
        match &self.inner.role {
            Role::Head { address, .. } | Role::Peer { address } => address,
            Role::Worker { .. } | Role::Thread { .. } => "",
        }
    }

    /// Whether this process opened the session.
    pub fn is_head(&self) -> bool {
        matches!(self.inner.role, Role::Head { .. })
    }

    /// Its number among the members of the session.
    pub fn me(&self) -> ParticipantId {
        match &self.inner.role {
            Role::Thread { me, .. } => *me,
            _ => self.inner.store.me(),
        }
    }

    /// The head, if it is in this process.
    fn own_head(&self) -> Option<&Arc<Head>> {
        match &self.inner.role {
            Role::Head { head, .. } | Role::Thread { head, .. } => Some(head),
            Role::Worker { .. } | Role::Peer { .. } => None,
        }
    }

    /// What this worker is asked to do.
    pub fn inbox(&self) -> Result<&Inbox> {
        match &self.inner.role {
            Role::Worker { inbox } | Role::Thread { inbox, .. } => Ok(inbox),
            _ => bail!(Unsupported, "only workers have an inbox"),
        }
    }

    // --- work -----------------------------------------------------------------------------------------------------------------

    /// Runs a task on a worker. The submission's holds are the session's from here on, also if this fails.
    pub fn submit(&self, submission: Submission) -> Result<()> {
        self.inner.store.check_writable()?;
        match self.own_head() {
            Some(head) => head.submit(submission),
            None => {
                let message = ToHead::Submit(submission);
                let names = message.holds();
                let store = &self.inner.store;
                store
                    .send_head(message, true)
                    .inspect_err(|_| names.iter().for_each(|id| store.drop_hold(*id)))
            }
        }
    }

    /// Creates an actor without a name, which ends with this process unless it is detached. The spec's holds are the session's from here on, unless this fails.
    pub fn create_actor(&self, spec: ActorSpec) -> Result<()> {
        self.inner.store.check_writable()?;
        match self.own_head() {
            Some(head) => head.create_actor(spec, self.me()),
            None => self.inner.store.send_head(ToHead::CreateActor(spec), true),
        }
    }

    /// Creates an actor with a name; or, if one that has the name already will do, gives its handle object and class object. The spec's
    /// holds are the session's from here on, also if this fails.
    pub fn create_named(
        &self,
        spec: ActorSpec,
        get_if_exists: bool,
        interrupt: Interrupt<'_>,
    ) -> Result<Option<(ObjectRef, ObjectRef)>> {
        let store = &self.inner.store;
        let holds: Vec<ObjectId> = spec.holds().collect();
        let give_back = || holds.iter().for_each(|id| store.drop_hold(*id));
        store.check_writable()?;
        if let Role::Head { head, .. } = &self.inner.role {
            return head
                .create_named(spec, get_if_exists, self.me())
                .inspect_err(|_| give_back());
        }
        let reply = store.promise(ParticipantId::HEAD).inspect_err(|_| give_back())?;
        let question = ToHead::CreateNamed {
            spec,
            get_if_exists,
            reply: reply.id(),
        };
        store
            .send_head_as(self.me(), question, true)
            .inspect_err(|_| give_back())?;
        store.wait(&[&reply], 1, Some(ANSWER), interrupt)?;
        let answer = reply.open()?;
        if answer.bytes().is_empty() {
            return Ok(None);
        }
        self.actor_in(&answer).map(Some)
    }

    /// The handle object and class object that the head answered with.
    fn actor_in(&self, answer: &Object) -> Result<(ObjectRef, ObjectRef)> {
        let store = &self.inner.store;
        match answer.bytes().as_chunks::<{ ObjectId::SIZE }>().0 {
            [actor, class] => Ok((
                store.resolve(ObjectId::from_bytes(*actor))?,
                store.resolve(ObjectId::from_bytes(*class))?,
            )),
            _ => bail!(Corrupt, "the head answered with {} bytes", answer.bytes().len()),
        }
    }

    /// Calls an actor's method. The message's holds are the session's from here on.
    pub fn call_actor(&self, actor: ObjectId, call: &ToWorker) -> Result<()> {
        self.inner.store.check_writable()?;
        self.inner.caller.call(actor, call)
    }

    /// Kills an actor's process.
    pub fn kill_actor(&self, actor: ObjectId, no_restart: bool) -> Result<()> {
        self.inner.store.check_writable()?;
        match self.own_head() {
            Some(head) => head.kill_actor(actor, no_restart),
            None => self
                .inner
                .store
                .send_head(ToHead::KillActor { actor, no_restart }, true),
        }
    }

    /// Cancels the work that is to make `object`; nothing happens if it is made already, or nobody was asked to. `link` is the current
    /// link of its stream, if the work makes one.
    pub fn cancel(&self, object: ObjectId, link: Option<ObjectId>, force: bool, recursive: bool) -> Result<()> {
        let store = &self.inner.store;
        store.check_writable()?;
        let Some(origin) = store.origin(object) else {
            return Ok(());
        };
        if let Origin::Call { first, .. } = origin {
            let results: Vec<ObjectId> = [object].into_iter().chain(link).collect();
            if !cancel_call(store, first, &results, recursive)? || !recursive {
                return Ok(());
            }
            return match &self.inner.role {
                Role::Head { head, .. } => head.cancel_children(first, force),
                _ => store.send_head(ToHead::CancelChildren { parent: first, force }, true),
            };
        }
        match self.own_head() {
            Some(head) => head.cancel(object, force, recursive),
            None => {
                let message = ToHead::Cancel {
                    object,
                    force,
                    recursive,
                };
                store.send_head(message, true)
            }
        }
    }

    /// This worker is about to end by itself.
    pub fn leave(&self) -> Result<()> {
        self.inner.store.send_head_as(self.me(), ToHead::Leave, true)
    }

    /// Handle object and class object of the actor with this namespace and name.
    pub fn find_actor(&self, namespace: &str, name: &str, interrupt: Interrupt<'_>) -> Result<(ObjectRef, ObjectRef)> {
        let name = (namespace.to_owned(), name.to_owned());
        if let Some(head) = self.own_head() {
            return head.find_actor(&name);
        }
        let answer = self.ask(|reply| ToHead::FindActor { name, reply }, interrupt)?;
        self.actor_in(&answer)
    }

    /// The task that runs on this worker is about to wait, or goes on: its CPU serves others meanwhile.
    pub fn set_blocked(&self, blocked: bool) -> Result<()> {
        let message = if blocked { ToHead::Blocked } else { ToHead::Unblocked };
        self.inner.store.send_head_as(self.me(), message, true)
    }

    /// Tells the head something about the actor that this worker is.
    pub fn report_actor(&self, message: ToHead) -> Result<()> {
        self.inner.store.send_head_as(self.me(), message, true)
    }

    /// Numbers about scheduling.
    pub fn head_stats(&self, interrupt: Interrupt<'_>) -> Result<HeadStats> {
        if let Some(head) = self.own_head() {
            return Ok(head.stats());
        }
        decode(self.ask(|reply| ToHead::Stats { reply }, interrupt)?.bytes())
    }

    /// Actors, tasks and workers as they are now.
    pub fn describe(&self, interrupt: Interrupt<'_>) -> Result<Description> {
        if let Some(head) = self.own_head() {
            return Ok(head.describe());
        }
        decode(self.ask(|reply| ToHead::Describe { reply }, interrupt)?.bytes())
    }

    /// Calls of actors that were sent and are not done.
    pub fn calls(&self, interrupt: Interrupt<'_>) -> Result<Vec<CallRow>> {
        if let Some(head) = self.own_head() {
            return Ok(head.calls());
        }
        decode(self.ask(|reply| ToHead::Calls { reply }, interrupt)?.bytes())
    }

    /// Calls that this task or call made and that this process has not sent yet: their first results.
    pub fn unsent_calls(&self, parent: ObjectId) -> Vec<ObjectId> {
        self.inner.caller.unsent(parent)
    }

    /// Tasks that ended lately, oldest first.
    pub fn ended_tasks(&self, interrupt: Interrupt<'_>) -> Result<Vec<EndedRow>> {
        if let Role::Head { head, .. } = &self.inner.role {
            return Ok(head.ended_tasks());
        }
        decode(self.ask(|reply| ToHead::Ended { reply }, interrupt)?.bytes())
    }

    /// Reads or changes the session's table of keys and values: values for `Get` (one or none) and `Put` (what the key had before), and
    /// keys for the others.
    pub fn pairs(&self, request: PairsRequest, interrupt: Interrupt<'_>) -> Result<Vec<Vec<u8>>> {
        if let Some(head) = self.own_head() {
            return head.pairs(request);
        }
        decode(self.ask(|reply| ToHead::Pairs { request, reply }, interrupt)?.bytes())
    }

    // --- nodes and placement groups -------------------------------------------------------------------------------------------

    /// Adds a node: a partition with resources and labels of its own. Only the process that opened the session may.
    pub fn add_node(&self, node: NodeSpec) -> Result<()> {
        self.head()?.add_node(node)
    }

    /// Removes a node and kills what runs there. Only the process that opened the session may.
    pub fn remove_node(&self, name: &str) -> Result<()> {
        self.head()?.remove_node(name)
    }

    fn head(&self) -> Result<&Arc<Head>> {
        match &self.inner.role {
            Role::Head { head, .. } => Ok(head),
            _ => bail!(
                Unsupported,
                "only the process that opened the session can change its nodes"
            ),
        }
    }

    /// Makes a placement group, which is placed when there is room for it.
    pub fn create_group(&self, spec: GroupSpec, interrupt: Interrupt<'_>) -> Result<GroupId> {
        self.inner.store.check_writable()?;
        if let Some(head) = self.own_head() {
            return head.create_group(spec, self.me());
        }
        decode(self.ask_about(PlacementRequest::Create(spec), interrupt)?.bytes())
    }

    /// Removes a placement group and ends what runs in it.
    pub fn remove_group(&self, group: GroupId, interrupt: Interrupt<'_>) -> Result<()> {
        self.inner.store.check_writable()?;
        if let Some(head) = self.own_head() {
            return head.remove_group(group);
        }
        self.ask_about(PlacementRequest::Remove(group), interrupt).map(drop)
    }

    /// The nodes and groups of the session; or one group, and no nodes.
    pub fn placement_report(&self, only: Option<GroupId>, interrupt: Interrupt<'_>) -> Result<PlacementReport> {
        if let Some(head) = self.own_head() {
            return head.placement_report(only);
        }
        decode(self.ask_about(PlacementRequest::Report { only }, interrupt)?.bytes())
    }

    /// An object that is sealed once the group is placed, with what `value` holds; an error if the group is removed.
    pub fn await_group(&self, group: GroupId, value: &ObjectRef) -> Result<ObjectRef> {
        let store = &self.inner.store;
        store.check_writable()?;
        store.hold(value.id())?;
        let reply = store
            .promise(ParticipantId::HEAD)
            .inspect_err(|_| store.drop_hold(value.id()))?;
        let (value, id) = (value.id(), reply.id());
        let asked = match self.own_head() {
            Some(head) => head.await_group(group, value, id),
            None => {
                let request = PlacementRequest::Await { group, value };
                store.send_head(ToHead::Placement { request, reply: id }, true)
            }
        };
        asked.inspect_err(|_| [value, id].iter().for_each(|id| store.drop_hold(*id)))?;
        Ok(reply)
    }

    fn ask_about(&self, request: PlacementRequest, interrupt: Interrupt<'_>) -> Result<Object> {
        self.ask(|reply| ToHead::Placement { request, reply }, interrupt)
    }

    /// Asks the head a question whose answer is an object.
    fn ask(&self, question: impl FnOnce(ObjectId) -> ToHead, interrupt: Interrupt<'_>) -> Result<Object> {
        let store = &self.inner.store;
        let reply = store.promise(ParticipantId::HEAD)?;
        store.send_head(question(reply.id()), true)?;
        store.wait(&[&reply], 1, Some(ANSWER), interrupt)?;
        reply.open()
    }

    /// The threads of this process that run native tasks; started on first use.
    pub fn pool(&self) -> Result<&NativePool> {
        if let Some(pool) = self.inner.pool.get() {
            return Ok(pool);
        }
        let pool = NativePool::start(&self.inner.store, self.inner.pool_threads)?;
        // Another thread may have been first; its pool is the one, ours ends unused.
        Ok(self.inner.pool.get_or_init(|| pool))
    }

    /// Ends the session (head) or this process's part in it. References and views stay valid until dropped; new work is refused.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        if self.store.is_forked() {
            // The parent's session: not ours to end.
            return;
        }
        if let Role::Thread { .. } = self.role {
            // The process's session goes on.
            return;
        }
        if let Some(pool) = self.pool.get() {
            // First, so that native tasks that are blocked on objects of others wake: the pool waits for them.
            self.store.close();
            pool.shutdown();
        }
        let Role::Head { head, threads, .. } = &self.role else {
            self.store.close();
            return;
        };
        let Some((watcher, thread)) = threads.lock().take() else {
            return;
        };
        let spawner = {
            let mut state = head.lock();
            state.closed = true;
            state.spawner.take()
        };
        // Order: nobody starts new work, waiters are woken, workers end, then the threads that would have heard of that.
        self.store.close_session();
        drop(watcher);
        if let Some(spawner) = spawner {
            spawner.stop();
        }
        self.store.ring_head();
        if thread.thread().id() != std::thread::current().id() {
            // A panic there has been printed; there is nothing more to do about it while closing.
            let _ = thread.join();
        }
        self.store.end_spilling();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
