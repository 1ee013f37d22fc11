//! The embedded ClickHouse engine: a child process that loads `libchdb.so` and serves the part of ClickHouse's HTTP interface that
//! the official clients use, on a Unix socket. The server supervises it: a crash or an out-of-memory kill of the engine never
//! takes the server down.
//!
//! [`fetch`] brings the library. In the child, [`child`] is the main, [`library`] the one place that speaks C, [`http`] the listener,
//! [`access`] its door for visitors, [`request`], [`multipart`] and [`sql`] what a request asks for, [`encoding`] and [`blocks`] how
//! bodies are packed, [`work`] the run of a statement, [`joining`] and [`output`] the way of its answer, [`status`] what error codes
//! mean. In the parent, [`supervisor`] looks after the child.

pub mod access;
pub mod child;
pub mod encoding;
pub mod fetch;
pub mod http;
pub mod joining;
pub mod library;
pub mod multipart;
pub mod output;
pub mod request;
pub mod sql;
pub mod status;
pub mod supervisor;
pub mod work;
