//! Creating, placing, finding and ending actors. What a death of their process means is in `death`.

use crate::actor::registry::{Actor, Life};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::{ObjectId, ParticipantId};
use crate::ipc::message::{ActorSpec, ToWorker, encode, frame};
use crate::ipc::parcel::pack;
use crate::proc::pool::{Needs, Role};
use crate::sched::node::{Demand, Outlook};
use crate::sched::task::Interruption;
use crate::store::{ObjectRef, Place};
use crate::sys::clock;

use super::head::{State, Work};
use super::place::{has_gpu, unschedulable};

/// What people read of an actor that nobody can call any more.
pub(super) const GONE: &str = "The actor is dead because all references to the actor were removed.";

/// What people read of an actor whose creator ended.
const ORPHANED: &str = "The actor is dead because its owner has died: the process that created it.";

/// What people read of an actor whose node was removed.
pub(super) const ON_LOST_NODE: &str = "The actor died because its node has died.";

/// What people read of an actor that `kill` ended.
pub(super) const KILLED: &str = "The actor is dead because it was killed by `ray.kill`.";

impl State {
    /// Creates an actor with a name, or finds the one that has it, if that will do. The spec's holds are the head's, unless this fails.
    pub(super) fn create_named(
        &mut self,
        spec: ActorSpec,
        get_if_exists: bool,
        owner: ParticipantId,
    ) -> Result<Option<(ObjectRef, ObjectRef)>> {
        if get_if_exists
            && let Some(name) = &spec.name
            && let Ok(found) = self.find_actor(name)
        {
            spec.holds().for_each(|id| self.store.drop_hold(id));
            return Ok(Some(found));
        }
        self.create_actor(spec, owner).map(|()| None)
    }

    pub(super) fn create_actor(&mut self, mut spec: ActorSpec, owner: ParticipantId) -> Result<()> {
        if let Some(name) = &spec.name
            && let Some(holder) = self.actors.holder(name)
            && !self.store.contains(holder)
        {
            // Its last handle is gone, and whoever dropped it has yet to say so.
            self.actors.free_name(holder);
        }
        self.actors.check_name(&spec)?;
        let id = spec.actor;
        let open = self.open_among(&spec.args.dependencies);
        let life = if open.is_empty() { Life::Queued } else { Life::Waiting };
        let participant = ParticipantId::HEAD;
        let demand = Demand {
            amounts: std::mem::take(&mut spec.placement),
            place: spec.place.take(),
        };
        // A detached actor ends with nobody.
        let owner = if spec.detached { ParticipantId::HEAD } else { owner };
        self.actors.add(Actor {
            spec,
            owner,
            demand,
            spot: None,
            participant,
            life,
            restarts: 0,
            no_restart: false,
            doomed: false,
            parcels: Vec::new(),
            verdict: None,
            began: 0,
            told: false,
        });
        if !open.is_empty() {
            self.waiting.add(Work::Actor(id), open);
        }
        Ok(())
    }

    pub(super) fn queue_actor(&mut self, id: ObjectId) {
        if let Some(actor) = self.actors.get_mut(id) {
            actor.life = Life::Queued;
        }
    }

    /// Gives every queued actor that fits a process, oldest first.
    pub(super) fn place_actors(&mut self) {
        for id in self.actors.in_life(Life::Queued) {
            if let Err(error) = self.place_actor(id) {
                self.bury(id, &error);
            }
        }
    }

    fn place_actor(&mut self, id: ObjectId) -> Result<()> {
        let Some(actor) = self.actors.get_mut(id) else {
            return Ok(());
        };
        if let Some(group) = actor.demand.group()
            && !self.groups.is_open(group)
        {
            bail!(
                ActorGroupRemoved,
                "The placement group corresponding to this Actor has been removed."
            );
        }
        let Some(spot) = self.nodes.place(&actor.demand) else {
            return self.actor_waits(id);
        };
        // From here on it holds the spot: whatever goes wrong, its burial gives it back.
        actor.life = Life::Starting;
        actor.spot = Some(spot.clone());
        let (class, args) = (actor.spec.class, actor.spec.args.clone());
        let gpu = has_gpu(&actor.spec.lifetime);
        let create = encode(&ToWorker::Create {
            actor: id,
            class,
            args,
            restarts: actor.restarts,
            in_order: actor.spec.in_order,
            depth: actor.spec.depth,
        })?;
        let (create, parcel) = pack(&self.store, &create, &[])?;
        actor.parcels.extend(parcel);
        let lifetime = actor.spec.lifetime.clone();
        let capture = actor.demand.place.as_deref().is_some_and(|place| place.capture);
        let create = frame(actor.restarts, &create);
        // An idle worker becomes the actor at once; another is forked only if there is none.
        let environment = actor.demand.environment().cloned();
        let needs = Needs {
            gpu,
            environment: environment.as_ref(),
        };
        let worker = match self.pool.take_idle(needs) {
            Some(worker) => worker,
            None => self.spawn(Role::Actor(id), environment)?,
        };
        if let Some(entry) = self.pool.get_mut(worker) {
            entry.role = Role::Actor(id);
        }
        let told = self.assign(worker, &spot, lifetime, capture);
        if !told {
            bail!(Internal, "the ring of a process that is to become an actor is full");
        }
        if let Err(error) = self.store.send(worker, &create, &[]) {
            bail!(
                InvalidArgument,
                "the actor's constructor arguments cannot be sent: {error:?}"
            );
        }
        let Some(actor) = self.actors.get_mut(id) else {
            return Ok(());
        };
        actor.participant = worker;
        self.store.set_actor_place(
            id,
            Place::Bound {
                participant: worker,
                incarnation: actor.restarts,
            },
        );
        Ok(())
    }

    /// There is no room for it: says so if only another node would help, and refuses it if none would.
    fn actor_waits(&mut self, id: ObjectId) -> Result<()> {
        let Some(actor) = self.actors.get_mut(id) else {
            return Ok(());
        };
        match self.nodes.outlook(&actor.demand) {
            Outlook::Feasible => {}
            Outlook::Later => {
                let told = std::mem::replace(&mut actor.told, true);
                if !told && actor.demand.group().is_none() {
                    let demand = actor.demand.clone();
                    self.warn_infeasible(&demand);
                }
            }
            Outlook::Never => return Err(Error::new(ErrorKind::ActorUnschedulable, unschedulable(&actor.demand))),
        }
        Ok(())
    }

    pub(super) fn actor_ready(&mut self, id: ObjectId) {
        let Some(actor) = self.actors.get_mut(id) else { return };
        self.fruitless = 0;
        if actor.life == Life::Starting {
            actor.life = Life::Alive;
            if actor.began == 0 {
                actor.began = clock::now_us();
            }
            if let Some(spot) = &actor.spot {
                // Its GPUs are the same before and after.
                self.nodes.give(spot.pool, &actor.demand.amounts);
                self.nodes.take(spot.pool, &actor.spec.lifetime);
            }
        }
    }

    /// The constructor raised, or the actor ended itself: it is dead, its process about to end.
    pub(super) fn actor_ended(&mut self, id: ObjectId, cause: ObjectId) {
        self.fruitless = 0;
        let kept = self.store.resolve(cause);
        self.store.drop_hold(cause);
        match kept {
            Ok(kept) => self.bury_with(id, kept),
            Err(error) => self.bury(id, &error),
        }
    }

    /// The last handle is gone, and with it every call: calls hold handles.
    pub(super) fn retire_actor(&mut self, id: ObjectId) {
        self.actors.forget(id);
        let Some(actor) = self.actors.get_mut(id) else { return };
        actor.no_restart = true;
        match actor.life {
            Life::Waiting | Life::Queued => {
                self.bury(id, &Error::new(ErrorKind::ActorDied, GONE));
            }
            Life::Starting | Life::Alive => {
                if actor.life == Life::Alive {
                    actor.life = Life::Retiring;
                }
                let participant = actor.participant;
                if !self.send_retire(participant) {
                    self.kill_worker(participant);
                }
            }
            Life::Retiring => {}
        }
    }

    /// Ends an actor's process; `why` is for people.
    pub(super) fn kill_actor(&mut self, id: ObjectId, no_restart: bool, why: &'static str) {
        let Some(actor) = self.actors.get_mut(id) else { return };
        actor.no_restart |= no_restart;
        actor.verdict = Some(why);
        let (life, participant) = (actor.life, actor.participant);
        if no_restart {
            self.actors.free_name(id);
        }
        match life {
            Life::Waiting | Life::Queued if no_restart => self.bury(id, &Error::new(ErrorKind::ActorDied, why)),
            Life::Waiting | Life::Queued => {}
            _ => {
                if !self.kill_worker(participant)
                    && let Some(actor) = self.actors.get_mut(id)
                {
                    actor.doomed = true;
                }
            }
        }
    }

    /// The process that created these actors has ended: they end with it, unless it was one `in_order`: a worker for tasks that was let
    /// go, whose actors are its tasks' results.
    pub(super) fn owner_ended(&mut self, owner: ParticipantId, in_order: bool) {
        for id in self.actors.owned_by(owner) {
            if !in_order {
                self.kill_actor(id, true, ORPHANED);
            }
            if let Some(actor) = self.actors.get_mut(id) {
                // Its entry in the session is about to be another process's.
                actor.owner = ParticipantId::HEAD;
            }
        }
    }

    /// Kills a worker; false if it has not started yet.
    pub(super) fn kill_worker(&self, worker: ParticipantId) -> bool {
        self.interrupt(worker, Interruption::Kill)
    }

    pub(super) fn find_actor(&self, name: &(String, String)) -> Result<(ObjectRef, ObjectRef)> {
        match self.actors.find(name) {
            Some((id, actor)) => Ok((self.store.resolve(id)?, self.store.resolve(actor.spec.class)?)),
            None => bail!(NotFound, "no actor is named {:?} in namespace {:?}", name.1, name.0),
        }
    }

    /// The actor is dead for good: callers are told why and, in the error's detail, which it is; its name and its resources are free.
    pub(super) fn bury(&mut self, id: ObjectId, error: &Error) {
        let named = match error.kind() {
            ErrorKind::ActorDied if error.detail().is_empty() => error.clone().with_detail(id.to_bytes().to_vec()),
            _ => error.clone(),
        };
        match self.store.put_error(&named) {
            Ok(cause) => self.bury_with(id, cause),
            Err(_) => self.bury_without(id, None),
        }
    }

    fn bury_with(&mut self, id: ObjectId, cause: ObjectRef) {
        self.bury_without(id, Some(cause.id()));
        if self.store.contains(id) {
            self.actors.entomb(id, cause);
        }
    }

    fn bury_without(&mut self, id: ObjectId, cause: Option<ObjectId>) {
        self.store.set_actor_place(id, Place::Dead { cause });
        let Some(mut actor) = self.actors.remove(id) else {
            return;
        };
        if let Some((spot, amounts)) = actor.vacate() {
            self.nodes.leave(&spot, &amounts);
        }
        actor
            .spec
            .holds()
            .chain(actor.parcels)
            .for_each(|id| self.store.drop_hold(id));
    }
}
