//! Events of the paged cache as bytes: whatever they say, what is written is MessagePack to the last byte, and says the same again.

use std::sync::Arc;

use park_core::kv::{Event, Group, Hashes, Key, Media, Origin, Wire};

use super::input::Input;

pub(crate) fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let wire = Wire {
        medium: ["GPU", "CPU", ""][usize::from(input.byte() % 3)],
        rank: (input.byte().is_multiple_of(2)).then(|| input.number() as u32),
        hashes: if input.byte().is_multiple_of(2) {
            Hashes::Int
        } else {
            Hashes::Bytes
        },
    };
    let mut events = Vec::new();
    while !input.is_empty() && events.len() < 20 {
        events.push(event(&mut input));
    }
    let bytes = wire.encode(1.5, &events);
    let mut reader = Reader(&bytes);
    let value = reader.value();
    let batch = value.array();
    assert!(reader.0.is_empty(), "{} bytes too many", reader.0.len());
    assert_eq!(batch.len(), 3);
    assert_eq!(batch[2], wire.rank.map_or(Value::Nil, |rank| Value::Int(rank.into())));
    let found = batch[1].array();
    assert_eq!(found.len(), events.len());
    for (event, found) in events.iter().zip(found) {
        check(event, found, wire.hashes);
    }
}

fn event(input: &mut Input<'_>) -> Event {
    match input.byte() % 4 {
        0 => Event::Cleared,
        1 => Event::Removed {
            key: key(input),
            group: input.byte(),
        },
        _ => {
            let (blocks, block_size) = (u32::from(input.byte() % 40), 1 + u32::from(input.byte() % 20));
            let media = (0..input.byte() % 3).map(|_| Media {
                start: input.number() as usize,
                length: input.number() as usize,
                digest: [input.byte(); 32],
            });
            let media = media.collect();
            let first = u32::from(input.byte());
            Event::Stored {
                keys: (0..blocks).map(|_| key(input)).collect(),
                parent: (first > 0).then(|| key(input)),
                first,
                tokens: (0..blocks * block_size).map(|_| input.number() as u32).collect(),
                block_size,
                group: input.byte(),
                kind: match input.byte() % 2 {
                    0 => Group::Full,
                    _ => Group::Window(input.number() as u32),
                },
                origin: Arc::new(Origin {
                    tenant: Vec::new(),
                    salt: bytes(input),
                    adapter: bytes(input),
                    media,
                }),
            }
        }
    }
}

fn key(input: &mut Input<'_>) -> Key {
    Key::new(u128::from(input.number()) << 64 | u128::from(input.number()))
}

fn bytes(input: &mut Input<'_>) -> Vec<u8> {
    let len = usize::from(input.byte() % 48);
    input.bytes(len).to_vec()
}

fn check(event: &Event, found: &Value, hashes: Hashes) {
    let key = |key: &Key| match hashes {
        Hashes::Int => Value::Int(i128::from(key.raw() as u64)),
        Hashes::Bytes => Value::Bytes(key.raw().to_be_bytes().to_vec()),
    };
    let Value::Map(fields) = found else {
        panic!("{found:?} is not a map")
    };
    let field = |name: &str| {
        let mut named = fields.iter().filter(|(found, _)| *found == Value::Text(name.into()));
        let (_, value) = named
            .next()
            .unwrap_or_else(|| panic!("{name} is missing in {fields:?}"));
        assert!(named.next().is_none(), "{name} is there twice");
        value.clone()
    };
    let int = |number: u32| Value::Int(number.into());
    match event {
        Event::Cleared => assert_eq!(field("type"), Value::Text("AllBlocksCleared".into())),
        Event::Removed { key: removed, group } => {
            assert_eq!(field("type"), Value::Text("BlockRemoved".into()));
            assert_eq!(field("block_hashes"), Value::Array(vec![key(removed)]));
            assert_eq!(field("group_idx"), int(u32::from(*group)));
        }
        Event::Stored {
            keys,
            parent,
            tokens,
            block_size,
            group,
            kind,
            ..
        } => {
            assert_eq!(field("type"), Value::Text("BlockStored".into()));
            assert_eq!(field("block_hashes"), Value::Array(keys.iter().map(key).collect()));
            assert_eq!(field("parent_block_hash"), parent.as_ref().map_or(Value::Nil, key));
            assert_eq!(
                field("token_ids"),
                Value::Array(tokens.iter().copied().map(int).collect())
            );
            assert_eq!(
                (field("block_size"), field("group_idx")),
                (int(*block_size), int(u32::from(*group)))
            );
            assert_eq!(field("extra_keys").array().len(), keys.len());
            if let Group::Window(window) = kind {
                assert_eq!(field("kv_cache_spec_sliding_window"), int(*window));
            }
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
enum Value {
    Nil,
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    fn array(&self) -> &[Value] {
        match self {
            Value::Array(values) => values,
            other => panic!("{other:?} is not an array"),
        }
    }
}

/// MessagePack, as its specification has it, as far as it is used.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn number(&mut self, len: usize) -> u64 {
        self.take(len)
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn values(&mut self, len: u64) -> Vec<Value> {
        (0..len).map(|_| self.value()).collect()
    }

    fn pairs(&mut self, len: u64) -> Value {
        Value::Map((0..len).map(|_| (self.value(), self.value())).collect())
    }

    fn text(&mut self, len: u64) -> Value {
        Value::Text(String::from_utf8(self.take(len as usize).to_vec()).expect("text is UTF-8"))
    }

    fn value(&mut self) -> Value {
        let marker = self.number(1) as u8;
        match marker {
            0..=0x7f => Value::Int(marker.into()),
            0x80..=0x8f => self.pairs(u64::from(marker & 15)),
            0x90..=0x9f => Value::Array(self.values(u64::from(marker & 15))),
            0xa0..=0xbf => self.text(u64::from(marker & 31)),
            0xc0 => Value::Nil,
            0xc4 => {
                let len = self.number(1) as usize;
                Value::Bytes(self.take(len).to_vec())
            }
            0xcb => Value::Float(f64::from_bits(self.number(8))),
            0xcc..=0xcf => Value::Int(self.number(1 << (marker - 0xcc)).into()),
            0xd0..=0xd3 => {
                let len = 1 << (marker - 0xd0);
                let unused = 64 - 8 * len as u32;
                Value::Int(((self.number(len) << unused) as i64 >> unused).into())
            }
            0xd9..=0xdb => {
                let len = self.number(1 << (marker - 0xd9));
                self.text(len)
            }
            0xdc | 0xdd => {
                let len = self.number(2 << (marker - 0xdc));
                Value::Array(self.values(len))
            }
            0xde | 0xdf => {
                let len = self.number(2 << (marker - 0xde));
                self.pairs(len)
            }
            0xe0..=0xff => Value::Int((marker as i8).into()),
            other => panic!("marker {other:#04x}"),
        }
    }
}
