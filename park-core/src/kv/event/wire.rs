//! Events as vLLM 0.33 publishes them (`vllm/distributed/kv_events.py`), so that routers that listen to vLLM understand park.
//!
//! A batch is a MessagePack array `[time, events, data parallel rank]`. An event is a map whose `type` is the name of vLLM's class;
//! fields that have their default are left out, the others come in the order of the class. `tests/conformance/kv_events` has vLLM's own
//! classes decode it, and compares it, value by value, with what vLLM's encoder writes.
//!
//! What vLLM has text for and park bytes (adapter, salt) is written as that text, or in hexadecimal if it is none.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt::Write;

use rmp::encode::buffer::ByteBuf;
use rmp::encode::{self, ValueWriteError};

use super::{Event, Origin};
use crate::kv::{Group, Key};

/// How a key is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hashes {
    /// As a number, its low 64 bits: what vLLM does unless told otherwise.
    #[default]
    Int,
    /// As its 16 bytes, the highest first.
    Bytes,
}

/// What a batch of events says of its publisher.
#[derive(Clone, Copy, Debug)]
pub struct Wire<'a> {
    /// Where the blocks are: `GPU`, `CPU` or `STORAGE` in vLLM's words.
    pub medium: &'a str,
    /// The publisher's place among its data parallel replicas.
    pub rank: Option<u32>,
    /// How keys are written.
    pub hashes: Hashes,
}

impl Default for Wire<'_> {
    /// Blocks on a GPU of replica 0, keys as numbers.
    fn default() -> Self {
        Self {
            medium: "GPU",
            rank: Some(0),
            hashes: Hashes::Int,
        }
    }
}

impl Wire<'_> {
    /// A batch, as one message. `time` is in seconds since 1970.
    pub fn encode(&self, time: f64, events: &[Event]) -> Vec<u8> {
        let mut out = Out(ByteBuf::new());
        out.array(3);
        out.float(time);
        out.array(events.len());
        for event in events {
            self.event(&mut out, event);
        }
        match self.rank {
            Some(rank) => out.int(u64::from(rank)),
            None => out.nil(),
        }
        out.0.into_vec()
    }

    fn event(&self, out: &mut Out, event: &Event) {
        match event {
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
                    Group::Full => None,
                    Group::Window(tokens) => Some(*tokens),
                };
                out.map(if window.is_some() { 12 } else { 11 });
                out.field("type", |out| out.text("BlockStored"));
                out.field("block_hashes", |out| self.keys(out, keys));
                out.field("parent_block_hash", |out| match parent {
                    Some(key) => self.key(out, *key),
                    None => out.nil(),
                });
                out.field("token_ids", |out| {
                    out.array(tokens.len());
                    tokens.iter().for_each(|token| out.int(u64::from(*token)));
                });
                out.field("block_size", |out| out.int(u64::from(*block_size)));
                out.field("lora_id", Out::nil);
                out.field("medium", |out| out.text(self.medium));
                out.field("lora_name", |out| match origin.adapter.is_empty() {
                    true => out.nil(),
                    false => out.text(&text(&origin.adapter)),
                });
                out.field("extra_keys", |out| {
                    out.array(keys.len());
                    for position in (*first..).take(keys.len()) {
                        extra(out, origin, position as usize, *block_size as usize);
                    }
                });
                out.field("group_idx", |out| out.int(u64::from(*group)));
                out.field("kv_cache_spec_kind", |out| {
                    out.text(if window.is_some() {
                        "sliding_window"
                    } else {
                        "full_attention"
                    });
                });
                if let Some(window) = window {
                    out.field("kv_cache_spec_sliding_window", |out| out.int(u64::from(window)));
                }
            }
            Event::Removed { key, group } => {
                out.map(4);
                out.field("type", |out| out.text("BlockRemoved"));
                out.field("block_hashes", |out| self.keys(out, &[*key]));
                out.field("medium", |out| out.text(self.medium));
                out.field("group_idx", |out| out.int(u64::from(*group)));
            }
            Event::Cleared => {
                out.map(1);
                out.field("type", |out| out.text("AllBlocksCleared"));
            }
        }
    }

    fn keys(&self, out: &mut Out, keys: &[Key]) {
        out.array(keys.len());
        keys.iter().for_each(|key| self.key(out, *key));
    }

    fn key(&self, out: &mut Out, key: Key) {
        match self.hashes {
            Hashes::Int => out.int(key.raw() as u64),
            Hashes::Bytes => out.bytes(&key.raw().to_be_bytes()),
        }
    }
}

/// What a block's key depends on besides tokens, in vLLM's order: adapter, media with their offsets in the block, and with the first
/// block the salt.
fn extra(out: &mut Out, origin: &Origin, position: usize, block_size: usize) {
    let (start, end) = (position * block_size, (position + 1) * block_size);
    let media = origin.media.iter().filter(|item| item.overlaps(start, end));
    let adapter = !origin.adapter.is_empty();
    let salt = position == 0 && !origin.salt.is_empty();
    let count = usize::from(adapter) + media.clone().count() + usize::from(salt);
    if count == 0 {
        out.nil();
        return;
    }
    out.array(count);
    if adapter {
        out.text(&text(&origin.adapter));
    }
    for item in media {
        out.array(2);
        out.text(&hex(&item.digest));
        out.signed(item.start as i64 - start as i64);
    }
    if salt {
        out.text(&text(&origin.salt));
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => hex(bytes).into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// MessagePack into memory, which takes all that is written.
struct Out(ByteBuf);

impl Out {
    fn field(&mut self, name: &str, value: impl FnOnce(&mut Self)) {
        self.text(name);
        value(self);
    }

    fn nil(&mut self) {
        let Ok(()) = encode::write_nil(&mut self.0);
    }

    fn int(&mut self, value: u64) {
        written(encode::write_uint(&mut self.0, value));
    }

    fn signed(&mut self, value: i64) {
        written(encode::write_sint(&mut self.0, value));
    }

    fn float(&mut self, value: f64) {
        written(encode::write_f64(&mut self.0, value));
    }

    fn text(&mut self, text: &str) {
        written(encode::write_str(&mut self.0, text));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        written(encode::write_bin(&mut self.0, bytes));
    }

    fn array(&mut self, len: usize) {
        written(encode::write_array_len(&mut self.0, len as u32));
    }

    fn map(&mut self, len: u32) {
        written(encode::write_map_len(&mut self.0, len));
    }
}

fn written<T>(result: Result<T, ValueWriteError<Infallible>>) {
    match result {
        Ok(_) => {}
        Err(ValueWriteError::InvalidMarkerWrite(never) | ValueWriteError::InvalidDataWrite(never)) => match never {},
    }
}
