//! Control segments that are none, or that somebody scribbled over: joining refuses them, or what is joined answers with errors.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use park_core::shm::{Layout, Segment};
use park_core::store::never;
use park_core::sys::memfd;
use park_core::{Config, ObjectId, ParticipantId, Spec, Store};

use super::input::Input;

pub(crate) fn target(data: &[u8]) {
    let mut input = Input::new(data);
    if input.byte().is_multiple_of(2) {
        header(input);
    } else {
        scribbled(input);
    }
}

/// A first page of any bytes, in a segment of any length.
fn header(mut input: Input<'_>) {
    let len = input.number() % (64 << 20);
    let arena = input.number();
    let Ok(fd) = memfd::create("park-fuzz", len) else {
        return;
    };
    let mut file = std::fs::File::from(fd);
    let page = input.rest();
    let _ = file.write_all(&page[..page.len().min(len as usize).min(4096)]);
    if let Ok(segment) = Segment::open(file.into()) {
        let _ = Layout::read_header(&segment, arena);
    }
}

/// A session in which words of the first pages, and of the first slots, are anything; then its verbs.
fn scribbled(mut input: Input<'_>) {
    let config = Config::default()
        .capacity(1 << 20)
        .max_objects(64)
        .full_timeout(Duration::ZERO);
    let host = Arc::new(Store::open(&config, 7).expect("a store opens"));
    let held: Vec<_> = [10, 100, 5000]
        .iter()
        .filter_map(|len| host.put(&vec![1; *len]).ok())
        .collect();
    let [control, arena] = host.fds().map(|fd| fd.try_clone_to_owned().expect("a copy"));
    let segment = Segment::open(control.as_fd().try_clone_to_owned().expect("a copy")).expect("our own");
    let layout = Layout::read_header(&segment, host.capacity()).expect("our own");
    for _ in 0..1 + input.byte() % 16 {
        let slots = layout.slot(0);
        // Header, allocator, the participants that exist, or the first slots.
        let offset = match input.byte() % 4 {
            0 => u64::from(input.byte()) % 10 * 8,
            1 => 4096 + input.number() % 768 * 8,
            2 => 4 * 4096 + u64::from(input.byte()) % 96 * 8,
            _ => slots + input.number() % (8 * 16) * 8,
        };
        let value = input.number();
        if let Ok(word) = segment.at::<std::sync::atomic::AtomicU64>(offset) {
            word.store(value, std::sync::atomic::Ordering::Relaxed);
        }
    }
    // A lock that names a member who lives is waited for ten seconds, which says nothing new and would take for ever.
    for lock in [56, 4096] {
        let word = segment.at::<std::sync::atomic::AtomicU32>(lock).expect("inside");
        if (1..=3).contains(&(word.load(std::sync::atomic::Ordering::Relaxed) & 0x3fff_ffff)) {
            word.store(0, std::sync::atomic::Ordering::Relaxed);
        }
    }
    use_it(&host, &mut input);
    if let Ok(peer) = Store::join(control, arena, ParticipantId(2), None, None) {
        use_it(&Arc::new(peer), &mut input);
    }
    for reference in &held {
        let _ = host
            .get(reference, Some(Duration::ZERO))
            .map(|object| object.nested().is_ok());
    }
}

fn use_it(store: &Arc<Store>, input: &mut Input<'_>) {
    let mut made = Vec::new();
    for len in [5, 200, usize::from(input.byte()) * 64] {
        made.extend(store.put(&vec![2; len]));
    }
    let nested: Vec<ObjectId> = made.iter().map(park_core::ObjectRef::id).collect();
    let spec = Spec {
        nested: &nested,
        ..Spec::raw(input.number())
    };
    if let Ok(object) = store.create(spec, &mut never) {
        made.extend(object.seal());
    }
    for index in 0..4 {
        let id = ObjectId {
            session: store.session(),
            index,
            generation: u32::from(input.byte() % 3),
        };
        let _ = store.contains(id);
        if let Ok(reference) = store.resolve(id) {
            made.push(reference);
        }
    }
    for reference in &made {
        if let Ok(object) = store.get(reference, Some(Duration::ZERO)) {
            let sum = object.bytes().iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            std::hint::black_box(sum);
            let _ = (object.tensor().is_ok(), object.nested().is_ok());
        }
    }
    let _ = store.stats();
}
