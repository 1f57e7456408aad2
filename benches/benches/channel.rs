//! One hop of a channel beside what the machine can do: a futex, a pipe, a copy of the same bytes, in one run.
//!
//! A hop is half of a round trip: this side writes, the other side sends the same bytes back. Every answer is checked. The other side is a
//! thread, or this program run again with `child` as its first argument. Where the scheduler puts both sides on one core, as it does on a
//! busy machine, every row is the price of a context switch: pin them apart (`taskset`) to see hops.
#![allow(missing_docs, reason = "criterion's macros generate public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot set up should stop")]

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write, stdin, stdout};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use park_core::channel::{Channel, ChannelReader, ChannelSpec, ChannelWriter};
use park_core::shm::Segment;
use park_core::store::never;
use park_core::sys::futex;
use park_core::{Config, Session, Store};

const SIZES: [usize; 2] = [64, 1 << 20];

// --- the other side -------------------------------------------------------------------------------------------------------------------

fn echo(mut reader: ChannelReader, mut writer: ChannelWriter) {
    while let Ok(message) = reader.read(None, &mut never) {
        writer.write(message.bytes(), None, &mut never).unwrap();
    }
}

fn echo_futex(word: &AtomicU32) {
    loop {
        await_turn(word, 1);
        if word.load(Ordering::Acquire) == 2 {
            return;
        }
        pass_turn(word, 0);
    }
}

fn echo_pipe(len: usize) {
    let (mut bytes, mut input, mut output) = (vec![0; len], stdin().lock(), stdout().lock());
    while input.read_exact(&mut bytes).is_ok() {
        output.write_all(&bytes).unwrap();
        output.flush().unwrap();
    }
}

fn child(arguments: &[String]) {
    match arguments {
        [what, address, there, back] if what == "channel" => {
            let session = Session::attach(address).unwrap();
            let open = |id: &String| Channel::open(session.store().resolve(id.parse().unwrap()).unwrap()).unwrap();
            echo(open(there).reader().unwrap(), open(back).writer().unwrap());
        }
        [what, path] if what == "futex" => {
            let file = File::options().read(true).write(true).open(path).unwrap();
            echo_futex(Segment::open(file.into()).unwrap().at(0).unwrap());
        }
        [what, len] if what == "pipe" => echo_pipe(len.parse().unwrap()),
        other => unreachable!("no child does {other:?}"),
    }
}

fn spawn(arguments: &[String]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg("child")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

// --- this side ------------------------------------------------------------------------------------------------------------------------

/// Half of what a round trip takes.
fn hops(mut round_trip: impl FnMut()) -> impl FnMut(u64) -> Duration {
    move |rounds| {
        let start = Instant::now();
        (0..rounds).for_each(|_| round_trip());
        start.elapsed() / 2
    }
}

fn channels(store: &Arc<Store>, len: usize) -> [Channel; 2] {
    [(); 2].map(|()| {
        let spec = ChannelSpec {
            slots: 4,
            slot_bytes: len as u64,
            readers: 1,
        };
        Channel::create(store, spec).unwrap()
    })
}

fn trip(writer: &mut ChannelWriter, reader: &mut ChannelReader, bytes: &[u8]) {
    writer.write(bytes, None, &mut never).unwrap();
    let message = reader.read(None, &mut never).unwrap();
    assert_eq!(black_box(message.bytes()).len(), bytes.len());
}

fn await_turn(word: &AtomicU32, turn: u32) {
    loop {
        let seen = word.load(Ordering::Acquire);
        if seen >= turn && seen != 1 - turn {
            return;
        }
        futex::wait(word, seen, None);
    }
}

fn pass_turn(word: &AtomicU32, turn: u32) {
    word.store(turn, Ordering::Release);
    futex::wake(word, 1);
}

fn hop(c: &mut Criterion, session: &Session, len: usize) {
    let mut group = c.benchmark_group("hop");
    let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
    group.throughput(Throughput::Bytes(len as u64));

    let [there, back] = channels(session.store(), len);
    let (mut writer, mut reader) = (there.writer().unwrap(), back.reader().unwrap());
    let ends = (there.reader().unwrap(), back.writer().unwrap());
    let other = std::thread::spawn(move || echo(ends.0, ends.1));
    writer.write(&bytes, None, &mut never).unwrap();
    assert_eq!(reader.read(None, &mut never).unwrap().bytes(), bytes);
    group.bench_function(BenchmarkId::new("channel, threads", len), |b| {
        b.iter_custom(hops(|| trip(&mut writer, &mut reader, &bytes)));
    });
    drop(writer);
    other.join().unwrap();

    let [there, back] = channels(session.store(), len);
    let ids = [&there, &back].map(|channel| channel.reference().id().to_string());
    let (mut writer, mut reader) = (there.writer().unwrap(), back.reader().unwrap());
    let [there, back] = ids;
    let mut other = spawn(&["channel".into(), session.address().into(), there, back]);
    writer.write(&bytes, None, &mut never).unwrap();
    assert_eq!(reader.read(None, &mut never).unwrap().bytes(), bytes);
    group.bench_function(BenchmarkId::new("channel, processes", len), |b| {
        b.iter_custom(hops(|| trip(&mut writer, &mut reader, &bytes)));
    });
    drop(writer);
    other.wait().unwrap();

    let mut other = spawn(&["pipe".into(), len.to_string()]);
    let (mut input, mut output) = (other.stdin.take().unwrap(), other.stdout.take().unwrap());
    let mut got = vec![0; len];
    let mut round = || {
        // The pipe holds less than a long message: both directions must move at once, as a user of pipes would have to arrange.
        std::thread::scope(|scope| {
            if len > 1 << 15 {
                scope.spawn(|| input.write_all(&bytes).unwrap());
            } else {
                input.write_all(&bytes).unwrap();
            }
            output.read_exact(&mut got).unwrap();
        });
    };
    round();
    group.bench_function(BenchmarkId::new("pipe, processes", len), |b| {
        b.iter_custom(hops(&mut round))
    });
    assert_eq!(got, bytes);
    drop(input);
    other.wait().unwrap();

    if len == SIZES[0] {
        let segment = Segment::create("bench-futex", 4096).unwrap();
        let word: &AtomicU32 = segment.at(0).unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), segment.fd().as_raw_fd());
        let mut other = spawn(&["futex".into(), path]);
        group.bench_function("futex, processes", |b| {
            b.iter_custom(hops(|| {
                pass_turn(word, 1);
                await_turn(word, 0);
            }));
        });
        pass_turn(word, 2);
        other.wait().unwrap();
    }
    let mut copy = bytes.clone();
    group.bench_function(BenchmarkId::new("memcpy", len), |b| {
        b.iter(|| black_box(&mut copy).copy_from_slice(black_box(&bytes)));
    });
    group.finish();
}

/// What a writer pays whose readers are asleep or absent: no hop, only the verbs.
fn verbs(c: &mut Criterion, store: &Arc<Store>) {
    let [channel, _] = channels(store, 64);
    let (mut writer, mut reader) = (channel.writer().unwrap(), channel.reader().unwrap());
    c.bench_function("write_and_read/one_thread", |b| {
        b.iter(|| trip(&mut writer, &mut reader, &[1; 64]))
    });
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("child", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return child(rest);
    }
    let session = Session::open(&Config::default().capacity(256 << 20)).unwrap();
    let mut c = Criterion::default().configure_from_args();
    verbs(&mut c, session.store());
    for len in SIZES {
        hop(&mut c, &session, len);
    }
    c.final_summary();
}
