//! The embedded ClickHouse engine: a child process that loads `libchdb.so` and serves the part of ClickHouse's HTTP interface that
//! the official clients use, on a Unix socket. The server supervises it: a crash or an out-of-memory kill of the engine never
//! takes the server down.
//!
//! [`fetch`] brings the library, [`child`] is the child's main, [`library`] the one place that speaks C, [`pool`] its
//! connections, [`http`] its listener, [`statement`] what a request asks for, [`supervisor`] the parent's side.

pub mod child;
pub mod fetch;
pub mod http;
pub mod library;
pub mod pool;
pub mod statement;
pub mod supervisor;
