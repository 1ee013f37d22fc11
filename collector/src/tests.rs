//! Tests that need more than one module: rows of whole requests, and the real services over sockets with a recording sink.

mod bad_input;
pub(crate) mod fixtures;
mod kinds;
mod mapping;
mod sentry;
pub(crate) mod services;
