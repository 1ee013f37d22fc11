//! Who is reached, by whom overrides decide, and the shifts of weeks with summer time in them.

use model::ids::SequentialIds;

use super::*;
use crate::config::Config;

const CONFIG: &str = "
users:
- { name: ada, receivers: [ada-sms, ada-phone] }
- { name: bob, receivers: [bob-sms] }
- { name: eve, receivers: [eve-mail] }
teams:
- { name: shop, members: [eve, primary] }
schedules:
- name: primary
  time_zone: Europe/Berlin
  layers:
  - { users: [ada, bob], from: '2026-01-05 09:00', turn: 7d }
  - { users: [eve], from: '2026-01-05 00:00', turn: 7d, within: [weekend] }
- name: days
  layers: [{ users: [ada], from: '2026-01-01 00:00', turn: 1d, within: [office] }]
time_intervals:
- { name: weekend, time_intervals: [{ weekdays: [saturday, sunday] }] }
- { name: office, time_intervals: [{ times: [{ start_time: '09:00', end_time: '17:00' }] }] }
";

fn config() -> Config {
    serde_saphyr::from_str(CONFIG).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn instead(user: &str, from: &str, to: &str) -> Override {
    Override {
        id: OverrideId::new(at("2026-01-01T00:00:00Z"), &SequentialIds::default()),
        tenant: TenantId::default(),
        schedule: "primary".into(),
        user: user.into(),
        starts_at: at(from),
        ends_at: at(to),
        created_by: Actor::system("test"),
        comment: String::new(),
        over: false,
    }
}

#[test]
fn names_become_the_receivers_of_those_whose_turn_it_is() {
    let (config, receivers) = (config(), ["ada-sms", "ada-phone", "bob-sms", "eve-mail", "pd"].map(str::to_owned).into());
    assert_eq!(config.check(&receivers), Vec::<String>::new());
    let (roster, calendar) = (Roster::of(&config), Calendar::of(&config.time_intervals));
    let reach = |which: &[&str], when: &str| roster.reach(&names(which), &[], &calendar, at(when));

    let first_week = reach(&["pd", "primary"], "2026-01-06T12:00:00Z");
    assert_eq!(first_week.receivers, ["pd", "ada-sms", "ada-phone"]);
    assert_eq!(first_week.people, ["ada (on call on primary)"]);
    assert_eq!(reach(&["primary"], "2026-01-13T12:00:00Z").receivers, ["bob-sms"], "the second week");
    assert_eq!(reach(&["primary"], "2026-01-10T12:00:00Z").receivers, ["eve-mail"], "a later layer goes first, on Saturday");
    assert_eq!(reach(&["primary", "ada", "ada-sms"], "2026-01-06T12:00:00Z").receivers, ["ada-sms", "ada-phone"], "each once");

    let team = reach(&["shop"], "2026-01-06T12:00:00Z");
    assert_eq!(
        (team.receivers, team.people),
        (names(&["eve-mail", "ada-sms", "ada-phone"]), names(&["eve (of shop)", "ada (on call on primary)"]))
    );
    let night = reach(&["days"], "2026-01-06T03:00:00Z");
    assert_eq!((night.receivers.len(), night.nobody), (0, names(&["days"])));
    assert_eq!(reach(&["primary"], "2026-01-01T00:00:00Z").nobody, ["primary"], "before the first turn");
    assert_eq!(roster.everybody(&names(&["days", "pd"])).receivers, ["ada-sms", "ada-phone"]);
    assert!(roster.asks_schedules(&names(&["shop"])) && !roster.asks_schedules(&names(&["pd", "ada"])));
}

#[test]
fn an_override_goes_before_every_layer_while_it_holds() {
    let config = config();
    let (roster, calendar) = (Roster::of(&config), Calendar::of(&config.time_intervals));
    let overrides = [instead("bob", "2026-01-06T12:00:00Z", "2026-01-06T14:00:00Z")];
    let who = |overrides: &[Override], when: &str| roster.reach(&names(&["primary"]), overrides, &calendar, at(when)).receivers;
    assert_eq!(who(&overrides, "2026-01-06T12:00:00Z"), ["bob-sms"]);
    assert_eq!(who(&overrides, "2026-01-06T14:00:00Z"), ["ada-sms", "ada-phone"], "the end is not included");
    let ghost = Override { user: "zoe".into(), ..overrides[0].clone() };
    assert_eq!(roster.usable(vec![ghost, overrides[0].clone()]).len(), 1, "whoever is gone takes nobody's place");
    let over = [Override { over: true, ..overrides[0].clone() }];
    assert_eq!(who(&over, "2026-01-06T12:00:00Z"), ["ada-sms", "ada-phone"], "taken back");
}

#[test]
fn shifts_cover_the_time_without_gaps_and_agree_with_each_moment() {
    let config = config();
    let (roster, calendar) = (Roster::of(&config), Calendar::of(&config.time_intervals));
    let overrides =
        [instead("eve", "2026-03-27T22:00:00Z", "2026-03-30T05:30:00Z"), instead("bob", "2026-04-01T00:00:00Z", "2026-04-01T01:00:00Z")];
    let (from, to) = (at("2026-03-20T10:10:00Z"), at("2026-04-10T00:00:00Z"));
    for plan in roster.plans() {
        let found = shifts(plan, &overrides, &calendar, from, to);
        assert_eq!((found[0].from, found.last().unwrap().to), (from, to));
        assert!(found.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].who != pair[1].who), "{found:#?}");
        let mut now = from;
        for shift in &found {
            while now < shift.to {
                assert_eq!(plan.on_call(&overrides, &calendar, now), shift.who, "{} at {now}", plan.name);
                now = now.plus(std::time::Duration::from_secs(600));
            }
        }
    }
    let office = shifts(roster.plan("days").unwrap(), &[], &calendar, at("2026-01-06T00:00:00Z"), at("2026-01-07T00:00:00Z"));
    assert_eq!(office.iter().map(|shift| shift.who.is_some()).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(office[1].from, at("2026-01-06T09:00:00Z"));
}

#[test]
fn a_layer_whose_hours_never_come_costs_no_more_than_others() {
    let text = CONFIG
        .replace("turn: 1d, within: [office]", "turn: 1h, within: [never]")
        .replace("time_intervals:\n", "time_intervals:\n- { name: never, time_intervals: [{ years: ['2090'] }] }\n");
    let config: Config = serde_saphyr::from_str(&text).unwrap();
    let (roster, calendar) = (Roster::of(&config), Calendar::of(&config.time_intervals));
    let found = shifts(roster.plan("days").unwrap(), &[], &calendar, at("2026-01-06T00:00:00Z"), at("2026-04-06T00:00:00Z"));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].to, &found[0].who), (at("2026-04-06T00:00:00Z"), &None));
}
