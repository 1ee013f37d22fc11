//! A world for this crate's tests: a state store in memory, a PromQL that answers what it is told, incidents that open and resolve, a
//! clock that is moved by hand. No sockets, no waiting.

mod incidents;
mod world;

pub(crate) use model::testing::Memory;
pub(crate) use world::{World, Written as Kept, labels};
