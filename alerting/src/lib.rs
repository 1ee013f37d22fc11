//! Rules -> alert instances -> groups, silences, escalation ladders -> notifications out.

pub mod channels;
pub mod config;
pub mod delivery;
pub mod machine;
pub mod rules;
pub mod silence;
pub mod template;
