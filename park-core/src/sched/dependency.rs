//! Who waits for which object: work that starts when the last of its references is sealed.

use std::collections::HashMap;
use std::hash::Hash;

use crate::id::ObjectId;

/// Waiting work of any kind, by the objects it waits for.
#[derive(Debug)]
pub struct DependencyTable<Work> {
    waiters: HashMap<ObjectId, Vec<Work>>,
    open: HashMap<Work, usize>,
}

impl<Work> Default for DependencyTable<Work> {
    fn default() -> Self {
        Self {
            waiters: HashMap::new(),
            open: HashMap::new(),
        }
    }
}

impl<Work: Copy + Eq + Hash> DependencyTable<Work> {
    /// Adds work that waits for `objects`, none of them sealed yet; an object may be named twice.
    pub fn add(&mut self, work: Work, objects: impl IntoIterator<Item = ObjectId>) {
        for object in objects {
            self.waiters.entry(object).or_default().push(work);
            *self.open.entry(work).or_default() += 1;
        }
    }

    /// An object was sealed: returns the work that waits for nothing any more.
    pub fn sealed(&mut self, object: ObjectId) -> Vec<Work> {
        let mut ready = Vec::new();
        for work in self.waiters.remove(&object).unwrap_or_default() {
            if let Some(open) = self.open.get_mut(&work) {
                *open -= 1;
                if *open == 0 {
                    self.open.remove(&work);
                    ready.push(work);
                }
            }
        }
        ready
    }

    /// Work that is not to start any more; `objects` are what it was added with, and perhaps others. False if it does not wait.
    pub fn remove(&mut self, work: Work, objects: impl IntoIterator<Item = ObjectId>) -> bool {
        if self.open.remove(&work).is_none() {
            return false;
        }
        for object in objects {
            if let Some(waiters) = self.waiters.get_mut(&object) {
                waiters.retain(|waiter| *waiter != work);
                if waiters.is_empty() {
                    self.waiters.remove(&object);
                }
            }
        }
        true
    }

    /// The objects that somebody waits for.
    pub fn objects(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.waiters.keys().copied()
    }

    /// Whether this work waits.
    pub fn contains(&self, work: Work) -> bool {
        self.open.contains_key(&work)
    }

    /// How much work waits.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> ObjectId {
        ObjectId {
            session: 0,
            index,
            generation: 0,
        }
    }

    #[test]
    fn work_starts_when_its_last_object_is_sealed() {
        let mut table = DependencyTable::default();
        table.add('a', [id(1), id(2), id(1)]);
        table.add('b', [id(2)]);
        assert_eq!(table.sealed(id(2)), vec!['b']);
        assert_eq!(table.sealed(id(2)), Vec::<char>::new());
        assert_eq!(table.sealed(id(1)), vec!['a']);
        assert!(table.is_empty());
    }
    #[test]
    fn work_that_was_removed_never_starts() {
        let mut table = DependencyTable::default();
        table.add('a', [id(1), id(2)]);
        table.add('b', [id(2)]);
        assert!(table.remove('a', [id(1), id(2), id(3)]) && !table.remove('a', [id(1)]));
        assert_eq!(table.objects().collect::<Vec<_>>(), [id(2)]);
        assert_eq!(table.sealed(id(2)), vec!['b']);
        assert!(table.is_empty());
    }
}
