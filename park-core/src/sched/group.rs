//! The head's list of placement groups: how they were made, how far they have come, and who waits for them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::{GroupId, ObjectId, ParticipantId};
use crate::ipc::placement::{GroupReport, GroupSpec, GroupState};

/// So many removed groups are remembered, for those who ask about them.
const REMEMBERED: usize = 1_000;

/// One placement group.
#[derive(Debug)]
pub struct Group {
    /// How it was made.
    pub spec: Arc<GroupSpec>,
    /// Where it is in its life.
    pub state: GroupState,
    /// The process that made it.
    pub creator: ParticipantId,
    /// Who waits for it: what they are to be answered with, and where.
    pub waiting: Vec<(ObjectId, ObjectId)>,
    /// Whether nodes without other work would have room for it.
    pub feasible: bool,
    /// Whether each of its bundles by itself has a node that could hold it.
    pub hopeful: bool,
    /// How often it was tried to be placed.
    pub attempts: u32,
    made: Instant,
    latency: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct GroupTable {
    groups: BTreeMap<GroupId, Group>,
    names: HashMap<(String, String), GroupId>,
    removed: VecDeque<GroupId>,
    /// Pending and rescheduling ones.
    unplaced: BTreeSet<GroupId>,
    next: u64,
}

impl GroupTable {
    /// Adds a group that waits to be placed.
    pub fn add(&mut self, spec: GroupSpec, creator: ParticipantId) -> Result<GroupId> {
        if let Some(name) = &spec.name
            && self.names.contains_key(name)
        {
            bail!(
                AlreadyExists,
                "a placement group named {:?} exists in namespace {:?}",
                name.1,
                name.0
            );
        }
        self.next += 1;
        let id = GroupId(self.next);
        if let Some(name) = &spec.name {
            self.names.insert(name.clone(), id);
        }
        self.groups.insert(
            id,
            Group {
                spec: Arc::new(spec),
                state: GroupState::Pending,
                creator,
                waiting: Vec::new(),
                feasible: true,
                hopeful: true,
                attempts: 0,
                made: Instant::now(),
                latency: 0,
            },
        );
        self.unplaced.insert(id);
        Ok(id)
    }

    /// One group, unless it is gone and forgotten.
    pub fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(&id)
    }

    /// Whether the group can have work: it is not removed.
    pub fn is_open(&self, id: GroupId) -> bool {
        self.groups
            .get(&id)
            .is_some_and(|group| group.state != GroupState::Removed)
    }

    /// Groups that have no place yet, or lost a part of it, oldest first.
    pub fn unplaced(&self) -> Vec<GroupId> {
        self.unplaced.iter().copied().collect()
    }

    /// Whether a group waits for room that others use.
    pub fn wants_room(&self) -> bool {
        self.unplaced
            .iter()
            .any(|id| self.groups.get(id).is_some_and(|group| group.feasible))
    }

    /// Groups that end with this process: those it made, unless they are detached.
    pub fn made_by(&self, creator: ParticipantId) -> Vec<GroupId> {
        let ends =
            |group: &Group| group.creator == creator && !group.spec.detached && group.state != GroupState::Removed;
        self.groups
            .iter()
            .filter(|(_, group)| ends(group))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The group has all of its places; returns who waited for that.
    pub fn placed(&mut self, id: GroupId) -> Vec<(ObjectId, ObjectId)> {
        let Some(group) = self.groups.get_mut(&id) else {
            return Vec::new();
        };
        if group.state == GroupState::Pending {
            group.latency = u64::try_from(group.made.elapsed().as_micros()).unwrap_or(u64::MAX);
        }
        group.state = GroupState::Created;
        self.unplaced.remove(&id);
        std::mem::take(&mut group.waiting)
    }

    /// The group lost a place.
    pub fn displaced(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id)
            && group.state == GroupState::Created
        {
            group.state = GroupState::Rescheduling;
            self.unplaced.insert(id);
        }
    }

    /// The group is gone, its name free; returns who waits for it in vain. None if it was gone before.
    pub fn remove(&mut self, id: GroupId) -> Option<Vec<(ObjectId, ObjectId)>> {
        let group = self.groups.get_mut(&id)?;
        if group.state == GroupState::Removed {
            return None;
        }
        self.unplaced.remove(&id);
        group.state = GroupState::Removed;
        let waiting = std::mem::take(&mut group.waiting);
        if let Some(name) = &group.spec.name {
            self.names.remove(name);
        }
        self.removed.push_back(id);
        if self.removed.len() > REMEMBERED
            && let Some(oldest) = self.removed.pop_front()
        {
            self.groups.remove(&oldest);
        }
        Some(waiting)
    }

    /// All groups, or one; `nodes` says where the bundles of each lie.
    pub fn report(&self, only: Option<GroupId>, nodes: impl Fn(GroupId, usize) -> Vec<String>) -> Vec<GroupReport> {
        let row = |(id, group): (&GroupId, &Group)| GroupReport {
            id: *id,
            spec: GroupSpec::clone(&group.spec),
            state: group.state,
            nodes: nodes(*id, group.spec.bundles.len()),
            attempts: group.attempts,
            feasible: group.hopeful,
            latency: group.latency,
        };
        match only {
            Some(id) => self.groups.get_key_value(&id).map(row).into_iter().collect(),
            None => self.groups.iter().map(row).collect(),
        }
    }
}

/// What work in a removed group, or waiting for one, is told.
pub fn removed() -> Error {
    Error::new(
        ErrorKind::GroupRemoved,
        "The placement group corresponding to this task has been removed.",
    )
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn spec(name: &str) -> GroupSpec {
        GroupSpec {
            name: Some(("space".to_owned(), name.to_owned())),
            ..GroupSpec::default()
        }
    }

    #[test]
    fn a_name_is_taken_until_its_group_is_removed() {
        let mut table = GroupTable::default();
        let first = table.add(spec("a"), ParticipantId(1)).unwrap();
        assert_eq!(
            table.add(spec("a"), ParticipantId(1)).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        assert!(table.is_open(first) && table.remove(first).is_some() && table.remove(first).is_none());
        assert!(!table.is_open(first) && table.add(spec("a"), ParticipantId(1)).is_ok());
    }

    #[test]
    fn a_group_waits_until_it_is_placed_and_again_when_it_loses_a_place() {
        let mut table = GroupTable::default();
        let id = table.add(GroupSpec::default(), ParticipantId(1)).unwrap();
        assert!(table.unplaced() == [id] && table.wants_room());
        table.placed(id);
        assert!(table.unplaced().is_empty() && !table.wants_room());
        table.displaced(id);
        table.displaced(id);
        assert_eq!(table.unplaced(), [id]);
        assert_eq!(table.made_by(ParticipantId(1)), [id]);
        table.remove(id);
        assert!(table.unplaced().is_empty() && table.made_by(ParticipantId(1)).is_empty());
    }

    #[test]
    fn the_oldest_of_the_removed_are_forgotten() {
        let mut table = GroupTable::default();
        for _ in 0..=REMEMBERED {
            let id = table.add(GroupSpec::default(), ParticipantId(1)).unwrap();
            table.remove(id);
        }
        assert_eq!(table.report(None, |_, _| Vec::new()).len(), REMEMBERED);
        assert!(table.get_mut(GroupId(1)).is_none() && table.get_mut(GroupId(2)).is_some());
    }
}
