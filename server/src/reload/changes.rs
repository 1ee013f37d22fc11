//! What differs between two configurations: what can be taken up at once, and what needs a restart. Pure; never fails.

use serde_json::Value;

use crate::config::Config;

/// What is taken up without a restart.
const RELOADABLE: [&str; 16] = [
    "alerting.rules",
    "alerting.escalations",
    "alerting.inhibit_rules",
    "alerting.resolve_timeout",
    "alerting.route",
    "alerting.time_intervals",
    "alerting.maintenance",
    "alerting.users",
    "alerting.teams",
    "alerting.schedules",
    "checks",
    "errors.rules",
    "pipeline",
    "receivers",
    "remediation.remediations",
    "scrape",
];

/// The running settings with what can be taken up from the fresh ones.
pub fn with_reloadable(running: &Config, fresh: &Config) -> Config {
    let mut next = running.clone();
    next.alerting.rules.clone_from(&fresh.alerting.rules);
    next.alerting.escalations.clone_from(&fresh.alerting.escalations);
    next.alerting.route.clone_from(&fresh.alerting.route);
    next.alerting.time_intervals.clone_from(&fresh.alerting.time_intervals);
    next.alerting.maintenance.clone_from(&fresh.alerting.maintenance);
    next.alerting.users.clone_from(&fresh.alerting.users);
    next.alerting.teams.clone_from(&fresh.alerting.teams);
    next.alerting.schedules.clone_from(&fresh.alerting.schedules);
    next.alerting.inhibit_rules.clone_from(&fresh.alerting.inhibit_rules);
    next.alerting.resolve_timeout = fresh.alerting.resolve_timeout;
    next.pipeline.clone_from(&fresh.pipeline);
    next.errors.rules.clone_from(&fresh.errors.rules);
    next.receivers.clone_from(&fresh.receivers);
    next.scrape.clone_from(&fresh.scrape);
    next.checks.clone_from(&fresh.checks);
    next.remediation.remediations.clone_from(&fresh.remediation.remediations);
    next
}

/// The settings that differ and need a restart, by their place in the file (`server.listen`), in order.
pub fn needs_restart(running: &Config, fresh: &Config) -> Vec<String> {
    let mut changed = Vec::new();
    // A configuration is plain data; if it could not be written, nothing would be known to differ.
    let (old, new) = (serde_json::to_value(running).unwrap_or_default(), serde_json::to_value(fresh).unwrap_or_default());
    differing("", &old, &new, &mut changed);
    // Secrets show nothing of themselves above.
    let storage = |config: &Config| config.storage.clone();
    let (old, new) = (storage(running), storage(fresh));
    let heartbeat = running.alerting.heartbeat_url != fresh.alerting.heartbeat_url;
    let secrets = [
        ("alerting.heartbeat_url", heartbeat),
        ("storage.clickhouse.password", old.clickhouse.password != new.clickhouse.password),
        ("storage.postgres_url", old.postgres_url != new.postgres_url),
    ];
    changed.extend(secrets.into_iter().filter(|(_, differs)| *differs).map(|(place, _)| place.to_owned()));
    changed.sort();
    changed.dedup();
    changed
}

fn differing(place: &str, old: &Value, new: &Value, changed: &mut Vec<String>) {
    if old == new || RELOADABLE.contains(&place) {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
            for key in keys {
                let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                differing(&inner, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), changed);
            }
        }
        _ => changed.push(place.to_owned()), // a value, or a list as a whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const OLD: &str = "receivers:\n- { name: a, type: slack_webhook, url: \"https://hooks.example.org/a\" }\n";

    #[test]
    fn what_needs_a_restart_is_named_and_the_rest_is_taken_up() {
        let old = parse(OLD).unwrap();
        let new = parse(
            "server: { listen: 127.0.0.1:1, shutdown_grace: 20s }\nstorage: { postgres_url: \"postgres://a:hunter22@b/c\", clickhouse: { password: hunter22 } }\n\
             alerting: { rules: other, evaluation_interval: 1s, resolve_timeout: 1m, inhibit_rules: [{ source_matchers: [a=b], target_matchers: [c=d] }], escalations: [{ name: e, steps: [{ after: 0s, notify: [b] }] }] }\n\
             collector: { retention_days: { spans: 3 } }\npipeline: { sampling: { spans: [{ ratio: 0.5 }] } }\n\
             errors: { rules: [{ name: r, match: { type: X }, fingerprint: [x] }] }\n\
             scrape: { scrape_interval: 5s, scrape_configs: [{ job_name: j, bearer_token: hunter22 }] }\n\
             receivers:\n- { name: b, type: slack_webhook, url: \"https://hooks.example.org/b\" }\n",
        )
        .unwrap();
        let places = needs_restart(&old, &new);
        assert_eq!(
            places,
            [
                "alerting.evaluation_interval",
                "collector.retention_days.spans",
                "server.listen",
                "storage.clickhouse.password",
                "storage.postgres_url"
            ]
        );
        let next = with_reloadable(&old, &new);
        assert_eq!((next.receivers.as_slice(), &next.alerting.rules), (new.receivers.as_slice(), &new.alerting.rules));
        assert_eq!(next.pipeline, new.pipeline);
        assert_eq!(next.alerting.escalations, new.alerting.escalations);
        assert_eq!((next.alerting.inhibit_rules.len(), next.alerting.resolve_timeout), (1, new.alerting.resolve_timeout));
        assert_eq!((next.errors.rules.len(), &next.errors.rules), (1, &new.errors.rules));
        assert_eq!(next.scrape, new.scrape);
        assert_eq!(next.server, old.server);
        assert_eq!(needs_restart(&next, &new), places, "said again at the next reload: it is still so");
        assert_eq!(needs_restart(&old, &old), [""; 0]);
    }

    #[test]
    fn a_changed_secret_is_noticed_and_not_shown() {
        let with = |secret: &str| parse(&format!("storage: {{ clickhouse: {{ password: {secret} }} }}")).unwrap();
        assert_eq!(needs_restart(&with("hunter22"), &with("hunter23")), ["storage.clickhouse.password"]);
    }
}
