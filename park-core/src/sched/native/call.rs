//! One call of a native function: its arguments as views, its returns as promises that are always settled.
//!
//! `Returns` keeps a reference of this process to each promised object, in place of the hold that a promise comes with: references
//! are in the process's ledger, so the reaper can give them back if the process is killed. It settles each promise exactly once: with what the function sealed, with the function's
//! error, or, if it is dropped before the function ran, with `SessionClosed`. A return that is still being written when the
//! function ends (its `ReturnObject` was moved to another thread, say) may be sealed later; if it is given up then, it fails. The
//! two ends agree through `ended`: the call's end writes `ended` and then tries to fail what is open, the object's end gives the
//! memory back (the promise is open again) and then reads `ended`. A SeqCst fence between write and read on both sides makes at
//! least one of them see the other; failing twice is harmless, since a promise takes one result.

use std::any::Any;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result, bail};
use crate::id::ObjectId;
use crate::store::format::TENSOR_HEADER;
use crate::store::{Format, MutableObject, Object, ObjectRef, Spec, Store, TensorSpec, never};
use crate::sync::atomic::{AtomicBool, Ordering, fence};

/// Most values one call may return.
const MAX_RETURNS: usize = 1024;

/// The promises of one call, with the references that keep them.
#[derive(Debug)]
pub(crate) struct Returns {
    store: Arc<Store>,
    /// For messages: "task `scale`", "method `add` of actor `sum`".
    what: Arc<str>,
    objects: Vec<ObjectRef>,
    ended: Arc<AtomicBool>,
}

impl Returns {
    /// Promises `count` objects. The references are the caller's, the guard is the executor's.
    pub(crate) fn promise(store: &Arc<Store>, what: &str, count: usize) -> Result<(Vec<ObjectRef>, Self)> {
        if count > MAX_RETURNS {
            bail!(
                InvalidArgument,
                "{what} was asked for {count} returns, the maximum is {MAX_RETURNS}"
            );
        }
        let ended = Arc::new(AtomicBool::new(false));
        let mut returns = Self {
            store: store.clone(),
            what: what.into(),
            objects: Vec::with_capacity(count),
            ended,
        };
        let mut references = Vec::with_capacity(count);
        for _ in 0..count {
            let reference = store.promise(store.me())?;
            returns.objects.push(reference.clone());
            store.drop_hold(reference.id());
            references.push(reference);
        }
        Ok((references, returns))
    }

    /// What the call is, for messages.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// Fails every return that was not made yet.
    pub(crate) fn fail(mut self, error: &Error) {
        self.settle(error);
    }

    /// The function ended well: what it did not make is its fault.
    fn finish(mut self) {
        let missing: Vec<String> = (0..)
            .zip(&self.objects)
            .filter(|(_, object)| !object.is_sealed())
            .map(|(i, _): (usize, _)| i.to_string())
            .collect();
        let message = format!(
            "{} ended without writing return {} of {}",
            self.what,
            missing.join(", "),
            self.objects.len()
        );
        self.settle(&Error::new(ErrorKind::TaskFailed, message));
    }

    fn settle(&mut self, error: &Error) {
        self.ended.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        for object in self.objects.drain(..) {
            if !self.store.is_forked() && !object.is_sealed() {
                // It can only fail if the table or the arena is corrupt, and then every reader of the object learns so itself.
                let _ = self.store.fail(object.id(), error);
            }
        }
    }
}

impl Drop for Returns {
    fn drop(&mut self) {
        if !self.objects.is_empty() {
            let message = format!("the session was closed before {} ran", self.what);
            self.settle(&Error::new(ErrorKind::SessionClosed, message));
        }
    }
}

/// What a native function sees of one call.
#[derive(Debug)]
pub struct NativeCall<'a> {
    args: &'a [Object],
    returns: &'a Returns,
}

impl<'a> NativeCall<'a> {
    /// A call of nothing: what a promise outside of any task is made with.
    pub(super) fn without_arguments(returns: &'a Returns) -> Self {
        Self { args: &[], returns }
    }
}

impl NativeCall<'_> {
    /// The arguments, as views that keep their objects alive when cloned.
    pub fn args(&self) -> &[Object] {
        self.args
    }

    /// Argument `index`, or an error that says how many there are.
    pub fn arg(&self, index: usize) -> Result<&Object> {
        match self.args.get(index) {
            Some(object) => Ok(object),
            None => bail!(
                InvalidArgument,
                "{} has {} arguments, asked for number {index}",
                self.returns.what,
                self.args.len()
            ),
        }
    }

    /// The store of the session.
    pub fn store(&self) -> &Arc<Store> {
        &self.returns.store
    }

    /// How many values the caller asked for. Each must be written before the function ends.
    pub fn returns(&self) -> usize {
        self.returns.objects.len()
    }

    /// Return `index` is a copy of `bytes`, as a RAW object.
    pub fn put(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let mut object = self.create(index, Spec::raw(bytes.len() as u64))?;
        object.write(0, bytes)?;
        object.seal()?;
        Ok(())
    }

    /// Lends room for return `index`: write it, then seal it.
    pub fn create(&mut self, index: usize, spec: Spec<'_>) -> Result<ReturnObject> {
        let id = self.id(index)?;
        let Some(object) = self.store().fulfil(id, spec, &mut never)? else {
            bail!(
                AlreadyExists,
                "return {index} of {} is written already, or being written",
                self.returns.what
            );
        };
        let late = Late {
            store: self.store().clone(),
            what: self.returns.what.clone(),
            index,
            id,
            ended: self.returns.ended.clone(),
        };
        Ok(ReturnObject { object, _late: late })
    }

    /// Lends room for return `index`, a tensor: its header is written already.
    pub fn create_tensor(&mut self, index: usize, spec: &TensorSpec) -> Result<ReturnObject> {
        let len = TENSOR_HEADER + spec.nbytes();
        let mut object = self.create(
            index,
            Spec {
                len,
                format: Format::Tensor,
                view: spec.view,
                nested: &[],
            },
        )?;
        object.write(0, &spec.header())?;
        Ok(object)
    }

    /// Return `index` raises `error` in whoever reads it; the others are not touched.
    pub fn fail(&mut self, index: usize, error: &Error) -> Result<()> {
        let id = self.id(index)?;
        if self.store().contains(id) {
            bail!(
                AlreadyExists,
                "return {index} of {} is written already",
                self.returns.what
            );
        }
        self.store().fail(id, error)
    }

    fn id(&self, index: usize) -> Result<ObjectId> {
        match self.returns.objects.get(index) {
            Some(object) => Ok(object.id()),
            None => bail!(
                InvalidArgument,
                "{} has {} returns, asked for number {index}",
                self.returns.what,
                self.returns.objects.len()
            ),
        }
    }
}

/// A return that is being written: a `MutableObject` that fails its promise if it is given up after the call has ended.
#[derive(Debug)]
#[must_use]
pub struct ReturnObject {
    // Dropped in this order: the memory goes back first, and only then is the promise open and can be failed.
    object: MutableObject,
    _late: Late,
}

impl ReturnObject {
    /// Makes the return immutable and visible.
    pub fn seal(self) -> Result<ObjectRef> {
        self.object.seal()
    }

    /// Gives the memory back. The return is not written, so the call fails unless it writes it in another way.
    pub fn abort(self) {
        drop(self);
    }
}

impl Deref for ReturnObject {
    type Target = MutableObject;

    fn deref(&self) -> &MutableObject {
        &self.object
    }
}

impl DerefMut for ReturnObject {
    fn deref_mut(&mut self) -> &mut MutableObject {
        &mut self.object
    }
}

#[derive(Debug)]
struct Late {
    store: Arc<Store>,
    what: Arc<str>,
    index: usize,
    id: ObjectId,
    ended: Arc<AtomicBool>,
}

impl Drop for Late {
    fn drop(&mut self) {
        fence(Ordering::SeqCst);
        if self.ended.load(Ordering::Acquire) && !self.store.is_forked() && !self.store.contains(self.id) {
            let message = format!(
                "return {} of {} was given up after the call had ended",
                self.index, self.what
            );
            let _ = self.store.fail(self.id, &Error::new(ErrorKind::TaskFailed, message));
        }
    }
}

/// Refuses arguments of another session before anything is promised.
pub(crate) fn check_arguments(store: &Store, what: &str, args: &[ObjectRef]) -> Result<()> {
    for (at, argument) in args.iter().enumerate() {
        let id = argument.id();
        if id.session != store.session() {
            bail!(
                ForeignSession,
                "argument {at} of {what}, object {id}, belongs to another session"
            );
        }
    }
    Ok(())
}

/// Runs `body` on sealed arguments and settles the returns. Gives the text of a panic back; it is what `panicked` made of it that
/// the returns raise.
pub(crate) fn execute(
    args: &[ObjectRef],
    returns: Returns,
    body: impl FnOnce(&mut NativeCall<'_>) -> Result<()>,
    panicked: impl FnOnce(&str) -> Error,
) -> Result<(), String> {
    // The error of an argument is the error of the call, unchanged: its reader learns of the first cause.
    let views = match args.iter().map(ObjectRef::open).collect::<Result<Vec<_>>>() {
        Ok(views) => views,
        Err(error) => {
            returns.fail(&error);
            return Ok(());
        }
    };
    let mut call = NativeCall {
        args: &views,
        returns: &returns,
    };
    match catch_unwind(AssertUnwindSafe(|| body(&mut call))) {
        Ok(Ok(())) => returns.finish(),
        Ok(Err(error)) => {
            // Always TaskFailed: a Timeout inside the function must not look like a timeout of whoever reads the result.
            let text = match error.kind() {
                ErrorKind::TaskFailed => format!("{} failed: {error}", returns.what()),
                kind => format!("{} failed: {}: {error}", returns.what(), kind.name()),
            };
            returns.fail(&Error::new(ErrorKind::TaskFailed, text).with_detail(error.detail().to_vec()));
        }
        Err(payload) => {
            let text = panic_text(payload);
            returns.fail(&panicked(&text));
            return Err(text);
        }
    }
    Ok(())
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}
