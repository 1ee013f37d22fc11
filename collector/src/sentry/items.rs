//! The types of items, and how many of each came. Pure.

/// Types of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// An error or a message.
    Event,
    /// A root span with the spans below it.
    Transaction,
    /// An update of a session.
    Session,
    /// Sessions counted up.
    Sessions,
    /// What a client did not send.
    ClientReport,
    /// A job says how it is.
    CheckIn,
    /// Log records.
    Log,
    /// A file. Ignored, like all that follow.
    Attachment,
    /// A profile or a part of one.
    Profile,
    /// A recording of a screen, or what belongs to one.
    Replay,
    /// What users say.
    Feedback,
    /// A span by itself.
    Span,
    /// Metrics of an SDK.
    Metric,
    /// Any other.
    Other,
}

/// All of them, in the order of the enum.
pub(crate) const KINDS: [ItemKind; 14] = [
    ItemKind::Event,
    ItemKind::Transaction,
    ItemKind::Session,
    ItemKind::Sessions,
    ItemKind::ClientReport,
    ItemKind::CheckIn,
    ItemKind::Log,
    ItemKind::Attachment,
    ItemKind::Profile,
    ItemKind::Replay,
    ItemKind::Feedback,
    ItemKind::Span,
    ItemKind::Metric,
    ItemKind::Other,
];

impl ItemKind {
    /// Of the type that an item's header names.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "event" => ItemKind::Event,
            "transaction" => ItemKind::Transaction,
            "session" => ItemKind::Session,
            "sessions" => ItemKind::Sessions,
            "client_report" => ItemKind::ClientReport,
            "check_in" => ItemKind::CheckIn,
            "log" => ItemKind::Log,
            "attachment" => ItemKind::Attachment,
            "profile" | "profile_chunk" => ItemKind::Profile,
            "replay_event" | "replay_recording" | "replay_video" => ItemKind::Replay,
            "feedback" | "user_report" => ItemKind::Feedback,
            "span" => ItemKind::Span,
            "statsd" | "metric_meta" | "metric_buckets" | "trace_metric" => ItemKind::Metric,
            _ => ItemKind::Other,
        }
    }
    /// The value of the metric label `type`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            ItemKind::Event => "event",
            ItemKind::Transaction => "transaction",
            ItemKind::Session => "session",
            ItemKind::Sessions => "sessions",
            ItemKind::ClientReport => "client_report",
            ItemKind::CheckIn => "check_in",
            ItemKind::Log => "log",
            ItemKind::Attachment => "attachment",
            ItemKind::Profile => "profile",
            ItemKind::Replay => "replay",
            ItemKind::Feedback => "feedback",
            ItemKind::Span => "span",
            ItemKind::Metric => "metric",
            ItemKind::Other => "other",
        }
    }
    /// The value of the metric label `outcome`.
    pub(crate) fn outcome(self) -> &'static str {
        match self {
            ItemKind::Event
            | ItemKind::Transaction
            | ItemKind::Session
            | ItemKind::Sessions
            | ItemKind::ClientReport
            | ItemKind::CheckIn
            | ItemKind::Log => "read",
            ItemKind::Attachment
            | ItemKind::Profile
            | ItemKind::Replay
            | ItemKind::Feedback
            | ItemKind::Span
            | ItemKind::Metric
            | ItemKind::Other => "ignored",
        }
    }
}

/// What came in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    counts: [u64; KINDS.len()],
    /// The id of its event.
    pub(crate) id: Option<[u8; 16]>,
}

impl Seen {
    /// Counts an item.
    pub(super) fn count(&mut self, kind: ItemKind) {
        self.counts[kind as usize] += 1;
    }
    /// The types that came.
    pub(crate) fn items(&self) -> impl Iterator<Item = (ItemKind, u64)> {
        KINDS.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_follows_the_enum() {
        assert!(KINDS.iter().enumerate().all(|(at, kind)| *kind as usize == at));
        for kind in KINDS {
            let name = match kind {
                ItemKind::Replay => "replay_event",
                ItemKind::Metric => "statsd",
                kind => kind.label(),
            };
            assert_eq!(ItemKind::named(name), kind);
        }
    }
}
