//! What all targets share. Whatever comes, there is no panic, no more memory than the limits of a request allow, and what decodes is
//! rows that fit their tables, and that are the same after a way through ClickHouse's Native format.

use std::alloc::System;
use std::cell::RefCell;

use cap::Cap;
pub use collector::fuzzing::Body;
use collector::fuzzing::Door;
use model::columns::TableBlock;
use store::native;

/// More than a request may take (16 MiB of rows and bodies, in vectors that may have twice the room) and the program itself; beyond it
/// the program aborts.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, 192 << 20);

/// After so many inputs the intake forgets series and names.
const INPUTS: u32 = 512;

thread_local! {
    static DOOR: RefCell<(u32, Door)> = RefCell::default();
}

fn with<T>(work: impl FnOnce(&Door) -> T) -> T {
    DOOR.with_borrow_mut(|(inputs, door)| {
        if inputs.is_multiple_of(INPUTS) {
            *door = Door::default();
        }
        *inputs += 1;
        work(door)
    })
}

/// A request's body.
pub fn body(body: Body, bytes: &[u8]) {
    with(|door| door.rows(body, bytes)).iter().flatten().for_each(survives);
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

/// A block is the same after encoding and decoding.
fn survives(block: &TableBlock) {
    let encode = |block: &TableBlock| {
        let mut bytes = Vec::with_capacity(native::size_hint(block));
        native::encode(block, &mut bytes).expect("what was checked can be encoded");
        bytes
    };
    let bytes = encode(block);
    let again = native::decode(&bytes, block.table).expect("what was encoded can be decoded");
    assert!(again.len() == 1 && again[0].rows() == block.rows());
    assert!(encode(&again[0]) == bytes, "{} is the same after decoding", block.table.name);
}
