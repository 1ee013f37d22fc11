//! Errors: exceptions in span events, log records and Sentry events become error events that group by kind, not by accident. In: type,
//! message and stack trace as SDKs send them. Out: frames, a normalised message and a fingerprint that never changes.
//! Pure; a stack in an unknown form gives no frames, and type and message alone decide.

pub(crate) mod event;
mod grouping;
mod in_app;
mod message;
mod stack;

pub use grouping::fingerprint;
pub use in_app::{Language, in_app};
pub use message::normalize;
pub use stack::{Frame, parse, python_message, raised_kind, raised_message};
pub(crate) use stack::{javascript_function, trim};
