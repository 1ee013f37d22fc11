//! Rules -> alert instances -> silences, escalation ladders -> notifications out.
//!
//! [`rules`] reads rule files, [`machine`] decides an alert's next state, [`evaluate`] runs groups and commits what follows,
//! [`ladder`] climbs, [`silence`] mutes, [`delivery`] empties the outbox through [`channels`].

pub mod api;
pub mod channels;
pub mod config;
pub mod delivery;
pub mod evaluate;
pub mod ladder;
pub mod links;
pub mod machine;
pub mod notice;
pub mod probe;
pub mod rules;
pub mod silence;
pub mod template;

pub use config::Config;
