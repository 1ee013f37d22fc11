//! What the end-to-end tests share: a Watchfire process that can be killed and started again, catchers that stand for
//! providers, programs from Debian and PyPI, and waiting for conditions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // tests fail by panicking, and read the real world

pub mod alertmanager;
pub mod alone;
pub mod catchers;
pub mod clock;
pub mod crash;
pub mod intake;
pub mod node;
pub mod process;
pub mod programs;
pub mod promql;
pub mod python;
pub mod remote_write;
pub mod rotel;
pub mod rules;
pub mod send;
pub mod usage;
pub mod wait;
pub mod year;
