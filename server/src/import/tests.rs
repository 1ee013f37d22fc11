//! Rule files and Alertmanager configurations as people have them, and what is said of what cannot be taken over.

use alerting::RuleSet;

use super::{Imported, import};

const MANAGER: &str = include_str!("testdata/alertmanager.yml");
const RULES: &str = include_str!("testdata/node.rules.yml");

fn both() -> Imported {
    import(&[("etc/node.rules.yml".to_owned(), RULES.to_owned()), ("etc/alertmanager.yml".to_owned(), MANAGER.to_owned())])
}

/// Whom an alert with these labels reaches: names of Alertmanager's receivers.
fn led(config: &crate::config::Config, labels: &[(&str, &str)]) -> Vec<String> {
    let root = alerting::routing::Route::root(config.alerting.route.as_ref().unwrap());
    root.take(&labels.iter().copied().collect()).into_iter().map(|route| route.name.clone()).collect()
}

#[test]
fn alerts_go_where_alertmanager_leads_them() {
    let imported = both();
    assert_eq!(imported.errors, Vec::<String>::new());
    let config = crate::config::parse(&imported.config).unwrap_or_else(|error| panic!("{error}\n{}", imported.config));
    for (labels, receivers) in [
        (&[("alertname", "X")][..], &["ops-mail"][..]),
        (&[("alertname", "Watchdog")], &["blackhole"]),
        (&[("alertname", "X"), ("team", "db")], &["team-db"]),
        (&[("severity", "page"), ("team", "web")], &["pager", "team-web"]),
        (&[("severity", "critical")], &["pager"]),
        (&[("namespace", "shop")], &["chatops"]),
    ] {
        assert_eq!(led(&config, labels), receivers, "{labels:?}");
    }
    let root = config.alerting.route.as_ref().unwrap();
    assert_eq!(root.group_wait, Some(model::time::Span::secs(30)));
    assert_eq!(root.routes[0].receivers, Some(Vec::new()), "a black hole stays one");
    assert_eq!(root.routes[1].mute_time_intervals, ["nights"]);
    let ends = |labels: &[(&str, &str)]| {
        let root = alerting::routing::Route::root(root);
        root.take(&labels.iter().copied().collect()).iter().map(|route| route.send_resolved).collect::<Vec<bool>>()
    };
    assert_eq!(ends(&[("alertname", "X")]), [false], "mail hears of ends only where it says so");
    assert_eq!(ends(&[("team", "db")]), [false], "it says that it does not");
    assert_eq!(ends(&[("severity", "page"), ("team", "web")]), [true, true], "others do, whatever the route above says");
    assert_eq!(config.alerting.resolve_timeout, model::time::Span::secs(300));
    // The rule files are as they were.
    assert_eq!(imported.rules, [("node.rules.yaml".to_owned(), RULES.to_owned())]);
}

#[test]
fn the_configuration_is_good_and_holds_receivers_inhibition_and_grouping() {
    let imported = both();
    let config = crate::config::parse(&imported.config).unwrap_or_else(|error| panic!("{error}\n{}", imported.config));
    assert_eq!(config.problems(), Vec::<String>::new(), "{}", imported.config);
    let names: Vec<&str> = config.receivers.iter().map(|receiver| receiver.name()).collect();
    assert_eq!(names, ["ops-mail", "pager-pagerduty", "pager-slack", "team-db", "team-web", "chatops"]);
    assert_eq!(config.incidents.group_by, ["cluster", "service"]);
    let inhibit = &config.alerting.inhibit_rules;
    assert_eq!((inhibit.len(), inhibit[0].equal.as_slice()), (1, ["cluster".to_owned(), "service".to_owned()].as_slice()));
    let rules = RuleSet::load(imported.rules).unwrap();
    let parser = store::promql::PromQl::new(std::sync::Arc::new(store::promql::memory::MemorySource::new()));
    let problems = rules.check(|expr| model::query::MetricQuery::check(&parser, expr), |_| Ok(()), &config.alerting.escalations);
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn everything_without_a_counterpart_is_told_with_its_line() {
    let imported = both();
    let notes: Vec<String> = imported.notes.iter().map(ToString::to_string).collect();
    let line = |needle: &str| MANAGER.lines().position(|line| line.contains(needle)).unwrap() + 1;
    for (needle, said) in [
        ("templates:", "`templates` is left out"),
        ("channel:", "`channel` of a slack receiver is left out"),
        ("title:", "`title` of a slack receiver is left out"),
        ("max_alerts", "`max_alerts` of a webhook receiver is left out"),
        ("basic_auth", "`basic_auth` of http_config is left out"),
    ] {
        let at = format!("alertmanager.yml, line {}: ", line(needle));
        let near = format!("alertmanager.yml, line {}: ", line(needle) + 1);
        let told = notes.iter().any(|note| note.contains(said) && (note.contains(&at) || note.contains(&near)));
        assert!(told, "line {} {said}\n{}", line(needle), notes.join("\n"));
    }
    assert!(imported.config.contains("`templates` is left out"), "the notes stand in the file too");
    let everything = notes.join("\n");
    for secret in ["hunter22", "s3cret", "T000/B000"] {
        assert!(!everything.contains(secret), "{secret} is shown");
    }
}

#[test]
fn further_receivers_are_taken_over_or_told() {
    let text = "route: { receiver: all }\nreceivers:\n- name: all\n  telegram_configs: [{ bot_token: t0ken, chat_id: -100 }]\n  discord_configs: [{ webhook_url: 'https://d.example.org/x' }]\n  msteamsv2_configs: [{ webhook_url: 'https://t.example.org/x' }, {}]\n  opsgenie_configs: [{ api_key: k3y, api_url: 'https://api.eu.opsgenie.com/' }]\n  pushover_configs: [{ user_key: u }]\n";
    let imported = import(&[("am.yml".to_owned(), text.to_owned())]);
    let config = crate::config::parse(&imported.config).unwrap_or_else(|error| panic!("{error}\n{}", imported.config));
    assert_eq!(config.problems(), Vec::<String>::new());
    let names: Vec<&str> = config.receivers.iter().map(|receiver| receiver.name()).collect();
    assert_eq!(names, ["all-telegram", "all-discord", "all-msteamsv2", "all-opsgenie"]);
    let notes: Vec<String> = imported.notes.iter().map(ToString::to_string).collect();
    assert!(notes.iter().any(|note| note.contains("msteams receiver without `webhook_url`")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("a `pushover_configs` entry of receiver `all` is left out")), "{notes:?}");
}

/// Each receiver of Alertmanager says for itself whether it hears of ends; a route here inherits it.
#[test]
fn who_hears_of_ends_does_so_below_a_route_that_does_not() {
    let config = crate::config::parse(&both().config).unwrap();
    let root = alerting::routing::Route::root(config.alerting.route.as_ref().unwrap());
    let told: Vec<(&str, bool)> = root.all().into_iter().map(|route| (route.name.as_str(), route.send_resolved)).collect();
    let wanted = [("ops-mail", false), ("blackhole", true), ("team-db", false), ("pager", true), ("team-web", true), ("chatops", true)];
    assert_eq!(told, wanted, "mail hears of ends only where it is asked for, PagerDuty does");
}

/// Routes of ours tell at once, unless they say otherwise; Alertmanager's wait.
#[test]
fn imported_routes_wait_as_long_as_alertmanagers() {
    let tree = |route: &str| {
        let text = format!("route: {route}\nreceivers:\n- name: all\n  webhook_configs: [{{ url: 'http://127.0.0.1:1' }}]\n");
        let imported = import(&[("am.yml".to_owned(), text)]);
        let config = crate::config::parse(&imported.config).unwrap_or_else(|error| panic!("{error}\n{}", imported.config));
        alerting::routing::Route::root(config.alerting.route.as_ref().unwrap())
    };
    let waits = |route: &alerting::routing::Route| [route.group_wait, route.group_interval, route.repeat_interval].map(|one| one.as_secs());
    let bare = tree("{ receiver: all, routes: [{ receiver: all, matchers: [a=b], group_wait: 0s, repeat_interval: 1h }] }");
    assert_eq!((waits(&bare), waits(&bare.children[0])), ([30, 300, 14_400], [0, 300, 3_600]));
    assert_eq!(waits(&tree("{ receiver: all, group_wait: 10s, group_interval: 1m, repeat_interval: 12h }")), [10, 60, 43_200]);
}

/// In Alertmanager a route with an empty list groups as its parent does; here it would make one group of everything.
#[test]
fn an_empty_group_by_is_the_parents() {
    let text = "route: { receiver: all, group_by: [alertname], routes: [{ receiver: all, matchers: [a=b], group_by: [] }] }\nreceivers:\n- name: all\n  webhook_configs: [{ url: 'http://127.0.0.1:1' }]\n";
    let imported = import(&[("am.yml".to_owned(), text.to_owned())]);
    let config = crate::config::parse(&imported.config).unwrap();
    let root = config.alerting.route.as_ref().unwrap();
    assert_eq!((root.group_by.as_deref(), &root.routes[0].group_by), (Some(["alertname".to_owned()].as_slice()), &None));
}

#[test]
fn secrets_in_files_and_dollars_in_texts_stay_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "k3y\n").unwrap();
    let text = format!(
        "route:\n  receiver: pager\n  group_by: [team]\n  routes:\n  - {{ receiver: hook, group_by: [], matchers: ['path=\"a${{x}}b\"'] }}\nreceivers:\n- name: pager\n  pagerduty_configs: [{{ routing_key_file: {} }}]\n- name: hook\n  webhook_configs: [{{ url: 'http://127.0.0.1:1/${{y}}$${{z}}' }}]\n",
        path.display()
    );
    let imported = import(&[("am.yml".to_owned(), text)]);
    assert!(imported.config.contains(&format!("routing_key: ${{file:{}}}\n", path.display())), "{}", imported.config);
    assert!(imported.config.contains("/$${y}$$${z}"), "{}", imported.config);
    let written = folder.path().join("watchfire.yaml");
    std::fs::write(&written, &imported.config).unwrap();
    // No variable is set: what looks like one would be refused.
    let config = crate::config::read(Some(&written), &|_| None).unwrap_or_else(|error| panic!("{error:#}\n{}", imported.config));
    let route = &config.alerting.route.as_ref().unwrap().routes[0];
    assert!(format!("{:?}", route.matchers).contains("a${x}b"), "{route:?}");
    assert_eq!(route.group_by, None, "an empty list is as none");
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let one = |text: &str| import(&[("x.yml".to_owned(), text.to_owned())]).errors;
    assert!(one("a: [")[0].starts_with("x.yml: "));
    assert!(one("scrape_configs: []\n")[0].contains("neither a rule file"));
    assert!(
        one("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    labels: { a: \"{{ nosuch }}\" }\n")[0].contains("x.yml, line")
    );
    let imported = import(&[("a.yml".to_owned(), MANAGER.to_owned()), ("b.yml".to_owned(), MANAGER.to_owned())]);
    assert!(imported.errors[0].contains("a.yml is an Alertmanager configuration already"));
}
