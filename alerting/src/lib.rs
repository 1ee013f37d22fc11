//! Rules -> alert instances -> groups, silences, escalation ladders -> notifications out.

pub mod channels;
pub mod delivery;
