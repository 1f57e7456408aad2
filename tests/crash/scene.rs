//! A session with everything that a case needs: an actor that lives through all of them, a peer that does, and a zygote.
//!
//! A case is one operation in one role, performed by a process of its own, which is killed at a fail point or says which it passed.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use park_core::ipc::placement::NodeSpec;
use park_core::proc::zygote::ZygoteCommand;
use park_core::runtime::{MemoryWatch, WorkerSetup, WorkerSource};
use park_core::store::never;
use park_core::sys::process;
use park_core::{Config, ObjectRef, ParticipantId, Session};

use crate::check::{self, Books};
use crate::child::{Child, PATIENCE};
use crate::made::{Made, hand_over};
use crate::operations::{Given, Operation, Role};
use crate::work::{call_actor, create_actor, submit_task};
use crate::{Fallible, Outcome, worker};

/// Long enough for another process to fall asleep over what it waits for.
pub(crate) const MOMENT: Duration = Duration::from_millis(30);

/// See the module's documentation.
pub(crate) struct Scene {
    pub(crate) session: Session,
    pub(crate) function: ObjectRef,
    pub(crate) class: ObjectRef,
    pub(crate) actor: ObjectRef,
    actor_pid: u32,
    /// What the session holds between two cases.
    pub(crate) rest: Books,
    pub(crate) survivor: Child,
    folder: PathBuf,
    _owned: Option<tempfile::TempDir>,
}

impl Scene {
    /// With a folder of its own.
    pub(crate) fn open() -> Fallible<Self> {
        let folder = tempfile::tempdir()?;
        let scene = Self::open_in(folder.path())?;
        Ok(Self {
            _owned: Some(folder),
            ..scene
        })
    }

    /// Workers leave what they tell in this folder, and objects go to disk below it.
    pub(crate) fn open_in(folder: &Path) -> Fallible<Self> {
        let program = std::env::current_exe()?.to_string_lossy().into_owned();
        let setup = WorkerSetup {
            source: WorkerSource::Processes(ZygoteCommand {
                argv: vec![program, "role:zygote".to_owned()],
                env: Vec::new(),
                hello: folder.to_string_lossy().into_owned(),
                ready: None,
                output: None,
            }),
            node: NodeSpec {
                amounts: vec![("CPU".to_owned(), 10_000)],
                ..NodeSpec::default()
            },
            prestart: 0,
            memory: MemoryWatch::default(),
            warn: |_| {},
        };
        let config = Config::default()
            .capacity(8 << 20)
            .max_objects(1024)
            .spill_directory(folder);
        let session = Session::open_with_workers(&config, setup)?;
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
            folder: folder.to_owned(),
            _owned: None,
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
        self.folder.join(name)
    }

    /// One case.
    pub(crate) fn case(&mut self, operation: &Operation, role: Role, arm: Option<(&str, u32)>) -> Fallible<Outcome> {
        let _ = std::fs::remove_file(self.file(worker::PASSED));
        let mut made = Made::default();
        let passed = match role {
            Role::Peer | Role::Reader => self.by_peer(operation, role, arm, &mut made)?,
            Role::Task | Role::Call => self.by_worker(operation, role, arm, &mut made)?,
        };
        check::settled(&self.session, &made.awaited)?;
        if let (Given::Channel, Some(channel)) = (operation.given, made.kept.first()) {
            check::channel_goes_on(channel)?;
        }
        drop(made);
        check::after(self)?;
        Ok(passed)
    }

    fn by_peer(
        &self,
        operation: &Operation,
        role: Role,
        arm: Option<(&str, u32)>,
        made: &mut Made,
    ) -> Fallible<Outcome> {
        let how = if arm.is_some() { "kill" } else { "watch" };
        let mut peer = self.peer(role, operation.name, how, arm.unwrap_or(("", 0)))?;
        self.make(operation.given, ParticipantId(peer.expect("me")?.parse()?), made)?;
        let mut beside = None;
        if let Some(other) = operation.beside {
            let mut stopped = self.peer(role, other.operation, "stop", (other.stopped_at, 0))?;
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

    fn peer(&self, role: Role, operation: &str, how: &str, (point, passes): (&str, u32)) -> Fallible<Child> {
        let (function, passes) = (self.function.id().to_string(), passes.to_string());
        Child::start(&[
            &format!("role:{}", role.name()),
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
            // Only those that the head knows of: then it has counted their deaths once it does not list them any more.
            let known = idle.iter().filter(|pid| stats.worker_pids.contains(pid));
            // Gone in between is what is wanted.
            known
                .filter_map(|pid| process::watch(*pid).ok())
                .for_each(process::kill);
            Ok(idle.is_empty() && stats.worker_pids == [self.actor_pid])
        })
    }
}
