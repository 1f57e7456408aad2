//! Both ends in one process: order, back-pressure, pins, ends, deaths, and memory that a peer scribbles over.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::error::{ErrorKind, Result};
use crate::id::ParticipantId;
use crate::shm::participant;
use crate::store::{DType, Format, Store, TensorSpec, View, never};
use crate::sync::atomic::Ordering;

const NOW: Option<Duration> = Some(Duration::ZERO);

fn store() -> Arc<Store> {
    Arc::new(Store::open(&Config::default().capacity(4 << 20).max_objects(1024), 7).unwrap())
}

fn channel(store: &Arc<Store>, slots: u64, slot_bytes: u64, readers: u64) -> Channel {
    let spec = ChannelSpec {
        slots,
        slot_bytes,
        readers,
    };
    Channel::create(store, spec).unwrap()
}

/// The channel as another process of the session sees it.
fn peer(store: &Arc<Store>, number: u16, channel: &Channel) -> Channel {
    let [control, arena] = store.fds().map(|fd| fd.try_clone_to_owned().unwrap());
    let id = ParticipantId(number);
    store.participant(id).state.store(participant::LIVE, Ordering::Release);
    store
        .header()
        .participants_used
        .fetch_max(u32::from(number) + 1, Ordering::AcqRel);
    let peer = Arc::new(Store::join(control, arena, id, None, None).unwrap());
    Channel::open(peer.resolve(channel.reference().id()).unwrap()).unwrap()
}

/// The head has seen the process end and given back what it held; its entry is free for another.
fn dies(store: &Arc<Store>, number: u16) {
    let entry = store.participant(ParticipantId(number));
    entry.state.store(participant::DEAD, Ordering::Release);
    store.recover(ParticipantId(number));
    entry.state.store(participant::FREE, Ordering::Release);
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn messages_come_in_order_and_each_reader_sees_each() {
    let store = store();
    let channel = channel(&store, 3, 100, 2);
    let mut writer = channel.writer().unwrap();
    let mut readers = [channel.reader().unwrap(), peer(&store, 5, &channel).reader().unwrap()];
    for round in 0..10u8 {
        writer
            .write(&vec![round; usize::from(round) * 10], NOW, &mut never)
            .unwrap();
        for reader in &mut readers {
            let message = reader.read(NOW, &mut never).unwrap();
            assert_eq!(message.bytes(), vec![round; usize::from(round) * 10]);
            assert_eq!((message.kind(), message.position()), (Kind::RAW, u64::from(round)));
        }
    }
    for reader in &mut readers {
        assert_eq!(kind(reader.read(NOW, &mut never)), ErrorKind::Timeout);
    }
}

#[test]
fn a_full_ring_holds_the_writer_until_the_slowest_reader_gives_back() {
    let store = store();
    let channel = channel(&store, 2, 8, 1);
    let (mut writer, mut reader) = (channel.writer().unwrap(), channel.reader().unwrap());
    writer.write(b"a", NOW, &mut never).unwrap();
    writer.write(b"b", NOW, &mut never).unwrap();
    let full = writer
        .write(b"c", Some(Duration::from_millis(5)), &mut never)
        .unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Timeout);
    assert!(full.message().contains("all 2 slots"), "{full}");
    let a = reader.read(NOW, &mut never).unwrap();
    let b = reader.read(NOW, &mut never).unwrap();
    assert_eq!(
        kind(reader.read(None, &mut never)),
        ErrorKind::InvalidArgument,
        "it holds all"
    );
    drop(b);
    assert_eq!(
        kind(writer.write(b"c", NOW, &mut never)),
        ErrorKind::Timeout,
        "slots come back in order"
    );
    assert_eq!(a.bytes(), b"a");
    drop(a);
    writer.write(b"c", NOW, &mut never).unwrap();
    writer.write(b"d", NOW, &mut never).unwrap();
    assert_eq!(reader.read(NOW, &mut never).unwrap().bytes(), b"c");
}

#[test]
fn threads_hand_over_and_wake_each_other() {
    let store = store();
    let channel = channel(&store, 2, 64, 2);
    let mut writer = channel.writer().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let mut reader = channel.reader().unwrap();
            scope.spawn(move || {
                for n in 0u64..20_000 {
                    let message = reader.read(None, &mut never).unwrap();
                    assert!(
                        message.bytes().chunks(8).all(|word| word == n.to_le_bytes()),
                        "torn at {n}"
                    );
                }
                assert_eq!(kind(reader.read(None, &mut never)), ErrorKind::ChannelClosed);
            });
        }
        for n in 0u64..20_000 {
            writer.write(&n.to_le_bytes().repeat(8), None, &mut never).unwrap();
        }
        writer.close();
        assert_eq!(kind(writer.write(b"", NOW, &mut never)), ErrorKind::HandleClosed);
    });
}

#[test]
fn drafts_are_written_in_place_and_leave_no_trace_unless_published() {
    let store = store();
    let channel = channel(&store, 2, 16, 1);
    let (mut writer, mut reader) = (channel.writer().unwrap(), channel.reader().unwrap());
    let mut draft = writer.begin(Kind::RAW, 16, NOW, &mut never).unwrap();
    assert_eq!(draft.as_mut_ptr().addr() % 64, 0);
    assert_eq!(kind(draft.write(9, &[1; 8])), ErrorKind::InvalidArgument);
    assert_eq!(kind(draft.write(u64::MAX, &[1; 8])), ErrorKind::InvalidArgument);
    drop(draft);
    assert_eq!(kind(reader.read(NOW, &mut never)), ErrorKind::Timeout);
    let aside = writer.begin(Kind::RAW, 3, NOW, &mut never).unwrap().set_aside();
    let mut draft = writer.resume(aside).unwrap();
    draft.write(0, b"new").unwrap();
    let stale = draft.set_aside();
    writer.write(b"other", NOW, &mut never).unwrap();
    assert_eq!(kind(writer.resume(stale)), ErrorKind::HandleClosed);
    assert_eq!(reader.read(NOW, &mut never).unwrap().bytes(), b"other");
}

#[test]
fn tensors_fit_with_their_header_and_other_formats_are_checked() {
    let store = store();
    let channel = channel(&store, 2, 24, 1);
    let (mut writer, mut reader) = (channel.writer().unwrap(), channel.reader().unwrap());
    let f32 = DType::new(2, 32).unwrap();
    let spec = TensorSpec::contiguous(f32, &[2, 3], View::Torch).unwrap();
    writer.write_tensor(&spec, &[7; 24], NOW, &mut never).unwrap();
    let message = reader.read(NOW, &mut never).unwrap();
    assert_eq!(message.tensor().unwrap(), (spec.clone(), &[7u8; 24][..]));
    assert_eq!(message.tensor().unwrap().1.as_ptr().addr() % 64, 0);
    assert_eq!(
        kind(writer.write_tensor(&spec, &[7; 23], NOW, &mut never)),
        ErrorKind::InvalidArgument
    );
    let large = TensorSpec::contiguous(f32, &[7], View::Numpy).unwrap();
    let error = writer.write_tensor(&large, &[0; 28], NOW, &mut never).unwrap_err();
    assert!(
        error.kind() == ErrorKind::InvalidArgument && error.message().contains("220 bytes"),
        "{error}"
    );
    let error = writer.write(&[0; 25], NOW, &mut never).unwrap_err();
    assert!(
        error.message().contains("25 bytes") && error.message().contains("24 bytes"),
        "{error}"
    );
    writer.write(&[0; 24], NOW, &mut never).unwrap();
    assert_eq!(
        kind(reader.read(NOW, &mut never).unwrap().tensor()),
        ErrorKind::WrongFormat
    );
    let actor = Kind {
        format: Format::Actor,
        view: View::Numpy,
    };
    assert_eq!(
        kind(writer.begin(actor, 1, NOW, &mut never)),
        ErrorKind::InvalidArgument
    );
}

#[test]
fn ends_are_told_apart_from_silence() {
    let store = store();
    let channel = channel(&store, 2, 8, 1);
    let mut reader = channel.reader().unwrap();
    let mut writer = channel.writer().unwrap();
    assert_eq!(kind(channel.writer()), ErrorKind::AlreadyExists);
    assert_eq!(kind(peer(&store, 5, &channel).writer()), ErrorKind::AlreadyExists);
    writer.write(b"last", NOW, &mut never).unwrap();
    drop(writer);
    assert_eq!(reader.read(NOW, &mut never).unwrap().bytes(), b"last");
    assert_eq!(kind(reader.read(None, &mut never)), ErrorKind::ChannelClosed);
    assert_eq!(kind(channel.writer()), ErrorKind::ChannelClosed);
}

#[test]
fn a_writer_without_readers_is_told_so_unless_it_is_a_broadcast() {
    let store = store();
    let expected = channel(&store, 2, 8, 1);
    let mut writer = expected.writer().unwrap();
    drop(expected.reader().unwrap());
    assert_eq!(kind(writer.write(b"x", NOW, &mut never)), ErrorKind::ChannelClosed);
    let mut late = expected.reader().unwrap();
    writer.write(b"y", NOW, &mut never).unwrap();
    assert_eq!(late.read(NOW, &mut never).unwrap().bytes(), b"y");
    let broadcast = channel(&store, 2, 8, 0);
    let mut writer = broadcast.writer().unwrap();
    for _ in 0..9 {
        writer.write(b"nobody", NOW, &mut never).unwrap();
    }
    let mut late = broadcast.reader().unwrap();
    assert_eq!(kind(late.read(NOW, &mut never)), ErrorKind::Timeout);
    writer.write(b"somebody", NOW, &mut never).unwrap();
    assert_eq!(late.read(NOW, &mut never).unwrap().position(), 9);
}

#[test]
fn a_dead_reader_does_not_wedge_the_writer_and_a_dead_writer_not_its_readers() {
    let store = store();
    let channel = channel(&store, 2, 8, 2);
    let mut reader = channel.reader().unwrap();
    let victim = peer(&store, 5, &channel);
    let (mut writer, mut dead) = (victim.writer().unwrap(), peer(&store, 6, &channel).reader().unwrap());
    writer.write(b"a", NOW, &mut never).unwrap();
    std::mem::forget(dead.read(NOW, &mut never).unwrap());
    std::mem::forget(dead);
    writer.write(b"b", NOW, &mut never).unwrap();
    reader.read(NOW, &mut never).unwrap();
    dies(&store, 6);
    writer.write(b"c", NOW, &mut never).unwrap();
    // Killed in mid-message.
    reader.read(NOW, &mut never).unwrap();
    let mut half = writer.begin(Kind::RAW, 4, NOW, &mut never).unwrap();
    half.write(0, b"half").unwrap();
    let _ = half.set_aside();
    std::mem::forget(writer);
    std::mem::forget(victim);
    dies(&store, 5);
    assert_eq!(reader.read(NOW, &mut never).unwrap().bytes(), b"c");
    let error = reader.read(None, &mut never).unwrap_err();
    assert!(
        error.kind() == ErrorKind::ChannelClosed && error.message().contains("died"),
        "{error}"
    );
    let mut writer = channel.writer().unwrap();
    writer.write(b"d", NOW, &mut never).unwrap();
    let message = reader.read(NOW, &mut never).unwrap();
    assert_eq!((message.bytes(), message.position()), (&b"d"[..], 3));
}

#[test]
fn waiting_ends_by_interrupt_and_by_the_end_of_the_session() {
    let store = store();
    let channel = channel(&store, 1, 8, 1);
    let mut reader = channel.reader().unwrap();
    let mut stop = || Err(crate::error::Error::new(ErrorKind::Interrupted, "stop"));
    assert_eq!(kind(reader.read(None, &mut stop)), ErrorKind::Interrupted);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            store.close_session();
        });
        assert_eq!(kind(reader.read(None, &mut never)), ErrorKind::SessionClosed);
    });
    assert_eq!(kind(channel.writer()), ErrorKind::SessionClosed);
}

#[test]
fn the_memory_is_an_object_s_and_goes_with_the_last_handle() {
    let store = store();
    let channel = channel(&store, 4, 10_000, 1);
    let (reference, id) = (channel.reference().clone(), channel.reference().id());
    assert!(store.stats().used > 40_000);
    let opened = reference.open().unwrap();
    assert!(
        opened.format() == Format::Channel && opened.bytes().is_empty(),
        "not readable as data"
    );
    drop((opened, reference));
    let (mut writer, mut reader) = (channel.writer().unwrap(), channel.reader().unwrap());
    drop(channel);
    writer.write(b"kept", NOW, &mut never).unwrap();
    let message = reader.read(NOW, &mut never).unwrap();
    drop((writer, reader));
    assert_eq!(message.bytes(), b"kept");
    drop(message);
    assert!(!store.contains(id));
    assert_eq!((store.stats().used, store.stats().objects), (0, 0));
}

#[test]
fn what_is_no_channel_and_impossible_sizes_are_refused() {
    let store = store();
    let bytes = store.put(&[0; 10_000]).unwrap();
    assert_eq!(kind(Channel::open(bytes)), ErrorKind::WrongFormat);
    for (slots, slot_bytes, readers) in [
        (0, 8, 1),
        (1 << 40, 8, 1),
        (1, u64::MAX, 1),
        (1 << 20, 1 << 50, 1),
        (1, 8, 65),
    ] {
        let spec = ChannelSpec {
            slots,
            slot_bytes,
            readers,
        };
        assert_eq!(
            kind(Channel::create(&store, spec)),
            ErrorKind::InvalidArgument,
            "{spec:?}"
        );
    }
    let spec = ChannelSpec {
        slots: 8,
        slot_bytes: 1 << 20,
        readers: 1,
    };
    assert_eq!(kind(Channel::create(&store, spec)), ErrorKind::StoreFull);
    assert_eq!(store.stats().objects, 0);
}

proptest! {
    /// A peer writes anything anywhere into the header, and into a slot's: every call ends, with a result or a typed error.
    #[test]
    fn scribbled_words_are_errors_and_never_worse(
        words in prop::collection::vec((0usize..(4352 / 8), prop_oneof![any::<u64>(), 0u64..70, Just(1 << 63)]), 1..6),
        slot in prop::option::of((any::<u64>(), any::<u64>())),
    ) {
        let store = store();
        let channel = channel(&store, 2, 64, 1);
        let (mut writer, mut reader) = (channel.writer().unwrap(), channel.reader().unwrap());
        let _ = writer.write(b"before", NOW, &mut never);
        if let Some((len, meta)) = slot {
            channel.slot_header(0).len.store(len, Ordering::Relaxed);
            channel.slot_header(0).meta.store(meta, Ordering::Relaxed);
        }
        for (at, value) in words {
            channel.header_words()[at].store(value, Ordering::Relaxed);
        }
        for _ in 0..4 {
            let _ = writer.write(b"after", NOW, &mut never);
            if let Ok(message) = reader.read(NOW, &mut never) {
                let _ = (message.bytes().len(), message.tensor());
            }
        }
        let _ = Channel::open(channel.reference().clone());
        let _ = channel.reader().map(|mut reader| reader.read(NOW, &mut never).map(|message| message.bytes().len()));
        drop(writer);
        let _ = channel.writer().map(|mut writer| writer.write(b"again", NOW, &mut never));
    }
}
