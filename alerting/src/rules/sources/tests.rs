//! What sources are compiled to, and the sentence for what is wrong with them.

use crate::rules::{AlertRule, Anomaly, Question, Rule, RuleSet};

fn load(rule: &str) -> Result<AlertRule, String> {
    let indented: String = rule.lines().map(|line| format!("        {line}\n")).collect();
    let file = format!("groups:\n  - name: g\n    rules:\n      - alert: A\n{indented}");
    match RuleSet::load(vec![("a.yaml".to_owned(), file)]) {
        Ok(mut set) => match set.groups.remove(0).rules.remove(0) {
            Rule::Alert(rule) => Ok(*rule),
            Rule::Record(_) => Err("a recording rule".to_owned()),
        },
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

fn statement(rule: &str) -> String {
    match load(rule).unwrap().question {
        Question::Sql(asked) => asked.statement,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_user_wrote_is_a_literal_and_no_bound() {
    let text = statement(
        "logs: { match: \"it's {from}\", service: [a, b], attributes: { \"k'ey\": '*', code: 500 }, by: [service, attributes.http.route] }",
    );
    assert!(text.contains(r"hasToken(lower(body), 'it') AND hasToken(lower(body), 's') AND hasToken(lower(body), 'from')"), "{text}");
    assert!(
        text.contains("service IN ('a', 'b')")
            && text.contains("attributes['code'] = '500'")
            && text.contains(r"mapContains(attributes, 'k\'ey')"),
        "{text}"
    );
    assert!(text.contains("label_1 AS `http_route`") && text.contains("toString(attributes['http.route']) AS label_1"), "{text}");
    let text = statement("logs: { regex: 'a{2} \\d' }");
    assert!(text.contains(r"match(body, 'a\x7B2} \\d')"), "{text}");
}

#[test]
fn spans_give_counts_shares_and_quantiles() {
    let text = statement("spans: { service: shop, kind: server, duration: '> 500ms' }");
    assert!(
        text.contains("kind = 'SERVER'") && text.contains("duration > 500000000") && text.contains("sum(greatest(sample_rate, 1))"),
        "{text}"
    );
    let rule = "spans: { service: shop, ratio: { status: error }, minimum: 20, by: service }\nthresholds: { warning: '> 0.1' }";
    let text = statement(rule);
    assert!(text.contains("sumIf(greatest(sample_rate, 1), status = 'ERROR') / sum(greatest(sample_rate, 1))"), "{text}");
    assert!(text.contains("HAVING sum(greatest(sample_rate, 1)) >= 20"), "{text}");
    let shown = load(rule).unwrap().expr;
    assert!(shown.starts_with("spans {") && shown.contains("\"service\":\"shop\"") && shown.ends_with("over 5m"), "{shown}");
}

#[test]
fn absence_is_promql() {
    let expr = |rule: &str| load(rule).unwrap().expr;
    assert_eq!(expr("absent: { series: 'up{job=\"a\"}', within: 5m }"), "absent_over_time(up{job=\"a\"}[5m])");
    assert_eq!(
        expr("absent: { series: up, within: 5m, by: [job, instance] }"),
        "group by (job, instance) (present_over_time(up[1d])) unless group by (job, instance) (present_over_time(up[5m]))"
    );
    let beat = expr("heartbeat: { name: backup, every: 1d, grace: 1h }");
    assert!(
        beat.starts_with(
            "max by (heartbeat) (absent_over_time(watchfire_heartbeat_timestamp_seconds{heartbeat=\"backup\",status=\"ok\"}[1d1h]))"
        ),
        "{beat}"
    );
    assert!(
        expr("heartbeat: { monitor: nightly, every: 1d }")
            .contains("watchfire_checkin_timestamp_seconds{monitor=\"nightly\",status=\"error\"}[1d]")
    );
}

#[test]
fn an_anomaly_is_promql_with_settings_that_fit_days_and_weeks() {
    let rule = load("anomaly: { expr: ' sum(rate(x[5m])) ' }").unwrap();
    let Question::Anomaly(asked) = &rule.question else { panic!("{rule:?}") };
    assert_eq!(rule.expr, "sum(rate(x[5m]))");
    let texts = [asked.seasons[0], asked.seasons[1], asked.history, asked.step, asked.refit, asked.hold, asked.needed()]
        .map(|span| span.to_string());
    assert_eq!(texts, ["1d", "1w", "4w", "5m", "1h", "2d", "2w"]);
    assert_eq!((asked.level, asked.minimum, asked.minimum_share, asked.max_series), (0.999, 0.0, 0.0, 100));
    let learning = asked.learning();
    assert_eq!((learning.periods, learning.horizon, learning.steps, learning.hold, asked.length()), (vec![288, 2_016], 12, 37, 576, 8_064));
    let question = serde_json::to_value(&rule.question).unwrap();
    assert_eq!(serde_json::from_value::<Question>(question).unwrap(), rule.question, "an alert's record keeps it");

    let mut older = serde_json::to_value(asked).unwrap();
    older.as_object_mut().unwrap().remove("hold");
    assert_eq!(serde_json::from_value::<Anomaly>(older).unwrap(), *asked, "a record from before there was a hold");
    let Question::Anomaly(at_once) = load("anomaly: { expr: x, hold: 0s }").unwrap().question else { panic!() };
    assert_eq!(at_once.learning().hold, 0);

    let rule = load("anomaly: { expr: x, seasons: [1h], minimum: 20%, direction: below }").unwrap();
    let Question::Anomaly(asked) = &rule.question else { panic!("{rule:?}") };
    assert_eq!([asked.step, asked.refit, asked.hold, asked.history].map(|span| span.to_string()), ["1m", "2m", "30m", "4h"]);
    let band = crate::anomaly::Band { expected: 100.0, lower: 90.0, upper: 110.0 };
    for (value, score) in [(50.0, 5.0), (85.0, 0.0), (150.0, 0.0), (100.0, 0.0)] {
        assert_eq!(asked.score(value, &band), score, "{value}");
    }
    let at = |second: i64| model::time::Timestamp::from_secs(second);
    assert_eq!((asked.learned_at(at(239)), asked.learned_at(at(240)), asked.learned_at(at(-1))), (at(120), at(240), at(-120)));
}

#[test]
fn mistakes_are_one_sentence_with_the_fix() {
    for (rule, part) in [
        ("for: 5m", "has no `expr`"),
        ("expr: up\nsql: SELECT 1", "has both `expr` and `sql`"),
        ("expr: up\nwindow: 5m", "has a `window`, which goes with"),
        ("sql: SELECT 1\nwindow: 2d", "at most 1d"),
        ("logs: { mach: x }", "unknown field `mach`"),
        ("logs: {}", "names no condition"),
        ("logs: { match: '!!' }", "has no word in it"),
        ("logs: { regex: '(' }", "is not a regular expression"),
        ("logs: { severity: bad }", "not a level of log records"),
        ("logs: { match: x, by: pod }", "`by` names `pod`: use service, level, event_name, attributes.<key>, resource.<key>"),
        ("logs: { match: x, by: [attributes.severity] }", "means something else here"),
        ("logs: { match: x, by: [service, resource.service.name, attributes.service.name] }", "twice"),
        ("spans: { service: a, status: bad }", "`status: bad` is not known: use one of unset, ok, error"),
        ("spans: { duration: 500ms }", "is not a comparison with a time"),
        ("spans: { quantile: 0.9 }", "add `thresholds`"),
        ("spans: { quantile: 9 }\nthresholds: { warning: '> 1' }", "must be from 0 to 1"),
        ("spans: { quantile: 0.5, ratio: { status: error } }\nthresholds: { warning: '> 1' }", "one value"),
        ("spans: { ratio: {} }\nthresholds: { warning: '> 1' }", "empty `ratio`"),
        ("errors: { is: newish }", "use any, new, regressed or spiking"),
        ("errors: { count: people }", "use events or users"),
        ("errors: { is: new, factor: 3 }", "belong to `is: spiking`"),
        ("errors: { is: regressed, by: [release] }", "takes `service`, `release` and `type` only"),
        ("errors: { is: spiking, baseline: 1m }", "must not be shorter than `window`"),
        ("absent: { series: up, within: 0s }", "`within` is 0"),
        ("absent: { series: up, within: 5m, remember: 1h }", "`remember` goes with `by`"),
        ("anomaly: {}", "missing field `expr`"),
        ("anomaly: { expr: ' ' }", "needs `expr`"),
        ("anomaly: { expr: up, seasons: [] }", "has no `seasons`"),
        ("anomaly: { expr: up, seasons: [1d], step: 7m }", "`seasons` has 1d, which is not 6 or more whole steps of 7m"),
        ("anomaly: { expr: up, seasons: [1h], step: 15m }", "not 6 or more whole steps"),
        ("anomaly: { expr: up, step: 100ms }", "at least 1s"),
        ("anomaly: { expr: up, history: 1w }", "at least twice 1w"),
        ("anomaly: { expr: up, step: 1m }", "more than 20000 steps"),
        ("anomaly: { expr: up, refit: 2d }", "at most 1d"),
        ("anomaly: { expr: up, hold: 8d }", "`hold: 8d` must be whole steps of 5m and at most 3d12h, an eighth of the history"),
        ("anomaly: { expr: up, hold: 7m }", "must be whole steps of 5m"),
        ("anomaly: { expr: up, level: 99 }", "less than 1"),
        ("anomaly: { expr: up, minimum: lots }", "neither a number nor a share such as 20%"),
        ("anomaly: { expr: up, minimum: '-5%' }", "neither a number nor a share"),
        ("anomaly: { expr: up, direction: up }", "expected one of above, below, both"),
        ("anomaly: { expr: up, max_series: 0 }", "from 1 to 1000"),
        ("anomaly: { expr: up }\nwindow: 5m", "has a `window`, which goes with"),
        ("heartbeat: { every: 1d }", "needs `name`"),
        ("heartbeat: { name: a, monitor: b, every: 1d }", "has both `name` and `monitor`"),
        ("heartbeat: { name: a, every: 1y }", "62d"),
    ] {
        let told = load(rule).err().unwrap_or_else(|| panic!("{rule} is accepted"));
        assert!(told.contains(part) && told.starts_with("a.yaml, line "), "{rule}: {told}");
    }
}

fn slo(text: &str) -> Result<RuleSet, String> {
    let load = RuleSet::load(vec![("a.yaml".to_owned(), format!("slos:\n  - {text}\n"))]);
    load.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn an_objective_becomes_the_workbooks_rules() {
    let set = slo("{ name: web, objective: 99.9, good: 'sum(rate(good[$window]))', total: 'sum(rate(all[$window]))', labels: { team: a }, escalation: { high: page } }").unwrap();
    assert_eq!(
        set.groups.iter().map(|group| (group.name.as_str(), group.rules.len())).collect::<Vec<_>>(),
        [("slo:web", 11), ("slo:web:budget", 2)]
    );
    let alerts: Vec<&AlertRule> =
        set.groups[0].rules.iter().filter_map(|rule| if let Rule::Alert(rule) = rule { Some(&**rule) } else { None }).collect();
    let limit = |at: usize, part: &str| assert!(alerts[at].expr.contains(part), "{}", alerts[at].expr);
    limit(0, "slo:burn_rate{slo=\"web\",window=\"1h\"} > 14.4 and");
    limit(0, "window=\"5m\"} > 14.4");
    limit(1, "window=\"6h\"} > 6 and");
    limit(2, "window=\"3d\"} > 1 and");
    assert_eq!(alerts[1].escalation.names(), ["page"]);
    assert_eq!(alerts[0].place.line, Some(2));
    let weekly = slo("{ name: web, objective: 99, window: 7d, error_ratio: x }").unwrap();
    assert!(weekly.groups[0].rules.iter().any(|rule| rule.expr().contains("> 3.36 and")), "2 % of a week in an hour");
    for (text, part) in [
        ("{ name: web, objective: 0.999, good: a }", "needs `good` and `total`"),
        ("{ name: web, objective: 100, error_ratio: a }", "`objective: 100` is in percent"),
        ("{ name: web, objective: 99, window: 1d, error_ratio: a }", "from 7d to 90d"),
        ("{ name: web, objective: 99, error_ratio: a, total: b }", "`error_ratio` alone"),
        ("{ name: web, objective: 99, error_ratio: a, labels: { window: b } }", "which is set for you"),
        ("{ name: web, objective: 99, error_ratio: a, interval: 10m }", "at most 150s"),
        ("{ name: web, target: 99 }", "unknown field `target`"),
    ] {
        let told = slo(text).err().unwrap_or_else(|| panic!("{text} is accepted"));
        assert!(told.starts_with("a.yaml, line 2: ") && told.contains(part), "{text}: {told}");
    }
}
