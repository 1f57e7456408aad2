//! A counted reference to an object, sealed or promised.

use std::fmt;
use std::sync::Arc;

use super::Store;
use crate::error::Result;
use crate::id::ObjectId;

/// Keeps an object alive, in this process, until dropped. Cheap to clone; safe to send and share between threads.
pub struct ObjectRef {
    store: Arc<Store>,
    index: u32,
    generation: u32,
}

impl ObjectRef {
    /// Takes over a reference that is already counted for this process.
    pub(super) fn owned(store: &Arc<Store>, index: u32, generation: u32) -> Self {
        Self {
            store: store.clone(),
            index,
            generation,
        }
    }

    /// The object's id: a value, keeps nothing alive.
    pub fn id(&self) -> ObjectId {
        ObjectId {
            session: self.store.session(),
            index: self.index,
            generation: self.generation,
        }
    }

    /// The store it lives in.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whether the object can be read now.
    pub fn is_sealed(&self) -> bool {
        self.store.slot(self.index).is_sealed(self.generation)
    }

    /// Adds a hold: a reference that a message or another object owns.
    pub fn hold(&self) -> Result<()> {
        self.store.hold(self.id())
    }
}

impl Clone for ObjectRef {
    fn clone(&self) -> Self {
        if !self.store.is_forked() {
            self.store.add_reference(self.index);
        }
        Self::owned(&self.store, self.index, self.generation)
    }
}

impl Drop for ObjectRef {
    fn drop(&mut self) {
        // In a forked child the count belongs to the parent.
        if !self.store.is_forked() {
            self.store.drop_reference(self.index, self.generation);
        }
    }
}

impl fmt::Debug for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectRef({})", self.id())
    }
}

impl PartialEq for ObjectRef {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for ObjectRef {}
