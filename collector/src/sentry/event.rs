//! The payloads of items, as far as they are used: events, transactions, sessions, client reports, check-ins, logs. Every field may
//! be missing or of another shape. Pure data, borrowed from the body.

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::loose::{Any, Flag, List, Maybe, Num, Pairs, Str, Texts, Typed, When};
use crate::record::Text;

/// Structs of which every field may be missing.
macro_rules! payloads {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, bound(deserialize = "'de: 'a"))]
        pub(super) struct $name<'a> {
            $($(#[$field_doc])* pub(super) $field: $kind,)*
            #[serde(skip)]
            _body: std::marker::PhantomData<&'a ()>,
        }
    )*};
}

payloads! {
    /// An error, a message or a transaction.
    Event {
        event_id: Str<'a>, r#type: Str<'a>, platform: Str<'a>, level: Str<'a>, logger: Str<'a>, timestamp: When, start_timestamp: When,
        transaction: Str<'a>, server_name: Str<'a>, release: Str<'a>, dist: Str<'a>, environment: Str<'a>, message: Message<'a>,
        logentry: Message<'a>, exception: List<Exception<'a>>, threads: List<Thread<'a>>, stacktrace: Maybe<Stack<'a>>, tags: Pairs<'a>,
        extra: Pairs<'a>, user: Maybe<User<'a>>, request: Maybe<Request<'a>>, contexts: Maybe<Contexts<'a>>, fingerprint: Texts<'a>,
        sdk: Maybe<Named<'a>>, spans: List<SpanPart<'a>>, measurements: Typed<'a>,
        /// `logentry`, as clients called it before envelopes.
        #[serde(rename = "sentry.interfaces.Message")]
        older_logentry: Message<'a>,
    }
    /// One of a chain of exceptions.
    Exception {
        r#type: Str<'a>, value: Str<'a>, module: Str<'a>, stacktrace: Maybe<Stack<'a>>, mechanism: Maybe<Mechanism<'a>>,
    }
    /// How an exception was caught.
    Mechanism { r#type: Str<'a>, handled: Flag, is_exception_group: Flag }
    /// A thread of the process.
    Thread { crashed: Flag, current: Flag, stacktrace: Maybe<Stack<'a>> }
    /// Calls, outermost first.
    Stack { frames: List<FramePart<'a>> }
    /// A call.
    FramePart {
        function: Str<'a>, module: Str<'a>, filename: Str<'a>, abs_path: Str<'a>, lineno: Num, in_app: Flag, platform: Str<'a>,
        context_line: Str<'a>,
    }
    /// Who was affected.
    User { id: Str<'a>, username: Str<'a>, email: Str<'a>, ip_address: Str<'a> }
    /// The HTTP request that was being served.
    Request { url: Str<'a>, method: Str<'a> }
    /// What surrounded the event.
    Contexts {
        trace: Maybe<Trace<'a>>, response: Maybe<Answer<'a>>, runtime: Maybe<Named<'a>>, os: Maybe<Named<'a>>, browser: Maybe<Named<'a>>,
        device: Maybe<Device<'a>>,
    }
    /// The span in which it happened; of a transaction the root span.
    Trace {
        trace_id: Str<'a>, span_id: Str<'a>, parent_span_id: Str<'a>, op: Str<'a>, description: Str<'a>, status: Str<'a>, origin: Str<'a>,
        data: Pairs<'a>,
    }
    /// A span below the root.
    SpanPart {
        trace_id: Str<'a>, span_id: Str<'a>, parent_span_id: Str<'a>, op: Str<'a>, description: Str<'a>, status: Str<'a>, origin: Str<'a>,
        start_timestamp: When, timestamp: When, data: Pairs<'a>, tags: Pairs<'a>,
    }
    /// The HTTP response.
    Answer { status_code: Num }
    /// Something with a version.
    Named { name: Str<'a>, version: Str<'a> }
    /// The device.
    Device { model: Str<'a>, family: Str<'a> }
    /// An update of a session.
    Session { init: Flag, status: Str<'a>, errors: Num, attrs: Maybe<SessionAttributes<'a>> }
    /// Sessions that a server counted up.
    Sessions { aggregates: List<Aggregate<'a>>, attrs: Maybe<SessionAttributes<'a>> }
    /// The sessions of a minute.
    Aggregate { exited: Num, errored: Num, crashed: Num, abnormal: Num }
    /// What sessions are told apart by.
    SessionAttributes { release: Str<'a>, environment: Str<'a> }
    /// What a client did not send.
    ClientReport { discarded_events: List<Discarded<'a>> }
    /// Events of a category that were not sent for one reason.
    Discarded { reason: Str<'a>, category: Str<'a>, quantity: Num }
    /// A job says that it began, ended or failed.
    CheckIn { monitor_slug: Str<'a>, status: Str<'a>, duration: Num, environment: Str<'a> }
    /// Log records.
    Logs { items: List<LogPart<'a>> }
    /// A log record.
    LogPart {
        timestamp: When, trace_id: Str<'a>, span_id: Str<'a>, level: Str<'a>, severity_number: Num, body: Any<'a>, attributes: Typed<'a>,
    }
}

/// A message: a text, or a template with its text.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    /// The template, or the text where there is none.
    pub(super) message: Text<'a>,
    /// The text with the parameters filled in.
    pub(super) formatted: Text<'a>,
}

impl Message<'_> {
    /// The text.
    pub(super) fn text(&self) -> &str {
        if self.formatted.is_empty() { &self.message } else { &self.formatted }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Message<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Message<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any JSON value")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Message { message: text.into(), ..Message::default() })
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Message { message: text.to_owned().into(), ..Message::default() })
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Message::default())
            }
            fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
                self.visit_str(if flag { "true" } else { "false" })
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Message::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
                let mut found = Message::default();
                while let Some(key) = fields.next_key::<Str<'de>>()? {
                    match &*key {
                        "message" => found.message = fields.next_value::<Str<'de>>()?.0,
                        "formatted" => found.formatted = fields.next_value::<Str<'de>>()?.0,
                        _ => {
                            fields.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(found)
            }
        }
        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_three_shapes() {
        for (json, template, text) in [
            (r#"{"message":"user x failed"}"#, "user x failed", "user x failed"),
            (r#"{"message":{"message":"user %s failed","formatted":"user x failed","params":["x"]}}"#, "user %s failed", "user x failed"),
            (r#"{"message":null}"#, "", ""),
            (r#"{"message":7}"#, "7", "7"),
            (r#"{"message":["x"]}"#, "", ""),
        ] {
            let event: Event<'_> = serde_json::from_str(json).unwrap();
            assert_eq!((&*event.message.message, event.message.text()), (template, text), "{json}");
        }
    }

    #[test]
    fn an_event_whose_fields_have_other_shapes_is_an_event() {
        let json = r#"{"event_id":7,"platform":null,"exception":"x","threads":{"values":[null,{"crashed":1,"stacktrace":[]}]},"tags":[["a","b"],[1]],
            "user":"jane","request":[],"contexts":{"trace":"x","response":{"status_code":"200"}},"fingerprint":"x","spans":[{"data":[]},7],
            "sdk":{"name":{}},"measurements":[],"unknown":{"a":[1,{"b":"\u0000"}]}}"#;
        let event: Event<'_> = serde_json::from_str(json).unwrap();
        assert_eq!((&*event.event_id, event.exception.0.len(), event.threads.0.len(), event.spans.0.len()), ("7", 0, 1, 1));
        assert_eq!(event.contexts.0.unwrap().response.0.unwrap().status_code.0, Some(200.0));
    }
}
