//! Events of the KV cache in vLLM's form, one batch a line in hexadecimal, each after a line that says in plain JSON what is in it.
//!
//! For whoever checks park against vLLM's own classes: `tests/conformance/kv_events/run.py`.
//!
//! ```text
//! cargo run -p park-core --example kv_events -- SEED BATCHES
//! ```

#![allow(clippy::print_stdout, reason = "an example that prints what it found")]

use std::sync::Arc;

use park_core::kv::{Event, Group, Hashes, Key, Media, Origin, Wire};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number of any length, as short ones are written otherwise than long ones.
    fn number(&mut self, bits: u64) -> u64 {
        self.next() >> (64 - 1 - self.below(bits))
    }

    fn key(&mut self) -> Key {
        Key::new(u128::from(self.number(64)) << (8 * self.below(9)) | u128::from(self.number(64)))
    }
}

fn text(random: &mut Random, most: u64) -> Vec<u8> {
    (0..random.below(most)).map(|_| b'a' + random.below(26) as u8).collect()
}

fn event(random: &mut Random) -> Event {
    match random.below(8) {
        0 => Event::Cleared,
        1..=3 => Event::Removed {
            key: random.key(),
            group: random.below(3) as u8,
        },
        _ => {
            let (blocks, block_size) = (1 + random.below(20), 1 + random.below(20) as u32);
            let first = random.below(3) as u32;
            let window = random.below(2) == 0;
            let media = (0..random.below(3)).map(|_| Media {
                start: random.below(u64::from(block_size) * 4) as usize,
                length: 1 + random.below(40) as usize,
                digest: std::array::from_fn(|_| random.next() as u8),
            });
            let mut media: Vec<Media> = media.collect();
            media.sort_by_key(|item| item.start);
            Event::Stored {
                keys: (0..blocks).map(|_| random.key()).collect(),
                parent: (first > 0).then(|| random.key()),
                first,
                tokens: (0..blocks * u64::from(block_size))
                    .map(|_| random.number(32) as u32)
                    .collect(),
                block_size,
                group: random.below(3) as u8,
                kind: if window {
                    Group::Window(1 + random.below(5000) as u32)
                } else {
                    Group::Full
                },
                origin: Arc::new(Origin {
                    tenant: Vec::new(),
                    salt: text(random, 50),
                    adapter: text(random, 3),
                    media,
                }),
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_json(key: Key, hashes: Hashes) -> String {
    match hashes {
        Hashes::Int => (key.raw() as u64).to_string(),
        Hashes::Bytes => format!("\"{}\"", hex(&key.raw().to_be_bytes())),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn json(event: &Event, hashes: Hashes) -> String {
    match event {
        Event::Cleared => r#"{"what":"cleared"}"#.into(),
        Event::Removed { key, group } => {
            format!(
                r#"{{"what":"removed","key":{},"group":{group}}}"#,
                key_json(*key, hashes)
            )
        }
        Event::Stored {
            keys,
            parent,
            first,
            tokens,
            block_size,
            group,
            kind,
            origin,
        } => {
            let window = match kind {
                Group::Full => "null".into(),
                Group::Window(tokens) => tokens.to_string(),
            };
            let media = origin
                .media
                .iter()
                .map(|item| format!(r#"[{},{},"{}"]"#, item.start, item.length, hex(&item.digest)));
            format!(
                r#"{{"what":"stored","keys":{},"parent":{},"first":{first},"tokens":{tokens:?},"block_size":{block_size},"group":{group},"window":{window},"salt":"{}","adapter":"{}","media":{}}}"#,
                list(keys.iter().map(|key| key_json(*key, hashes))),
                parent.map_or("null".into(), |key| key_json(key, hashes)),
                String::from_utf8_lossy(&origin.salt),
                String::from_utf8_lossy(&origin.adapter),
                list(media),
            )
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let (seed, batches): (u64, u64) = (arguments.next().unwrap_or(1), arguments.next().unwrap_or(100));
    let mut random = Random(seed);
    for _ in 0..batches {
        let hashes = if random.below(2) == 0 {
            Hashes::Int
        } else {
            Hashes::Bytes
        };
        let rank = (random.below(3) > 0).then(|| random.below(300) as u32);
        let time = random.number(60) as f64 / 1000.0;
        let events: Vec<Event> = (0..random.below(6)).map(|_| event(&mut random)).collect();
        let medium = ["GPU", "CPU", "STORAGE"][random.below(3) as usize];
        println!(
            r#"{{"time":{time:?},"rank":{},"medium":"{medium}","events":{}}}"#,
            rank.map_or("null".into(), |rank| rank.to_string()),
            list(events.iter().map(|event| json(event, hashes)))
        );
        println!("{}", hex(&Wire { medium, rank, hashes }.encode(time, &events)));
    }
}
