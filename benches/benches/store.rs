//! The store's verbs beside a plain copy of the same bytes, in one run. Each case checks its answer once before it is timed.
#![allow(missing_docs, reason = "criterion's macros generate public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot set up should stop")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use park_core::{Config, Session, Store};

fn session() -> Session {
    Session::open(&Config::default().capacity(1 << 30)).unwrap()
}

fn put_and_release(c: &mut Criterion, store: &Arc<Store>) {
    let mut group = c.benchmark_group("put_and_release");
    for len in [16usize, 64, 100, 1 << 10, 100 << 10, 10 << 20, 100 << 20] {
        let bytes = vec![7u8; len];
        let check = store.put(&bytes).unwrap();
        assert_eq!(store.get(&check, None).unwrap().bytes(), bytes);
        drop(check);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_with_input(BenchmarkId::new("store", len), &bytes, |b, bytes| {
            b.iter(|| store.put(black_box(bytes)).unwrap())
        });
        let mut copy = bytes.clone();
        group.bench_with_input(BenchmarkId::new("memcpy", len), &bytes, |b, bytes| {
            b.iter(|| black_box(&mut copy).copy_from_slice(black_box(bytes)));
        });
    }
    group.finish();
}

fn get(c: &mut Criterion, store: &Arc<Store>) {
    let small = store.put(b"small").unwrap();
    assert_eq!(store.get(&small, None).unwrap().bytes(), b"small");
    c.bench_function("get/sealed", |b| b.iter(|| store.get(black_box(&small), None).unwrap()));
    c.bench_function("get/borrowed", |b| {
        b.iter(|| black_box(&small).sealed().unwrap().bytes.len())
    });
    c.bench_function("reference/clone_and_drop", |b| b.iter(|| black_box(&small).clone()));
}

fn wait(c: &mut Criterion, store: &Arc<Store>) {
    let refs: Vec<_> = (0u32..1000).map(|n| store.put(&n.to_le_bytes()).unwrap()).collect();
    let all: Vec<_> = refs.iter().collect();
    let ready = || store.wait(&all, all.len(), None, &mut park_core::store::never).unwrap();
    assert_eq!(ready(), 1000);
    c.bench_function("wait/1000_sealed", |b| b.iter(ready));
}

fn all(c: &mut Criterion) {
    let session = session();
    put_and_release(c, session.store());
    get(c, session.store());
    wait(c, session.store());
}

criterion_group!(benches, all);
criterion_main!(benches);
