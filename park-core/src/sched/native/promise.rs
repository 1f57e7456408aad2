//! A promise outside of any task: whoever holds it makes the object later, from any thread, or says why there will be none.
//!
//! It is the return of a call without a call, so it keeps the same word (`call.rs`): the object is settled exactly once, with what
//! was sealed, with an error, or, if the promise is given up, with `ObjectLost`. A reader therefore never waits for nothing. If the
//! process dies first, the reaper raises the object, since the promise names this process as its producer.

use std::sync::Arc;

use super::ReturnObject;
use super::call::{NativeCall, Returns};
use crate::error::{Error, ErrorKind, Result};
use crate::store::{ObjectRef, Spec, Store, TensorSpec};

/// See the module's documentation.
#[derive(Debug)]
pub struct Promise {
    /// None only while it is dropped.
    returns: Option<Returns>,
}

impl Promise {
    /// Promises an object: a reference for its readers, and the promise for its maker.
    pub fn new(store: &Arc<Store>) -> Result<(ObjectRef, Self)> {
        let (mut references, returns) = Returns::promise(store, "the promise", 1)?;
        let promise = Self { returns: Some(returns) };
        match references.pop() {
            Some(reference) => Ok((reference, promise)),
            None => Err(Error::new(ErrorKind::Internal, "a promise without an object")),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut NativeCall<'_>) -> Result<T>) -> Result<T> {
        match &self.returns {
            Some(returns) => act(&mut NativeCall::without_arguments(returns)),
            None => Err(Error::new(ErrorKind::HandleClosed, "the promise was given up")),
        }
    }

    /// The object is a copy of `bytes`. `AlreadyExists` if it was made, or is being written.
    pub fn put(&self, bytes: &[u8]) -> Result<()> {
        self.with(|call| call.put(0, bytes))
    }

    /// Lends room for the object. One writer at a time; aborting leaves the promise open.
    pub fn create(&self, spec: Spec<'_>) -> Result<ReturnObject> {
        self.with(|call| call.create(0, spec))
    }

    /// Lends room for a tensor, its header already written.
    pub fn create_tensor(&self, spec: &TensorSpec) -> Result<ReturnObject> {
        self.with(|call| call.create_tensor(0, spec))
    }

    /// Whoever reads the object gets this error.
    pub fn fail(&self, error: &Error) -> Result<()> {
        self.with(|call| call.fail(0, error))
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(returns) = self.returns.take() {
            returns.fail(&Error::new(
                ErrorKind::ObjectLost,
                "the promise was given up before the object was made",
            ));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::time::Duration;

    fn store() -> Arc<Store> {
        Arc::new(Store::open(&Config::default().capacity(1 << 20), 7).unwrap())
    }

    #[test]
    fn a_promise_is_kept_once() {
        let store = store();
        let (reference, promise) = Promise::new(&store).unwrap();
        assert!(!reference.is_sealed());
        promise.create(Spec::raw(3)).unwrap().abort();
        promise.put(b"kept").unwrap();
        assert_eq!(promise.put(b"again").unwrap_err().kind(), ErrorKind::AlreadyExists);
        drop(promise);
        assert_eq!(store.get(&reference, Some(Duration::ZERO)).unwrap().bytes(), b"kept");
        drop(reference);
        assert_eq!(store.stats().objects, 0);
    }

    #[test]
    fn a_broken_or_failed_promise_is_raised() {
        let store = store();
        let (reference, promise) = Promise::new(&store).unwrap();
        drop(promise);
        assert_eq!(store.get(&reference, None).unwrap_err().kind(), ErrorKind::ObjectLost);
        drop(reference);
        let (reference, promise) = Promise::new(&store).unwrap();
        promise.fail(&Error::new(ErrorKind::Unsupported, "no")).unwrap();
        drop(promise);
        assert_eq!(store.get(&reference, None).unwrap_err().kind(), ErrorKind::Unsupported);
        drop(reference);
        // Given up while it is written: the writer may still seal it, and what it gives up fails.
        let (reference, promise) = Promise::new(&store).unwrap();
        let writing = promise.create(Spec::raw(1)).unwrap();
        drop(promise);
        assert!(!reference.is_sealed());
        drop(writing);
        assert!(store.get(&reference, None).is_err());
        drop(reference);
        assert_eq!((store.stats().objects, store.stats().promised), (0, 0));
    }
}
