//! Messages that do not fit into a ring: their bytes become an object, and the ring carries its id.
//!
//! ```text
//! 0, bytes         the message itself
//! 1, 16 bytes      id of the RAW object that holds it
//! ```
//! A record owns what its message names, or, if the message became an object, only that object, which in turn holds the rest: so
//! a record never owns more references than a process's journal can list.
//! A call with ten thousand references is legal and rare; rings stay small, because every process has one.

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::{Result, bail};
use crate::id::ObjectId;
use crate::store::{Spec, Store, never};

/// Longer messages become objects. A ring takes records of up to a quarter of its size; well below that, so that one long message does
/// not fill it.
const LONG: usize = 16 << 10;
/// As `LONG`, in a ring that many records lie in already: a thousand calls of an async actor are to find room there at a time.
const LONG_IN_A_CROWD: usize = 192;

/// Wraps a message that owns references to `names`. If it became an object, also says which: the caller has a hold on it, and keeps
/// those on `names`.
pub fn pack(store: &Arc<Store>, message: &[u8], names: &[ObjectId]) -> Result<(Vec<u8>, Option<ObjectId>)> {
    pack_longer_than(LONG, store, message, names)
}

/// As `pack`, for a ring that is crowded.
pub fn pack_for_a_crowd(store: &Arc<Store>, message: &[u8], names: &[ObjectId]) -> Result<(Vec<u8>, Option<ObjectId>)> {
    pack_longer_than(LONG_IN_A_CROWD, store, message, names)
}

fn pack_longer_than(
    longest: usize,
    store: &Arc<Store>,
    message: &[u8],
    names: &[ObjectId],
) -> Result<(Vec<u8>, Option<ObjectId>)> {
    let mut bytes = Vec::with_capacity(1 + message.len().min(longest));
    if message.len() <= longest {
        bytes.push(0);
        bytes.extend_from_slice(message);
        return Ok((bytes, None));
    }
    let spec = Spec {
        nested: names,
        ..Spec::raw(message.len() as u64)
    };
    let mut object = store.create(spec, &mut never)?;
    object.write(0, message)?;
    // The head reads messages where it cannot wait for a disk.
    object.keep_in_memory();
    let object = object.seal()?;
    object.hold()?;
    bytes.push(1);
    bytes.extend_from_slice(&object.id().to_bytes());
    Ok((bytes, Some(object.id())))
}

/// The message, and the object that held it, whose hold goes back when the message's work is done.
pub fn unpack<'a>(store: &Arc<Store>, bytes: &'a [u8]) -> Result<(Cow<'a, [u8]>, Option<ObjectId>)> {
    match bytes.split_first() {
        Some((0, message)) => Ok((Cow::Borrowed(message), None)),
        Some((1, id)) => {
            let Ok(id) = <[u8; ObjectId::SIZE]>::try_from(id) else {
                bail!(Corrupt, "a message names an object by {} bytes", id.len());
            };
            let id = ObjectId::from_bytes(id);
            let message = store.resolve(id)?.open()?.bytes().to_vec();
            Ok((Cow::Owned(message), Some(id)))
        }
        _ => bail!(Corrupt, "a message of {} bytes is malformed", bytes.len()),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::error::ErrorKind;

    #[test]
    fn short_and_long_messages_come_back_and_leave_nothing() {
        let store = Arc::new(Store::open(&Config::default().capacity(1 << 20), 3).unwrap());
        for len in [0, 1, LONG, LONG + 1, 500_000] {
            let message = vec![7; len];
            let (packed, held) = pack(&store, &message, &[]).unwrap();
            assert!(packed.len() <= LONG + 1 && held.is_some() == (len > LONG));
            let (back, same) = unpack(&store, &packed).unwrap();
            assert_eq!((back.as_ref(), same), (&message[..], held));
            held.into_iter().for_each(|id| store.drop_hold(id));
        }
        assert_eq!((store.stats().objects, store.stats().used), (0, 0));
        for bad in [&[][..], &[2], &[1, 2, 3]] {
            assert_eq!(unpack(&store, bad).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}
