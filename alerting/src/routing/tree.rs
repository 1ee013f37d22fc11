//! The routing tree, ready to be asked. In: labels. Out: the routes that take them, in order, and what group an alert belongs to. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use model::labels::Labels;
use model::time::Timestamp;

use super::config::RouteConfig;
use super::intervals::{Interval, NamedIntervals, until};
use crate::matchers::Matchers;

/// Whoever is told of a group is told at once, and of what joins it a minute later. Alertmanager waits 30 s, then 5 min: `watchfire rules
/// import` writes those into what it makes of its configuration.
const GROUP_WAIT: Duration = Duration::ZERO;
const GROUP_INTERVAL: Duration = Duration::from_secs(60);
/// As Alertmanager's.
const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3600);

/// What a group has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// Everything: each alert is its own group.
    All,
    /// These labels.
    Labels(BTreeSet<String>),
}

/// The hours of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hours {
    /// Nobody is told while the time lies in one of these.
    pub mute: Vec<String>,
    /// Nobody is told while the time lies in none of these, if there are any.
    pub active: Vec<String>,
}

/// Outside its hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// `time interval nights`, `outside of office-hours`.
    pub by: String,
    /// Until when, or when to look again.
    pub until: Timestamp,
}

impl Closed {
    /// In words.
    pub fn words(&self) -> String {
        format!("muted by {} until {}", self.by, self.until)
    }
}

/// A route with all that it takes from its parents.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What leads to it: `{}/{severity="critical"}`. Groups are known by it, so that they stay what they are when routes are added beside it;
    /// siblings with the same matchers are told apart by a number: `.../1`.
    pub id: String,
    /// What Alertmanager's API calls its receiver.
    pub name: String,
    /// Who hears of groups.
    pub receivers: Vec<String>,
    /// Which ladder climbs.
    pub escalation: Option<String>,
    /// All must match.
    pub matchers: Matchers,
    /// Whether later routes are asked too.
    pub goes_on: bool,
    /// What a group is.
    pub group_by: GroupBy,
    /// Before the first notice.
    pub group_wait: Duration,
    /// Between notices.
    pub group_interval: Duration,
    /// Before the same is said again.
    pub repeat_interval: Duration,
    /// When people are told.
    pub hours: Hours,
    /// Whether the end is told.
    pub send_resolved: bool,
    /// Its children, in order.
    pub children: Vec<Route>,
}

/// The named time intervals, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calendar(BTreeMap<String, Vec<Interval>>);

impl Calendar {
    /// From the configuration; what cannot be read has been told by its check and is left out.
    pub fn of(intervals: &[NamedIntervals]) -> Self {
        let read = |named: &NamedIntervals| named.time_intervals.iter().filter_map(|one| one.read().ok()).collect();
        Calendar(intervals.iter().map(|named| (named.name.clone(), read(named))).collect())
    }

    /// Whether a moment lies in a named interval.
    pub fn contains(&self, name: &str, at: Timestamp) -> bool {
        self.0.get(name).into_iter().flatten().any(|interval| interval.contains(at))
    }

    /// The first of these intervals in which a moment lies, and until when it lies in one of them.
    pub fn within(&self, names: &[String], at: Timestamp) -> Option<(String, Timestamp)> {
        let found = names.iter().find(|name| self.contains(name, at))?;
        let inside = |at: Timestamp| names.iter().any(|name| self.contains(name, at));
        Some((found.clone(), until(at, inside).unwrap_or(at.plus(LOOK_AGAIN))))
    }

    /// Why nobody is told at a moment; `None`: people are told.
    pub fn closed(&self, hours: &Hours, at: Timestamp) -> Option<Closed> {
        let muted = |at: Timestamp| hours.mute.iter().find(|name| self.contains(name, at));
        let inactive = |at: Timestamp| !hours.active.is_empty() && !hours.active.iter().any(|name| self.contains(name, at));
        let by = match muted(at) {
            Some(name) => format!("time interval {name}"),
            None if inactive(at) => format!("the time outside of {}", hours.active.join(", ")),
            None => return None,
        };
        let until = until(at, |at| muted(at).is_some() || inactive(at)).unwrap_or(at.plus(LOOK_AGAIN));
        Some(Closed { by, until })
    }
}

/// Where no end is in sight.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// Names, each where it stands first: nobody is told twice.
fn once(names: &[String]) -> Vec<String> {
    let mut met = BTreeSet::new();
    names.iter().filter(|name| met.insert(*name)).cloned().collect()
}

/// What a route asks for.
fn place(config: &RouteConfig) -> String {
    format!("{{{}}}", config.matchers.texts().join(","))
}

impl Route {
    /// The tree.
    pub fn root(config: &RouteConfig) -> Self {
        Self::below(config, None, place(config))
    }

    fn below(config: &RouteConfig, parent: Option<&Route>, id: String) -> Self {
        let own = config.receivers.is_some() || config.escalation.is_some();
        let (receivers, escalation) = match (own, parent) {
            (false, Some(parent)) => (parent.receivers.clone(), parent.escalation.clone()),
            (true, _) | (false, None) => (once(config.receivers.as_deref().unwrap_or_default()), config.escalation.clone()),
        };
        let name = match (&config.name, own, parent) {
            (Some(name), _, _) => name.clone(),
            (None, false, Some(parent)) => parent.name.clone(),
            (None, _, _) => {
                let names: Vec<&str> = escalation.iter().chain(&receivers).map(String::as_str).collect();
                if names.is_empty() { "nobody".to_owned() } else { names.join("+") }
            }
        };
        let group_by = match &config.group_by {
            None => parent.map_or(GroupBy::Labels(BTreeSet::new()), |parent| parent.group_by.clone()),
            Some(labels) if labels.iter().any(|label| label == "...") => GroupBy::All,
            Some(labels) => GroupBy::Labels(labels.iter().cloned().collect()),
        };
        let span =
            |own: Option<model::time::Span>, inherited: Option<Duration>, usual| own.map(|span| span.0).or(inherited).unwrap_or(usual);
        let mut route = Route {
            id,
            name,
            receivers,
            escalation,
            matchers: config.matchers.clone(),
            goes_on: config.r#continue,
            group_by,
            group_wait: span(config.group_wait, parent.map(|parent| parent.group_wait), GROUP_WAIT),
            group_interval: span(config.group_interval, parent.map(|parent| parent.group_interval), GROUP_INTERVAL),
            repeat_interval: span(config.repeat_interval, parent.map(|parent| parent.repeat_interval), REPEAT_INTERVAL),
            hours: Hours { mute: config.mute_time_intervals.clone(), active: config.active_time_intervals.clone() },
            send_resolved: config.send_resolved.or(parent.map(|parent| parent.send_resolved)).unwrap_or(true),
            children: Vec::new(),
        };
        let mut alike: BTreeMap<String, usize> = BTreeMap::new();
        for child in &config.routes {
            let place = format!("{}/{}", route.id, place(child));
            let before = alike.entry(place.clone()).or_default();
            let id = if *before == 0 { place } else { format!("{place}/{before}") };
            *before += 1;
            let child = Route::below(child, Some(&route), id);
            route.children.push(child);
        }
        route
    }

    /// The routes that take an alert: of the children the first that matches, and further ones after `continue`; this one if none does.
    pub fn take<'a>(&'a self, labels: &Labels) -> Vec<&'a Route> {
        let mut taken = Vec::new();
        self.collect(labels, &mut taken);
        taken
    }

    fn collect<'a>(&'a self, labels: &Labels, taken: &mut Vec<&'a Route>) -> bool {
        if !self.matchers.match_all(labels) {
            return false;
        }
        let before = taken.len();
        for child in &self.children {
            if child.collect(labels, taken) && !child.goes_on {
                break;
            }
        }
        if taken.len() == before {
            taken.push(self);
        }
        true
    }

    /// The route at a place, if it is still there.
    pub fn find(&self, id: &str) -> Option<&Route> {
        if self.id == id { Some(self) } else { self.children.iter().find_map(|child| child.find(id)) }
    }

    /// It and everything below it, in order.
    pub fn all(&self) -> Vec<&Route> {
        let mut found = vec![self];
        found.extend(self.children.iter().flat_map(Route::all));
        found
    }

    /// What the alerts of a group share.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        labels.filtered(|name| self.groups_by(name))
    }

    fn groups_by(&self, name: &str) -> bool {
        match &self.group_by {
            GroupBy::All => true,
            GroupBy::Labels(names) => names.contains(name),
        }
    }

    /// The same number for one group of this route, nearly always different for others. Not to be stored.
    pub fn group_hash(&self, labels: &Labels) -> u64 {
        let mut hash = DefaultHasher::new();
        self.id.hash(&mut hash);
        labels.iter().filter(|(name, _)| *name != "__route__" && self.groups_by(name)).for_each(|pair| pair.hash(&mut hash));
        hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Route {
        let yaml = "
receivers: [mail]
group_by: [alertname]
routes:
- { matchers: ['team=\"db\"'], receivers: [db], group_by: ['...'], routes: [{ matchers: [severity=critical], escalation: pager, group_wait: 0s }] }
- { matchers: ['{severity=~\"critical|page\", env!=\"dev\"}'], escalation: pager, continue: true }
- { matchers: [team=web], receivers: [web, chat], send_resolved: false }
- { matchers: [noise=yes], receivers: [] }
- { matchers: [service=shop], mute_time_intervals: [nights], group_interval: 2m }
";
        Route::root(&serde_saphyr::from_str::<RouteConfig>(yaml).unwrap())
    }

    fn taken(pairs: &[(&str, &str)]) -> Vec<String> {
        tree().take(&pairs.iter().copied().collect()).into_iter().map(|route| route.name.clone()).collect()
    }

    #[test]
    fn the_first_match_takes_it_and_continue_asks_on() {
        assert_eq!(taken(&[("a", "b")]), ["mail"]);
        assert_eq!(taken(&[("team", "db")]), ["db"]);
        assert_eq!(taken(&[("team", "db"), ("severity", "critical")]), ["pager"], "the deepest one, and no sibling");
        assert_eq!(taken(&[("team", "web"), ("severity", "page")]), ["pager", "web+chat"]);
        assert_eq!(taken(&[("severity", "page")]), ["pager"], "a match with continue counts as a match");
        assert_eq!(taken(&[("severity", "page"), ("env", "dev")]), ["mail"]);
        assert_eq!(taken(&[("noise", "yes")]), ["nobody"]);
    }

    #[test]
    fn children_inherit_but_not_matchers_and_hours() {
        let tree = tree();
        let deepest = &tree.children[0].children[0];
        assert_eq!((deepest.group_by.clone(), deepest.group_wait, deepest.receivers.len()), (GroupBy::All, Duration::ZERO, 0));
        let shop = &tree.children[4];
        assert_eq!((shop.name.as_str(), shop.hours.mute.len(), shop.group_interval), ("mail", 1, Duration::from_secs(120)));
        let spans = |route: &Route| [route.group_wait, route.group_interval, route.repeat_interval].map(|span| span.as_secs());
        assert_eq!(spans(&tree), [0, 60, 4 * 3600], "at once, unless it says otherwise");
        assert_eq!(spans(shop), [0, 120, 4 * 3600]);
        assert!(!tree.children[2].send_resolved);
        let labels: Labels = [("alertname", "A"), ("x", "y")].into_iter().collect();
        assert_eq!(shop.group_labels(&labels).len(), 1);
        assert_eq!(deepest.group_labels(&labels), labels);
        assert_eq!(deepest.id, "{}/{team=\"db\"}/{severity=\"critical\"}");
        assert_eq!(tree.find(&deepest.id), Some(deepest));
        assert_eq!(tree.all().len(), 7);
    }

    /// A group must not become another one because a route was added in front of its own.
    #[test]
    fn a_route_is_known_by_its_matchers_and_not_by_its_place() {
        let ids = |routes: &str| -> Vec<String> {
            let tree =
                Route::root(&serde_saphyr::from_str::<RouteConfig>(&format!("{{ receivers: [mail], routes: [{routes}] }}")).unwrap());
            tree.children.iter().flat_map(Route::all).map(|route| route.id.clone()).collect()
        };
        let db = "{ matchers: [team=db], continue: true, routes: [{ matchers: [env=dev] }] }";
        assert_eq!(ids(db), ["{}/{team=\"db\"}", "{}/{team=\"db\"}/{env=\"dev\"}"]);
        assert_eq!(ids(&format!("{{ matchers: [team=web] }}, {db}"))[1..], ids(db));
        assert_eq!(ids(&format!("{db}, {db}"))[2..], ["{}/{team=\"db\"}/1", "{}/{team=\"db\"}/1/{env=\"dev\"}"]);
    }

    #[test]
    fn hours_are_told_with_their_end() {
        let intervals: Vec<NamedIntervals> = serde_saphyr::from_str(
            "- { name: nights, time_intervals: [{ times: [{ start_time: '22:00', end_time: '24:00' }] }] }\n- { name: office, time_intervals: [{ times: [{ start_time: '09:00', end_time: '17:00' }] }] }\n",
        )
        .unwrap();
        let calendar = Calendar::of(&intervals);
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let hours = |mute: &[&str], active: &[&str]| Hours {
            mute: mute.iter().map(|name| (*name).to_owned()).collect(),
            active: active.iter().map(|name| (*name).to_owned()).collect(),
        };
        let night = at("2026-03-01T23:00:00Z");
        let closed = calendar.closed(&hours(&["nights"], &[]), night).unwrap();
        assert_eq!(closed.words(), "muted by time interval nights until 2026-03-02T00:00:00Z");
        let closed = calendar.closed(&hours(&[], &["office"]), night).unwrap();
        assert_eq!((closed.by.as_str(), closed.until), ("the time outside of office", at("2026-03-02T09:00:00Z")));
        assert_eq!(calendar.closed(&hours(&["nights"], &["office"]), at("2026-03-02T09:00:00Z")), None);
        assert_eq!(calendar.closed(&Hours::default(), night), None);
        assert_eq!(
            calendar.within(&["office".to_owned()], at("2026-03-02T16:00:00Z")),
            Some(("office".to_owned(), at("2026-03-02T17:00:00Z")))
        );
    }
}
