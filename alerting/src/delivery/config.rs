//! The settings of the delivery worker.

use model::time::Span;
use serde::{Deserialize, Serialize};

/// How deliveries are carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many sends run side by side.
    pub concurrency: usize,
    /// How many of them to one receiver.
    pub per_destination: usize,
    /// How many rows are held at once, waiting rows included.
    pub claimed: usize,
    /// How long a row is held: after a crash it is taken up again when this has passed. Raised to three times the longest timeout of a receiver.
    pub lease: Span,
    /// How long one round waits for room among the sends under way before it looks again.
    pub patience: Span,
    /// The pause after the first failure; it doubles with each one, with full jitter.
    pub retry_base: Span,
    /// The longest pause between two tries.
    pub retry_cap: Span,
    /// How long a message is tried before it becomes a dead letter.
    pub give_up_after: Span,
    /// Where more notices than this wait for a receiver that people read (chat, mail, SMS), they are told in one digest; pages never
    /// are. 0: never.
    pub digest_after: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            concurrency: 64,
            per_destination: 8,
            claimed: 256,
            lease: Span::secs(30),
            patience: Span::millis(250),
            retry_base: Span::secs(1),
            retry_cap: Span::secs(300),
            give_up_after: Span::secs(24 * 3600),
            digest_after: 20,
        }
    }
}

impl Config {
    /// What is wrong, one sentence each, without the section's name; empty where all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (key, value) in [("concurrency", self.concurrency), ("per_destination", self.per_destination), ("claimed", self.claimed)] {
            if !(1..=10_000).contains(&value) {
                found.push(format!("{key} must be from 1 to 10000"));
            }
        }
        for (key, span) in [("lease", self.lease), ("retry_base", self.retry_base), ("give_up_after", self.give_up_after)] {
            if span.0.is_zero() {
                found.push(format!("{key} is 0: write a duration such as 30s"));
            }
        }
        if self.retry_cap < self.retry_base {
            found.push("retry_cap is smaller than retry_base".to_owned());
        }
        found
    }
}
