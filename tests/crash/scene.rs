//! A session with everything that a case needs: an actor that lives through all of them, a peer that does, and a zygote.
//!
//! A case is one operation in one role, performed by a process of its own, which is killed at a fail point or says which it passed.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use park_core::ipc::message::{ActorSpec, Args, Payload};
use park_core::proc::zygote::ZygoteCommand;
use park_core::runtime::WorkerSetup;
use park_core::store::never;
use park_core::sys::process;
use park_core::{Config, ObjectId, ObjectRef, ParticipantId, Session, Spec};

use crate::check::{self, Books};
use crate::child::{Child, PATIENCE};
use crate::operations::{Given, Operation, Role, call_actor, holding, named, pattern, submit_task};
use crate::{Fallible, Outcome, worker};

/// Long enough for another process to fall asleep over what it waits for.
const MOMENT: Duration = Duration::from_millis(30);

/// See the module's documentation.
pub(crate) struct Scene {
    pub(crate) session: Session,
    pub(crate) function: ObjectRef,
    class: ObjectRef,
    actor: ObjectRef,
    actor_pid: u32,
    /// What the session holds between two cases.
    pub(crate) rest: Books,
    pub(crate) survivor: Child,
    folder: tempfile::TempDir,
}

/// What the tester made for an operation.
#[derive(Default)]
struct Made {
    /// What the performer is told to work on.
    ids: Vec<ObjectId>,
    /// References that are given up once the performer has its own.
    given: Vec<ObjectRef>,
    /// References that the tester keeps.
    kept: Vec<ObjectRef>,
    /// What must be kept or raised in the end, whoever dies.
    awaited: Vec<ObjectRef>,
    /// A promise of the tester's own, which it keeps a moment after the performer began.
    gate: Option<ObjectRef>,
}

impl Scene {
    pub(crate) fn open() -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        let program = std::env::current_exe()?.to_string_lossy().into_owned();
        let setup = WorkerSetup {
            command: ZygoteCommand {
                argv: vec![program, "role:zygote".to_owned()],
                env: Vec::new(),
                hello: folder.path().to_string_lossy().into_owned(),
            },
            resources: vec![("CPU".to_owned(), 10_000)],
            prestart: 0,
        };
        let session = Session::open_with_workers(&Config::default().capacity(24 << 20).max_objects(1024), setup)?;
        let function = session
            .store()
            .put(b"the function of every task, which is in this program")?;
        let class = session
            .store()
            .put(b"the class of every actor, which is in this program")?;
        let survivor = Child::start(&["role:survivor", session.address()])?;
        survivor.expect("ready")?;
        let actor = create_actor(&session, &class, &[])?;
        let mut workers = Vec::new();
        check::until("the actor runs", || {
            workers = session.head_stats(&mut never)?.worker_pids;
            Ok(!workers.is_empty())
        })?;
        let actor_pid = workers[0];
        let mut scene = Self {
            session,
            function,
            class,
            actor,
            actor_pid,
            rest: Books::AT_REST,
            survivor,
            folder,
        };
        scene.round()?;
        Ok(scene)
    }

    /// Everyone who is still there does everything.
    pub(crate) fn round(&mut self) -> Fallible {
        crate::peer::round(&self.session, self.actor.id())?;
        let done = submit_task(&self.session, self.function.id(), "nothing", &[self.class.id()], 0)?;
        self.session.store().get(&done, Some(PATIENCE))?;
        self.survivor.say(&format!("round {}", self.actor.id()));
        self.survivor.expect("ok").map(drop)
    }

    /// Leaves everything as it is: something is wrong with it.
    pub(crate) fn abandon(self) {
        let Self {
            session, mut survivor, ..
        } = self;
        survivor.kill();
        session.close();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One case.
    pub(crate) fn case(&mut self, operation: &Operation, role: Role, arm: Option<(&str, u32)>) -> Fallible<Outcome> {
        let _ = std::fs::remove_file(self.file(worker::PASSED));
        let mut made = Made::default();
        let passed = match role {
            Role::Peer => self.by_peer(operation, arm, &mut made)?,
            Role::Task | Role::Call => self.by_worker(operation, role, arm, &mut made)?,
        };
        check::settled(&self.session, &made.awaited)?;
        drop(made);
        check::after(self)?;
        Ok(passed)
    }

    fn by_peer(&self, operation: &Operation, arm: Option<(&str, u32)>, made: &mut Made) -> Fallible<Outcome> {
        let how = if arm.is_some() { "kill" } else { "watch" };
        let mut peer = self.peer(operation.name, how, arm.unwrap_or(("", 0)))?;
        self.make(operation.given, ParticipantId(peer.expect("me")?.parse()?), made)?;
        let mut beside = None;
        if let Some(other) = operation.beside {
            let mut stopped = self.peer(other.operation, "stop", (other.stopped_at, 0))?;
            stopped.expect("me")?;
            hand_over(&mut stopped, made)?;
            beside = Some(stopped);
        }
        hand_over(&mut peer, made)?;
        made.given.clear();
        if let Some(stopped) = &mut beside {
            stopped.say("act");
            check::until("it stops", || Ok(check::is_stopped(stopped.pid())))?;
        }
        let waiters = self.wait_for(&made.awaited)?;
        peer.say("act");
        if beside.is_some() || operation.given == Given::Later {
            std::thread::sleep(MOMENT);
            drop(beside);
            self.open_gate(made)?;
        }
        let mut passed = Vec::new();
        while let Some(line) = peer.hear()? {
            match line.split_once(' ') {
                Some(("told", id)) => {
                    // If the teller died at once, it is gone already, and nobody waits for it.
                    made.awaited.extend(self.session.store().resolve(id.parse()?).ok());
                    self.open_gate(made)?;
                }
                Some(("passed", names)) => passed = names.split_whitespace().map(str::to_owned).collect(),
                _ => return Err(format!("the peer said {line:?}").into()),
            }
        }
        self.open_gate(made)?;
        let status = peer.end()?;
        waiters.into_iter().for_each(|waiter| drop(waiter.join()));
        match arm {
            Some(_) if status.signal() == Some(9) => Ok(Outcome::Killed),
            _ if status.success() => Ok(Outcome::Passed(passed)),
            _ => Err(format!("the peer ended with {status}").into()),
        }
    }

    fn peer(&self, operation: &str, how: &str, (point, passes): (&str, u32)) -> Fallible<Child> {
        let (function, passes) = (self.function.id().to_string(), passes.to_string());
        Child::start(&[
            "role:peer",
            self.session.address(),
            operation,
            &function,
            how,
            point,
            &passes,
        ])
    }

    /// Threads that sleep until the objects are sealed, so that whoever seals them has somebody to wake.
    fn wait_for(&self, objects: &[ObjectRef]) -> Fallible<Vec<std::thread::JoinHandle<()>>> {
        let mut waiters = Vec::new();
        for object in objects {
            let object = object.clone();
            waiters.push(std::thread::Builder::new().name("wait".into()).spawn(move || {
                // What comes of it is looked at later.
                let _ = object.store().get(&object, Some(PATIENCE));
            })?);
        }
        if !waiters.is_empty() {
            std::thread::sleep(MOMENT);
        }
        Ok(waiters)
    }

    fn by_worker(
        &self,
        operation: &Operation,
        role: Role,
        arm: Option<(&str, u32)>,
        made: &mut Made,
    ) -> Fallible<Outcome> {
        self.make(operation.given, ParticipantId::HEAD, made)?;
        self.end_idle_workers()?;
        let died = self.session.head_stats(&mut never)?.workers_died;
        let how = arm.map_or_else(
            || "watch".to_owned(),
            |(point, passes)| format!("kill {point} {passes}"),
        );
        let mut text = format!("{}:", operation.name);
        if operation.name == "start" {
            std::fs::write(self.file(worker::ON_START), how)?;
        } else {
            text += &how;
        }
        if role == Role::Call {
            let actor = create_actor(&self.session, &self.class, &[])?;
            let mut given = vec![self.function.id()];
            given.extend(&made.ids);
            made.awaited.push(call_actor(&self.session, actor.id(), &text, &given)?);
            // Kept until the end of its process is known: an actor that is gone retires, and that is no death.
            made.kept.push(actor);
        } else {
            made.awaited
                .push(submit_task(&self.session, self.function.id(), &text, &made.ids, 0)?);
        }
        made.given.clear();
        let file = self.file(worker::PASSED);
        let mut has_died = false;
        check::until("a worker dies, or says what it passed", || {
            has_died = self.session.head_stats(&mut never)?.workers_died > died;
            Ok(has_died || file.exists())
        })?;
        if has_died {
            return Ok(Outcome::Killed);
        }
        if arm.is_some() {
            // It is still armed, and would die over something else.
            self.end_idle_workers()?;
        }
        let names = std::fs::read_to_string(file)?;
        Ok(Outcome::Passed(names.split_whitespace().map(str::to_owned).collect()))
    }

    /// Ends every worker but the actor, so that the next task or actor gets a process of its own from its first step on.
    fn end_idle_workers(&self) -> Fallible {
        check::until("idle workers die", || {
            let stats = self.session.head_stats(&mut never)?;
            // The head hears of a worker a moment after it runs, so the kernel is asked too.
            let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", stats.zygote_pid))?;
            let mut idle: Vec<u32> = children.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            idle.retain(|pid| *pid != self.actor_pid);
            // Gone in between is what is wanted.
            let running = idle.iter().filter_map(|pid| process::watch(*pid).ok());
            running.for_each(process::kill);
            Ok(idle.is_empty() && stats.worker_pids == [self.actor_pid])
        })
    }

    fn make(&self, given: Given, performer: ParticipantId, made: &mut Made) -> Fallible {
        let store = self.session.store();
        match given {
            Given::Nothing => {}
            Given::Objects => {
                let (small, large) = (store.put(&pattern(1, 10))?, store.put(&pattern(2, 70_000))?);
                let inner = holding(store, 300, &[small.id(), large.id()])?;
                made.given.push(holding(store, 20, &[inner.id(), small.id()])?);
                made.given.push(store.put(&pattern(3, 5000))?);
            }
            Given::Shared => made.kept.push(store.put(&pattern(3, 5000))?),
            Given::Promise => {
                let promise = store.promise(performer)?;
                store.drop_hold(promise.id());
                made.awaited.push(promise);
            }
            Given::Later => made.gate = Some(self.promise()?),
            Given::Actor => made.ids.push(self.actor.id()),
            Given::LateActor => {
                let gate = self.promise()?;
                made.kept.push(create_actor(&self.session, &self.class, &[gate.id()])?);
                made.ids.extend(made.kept.iter().map(ObjectRef::id));
                made.gate = Some(gate);
                return Ok(());
            }
        }
        let own = made
            .given
            .iter()
            .chain(&made.kept)
            .chain(&made.awaited)
            .chain(&made.gate);
        let own: Vec<ObjectId> = own.map(ObjectRef::id).collect();
        made.ids.extend(own);
        Ok(())
    }

    fn promise(&self) -> Fallible<ObjectRef> {
        let promise = self.session.store().promise(ParticipantId::DRIVER)?;
        self.session.store().drop_hold(promise.id());
        Ok(promise)
    }

    fn open_gate(&self, made: &mut Made) -> Fallible {
        if let Some(gate) = made.gate.take() {
            let object = self.session.store().fulfil(gate.id(), Spec::raw(8), &mut never)?;
            object.ok_or("the tester's own promise was kept by another")?.seal()?;
        }
        Ok(())
    }
}

/// Gives a peer its ids and waits until it has references of its own.
fn hand_over(peer: &mut Child, made: &Made) -> Fallible {
    let ids: Vec<String> = made.ids.iter().map(ToString::to_string).collect();
    peer.say(&format!("given {}", ids.join(" ")));
    peer.expect("held").map(drop)
}

/// An actor that starts once `dependencies` are sealed.
fn create_actor(session: &Session, class: &ObjectRef, dependencies: &[ObjectId]) -> Fallible<ObjectRef> {
    let store = session.store();
    for id in dependencies.iter().chain([&class.id()]) {
        store.hold(*id)?;
    }
    let actor = store.create_actor_handle()?;
    session.create_actor(ActorSpec {
        actor: actor.id(),
        class: class.id(),
        args: Args {
            payload: Payload::Inline(Vec::new()),
            dependencies: dependencies.to_vec(),
            nested: Vec::new(),
        },
        placement: Vec::new(),
        lifetime: Vec::new(),
        max_restarts: 0,
        class_name: "Crash".to_owned(),
        name: None,
    })?;
    Ok(actor)
}

/// For the head's own role: a few cases in a row, each with what it leaves to the head to clear up.
pub(crate) fn play(scene: &mut Scene) -> Fallible {
    let deaths = [
        ("put", Role::Peer, Some(("object.create.placed", 0))),
        ("put", Role::Peer, Some(("reference.change.counted", 1))),
        ("free", Role::Peer, Some(("object.free.unnested", 0))),
        ("fulfil", Role::Peer, None),
        ("call", Role::Peer, Some(("ring.push.published", 0))),
        ("submit", Role::Peer, None),
        ("read", Role::Call, Some(("ring.finish.counted", 0))),
        ("create", Role::Task, Some(("object.create.described", 0))),
    ];
    for (name, role, arm) in deaths {
        scene.case(named(name)?, role, arm)?;
    }
    // More tasks than CPUs: they are sent ahead, and taken back as the first one blocks.
    let function = scene.function.id();
    let names = ["block", "nothing", "nothing"];
    let tasks = names.map(|name| submit_task(&scene.session, function, name, &[], 0));
    for task in tasks {
        scene.session.store().get(&task?, Some(PATIENCE))?;
    }
    let started = Instant::now();
    while started.elapsed() < MOMENT {
        scene.round()?;
    }
    scene.session.close();
    Ok(())
}
