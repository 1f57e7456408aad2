//! The head's list of actors: who they are, where they are, and what a death of their process means for them.

use std::collections::{HashMap, VecDeque};

use crate::error::{Result, bail};
use crate::id::{ObjectId, ParticipantId};
use crate::ipc::message::{ActorSpec, Amounts, Span};
use crate::sched::node::{Demand, Spot};
use crate::store::ObjectRef;
use crate::sys::clock;

/// Where an actor is in its life, as the head sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its constructor's arguments are not sealed yet.
    Waiting,
    /// It waits for resources.
    Queued,
    /// Its process is starting or its constructor runs.
    Starting,
    /// It answers calls.
    Alive,
    /// Told to end once its queue is empty.
    Retiring,
}

/// One actor that is not dead.
#[derive(Debug)]
pub struct Actor {
    /// How it was created.
    pub spec: ActorSpec,
    /// The process that created it, with which it ends; the head's, if it ends with nobody.
    pub owner: ParticipantId,
    /// What it needs to be placed.
    pub demand: Demand,
    /// Where it holds what it has, once it is placed.
    pub spot: Option<Spot>,
    /// Its ring.
    pub participant: ParticipantId,
    /// See `Life`.
    pub life: Life,
    /// How often it was restarted.
    pub restarts: u32,
    /// Nobody may restart it: it was killed for good, or its handles are gone.
    pub no_restart: bool,
    /// Objects that held long creation messages, one for each incarnation.
    pub parcels: Vec<ObjectId>,
    /// Killed before its process was known: to be killed when it starts.
    pub doomed: bool,
    /// Why it was killed, if that says more than how it died.
    pub verdict: Option<&'static str>,
    /// When it answered calls for the first time, in microseconds of the machine's clock; 0: not yet.
    pub began: u64,
    /// People were told that it waits for a node that is not there.
    pub told: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct ActorRegistry {
    actors: HashMap<ObjectId, Actor>,
    /// Who has which name. One that died keeps it as long as somebody has a handle, unless it was killed for good or is detached.
    names: HashMap<(String, String), ObjectId>,
    /// The names in `names`, by who has them.
    named: HashMap<ObjectId, (String, String)>,
    /// Why dead actors died, while somebody still has a handle.
    graves: HashMap<ObjectId, ObjectRef>,
    /// The actors that died last, oldest first, for people who look.
    dead: VecDeque<Dead>,
}

/// What is remembered of an actor that died.
#[derive(Clone, Debug)]
pub struct Dead {
    /// Its handle object.
    pub id: ObjectId,
    /// Its class.
    pub class_name: String,
    /// Namespace and name, if it had one.
    pub name: Option<(String, String)>,
    /// How often it was restarted.
    pub restarts: u32,
    /// When it began and when it ended, in microseconds of the machine's clock. It may never have begun: 0.
    pub span: Span,
}

/// How many dead actors are remembered.
const REMEMBERED: usize = 1000;

impl ActorRegistry {
    /// Refuses a name that is taken.
    pub fn check_name(&self, spec: &ActorSpec) -> Result<()> {
        if let Some(name) = &spec.name
            && self.names.contains_key(name)
        {
            bail!(
                AlreadyExists,
                "the name {} (namespace {}) is already taken",
                name.1,
                name.0
            );
        }
        Ok(())
    }

    /// Adds an actor whose name was checked.
    pub fn add(&mut self, actor: Actor) {
        if let Some(name) = &actor.spec.name {
            self.names.insert(name.clone(), actor.spec.actor);
            self.named.insert(actor.spec.actor, name.clone());
        }
        self.actors.insert(actor.spec.actor, actor);
    }

    /// The living actor with this name.
    pub fn find(&self, name: &(String, String)) -> Option<(ObjectId, &Actor)> {
        let id = *self.names.get(name)?;
        Some((id, self.actors.get(&id)?))
    }

    /// The actor that has this name, alive or dead.
    pub fn holder(&self, name: &(String, String)) -> Option<ObjectId> {
        self.names.get(name).copied()
    }

    /// Another actor may have this one's name.
    pub fn free_name(&mut self, id: ObjectId) {
        if let Some(name) = self.named.remove(&id) {
            self.names.remove(&name);
        }
    }

    /// One actor.
    pub fn get(&self, actor: ObjectId) -> Option<&Actor> {
        self.actors.get(&actor)
    }

    /// One actor.
    pub fn get_mut(&mut self, actor: ObjectId) -> Option<&mut Actor> {
        self.actors.get_mut(&actor)
    }

    /// Takes a dead actor off the list.
    pub fn remove(&mut self, id: ObjectId) -> Option<Actor> {
        let actor = self.actors.remove(&id)?;
        if actor.spec.detached {
            self.free_name(id);
        }
        if self.dead.len() == REMEMBERED {
            self.dead.pop_front();
        }
        self.dead.push_back(Dead {
            id,
            class_name: actor.spec.class_name.clone(),
            name: actor.spec.name.clone(),
            restarts: actor.restarts,
            span: Span {
                began: actor.began,
                ended: clock::now_us(),
            },
        });
        Some(actor)
    }

    /// Keeps the reason of a death readable as long as a handle exists.
    pub fn entomb(&mut self, id: ObjectId, cause: ObjectRef) {
        self.graves.insert(id, cause);
    }

    /// The object that says why this actor died, if it is kept.
    pub fn cause_of(&self, id: ObjectId) -> Option<ObjectId> {
        self.graves.get(&id).map(ObjectRef::id)
    }

    /// The last handle of an actor is gone.
    pub fn forget(&mut self, id: ObjectId) {
        self.free_name(id);
        self.graves.remove(&id);
    }

    /// Actors in this state, oldest handle first.
    pub fn in_life(&self, life: Life) -> Vec<ObjectId> {
        let mut ids: Vec<_> = self
            .actors
            .iter()
            .filter(|(_, actor)| actor.life == life)
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The actors that died last, oldest first.
    pub fn dead(&self) -> impl Iterator<Item = &Dead> {
        self.dead.iter()
    }

    /// Actors that end with this process.
    pub fn owned_by(&self, owner: ParticipantId) -> Vec<ObjectId> {
        let owned = self.actors.iter().filter(|(_, actor)| actor.owner == owner);
        owned.map(|(id, _)| *id).collect()
    }

    /// Every actor.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectId, &Actor)> {
        self.actors.iter().map(|(id, actor)| (*id, actor))
    }
}

impl Actor {
    /// Takes from it what it holds: it is dead, or about to be placed anew.
    pub fn vacate(&mut self) -> Option<(Spot, Amounts)> {
        let spot = self.spot.take()?;
        let amounts = match self.life {
            Life::Starting => &self.demand.amounts,
            Life::Alive | Life::Retiring => &self.spec.lifetime,
            Life::Waiting | Life::Queued => return None,
        };
        Some((spot, amounts.clone()))
    }

    /// Whether it would be started again if its process died.
    pub fn has_restart(&self) -> bool {
        let left = self.spec.max_restarts < 0 || i64::from(self.restarts) < i64::from(self.spec.max_restarts);
        left && !self.no_restart
    }

    /// Whether a death of its process is followed by another incarnation; uses one restart up.
    pub fn use_restart(&mut self) -> bool {
        let again = self.has_restart();
        if again {
            self.restarts += 1;
        }
        again
    }
}
