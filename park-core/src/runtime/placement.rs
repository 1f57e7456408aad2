//! Nodes that come and go, and placement groups: making, placing, awaiting and removing them.
//!
//! A group is placed as a whole or not at all. Those that found no room are tried again when room may have come into being, oldest
//! first. Removing a group ends what runs in it; removing a node ends what runs there, and groups that lose bundles by it are pending
//! again for those bundles.

use std::sync::Arc;

use crate::actor::registry::Life;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::{GroupId, ObjectId, ParticipantId, TaskId};
use crate::ipc::message::{Amounts, encode};
use crate::ipc::placement::{GroupSpec, GroupState, NodeSpec, PlacementReport, PlacementRequest};
use crate::sched::group;
use crate::sched::layout::{Ask, Room, plan, plan_within};
use crate::sched::node::PoolId;
use crate::store::{Spec, never};

use super::actors::ON_LOST_NODE;
use super::head::{Head, State};

impl Head {
    /// Makes a placement group, which ends with its creator; it is placed when there is room.
    pub fn create_group(&self, spec: GroupSpec, creator: ParticipantId) -> Result<GroupId> {
        let mut state = self.lock();
        state.check_open()?;
        state.drain()?;
        let id = state.create_group(spec, creator)?;
        state.pump();
        Ok(id)
    }

    /// Removes a placement group and ends what runs in it.
    pub fn remove_group(&self, group: GroupId) -> Result<()> {
        let mut state = self.lock();
        state.check_open()?;
        state.drain()?;
        state.remove_group(group);
        state.pump();
        Ok(())
    }

    /// Seals `reply` with what `value` holds once the group is placed. Both holds are the head's from here on, unless this fails.
    pub fn await_group(&self, group: GroupId, value: ObjectId, reply: ObjectId) -> Result<()> {
        let mut state = self.lock();
        state.check_open()?;
        state.drain()?;
        state.await_group(group, value, reply);
        Ok(())
    }

    /// The nodes and groups of the session, or one group.
    pub fn placement_report(&self, only: Option<GroupId>) -> Result<PlacementReport> {
        let mut state = self.lock();
        state.drain()?;
        Ok(state.placement_report(only))
    }

    /// Adds a node.
    pub fn add_node(&self, node: NodeSpec) -> Result<()> {
        let mut state = self.lock();
        state.check_open()?;
        state.drain()?;
        if state.nodes.room_of(&node.name).is_some() {
            bail!(AlreadyExists, "the session has a node {:?}", node.name);
        }
        state.nodes.add(node);
        state.pump();
        Ok(())
    }

    /// Removes a node, which cannot be the first, and kills what runs there.
    pub fn remove_node(&self, name: &str) -> Result<()> {
        let mut state = self.lock();
        state.check_open()?;
        state.drain()?;
        if state.nodes.name(0) == name {
            bail!(InvalidArgument, "node {name:?} is the head's own and cannot be removed");
        }
        let Some((node, lost)) = state.nodes.remove(name) else {
            bail!(NotFound, "the session has no node {name:?}");
        };
        state.end_work_on_node(node);
        for (group, _) in lost {
            state.groups.displaced(group);
        }
        state.pump();
        Ok(())
    }
}

impl State {
    pub(super) fn placement_request(&mut self, from: ParticipantId, request: PlacementRequest, reply: ObjectId) {
        let answer = match request {
            PlacementRequest::Create(spec) => self.create_group(spec, from).and_then(|id| encode(&id)),
            PlacementRequest::Remove(group) => {
                self.remove_group(group);
                Ok(Vec::new())
            }
            PlacementRequest::Report { only } => encode(&self.placement_report(only)),
            PlacementRequest::Await { group, value } => {
                self.await_group(group, value, reply);
                return;
            }
        };
        match answer {
            Ok(bytes) => self.reply(reply, &bytes, &[]),
            Err(error) => {
                self.raise(reply, &error);
                self.store.drop_hold(reply);
            }
        }
    }

    fn create_group(&mut self, spec: GroupSpec, creator: ParticipantId) -> Result<GroupId> {
        let id = self.groups.add(spec, creator)?;
        self.groups_tried = None;
        Ok(id)
    }

    fn placement_report(&self, only: Option<GroupId>) -> PlacementReport {
        let nodes = |group: GroupId, count: usize| {
            let places = self.nodes.places(group).unwrap_or_else(|| vec![None; count]);
            let name = |node: &Option<usize>| node.map_or_else(String::new, |node| self.nodes.name(node).to_owned());
            places.iter().map(name).collect()
        };
        PlacementReport {
            nodes: if only.is_some() {
                Vec::new()
            } else {
                self.nodes.report(&self.starting())
            },
            groups: self.groups.report(only, nodes),
        }
    }

    /// What actors hold only until they have started, and what they hold from then on.
    fn starting(&self) -> Vec<(PoolId, &Amounts, &Amounts)> {
        let starting = self.actors.iter().filter(|(_, actor)| actor.life == Life::Starting);
        starting
            .filter_map(|(_, actor)| Some((actor.spot.as_ref()?.pool, &actor.demand.amounts, &actor.spec.lifetime)))
            .collect()
    }

    // --- placing --------------------------------------------------------------------------------------------------------------

    /// Places what there is room for.
    pub(super) fn place_groups(&mut self) {
        let waiting = self.groups.unplaced();
        if waiting.is_empty() || self.groups_tried == Some(self.nodes.freed()) {
            return;
        }
        self.groups_tried = Some(self.nodes.freed());
        // Many of a kind wait, usually: what one finds no room for, the next does not either.
        let mut last: Option<Arc<GroupSpec>> = None;
        for id in waiting {
            let Some(group) = self.groups.get_mut(id) else { continue };
            let spec = group.spec.clone();
            let alike = |other: &Arc<GroupSpec>| {
                GroupSpec {
                    name: None,
                    ..GroupSpec::clone(other)
                } == GroupSpec {
                    name: None,
                    ..GroupSpec::clone(&spec)
                }
            };
            if group.attempts > 0 && group.state == GroupState::Pending && last.as_ref().is_some_and(alike) {
                continue;
            }
            group.attempts += 1;
            let whole = group.state == GroupState::Pending;
            if !self.place_group(id, &spec) && whole {
                last = Some(spec);
            }
        }
    }

    fn place_group(&mut self, id: GroupId, spec: &GroupSpec) -> bool {
        let count = spec.bundles.len();
        let places = self.nodes.places(id).unwrap_or_else(|| vec![None; count]);
        let missing: Vec<usize> = (0..count).filter(|at| places[*at].is_none()).collect();
        let ask = |at: &usize| Ask {
            amounts: &spec.bundles[*at],
            selector: spec.selectors.get(*at),
        };
        let asks: Vec<Ask<'_>> = missing.iter().map(ask).collect();
        let preferred = spec.target.as_deref().and_then(|name| self.nodes.room_of(name));
        let (numbers, rooms) = self.nodes.rooms(id);
        let planned = |rooms: &[Room<'_>]| match &spec.domain {
            Some(domain) => plan_within(domain, spec.layout, &asks, rooms, preferred),
            None => plan(spec.layout, &asks, rooms, preferred),
        };
        let found = planned(&rooms);
        let Some(found) = found else {
            let empty = self.nodes.empty_rooms();
            let feasible = planned(&empty).is_some();
            let hopeful = asks.iter().all(|ask| empty.iter().any(|room| room.takes(ask)));
            if let Some(group) = self.groups.get_mut(id) {
                group.feasible = feasible;
                group.hopeful = hopeful;
            }
            return false;
        };
        for (index, room) in missing.into_iter().zip(found) {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            self.nodes
                .reserve(id, number, count, numbers[room], &spec.bundles[index]);
        }
        for (value, reply) in self.groups.placed(id) {
            self.answer(value, reply);
        }
        true
    }

    // --- awaiting -------------------------------------------------------------------------------------------------------------

    fn await_group(&mut self, id: GroupId, value: ObjectId, reply: ObjectId) {
        match self.groups.get_mut(id) {
            Some(group) if group.state == GroupState::Created => self.answer(value, reply),
            Some(group) if group.state != GroupState::Removed => group.waiting.push((value, reply)),
            _ => self.disappoint(value, reply, &group::removed()),
        }
    }

    /// Seals `reply` with a copy of `value`.
    fn answer(&self, value: ObjectId, reply: ObjectId) {
        let copied = self.store.resolve(value).and_then(|value| {
            let value = value.open()?;
            let spec = Spec {
                format: value.format(),
                view: value.view(),
                ..Spec::raw(value.bytes().len() as u64)
            };
            if let Some(mut object) = self.store.fulfil(reply, spec, &mut never)? {
                object.write(0, value.bytes())?;
                object.seal()?;
            }
            Ok(())
        });
        if let Err(error) = copied {
            self.raise(reply, &error);
        }
        self.store.drop_hold(value);
        self.store.drop_hold(reply);
    }

    fn disappoint(&self, value: ObjectId, reply: ObjectId, error: &Error) {
        self.raise(reply, error);
        self.store.drop_hold(value);
        self.store.drop_hold(reply);
    }

    // --- removing -------------------------------------------------------------------------------------------------------------

    fn remove_group(&mut self, id: GroupId) {
        let Some(waiting) = self.groups.remove(id) else { return };
        for (value, reply) in waiting {
            self.disappoint(value, reply, &group::removed());
        }
        for shape in self.ready.end_group(id) {
            while let Some(task) = self.ready.pop(shape) {
                self.fail_task(task, &group::removed());
            }
        }
        let inside = |state: &Self, pool: PoolId| state.nodes.group_of(pool) == Some(id);
        for worker in self.workers_in(&inside) {
            let sent = self
                .pool
                .get(worker)
                .map(|worker| worker.sent.clone())
                .unwrap_or_default();
            if self.kill_worker(worker) {
                let sent = sent.into_iter().enumerate();
                sent.for_each(|(place, task)| self.fail_removed(task, place == 0));
            } else {
                // It has not started: what it was sent is taken back, and fails when it is queued.
                self.take_back(worker, usize::MAX);
            }
        }
        for actor in self.actors_in(&inside) {
            self.kill_actor(actor, true, "its placement group was removed");
        }
        self.nodes.dissolve(id);
    }

    /// The group of this task is gone, and its worker with it. If that was this task's `turn`, and it may not run again, it died with
    /// the worker; any other lost its place.
    fn fail_removed(&mut self, id: TaskId, turn: bool) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let error = if turn && !task.use_retry() {
            let text = format!(
                "task {} failed: its worker was killed, for its placement group was removed",
                task.name
            );
            Error::new(ErrorKind::WorkerDied, text)
        } else {
            group::removed()
        };
        self.fail_task(id, &error);
    }

    /// Groups end with the process that made them.
    pub(super) fn remove_groups_of(&mut self, creator: ParticipantId) {
        for group in self.groups.made_by(creator) {
            self.remove_group(group);
        }
    }

    fn end_work_on_node(&mut self, node: usize) {
        let there = |state: &Self, pool: PoolId| state.nodes.node_of(pool) == node;
        for worker in self.workers_in(&there) {
            if !self.kill_worker(worker) {
                self.take_back(worker, usize::MAX);
            }
        }
        for actor in self.actors_in(&there) {
            self.kill_actor(actor, false, ON_LOST_NODE);
        }
    }

    /// Workers whose lease is in such a pool.
    fn workers_in(&self, wanted: &dyn Fn(&Self, PoolId) -> bool) -> Vec<ParticipantId> {
        let leases = self
            .pool
            .iter()
            .filter_map(|(id, worker)| Some((id, worker.lease.as_ref()?)));
        leases
            .filter(|(_, lease)| wanted(self, lease.spot.pool))
            .map(|(id, _)| id)
            .collect()
    }

    /// Actors that have a process and hold something in such a pool.
    fn actors_in(&self, wanted: &dyn Fn(&Self, PoolId) -> bool) -> Vec<ObjectId> {
        let placed = self
            .actors
            .iter()
            .filter(|(_, actor)| !matches!(actor.life, Life::Waiting | Life::Queued));
        let spots = placed.filter_map(|(id, actor)| Some((id, actor.spot.as_ref()?)));
        spots
            .filter(|(_, spot)| wanted(self, spot.pool))
            .map(|(id, _)| id)
            .collect()
    }

    /// The session cannot go on: nobody need wait for a group any more.
    pub(super) fn abandon_groups(&mut self, error: &Error) {
        for id in self.groups.unplaced() {
            for (value, reply) in self.groups.remove(id).unwrap_or_default() {
                self.disappoint(value, reply, error);
            }
        }
    }
}
