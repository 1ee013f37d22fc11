//! Tests that need more than one module: rows of whole requests, and the real services over sockets with a recording sink.

mod bad_input;
pub(crate) mod fixtures;
mod formats;
mod kinds;
mod mapping;
mod remote_write;
mod seeds;
mod sentry;
mod sentry_bad_input;
pub(crate) mod services;
mod sockets;
