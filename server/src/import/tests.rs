//! Rule files and Alertmanager configurations as people have them, and what is said of what cannot be taken over.

use alerting::RuleSet;
use alerting::rules::{Escalation, Rule};

use super::{Imported, import};

const MANAGER: &str = include_str!("testdata/alertmanager.yml");
const RULES: &str = include_str!("testdata/node.rules.yml");

fn both() -> Imported {
    import(&[("etc/node.rules.yml".to_owned(), RULES.to_owned()), ("etc/alertmanager.yml".to_owned(), MANAGER.to_owned())])
}

fn ladders(imported: &Imported) -> Vec<String> {
    let set = RuleSet::load(imported.rules.clone()).unwrap();
    let alerts = set.groups.iter().flat_map(|group| &group.rules).filter_map(|rule| match rule {
        Rule::Alert(rule) => Some(format!("{}:{}", rule.name, rule.escalation.ladder(model::severity::Severity::Critical).unwrap_or("-"))),
        Rule::Record(_) => None,
    });
    alerts.collect()
}

#[test]
fn alerts_climb_where_the_routing_tree_leads() {
    let imported = both();
    assert_eq!(imported.errors, Vec::<String>::new());
    assert_eq!(
        ladders(&imported),
        ["DiskFull:team-db", "InstanceDown:pager", "InstanceDown:-", "Watchdog:-", "Slow:pager+team-web", "Templated:-"]
    );
    // The rest of the text, comments too, is as it was.
    let (name, text) = &imported.rules[0];
    assert_eq!(name, "node.rules.yaml");
    let bare: Vec<&str> = text.lines().filter(|line| !line.contains("escalation:")).collect();
    assert_eq!(bare, RULES.lines().collect::<Vec<_>>());
}

#[test]
fn the_configuration_is_good_and_holds_receivers_inhibition_and_grouping() {
    let imported = both();
    let config = crate::config::parse(&imported.config).unwrap_or_else(|error| panic!("{error}\n{}", imported.config));
    assert_eq!(config.problems(), Vec::<String>::new(), "{}", imported.config);
    let names: Vec<&str> = config.receivers.iter().map(|receiver| receiver.name()).collect();
    assert_eq!(names, ["ops-mail", "pager-pagerduty", "pager-slack", "team-db", "team-web"]);
    assert_eq!(config.alerting.default_receivers, ["ops-mail"]);
    assert_eq!(config.incidents.group_by, ["cluster", "service"]);
    let inhibit = &config.alerting.inhibit_rules;
    assert_eq!((inhibit.len(), inhibit[0].equal.as_slice()), (1, ["cluster".to_owned(), "service".to_owned()].as_slice()));
    let steps: Vec<String> =
        config.alerting.escalations.iter().map(|ladder| format!("{} {:?}", ladder.name, ladder.steps[0].notify)).collect();
    assert_eq!(
        steps,
        [
            "pager [\"pager-pagerduty\", \"pager-slack\"]",
            "pager+team-web [\"pager-pagerduty\", \"pager-slack\", \"team-web\"]",
            "team-db [\"team-db\"]"
        ]
    );
    let rules = RuleSet::load(imported.rules).unwrap();
    let parser = store::promql::PromQl::new(std::sync::Arc::new(store::promql::memory::MemorySource::new()));
    let problems = rules.check(|expr| model::query::MetricQuery::check(&parser, expr), |_| Ok(()), &config.alerting.escalations);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(
        rules
            .groups
            .iter()
            .flat_map(|group| &group.rules)
            .any(|rule| matches!(rule, Rule::Alert(rule) if rule.escalation != Escalation::None))
    );
}

#[test]
fn everything_without_a_counterpart_is_told_with_its_line() {
    let imported = both();
    let notes: Vec<String> = imported.notes.iter().map(ToString::to_string).collect();
    let line = |needle: &str| MANAGER.lines().position(|line| line.contains(needle)).unwrap() + 1;
    for (needle, said) in [
        ("group_wait", "`group_wait` is left out"),
        ("repeat_interval", "`repeat_interval` is left out"),
        ("resolve_timeout", "`resolve_timeout` of `global` is left out"),
        ("opsgenie_configs", "a `opsgenie_configs` entry of receiver `chatops` is left out"),
        ("mute_time_intervals", "`mute_time_intervals` is left out"),
        ("time_intervals: #", "`time_intervals` is left out"),
        ("templates:", "`templates` is left out"),
        ("channel:", "`channel` of a slack receiver is left out"),
        ("title:", "`title` of a slack receiver is left out"),
        ("max_alerts", "`max_alerts` of a webhook receiver is left out"),
        ("send_resolved: false", "`send_resolved: false` is left out"),
        ("name: blackhole", "receiver `blackhole` tells nobody"),
        ("namespace = shop", "this route depends on `namespace`"),
        ("basic_auth", "`basic_auth` of http_config is left out"),
    ] {
        let at = format!("alertmanager.yml, line {}: ", line(needle));
        let near = format!("alertmanager.yml, line {}: ", line(needle) + 1);
        let told = notes.iter().any(|note| note.contains(said) && (note.contains(&at) || note.contains(&near)));
        assert!(told, "line {} {said}\n{}", line(needle), notes.join("\n"));
    }
    assert!(imported.config.contains("`group_wait` is left out"), "the notes stand in the file too");
    let everything = notes.join("\n");
    for secret in ["hunter22", "s3cret", "T000/B000"] {
        assert!(!everything.contains(secret), "{secret} is shown");
    }
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
    // One-line rules keep their text, and where they lead is told.
    let flow = "groups:\n- { name: g, rules: [{ alert: X, expr: up == 0, labels: { severity: critical } }] }\n";
    let imported = import(&[("r.yml".to_owned(), flow.to_owned()), ("am.yml".to_owned(), MANAGER.to_owned())]);
    assert_eq!(imported.rules[0].1, flow);
    assert!(
        imported.notes.iter().any(|note| note.line == 2 && note.text.contains("write `escalation: pager` there by hand")),
        "{:?}",
        imported.notes
    );
}
