//! The server: configuration, wiring, listeners, command line. A library and a binary, so that tests start it in-process.

pub mod about;
pub mod access;
pub mod arrival;
pub mod cli;
pub mod config;
pub mod demo;
pub mod desk;
pub mod health;
mod heartbeat;
pub mod import;
pub mod listen;
pub mod load;
pub mod maintenance;
mod nodes;
pub mod observe;
pub mod pipeline;
mod prometheus_config;
pub mod reload;
pub mod replay;
pub mod request_line;
pub mod ruletest;
pub mod runtime;
pub mod simulate;
pub mod usage;
