//! The store's verbs beside a plain copy of the same bytes, in one run. Each case checks its answer once before it is timed.
#![allow(missing_docs, reason = "criterion's macros generate public items")]
#![allow(clippy::print_stdout, reason = "what is no criterion case is printed")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot set up should stop")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use park_core::store::never;
use park_core::{Config, Session, Spec, Store};

/// Set in the processes that `by_processes` starts: the session to join.
const CHILD: &str = "PARK_BENCH_SESSION";

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
    let ready = || store.wait(&all, all.len(), None, &mut never).unwrap();
    assert_eq!(ready(), 1000);
    c.bench_function("wait/1000_sealed", |b| b.iter(ready));
}

/// Lending and taking back alone: no bytes are copied.
fn create_and_release(c: &mut Criterion, store: &Arc<Store>) {
    let once = |len: u64| {
        let object = store.create(Spec::raw(len), &mut never).unwrap();
        object.seal().unwrap()
    };
    for len in [16u64, 100, 4000, 1 << 20, 16 << 20] {
        assert_eq!(store.get(&once(len), None).unwrap().bytes().len() as u64, len);
        c.bench_function(&format!("create_seal_release/{len}"), |b| {
            b.iter(|| once(black_box(len)))
        });
    }
}

/// The same by several processes at once. What counts is the processor time of one operation: this machine may have fewer processors
/// than there are processes, and other work.
fn by_processes(session: &Session) {
    let address = session.address();
    for processes in [1, 2, 4, 8] {
        let mut children: Vec<_> = (0..processes)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .env(CHILD, address)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut outputs: Vec<_> = children
            .iter_mut()
            .map(|child| BufReader::new(child.stdout.take().unwrap()).lines())
            .collect();
        // Each says when it has joined, starts when told to, and says what an operation cost it.
        outputs
            .iter_mut()
            .for_each(|lines| assert_eq!(lines.next().unwrap().unwrap(), "joined"));
        children
            .iter_mut()
            .for_each(|child| writeln!(child.stdin.as_mut().unwrap(), "go").unwrap());
        let costs = outputs
            .iter_mut()
            .map(|lines| lines.next().unwrap().unwrap().parse::<f64>().unwrap());
        let mean = costs.sum::<f64>() / f64::from(processes);
        children
            .iter_mut()
            .for_each(|child| assert!(child.wait().unwrap().success()));
        println!("create_seal_release by {processes} processes at once: {mean:.0} ns of processor time each");
    }
}

/// One of those processes.
fn child(address: &str) {
    let session = Session::attach(address).unwrap();
    let store = session.store();
    println!("joined");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    const OPERATIONS: u32 = 300_000;
    let mut held = VecDeque::new();
    let before = processor_time();
    for n in 0..OPERATIONS {
        // Sizes from 100 B to 100 kB, sixteen objects alive at a time.
        let len = 100 << ((n.wrapping_mul(2_654_435_761) >> 16) % 11);
        held.push_back(store.create(Spec::raw(len), &mut never).unwrap().seal().unwrap());
        if held.len() > 16 {
            held.pop_front();
        }
    }
    println!("{}", (processor_time() - before) / f64::from(OPERATIONS));
}

/// Nanoseconds that this thread has run.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// After a mixed life at 60 to 85 %: how much of what is free could be stored as one object.
fn fragmentation() {
    let session = Session::open(&Config::default().capacity(512 << 20)).unwrap();
    let (store, mut held) = (session.store(), VecDeque::new());
    let (mut random, mut used) = (7919u64, 0);
    for _ in 0..200_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let len = 100u64 << ((random >> 40) % 16);
        if used * 100 < store.capacity() * (60 + (random >> 33) % 25) {
            let len = len + len * ((random >> 50) % 64) / 64;
            used += len;
            held.push_back((len, store.create(Spec::raw(len), &mut never).unwrap().seal().unwrap()));
        } else {
            // The young die, and now and then the oldest.
            let at = if random >> 62 == 0 {
                0
            } else {
                held.len() - 1 - (random >> 56) as usize % 50.min(held.len())
            };
            used -= held.remove(at).map_or(0, |(len, _)| len);
        }
    }
    let stats = store.stats();
    let free = stats.capacity - stats.used;
    println!(
        "largest free extent after a mixed life: {:.1} % of what is free",
        stats.largest_free as f64 * 100.0 / free as f64
    );
}

fn all(c: &mut Criterion) {
    let session = session();
    put_and_release(c, session.store());
    create_and_release(c, session.store());
    get(c, session.store());
    wait(c, session.store());
}

criterion_group!(benches, all);

fn main() {
    if let Ok(address) = std::env::var(CHILD) {
        return child(&address);
    }
    benches();
    by_processes(&session());
    fragmentation();
    Criterion::default().configure_from_args().final_summary();
}
