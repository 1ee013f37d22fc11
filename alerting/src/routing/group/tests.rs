//! Looks at groups, step by step, against what Alertmanager's dispatcher and its deduplication do.

use std::time::Duration;

use model::ids::SequentialIds;

use super::*;
use crate::routing::RouteConfig;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn route(yaml: &str) -> Route {
    Route::root(&serde_saphyr::from_str::<RouteConfig>(&format!("{{ receivers: [a], {yaml} }}")).unwrap())
}

/// A group that is carried along as the worker does it.
struct Story {
    route: Route,
    group: AlertGroup,
    members: Vec<(Member, Standing)>,
    ids: SequentialIds,
}

const FIRES: Standing = Standing::Firing { muted: false, acknowledged: false };
const MUTED: Standing = Standing::Firing { muted: true, acknowledged: false };
const TAKEN: Standing = Standing::Firing { muted: false, acknowledged: true };

impl Story {
    fn new(yaml: &str) -> Self {
        let route = route(yaml);
        let group = AlertGroup::new(&TenantId::default(), &route, Labels::empty());
        Story { route, group, members: Vec::new(), ids: SequentialIds::default() }
    }
    fn join(&mut self, standing: Standing) {
        let id = AlertId::new(NOW, &self.ids);
        self.members.push((Member::new(&TenantId::default(), &self.group.id, id), standing));
    }
    fn set(&mut self, at: usize, standing: Standing) {
        self.members[at].1 = standing;
    }
    /// `3 firing, 1 over: why`, or why not; and after how long the next look is.
    fn look(&mut self, at: Timestamp, closed: Option<Closed>) -> (String, Option<u64>) {
        let decision = look(&self.group, &self.members, &self.route, closed, at);
        let said = match (&decision.tell, &decision.closed) {
            (Some(told), _) => format!("{} firing, {} over: {}", told.firing.len(), told.over.len(), told.why),
            (None, Some(closed)) => closed.by.clone(),
            (None, None) => "nothing".to_owned(),
        };
        if let Some(told) = &decision.tell {
            (self.group.told_at, self.group.told_firing) = (Some(at), !told.firing.is_empty());
            for (place, (member, _)) in self.members.iter_mut().enumerate() {
                (member.told, member.told_over) = (told.firing.contains(&place), told.over.contains(&place));
                member.owed = member.told || (member.owed && !member.told_over);
            }
        }
        self.group.flushed_at = Some(at);
        let mut place = 0;
        self.members.retain(|_| {
            place += 1;
            !decision.forget.contains(&(place - 1))
        });
        (said, decision.next_at.map(|next| next.since(at).as_secs()))
    }
}

fn later(minutes: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(60 * minutes))
}

#[test]
fn first_more_fewer_none() {
    let mut story = Story::new("repeat_interval: 4h");
    story.join(FIRES);
    assert_eq!(story.look(NOW, None), ("1 firing, 0 over: new alerts".to_owned(), Some(4 * 3600)));
    assert_eq!(story.look(later(5), None), ("nothing".to_owned(), Some(4 * 3600 - 300)));
    story.join(FIRES);
    assert_eq!(story.look(later(10), None).0, "2 firing, 0 over: new alerts");
    story.set(0, Standing::Over);
    assert_eq!(story.look(later(15), None).0, "1 firing, 1 over: resolved");
    assert_eq!(story.members.len(), 1, "what is over is told once and forgotten");
    story.set(0, Standing::Over);
    assert_eq!(story.look(later(20), None), ("0 firing, 1 over: resolved".to_owned(), None));
    assert!(story.members.is_empty());
}

#[test]
fn repeats_come_after_their_interval_on_a_whole_tick() {
    let mut story = Story::new("group_interval: 7m, repeat_interval: 10m");
    story.join(FIRES);
    assert_eq!(story.look(NOW, None).1, Some(14 * 60), "the first tick that is not before 10 minutes");
    assert_eq!(story.look(later(7), None).0, "nothing");
    assert_eq!(story.look(later(14), None).0, "1 firing, 0 over: repeated");
    story.set(0, TAKEN);
    assert_eq!(story.look(later(28), None), ("nothing".to_owned(), None), "somebody has it");
}

#[test]
fn ends_that_nobody_wants_are_not_told() {
    let mut story = Story::new("send_resolved: false");
    story.join(FIRES);
    story.join(FIRES);
    story.look(NOW, None);
    story.set(0, Standing::Over);
    assert_eq!(story.look(later(5), None).0, "nothing");
    story.set(0, Standing::Over);
    assert_eq!(story.look(later(10), None).0, "0 firing, 0 over: resolved", "counted as told");
    assert!(!story.group.told_firing);
    story.join(FIRES);
    assert_eq!(story.look(later(15), None).0, "1 firing, 0 over: new alerts");
}

#[test]
fn what_is_muted_is_not_told_and_what_was_told_gets_its_end() {
    let mut story = Story::new("group_wait: 0s");
    story.join(MUTED);
    assert_eq!(story.look(NOW, None), ("nothing".to_owned(), None));
    story.set(0, FIRES);
    assert_eq!(story.look(later(5), None).0, "1 firing, 0 over: new alerts");
    story.set(0, MUTED);
    assert_eq!(story.look(later(10), None), ("nothing".to_owned(), None), "no repeats for what is muted");
    story.set(0, Standing::Over);
    assert_eq!(story.look(later(15), None).0, "0 firing, 1 over: resolved");
    story.join(MUTED);
    story.set(0, Standing::Over);
    assert_eq!(story.look(later(20), None).0, "nothing", "nobody heard that it fired");
}

#[test]
fn closed_hours_keep_what_is_owed() {
    let closed = |until| Some(Closed { by: "time interval nights".to_owned(), until });
    let mut story = Story::new("group_interval: 5m");
    story.join(FIRES);
    assert_eq!(story.look(NOW, closed(later(62))), ("time interval nights".to_owned(), Some(65 * 60)));
    assert_eq!(story.look(later(65), None).0, "1 firing, 0 over: new alerts");
    story.set(0, Standing::Over);
    assert_eq!(story.look(later(70), closed(later(80))).0, "time interval nights");
    assert_eq!(story.members.len(), 1, "its end is still to be told");
    assert_eq!(story.look(later(80), None).0, "0 firing, 1 over: resolved");
    story.join(FIRES);
    story.set(0, Standing::Over);
    assert_eq!(story.look(later(85), closed(later(90))).0, "nothing");
    assert!(story.members.is_empty(), "it came and went while nobody was to be told");
}

#[test]
fn ticks_are_whole_intervals_after_the_last_look() {
    let route = route("group_interval: 5m");
    assert_eq!(tick(NOW, &route, NOW), later(5));
    assert_eq!(tick(NOW, &route, later(1)), later(5));
    assert_eq!(tick(NOW, &route, later(5)), later(5));
    assert_eq!(tick(NOW, &route, later(11)), later(15));
}
