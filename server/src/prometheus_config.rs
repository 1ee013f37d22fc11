//! What is configured in the words of a `prometheus.yml`, for `/api/v1/status/config`: pace, rule files, scrape jobs as far as they say
//! more than the defaults. No secrets.

use std::path::Path;

use collector::scrape::{Config, Job};
use serde_json::{Map, Value, json};

/// The text. Jobs are shown as they are now, with those from files.
pub fn yaml(scrape: &Config, jobs: &[Job], rules: Option<&Path>) -> String {
    let mut all = Map::new();
    all.insert("global".to_owned(), json!({"scrape_interval": scrape.scrape_interval, "scrape_timeout": scrape.scrape_timeout}));
    if let Some(folder) = rules {
        all.insert("rule_files".to_owned(), json!([folder.join("*.yml"), folder.join("*.yaml")]));
    }
    if !jobs.is_empty() {
        all.insert("scrape_configs".to_owned(), jobs.iter().map(shown).collect());
    }
    serde_saphyr::to_string(&all).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

/// What a job says beyond the defaults.
fn shown(job: &Job) -> Value {
    let fields = |job: &Job| match serde_json::to_value(job) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    };
    let defaults = fields(&Job::default());
    let said = fields(job).into_iter().filter(|(name, value)| defaults.get(name) != Some(value));
    Value::Object(said.map(|(name, value)| (name, without_passwords(value))).collect())
}

/// URLs may hold a password before an `@`; what says nothing stays away.
fn without_passwords(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(match text.split_once("://") {
            Some((scheme, rest)) => {
                let host = rest.split('/').next().unwrap_or("");
                match host.rsplit_once('@') {
                    Some((user, _)) => format!("{scheme}://<secret>{}", &rest[user.len()..]),
                    None => text,
                }
            }
            None => text,
        }),
        Value::Array(all) => all.into_iter().map(without_passwords).collect(),
        Value::Object(fields) => {
            let says = |value: &Value| !value.is_null() && *value != json!("") && *value != json!([]) && *value != json!({});
            Value::Object(
                fields.into_iter().filter(|(_, value)| says(value)).map(|(name, value)| (name, without_passwords(value))).collect(),
            )
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_shown_without_defaults_and_secrets() {
        let text = "{ scrape_configs: [ { job_name: node, scrape_interval: 15s, static_configs: [ { targets: ['a:9100'] } ], \
                    basic_auth: { username: u, password: hidden }, http_sd_configs: [ { url: 'http://me:hidden@sd/targets' } ] } ] }";
        let config: Config = serde_saphyr::from_str(text).unwrap();
        let shown = yaml(&config, &config.scrape_configs, Some(Path::new("/etc/watchfire/rules")));
        assert!(!shown.contains("hidden") && shown.contains("<secret>@sd/targets"), "{shown}");
        assert!(!shown.contains("honor_labels"), "{shown}");
        let read: Value = serde_saphyr::from_str(&shown).unwrap();
        assert_eq!(read["scrape_configs"][0]["static_configs"][0]["targets"][0], "a:9100", "{shown}");
        assert_eq!(read["scrape_configs"][0]["scrape_interval"], "15s", "{shown}");
        assert_eq!(read["rule_files"][0], "/etc/watchfire/rules/*.yml", "{shown}");
    }
}
