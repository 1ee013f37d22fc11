//! What all targets share. Whatever comes, there is no panic, no more memory than the limits of a request allow, and what decodes is
//! rows that fit their tables, and that are the same after a way through ClickHouse's Native format.

use std::alloc::System;
use std::cell::RefCell;

use cap::Cap;
pub use collector::fuzzing::Body;
use collector::fuzzing::{Door, Redaction};
use model::columns::{Column, Dictionary, TableBlock};
use store::native;

/// More than a request may take (16 MiB of rows and bodies, in vectors that may have twice the room) and the program itself; beyond it
/// the program aborts.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, 192 << 20);

/// After so many inputs the intake forgets series and names.
const INPUTS: u32 = 512;

thread_local! {
    static DOOR: RefCell<(u32, Door)> = RefCell::default();
    static REDACTION: Redaction = Redaction::default();
}

fn with<T>(work: impl FnOnce(&Door) -> T) -> T {
    with_new(Door::default, work)
}

fn with_new<T>(new: fn() -> Door, work: impl FnOnce(&Door) -> T) -> T {
    DOOR.with_borrow_mut(|(inputs, door)| {
        if inputs.is_multiple_of(INPUTS) {
            *door = new();
        }
        *inputs += 1;
        work(door)
    })
}

/// A request's body.
pub fn body(body: Body, bytes: &[u8]) {
    with(|door| door.rows(body, bytes)).iter().flatten().for_each(survives);
}

/// A request's body that is processed on its way; the first byte says of which kind it is. What is text stands, with a secret at that place,
/// in bodies of every protocol, too.
pub fn pipeline(bytes: &[u8]) {
    if let [kind, bytes @ ..] = bytes {
        with_new(Door::processing, |door| door.rows_of_any(*kind, bytes)).iter().flatten().for_each(survives);
        if let Ok(text) = std::str::from_utf8(bytes) {
            with_new(Door::processing, |door| door.rows_with_a_secret(usize::from(*kind), text)).iter().for_each(survives);
        }
    }
}

/// A text, and where in it a secret stands.
pub fn redact(bytes: &[u8]) {
    if let [at, bytes @ ..] = bytes
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        REDACTION.with(|redaction| redaction.of(usize::from(*at), text));
    }
}

/// What a target exposes.
pub fn scrape(open_metrics: bool, bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        with(|door| door.scraped(open_metrics, text)).iter().flatten().flatten().for_each(survives);
    }
}

/// A connection of syslog; the first byte says where it is cut in two.
pub fn syslog(bytes: &[u8]) {
    if let [piece, bytes @ ..] = bytes {
        with(|door| door.syslog(usize::from(*piece), bytes)).iter().flatten().for_each(survives);
    }
}

/// A connection of Fluent's.
pub fn fluent(bytes: &[u8]) {
    with(|door| door.fluent(bytes)).iter().flatten().flatten().for_each(survives);
}

/// Lines of StatsD, before each of two flushes.
pub fn statsd(bytes: &[u8]) {
    with(|door| door.statsd(bytes)).iter().flatten().flatten().for_each(survives);
}

/// A compressed body, and how large it may be.
pub fn inflate(bytes: &[u8]) {
    if let [encoding, limit, wire @ ..] = bytes {
        with(|door| door.inflated(*encoding, wire, usize::from(*limit) << 13));
    }
}

/// A block's rows are the same after encoding and decoding.
fn survives(block: &TableBlock) {
    let mut bytes = Vec::with_capacity(native::size_hint(block));
    native::encode(block, &mut bytes).expect("what was checked can be encoded");
    let again = native::decode(&bytes, block.table).expect("what was encoded can be decoded");
    assert_eq!(again.len(), 1);
    for ((before, after), spec) in block.columns.iter().zip(&again[0].columns).zip(block.table.columns) {
        assert!(same(before, after), "{}.{} is the same after decoding: {before:?} {after:?}", block.table.name, spec.name);
    }
}

/// The rows of a dictionary as texts; in what order its keys stand is its own matter.
fn texts(dictionary: &Dictionary) -> Vec<&[u8]> {
    let keys: Vec<&[u8]> = dictionary.keys().iter().collect();
    dictionary.rows().iter().map(|at| keys[*at as usize]).collect()
}

fn same(one: &Column, other: &Column) -> bool {
    match (one, other) {
        (Column::UInt8(one), Column::UInt8(other)) => one == other,
        (Column::UInt16(one), Column::UInt16(other)) => one == other,
        (Column::UInt32(one), Column::UInt32(other)) => one == other,
        (Column::UInt64(one), Column::UInt64(other)) => one == other,
        (Column::Int32(one), Column::Int32(other)) => one == other,
        (Column::Int64(one), Column::Int64(other)) => one == other,
        (Column::Float64(one), Column::Float64(other)) => one.iter().map(|x| x.to_bits()).eq(other.iter().map(|x| x.to_bits())),
        (Column::String(one), Column::String(other)) => one == other,
        (Column::LowCardinality(one), Column::LowCardinality(other)) => texts(one) == texts(other),
        (Column::Fixed { width: one_width, bytes: one }, Column::Fixed { width, bytes }) => one_width == width && one == bytes,
        (Column::StringMap(one), Column::StringMap(other)) => {
            one.ends == other.ends && texts(&one.keys) == texts(&other.keys) && one.values == other.values
        }
        (Column::Array { ends: one_ends, items: one }, Column::Array { ends, items }) => one_ends == ends && same(one, items),
        _ => false,
    }
}
