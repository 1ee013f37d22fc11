//! The delivery worker in a small world: a state, a clock that is moved by hand, and catchers for providers.

mod api;
mod channels;
mod crash;
mod flow;
mod hand_over;
mod keypad;
mod order;
mod overtaken;
mod script;
mod storm;

use std::sync::Arc;
use std::time::Duration;

use model::event::{EventKind, Subject};
use model::ids::{IncidentId, NotificationId, SequentialIds};
use model::incident::{ChatChannel, Incident, IncidentClocks, IncidentStatus};
use model::labels::Labels;
use model::message::{Attachment, Delivery, Message, PageAction};
use model::severity::Severity;
use model::state::{Commit, Expect, Records, StateStore};
use model::tenant::TenantId;
use model::testing::Memory;
use model::time::{Clock, SimulatedClock, Timestamp};
use model::work::{Lane, Work, WorkState};
use prometheus::Registry;

use super::testing::{START, notice, queue};
use super::{Config, DeliveryWorker};
use crate::channels::ReceiverConfig;
use crate::channels::catcher;

/// A state, its clock and what drives it.
struct World {
    state: Arc<Memory>,
    ids: SequentialIds,
    registry: Registry,
}

impl World {
    fn new() -> Self {
        catcher::crypto();
        World { state: Memory::new(Arc::new(SimulatedClock::new(START))), ids: SequentialIds::default(), registry: Registry::new() }
    }

    /// A new process: another worker with its own metrics and its own ids.
    fn worker(&mut self, receivers: &str) -> Arc<DeliveryWorker> {
        self.worker_with(receivers, Config { patience: model::time::Span::secs(60), ..Config::default() })
    }

    fn worker_with(&mut self, receivers: &str, config: Config) -> Arc<DeliveryWorker> {
        let receivers: Vec<ReceiverConfig> = serde_saphyr::from_str(receivers).unwrap();
        self.registry = Registry::new();
        Arc::new(DeliveryWorker::new(&receivers, config, Arc::new(model::ids::RandomIds), &self.registry).unwrap())
    }

    fn delivery(&self, receiver: &str, message: Message) -> Delivery {
        let now = self.state.clock().now();
        let subject = Subject::incident(incident_id());
        Delivery {
            id: NotificationId::new(now, &self.ids),
            tenant: TenantId::default(),
            receiver: receiver.into(),
            subject,
            queued_at: now,
            message,
        }
    }

    async fn page(&self, receiver: &str, action: PageAction, key: &str) -> Delivery {
        let delivery = self.delivery(receiver, Message::Notice(Box::new(notice(action, key))));
        queue(&self.state, delivery.clone(), Lane::Page).await;
        delivery
    }

    async fn send(&self, receiver: &str, message: Message, lane: Lane) -> Delivery {
        let delivery = self.delivery(receiver, message);
        queue(&self.state, delivery.clone(), lane).await;
        delivery
    }

    /// One round at the clock's moment.
    async fn round(&self, worker: &Arc<DeliveryWorker>) -> usize {
        let state: Arc<dyn StateStore> = self.state.clone();
        worker.deliver_due(&state, None, self.state.clock().now()).await.unwrap_or(0)
    }

    /// Rounds, moving the clock to the next due moment, until nothing is pending.
    async fn settle(&self, worker: &Arc<DeliveryWorker>) {
        for _ in 0..2_000 {
            let Some(due) = self.state.next_due() else { return };
            if due > self.state.clock().now() {
                self.state.clock().set(due);
            }
            self.round(worker).await;
            self.follow().await;
        }
        panic!("still pending: {:?}", self.rows(WorkState::Pending));
    }

    /// What `incidents` does with the events about chat channels.
    async fn follow(&self) {
        let mut chat = None;
        for event in self.state.kinds() {
            match event {
                EventKind::ChatChannelOpened { receiver, channel, name } => {
                    chat = Some(ChatChannel { receiver, id: channel, name, archived: false })
                }
                EventKind::ChatChannelArchived { .. } => chat = chat.map(|chat| ChatChannel { archived: true, ..chat }),
                _ => {}
            }
        }
        if chat.is_some() {
            self.incident(chat).await;
        }
    }

    async fn incident(&self, chat: Option<ChatChannel>) {
        let mut commit = Commit::at(self.state.clock().now());
        commit.put(&Incident { chat, ..incident() }, Expect::Any).unwrap();
        self.state.commit(commit).await.unwrap();
    }

    fn advance(&self, secs: u64) {
        self.state.clock().advance(Duration::from_secs(secs));
    }

    fn rows(&self, state: WorkState) -> Vec<Work> {
        self.state.rows().into_iter().filter(|row| row.state == state).collect()
    }

    fn sent(&self) -> Vec<EventKind> {
        self.state.kinds().into_iter().filter(|event| matches!(event, EventKind::NotificationSent { .. })).collect()
    }

    fn metric(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let fits = |metric: &&prometheus::proto::Metric| {
            wanted.iter().all(|(name, value)| metric.get_label().iter().any(|label| label.name() == *name && label.value() == *value))
        };
        let found = family.into_iter().flat_map(|family| family.get_metric()).find(fits);
        found.map_or(0.0, |metric| {
            metric.get_counter().get_value() + metric.get_gauge().get_value() + metric.get_histogram().get_sample_count() as f64
        })
    }
}

fn incident_id() -> IncidentId {
    IncidentId::derived(START, "the incident")
}

fn incident() -> Incident {
    Incident {
        id: incident_id(),
        tenant: TenantId::default(),
        number: 42,
        title: "checkout fails".into(),
        severity: Severity::Critical,
        status: IncidentStatus::Open,
        group: Labels::empty(),
        alerts: Vec::new(),
        firing: Vec::new(),
        clocks: IncidentClocks {
            started: START,
            detected: START,
            acknowledged: None,
            mitigated: None,
            resolved: None,
            closed: None,
            cancelled: None,
        },
        acknowledged: None,
        resolved_by: None,
        chat: None,
        repair: None,
        last_update: None,
    }
}

fn chat_open() -> Message {
    let (name, topic, text) = ("incident-42".to_owned(), "checkout fails".to_owned(), "*CRITICAL* checkout fails".to_owned());
    Message::ChatOpen { incident: incident_id(), name, topic, invite: vec!["U1".to_owned()], text }
}

fn document() -> Message {
    let attachments = vec![Attachment {
        name: "review.ics".into(),
        media_type: "text/calendar; method=REQUEST".into(),
        content: "BEGIN:VCALENDAR".into(),
    }];
    Message::Document { title: "Postmortem 42".into(), text: "What happened".into(), attachments }
}

fn pagerduty(url: &str) -> String {
    format!("[{{name: pd, type: pagerduty, routing_key: R0UT1NGKEY, url: '{url}', timeout: 2s}}]")
}

fn slack(url: &str) -> String {
    format!(
        "[{{name: chat, type: slack, token: xoxb-test-token, channel: ops, api_url: '{url}/api', invite: [U2], timeout: 2s, rate_limit: {{per_second: 1, burst: 50}}, channel_rate_limit: {{per_second: 1, burst: 50}}}}]"
    )
}

fn webhook(url: &str) -> String {
    format!("[{{name: hook, type: webhook, url: '{url}/hook?token=URLSECRET', bearer_token: BEARERSECRET, timeout: 2s}}]")
}

fn slack_webhook(url: &str) -> String {
    format!(
        "[{{name: hook, type: slack_webhook, url: '{url}/services/T0/B0/URLSECRET', timeout: 2s, rate_limit: {{per_second: 1, burst: 50}}}}]"
    )
}

fn mail(port: u16) -> String {
    format!(
        "[{{name: post, type: mail, host: 127.0.0.1, port: {port}, starttls: false, from: 'Watchfire <w@example.org>', to: [a@example.org, b@example.org], timeout: 2s}}]"
    )
}

fn twilio(url: &str) -> String {
    format!(
        "[{{name: sms, type: twilio_sms, account_sid: AC1, auth_token: TWILIOSECRET, from: '+15550001111', to: ['+15550002222', '+15550003333'], url: '{url}', timeout: 2s}}]"
    )
}

/// Seconds of a moment, for providers' clocks.
fn secs(at: Timestamp) -> i64 {
    at.millis() / 1000
}
