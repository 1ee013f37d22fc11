//! The server: configuration, wiring, listeners, command line. A library and a binary, so that tests start it in-process.

pub mod access;
pub mod arrival;
pub mod cli;
pub mod config;
pub mod demo;
pub mod health;
pub mod listen;
pub mod load;
pub mod maintenance;
pub mod observe;
pub mod pipeline;
pub mod reload;
pub mod runtime;
pub mod usage;
