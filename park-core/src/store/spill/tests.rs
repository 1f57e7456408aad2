//! Spilling end to end, with the spiller's thread, in one process that plays several.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::config::Config;
use crate::error::ErrorKind;
use crate::id::ParticipantId;
use crate::shm::participant;
use crate::store::{Object, ObjectRef, Spec, Store, never};
use crate::sync::atomic::Ordering;

/// A store that spills into a directory of its own, and ends as a session does.
struct Spilling {
    store: Arc<Store>,
    parent: TempDir,
}

impl Spilling {
    fn new(capacity: u64, adjust: impl FnOnce(Config) -> Config) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let config = Config::default()
            .capacity(capacity)
            .max_objects(4096)
            .full_timeout(Duration::from_millis(300))
            .spill_directory(parent.path());
        let config = adjust(config);
        let store = Arc::new(Store::open(&config, 7).unwrap());
        store.offer_spilling(&config);
        Self { store, parent }
    }

    fn small() -> Self {
        Self::new(1 << 20, |config| config)
    }

    fn directory(&self) -> std::path::PathBuf {
        self.parent.path().join("park-spill-0000000000000007")
    }

    fn peer(&self, number: u16) -> Arc<Store> {
        let [control, arena] = self.store.fds().map(|fd| fd.try_clone_to_owned().unwrap());
        let id = ParticipantId(number);
        self.store
            .participant(id)
            .state
            .store(participant::LIVE, Ordering::Release);
        let used = &self.store.header().participants_used;
        used.fetch_max(u32::from(number) + 1, Ordering::AcqRel);
        Arc::new(Store::join(control, arena, id, None, None).unwrap())
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        let entries = fs::read_dir(self.directory()).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Spilling {
    fn drop(&mut self) {
        self.store.close_session();
        self.store.end_spilling();
        if !std::thread::panicking() {
            assert_eq!(entries(self.parent.path()), 0, "the directory goes with the session");
        }
    }
}

fn entries(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

fn bytes(number: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| ((at * 31 + number * 7) % 253).to_le_bytes()[0])
        .collect()
}

fn put_many(store: &Arc<Store>, count: usize, len: usize) -> Vec<ObjectRef> {
    (0..count)
        .map(|number| store.put(&bytes(number, len)).unwrap())
        .collect()
}

fn get(store: &Arc<Store>, object: &ObjectRef) -> Object {
    store.get(object, Some(Duration::from_secs(20))).unwrap()
}

#[test]
fn ten_times_the_capacity_comes_back() {
    let spilling = Spilling::small();
    let objects = put_many(&spilling.store, 100, 100_000);
    assert!(objects.iter().all(|object| object.is_sealed()), "on disk is sealed");
    assert!(objects.iter().any(|object| !object.is_resident()));
    for (number, object) in objects.iter().enumerate() {
        assert!(
            get(&spilling.store, object).bytes() == bytes(number, 100_000),
            "{number}"
        );
    }
    let report = spilling.store.memory_report(5);
    assert!(report.spilled > 8_000_000 && report.spilled_objects > 80, "{report:?}");
    drop(objects);
    while spilling.store.board().bytes.load(Ordering::Relaxed) != 0 {
        std::thread::yield_now();
    }
    assert!(spilling.files().is_empty());
    assert_eq!(spilling.store.stats().used, 0);
}

#[test]
fn a_session_that_fits_touches_no_disk() {
    let spilling = Spilling::small();
    let _objects = put_many(&spilling.store, 9, 100_000);
    assert_eq!(entries(spilling.parent.path()), 0);
}

#[test]
fn a_peer_reads_and_writes_without_any_file() {
    let spilling = Spilling::small();
    let other = spilling.peer(2);
    // The head's own thread starts the spiller; here somebody has to play it.
    let objects = std::thread::scope(|scope| {
        let put = scope.spawn(|| put_many(&other, 50, 100_000));
        while !put.is_finished() {
            spilling.store.tend_spilling();
            std::thread::yield_now();
        }
        put.join().unwrap()
    });
    for (number, object) in objects.iter().enumerate() {
        assert!(get(&other, object).bytes() == bytes(number, 100_000), "{number}");
    }
}

#[test]
fn a_view_stays_where_it_is() {
    let spilling = Spilling::small();
    let pinned = spilling.store.put(&bytes(1000, 200_000)).unwrap();
    let view = get(&spilling.store, &pinned);
    let address = view.bytes().as_ptr();
    let _objects = put_many(&spilling.store, 50, 100_000);
    assert!(pinned.is_resident());
    assert!(view.bytes().as_ptr() == address && view.bytes() == bytes(1000, 200_000));
    drop(view);
    let _more = put_many(&spilling.store, 30, 100_000);
    assert!(!pinned.is_resident(), "nobody looks at it any more");
    assert!(get(&spilling.store, &pinned).bytes() == bytes(1000, 200_000));
}

#[test]
fn only_what_is_pinned_fills_the_store() {
    let spilling = Spilling::small();
    let mut views = Vec::new();
    let full = loop {
        match spilling.store.put(&[7; 100_000]) {
            Ok(object) => views.push(get(&spilling.store, &object)),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::StoreFull);
    assert!(
        views.len() >= 9 && full.message().contains("that somebody looks at"),
        "{full}"
    );
    // An object that went out before cannot come back either.
    drop(views.pop());
    let out = put_many(&spilling.store, 3, 100_000);
    let views: Vec<_> = views
        .into_iter()
        .chain(out.iter().skip(1).take(1).map(|o| get(&spilling.store, o)))
        .collect();
    let stuck = out.iter().find(|object| !object.is_resident()).unwrap();
    let error = spilling.store.get(stuck, Some(Duration::from_secs(20))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StoreFull);
    let error = spilling.store.get(stuck, Some(Duration::from_millis(10))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    drop(views);
    get(&spilling.store, stuck);
}

#[test]
fn many_readers_of_objects_that_fit_one_at_a_time() {
    let spilling = Spilling::new(1 << 20, |config| config.full_timeout(Duration::from_secs(5)));
    let objects = put_many(&spilling.store, 10, 600_000);
    std::thread::scope(|scope| {
        for (number, object) in objects.iter().enumerate() {
            let store = &spilling.store;
            scope.spawn(move || {
                for _ in 0..3 {
                    assert!(get(store, object).bytes() == bytes(number, 600_000));
                }
            });
        }
    });
}

#[test]
fn references_inside_objects_stay_counted() {
    let spilling = Spilling::small();
    let inner = spilling.store.put(&bytes(5, 100_000)).unwrap();
    let id = inner.id();
    let spec = Spec {
        nested: &[id],
        ..Spec::raw(100_000)
    };
    let outer = spilling.store.create(spec, &mut never).unwrap().seal().unwrap();
    drop(inner);
    let more = put_many(&spilling.store, 30, 100_000);
    assert!(outer.is_resident(), "an object with references stays");
    let inner = spilling.store.resolve(id).unwrap();
    assert!(!inner.is_resident(), "what it refers to may go");
    drop((inner, outer));
    assert!(!spilling.store.contains(id));
    drop(more);
    // The spiller holds what it is just moving.
    while spilling.store.references_held() != 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_flipped_byte_is_a_lost_object_and_no_other() {
    let spilling = Spilling::small();
    let objects = put_many(&spilling.store, 30, 100_000);
    let out: Vec<_> = (0..30).filter(|number| !objects[*number].is_resident()).collect();
    let [file] = &spilling.files()[..] else {
        panic!("one file")
    };
    let mut content = fs::read(file).unwrap();
    // Somewhere inside the first record, which is that of the object that went first.
    content[50_000] ^= 1;
    fs::write(file, content).unwrap();
    let mut lost = Vec::new();
    for number in out {
        match spilling.store.get(&objects[number], None) {
            Ok(view) => assert!(view.bytes() == bytes(number, 100_000)),
            Err(error) => lost.push((number, error)),
        }
    }
    assert_eq!(lost.len(), 1, "{lost:?}");
    let (number, error) = &lost[0];
    assert_eq!(error.kind(), ErrorKind::ObjectLost);
    let text = error.message();
    assert!(
        text.contains(&objects[*number].id().to_string()) && text.contains("000001.park"),
        "{text}"
    );
    let again = spilling.store.get(&objects[*number], None).unwrap_err();
    assert_eq!(again.message(), text, "and it stays lost");
}

#[test]
fn a_truncated_file_is_lost_objects() {
    let spilling = Spilling::small();
    let objects = put_many(&spilling.store, 30, 100_000);
    let [file] = &spilling.files()[..] else {
        panic!("one file")
    };
    fs::OpenOptions::new()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(10_000)
        .unwrap();
    let lost = objects.iter().find(|object| !object.is_resident()).unwrap();
    let error = spilling.store.get(lost, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ObjectLost, "{error}");
    spilling.store.put(&[1; 100_000]).unwrap();
}

#[test]
fn the_limit_stops_spilling_and_loses_nothing() {
    let spilling = Spilling::new(1 << 20, |config| config.spill_limit(1_000_000));
    let mut objects = Vec::new();
    let full = loop {
        match spilling.store.put(&bytes(objects.len(), 100_000)) {
            Ok(object) => objects.push(object),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), ErrorKind::StoreFull);
    assert!(full.message().contains("as much on disk as it may have"), "{full}");
    assert!((18..21).contains(&objects.len()), "{}", objects.len());
    for (number, object) in objects.iter().enumerate() {
        // With memory and disk both full, reading one from disk needs another to go: free one first.
        if object.is_resident() {
            assert!(get(&spilling.store, object).bytes() == bytes(number, 100_000));
        }
    }
    objects.retain(|object| !object.is_resident());
    for object in &objects {
        get(&spilling.store, object);
    }
    objects.clear();
    let _again = put_many(&spilling.store, 15, 100_000);
    assert_eq!(spilling.store.memory_report(0).trouble, None);
}

#[test]
fn a_directory_that_cannot_be_made_is_said() {
    let spilling = Spilling::new(1 << 20, |config| config.spill_directory("/proc/nowhere"));
    let objects: Vec<_> = std::iter::from_fn(|| spilling.store.put(&[1; 100_000]).ok()).collect();
    let full = spilling.store.put(&[1; 100_000]).unwrap_err();
    assert!(full.message().contains("could not be written: No such file"), "{full}");
    assert!(objects.len() >= 9 && objects.iter().all(|object| object.is_resident()));
}

#[test]
fn without_a_limit_above_zero_nothing_is_spilled() {
    let spilling = Spilling::new(1 << 20, |config| config.spill_limit(0));
    assert!(!spilling.store.may_spill());
    let objects: Vec<_> = std::iter::from_fn(|| spilling.store.put(&[1; 100_000]).ok()).collect();
    assert!((9..11).contains(&objects.len()));
}
