//! What a row remembers between attempts, and what follows from an attempt. Pure.

use std::time::Duration;

use model::ids::NotificationId;
use model::time::Timestamp;
use model::work::backoff;
use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::channels::{SendError, Sent};

/// The note in a row's `progress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Attempts begun; waiting for a token or for its turn is none.
    pub attempts: u32,
    /// When it was first tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_at: Option<Timestamp>,
    /// Since when an attempt is under way, or ended so that nobody knows whether it arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sending: Option<Timestamp>,
    /// The provider was asked and could not say whether an earlier attempt arrived: from now on every attempt is marked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resend: bool,
    /// Why it was done without a send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unneeded: Option<String>,
    /// It was told in this digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<NotificationId>,
}

impl Progress {
    /// From a row; a note that cannot be read means that it may have been sent.
    pub fn of(note: Option<&serde_json::Value>, now: Timestamp) -> Self {
        let Some(note) = note else { return Progress::default() };
        Progress::deserialize(note).unwrap_or_else(|_| Progress { sending: Some(now), ..Progress::default() })
    }
    /// The note before a send.
    pub fn begun(&self, now: Timestamp) -> Self {
        Progress {
            attempts: self.attempts.saturating_add(1),
            first_at: self.first_at.or(Some(now)),
            sending: self.sending.or(Some(now)),
            resend: self.resend,
            unneeded: None,
            digest: None,
        }
    }
    /// The note after a failure.
    fn failed(&self, doubt: bool) -> Self {
        // Where an earlier attempt is in doubt already, that doubt stays.
        Progress { sending: self.sending.filter(|_| doubt || self.resend), ..self.clone() }
    }
    /// The note of a dead letter: a replay starts its clock again.
    fn dead(&self) -> Self {
        Progress { first_at: None, ..self.clone() }
    }
    /// The note of a row that is done without a send.
    pub fn unneeded(&self, reason: &str) -> Self {
        Progress { unneeded: Some(reason.to_owned()), ..self.clone() }
    }
    /// As JSON.
    pub fn note(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The provider has it.
    Done {
        /// Its answer.
        sent: Sent,
        /// Which attempt it was, from 1.
        attempt: u32,
        /// Whether an earlier attempt may have arrived too.
        resend: bool,
    },
    /// It failed; again at `at`.
    Retry {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
        /// The note.
        progress: Progress,
    },
    /// It was not tried: no token, not its turn, no channel yet. Not an attempt.
    Wait {
        /// When.
        at: Timestamp,
        /// Why.
        reason: String,
        /// The note.
        progress: Progress,
    },
    /// Done without a send: the receiver has no use for it, or it came too late.
    Unneeded {
        /// Why.
        reason: String,
        /// Whether it is a page that somebody's acknowledgement has overtaken: the journal says so.
        page: bool,
        /// The note: where an attempt is in doubt, it stands there.
        progress: Progress,
    },
    /// A dead letter.
    Dead {
        /// Why.
        reason: String,
        /// The note.
        progress: Progress,
    },
}

/// What follows from an attempt. `progress` is the note made before it; `random` is in `0.0..1.0`.
pub fn after(result: Result<Sent, SendError>, progress: &Progress, now: Timestamp, random: f64, config: &Config) -> Next {
    match result {
        Ok(sent) => Next::Done { sent, attempt: progress.attempts, resend: progress.resend },
        Err(SendError::Final { reason, doubt }) => Next::Dead { reason, progress: progress.failed(doubt).dead() },
        Err(SendError::Retry { after, reason, doubt }) => {
            let pause = backoff(progress.attempts, config.retry_base.0, config.retry_cap.0, random).max(after.unwrap_or_default());
            let progress = progress.failed(doubt);
            match is_over(&progress, now, config) {
                true => Next::Dead { reason: format!("given up after {}: {reason}", config.give_up_after), progress: progress.dead() },
                false => Next::Retry { at: now.plus(pause), reason, progress },
            }
        }
    }
}

/// What follows where the incident has no chat channel yet: look again soon, later more rarely.
pub fn no_channel_yet(progress: &Progress, now: Timestamp, config: &Config) -> Next {
    let reason = "waits for the incident's chat channel".to_owned();
    let progress = Progress { first_at: progress.first_at.or(Some(now)), ..progress.clone() };
    if is_over(&progress, now, config) {
        return Next::Dead {
            reason: format!("given up after {}: the incident has no chat channel", config.give_up_after),
            progress: progress.dead(),
        };
    }
    let waited = progress.first_at.map_or(Duration::ZERO, |first| now.since(first));
    let pause = (waited / 4).clamp(Duration::from_millis(500), Duration::from_secs(60));
    Next::Wait { at: now.plus(pause), reason, progress }
}

fn is_over(progress: &Progress, now: Timestamp, config: &Config) -> bool {
    progress.first_at.is_some_and(|first| now.since(first) >= config.give_up_after.0)
}

/// How long a receiver that failed so often in a row is left alone, so that a dead one is probed and not hammered.
pub fn rest(failures: u32, random: f64) -> Duration {
    if failures < 3 { Duration::ZERO } else { backoff(failures - 2, Duration::from_secs(1), Duration::from_secs(30), random) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_772_000_000);

    fn later(secs: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(secs))
    }

    #[test]
    fn a_failure_that_is_certain_leaves_no_doubt() {
        let begun = Progress::default().begun(NOW);
        assert_eq!(begun, Progress { attempts: 1, first_at: Some(NOW), sending: Some(NOW), ..Progress::default() });
        let next = after(Err(SendError::retry("500")), &begun, NOW, 0.0, &Config::default());
        let Next::Retry { at, progress, .. } = next else { panic!("{next:?}") };
        assert_eq!((at, progress.sending), (later(1), None));
        let next = after(Err(SendError::doubtful("timeout")), &begun, NOW, 0.0, &Config::default());
        let Next::Retry { progress, .. } = next else { panic!("{next:?}") };
        assert_eq!(progress.sending, Some(NOW));
    }

    #[test]
    fn a_doubt_once_confirmed_stays() {
        let doubted = Progress { attempts: 1, first_at: Some(NOW), sending: Some(NOW), resend: true, unneeded: None, digest: None };
        let begun = doubted.begun(later(60));
        assert_eq!(begun.sending, Some(NOW), "the search begins at the first attempt");
        let next = after(Err(SendError::retry("500")), &begun, later(60), 0.0, &Config::default());
        let Next::Retry { progress, .. } = next else { panic!("{next:?}") };
        assert!(progress.resend && progress.sending == Some(NOW));
    }

    #[test]
    fn retry_after_is_a_lower_bound() {
        let error = SendError::Retry { after: Some(Duration::from_secs(40)), reason: "429".into(), doubt: false };
        let Next::Retry { at, .. } = after(Err(error), &Progress::default().begun(NOW), NOW, 0.9, &Config::default()) else { panic!() };
        assert_eq!(at, later(40));
    }

    #[test]
    fn after_a_day_it_is_a_dead_letter_that_can_be_replayed() {
        let begun = Progress { first_at: Some(NOW.minus(Duration::from_secs(86_400))), attempts: 300, ..Progress::default() }.begun(NOW);
        let next = after(Err(SendError::retry("503")), &begun, NOW, 0.0, &Config::default());
        let Next::Dead { reason, progress } = next else { panic!("{next:?}") };
        assert_eq!(reason, "given up after 1d: 503");
        assert_eq!(progress.first_at, None);
    }

    #[test]
    fn a_note_of_another_form_is_taken_for_a_send() {
        assert_eq!(Progress::of(Some(&serde_json::json!("?")), NOW).sending, Some(NOW));
        assert_eq!(Progress::of(Some(&serde_json::json!({})), NOW), Progress::default());
    }
}
