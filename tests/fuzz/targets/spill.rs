//! Spill files, as a disk that forgets or a stranger that writes could leave them.
//!
//! The first byte says what follows: a file, or the fields of a record whose checksums are then made to match, which no fuzzer would
//! guess and without which nothing behind them is reached.

use park_core::ObjectId;
use park_core::store::spill::file::{
    FILE_HEAD, RECORD_HEAD, Record, RecordHead, Sum, file_head, parse_file_head, parse_record,
};

use super::input::Input;

pub(crate) fn target(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => file(input.rest()),
        1 => record(input),
        _ => head(input),
    }
}

/// Any bytes, first as a whole file, then as a record.
fn file(bytes: &[u8]) {
    if let Ok((number, session)) = parse_file_head(bytes) {
        assert_eq!(file_head(number, session)[..], bytes[..FILE_HEAD as usize]);
    }
    if let Ok(record) = parse_record(bytes) {
        same(&record, bytes);
    }
}

/// A record whose head is whole and says anything about what follows.
fn record(mut input: Input) {
    let mut head = RecordHead {
        id: ObjectId {
            session: input.word(),
            index: input.number() as u32,
            generation: input.number() as u32,
        },
        meta: input.number() as u32,
        len: input.number(),
        nested: input.number() as u32,
        sum: 0,
    };
    let stored = input.rest();
    let mut sum = Sum::default();
    sum.add(stored);
    head.sum = sum.value();
    let bytes = [&head.encode()[..], stored].concat();
    match parse_record(&bytes) {
        Ok(record) => {
            assert_eq!(record.head, head);
            same(&record, &bytes);
        }
        Err(_) => assert_ne!(head.stored(), Some(stored.len() as u64), "a whole record was refused"),
    }
}

/// The head of a file, one byte of it changed: refused unless it is the byte that it was.
fn head(mut input: Input) {
    let (number, session) = (input.number() as u32, input.word());
    let mut head = file_head(number, session);
    let (at, byte) = (usize::from(input.byte()) % head.len(), input.byte());
    let same = head[at] == byte;
    head[at] = byte;
    assert_eq!(parse_file_head(&head).is_ok(), same);
}

/// What can be read is what would have been written.
fn same(record: &Record, bytes: &[u8]) {
    assert_eq!(record.head.encode()[..], bytes[..RECORD_HEAD as usize]);
    assert_eq!(Some(record.stored.len() as u64), record.head.stored());
}
