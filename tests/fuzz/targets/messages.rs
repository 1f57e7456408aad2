//! Records of the control plane, as any member of a session could put them into a ring.

use std::sync::{Arc, LazyLock};

use park_core::ipc::message::{ActorSpec, Envelope, Submission, ToWorker, decode, encode, unframe};
use park_core::ipc::parcel::unpack;
use park_core::runtime::HeadStats;
use park_core::{Config, Store};

static STORE: LazyLock<Arc<Store>> = LazyLock::new(|| {
    let config = Config::default().capacity(1 << 20).max_objects(64);
    Arc::new(Store::open(&config, 7).expect("a store opens"))
});

pub(crate) fn target(data: &[u8]) {
    // What can be read can be written, and is the same again: a record means one thing.
    if let Ok(envelope) = decode::<Envelope>(data) {
        let again = encode(&envelope).expect("what was read can be written");
        assert_eq!(
            decode::<Envelope>(&again).expect("what was written can be read"),
            envelope
        );
    }
    if let Ok((_, body)) = unframe(data)
        && let Ok(message) = decode::<ToWorker>(body)
    {
        let _ = message.holds();
        let again = encode(&message).expect("what was read can be written");
        assert_eq!(
            decode::<ToWorker>(&again).expect("what was written can be read"),
            message
        );
    }
    let _ = decode::<Submission>(data).map(|submission| submission.args.holds().count());
    let _ = decode::<ActorSpec>(data).map(|spec| spec.args.holds().count());
    let _ = decode::<HeadStats>(data);
    let _ = unpack(&STORE, data).map(|(bytes, _)| bytes.len());
}
