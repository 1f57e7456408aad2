//! Cancelling a call, from any process: before it begins it never does, and its results are raised at once; while it runs, the actor's
//! process is told, and what that means is the language's business.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::id::ObjectId;
use crate::ipc::message::{ToWorker, encode, frame};
use crate::ipc::parcel::pack;
use crate::store::promise::Origin;
use crate::store::{Cancel, Store};
use crate::sync::ring::PushError;

/// How often the actor's ring may be found full before the message is left out: the call can still see that it was cancelled.
const TRIES: u32 = 10;

/// The error of a call that was cancelled.
pub fn cancelled(first: ObjectId) -> Error {
    Error::new(ErrorKind::Cancelled, format!("Task: {first} was cancelled."))
}

/// Cancels the call with this first result; `results` are those that the caller knows of. True if it runs: then it is the head's to
/// cancel what it asked for, if that is to be.
pub fn cancel_call(store: &Arc<Store>, first: ObjectId, results: &[ObjectId], recursive: bool) -> Result<bool> {
    match store.cancel_call(first, recursive) {
        Cancel::Over => Ok(false),
        Cancel::Unstarted => {
            let error = cancelled(first);
            results
                .iter()
                .chain([&first])
                .try_for_each(|id| store.fail(*id, &error))?;
            // Whose ring it is in is not known here. That process raises the other results, and goes on to later calls.
            store.ring_everyone();
            Ok(false)
        }
        Cancel::Running => {
            tell(store, first)?;
            Ok(true)
        }
    }
}

fn tell(store: &Arc<Store>, first: ObjectId) -> Result<()> {
    let Some(Origin::Call { runs: Some(actor), .. }) = store.origin(first) else {
        return Ok(());
    };
    let (body, _) = pack(store, &encode(&ToWorker::Cancel { call: first })?, &[])?;
    let record = frame(0, &body);
    for _ in 0..TRIES {
        match store.send(actor, &record, &[]) {
            Err(PushError::Full) => {
                store
                    .ring(actor)
                    .wait_for_space(record.len(), Duration::from_millis(100));
                store.check_open()?;
            }
            // Closed: the process is dead, and the head raises what it leaves.
            _ => return Ok(()),
        }
    }
    Ok(())
}
