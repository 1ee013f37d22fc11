//! The settings of remediation: the `remediation:` part of the configuration file. In: YAML. Out: `Config`, and from `check` one
//! sentence for each setting that makes no sense. Whatever fails the check never runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use model::secret::Secret;
use model::time::Span;
use serde::{Deserialize, Serialize};

use crate::template;

/// What may be repaired, and within which bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The remediations that rules may name.
    pub remediations: Vec<Plan>,
    /// How many runs of a tenant may be at work at the same time; one more is refused.
    pub max_concurrent: u32,
    /// The labels that name what a run works on: `cooldown` counts for each remediation and set of their values. An alert that has
    /// none of them counts by `alertname`.
    pub target_labels: Vec<String>,
    /// The programs that `command` actions may start, as absolute paths; empty: none.
    pub allow_commands: Vec<String>,
    /// Whether `http` actions may not go to loopback, private and link-local addresses.
    pub refuse_private_addresses: bool,
    /// How long a run waits for the incident of its alert before it begins without one.
    pub wait_for_incident: Span,
    /// How long a run waits while nobody knows whether its alert holds, before it is refused.
    pub patience: Span,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            remediations: Vec::new(),
            max_concurrent: 2,
            target_labels: vec!["service_name".to_owned(), "service".to_owned()],
            allow_commands: Vec::new(),
            refuse_private_addresses: false,
            wait_for_incident: Span::secs(5),
            patience: Span::secs(600),
        }
    }
}

/// A remediation: rungs that are tried one after the other until the alert's own expression is false.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The name by which rules name it.
    pub name: String,
    /// After a run acted on a target, the next run on it is refused for this long.
    #[serde(default = "ten_minutes")]
    pub cooldown: Span,
    /// At most so many runs in a sliding window, over all targets.
    #[serde(default)]
    pub max_runs: MaxRuns,
    /// Whether it is only planned and written down.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether a person must say yes before the first act. Whoever starts it by hand has said so.
    #[serde(default)]
    pub approval: bool,
    /// How long it waits for that; then it is refused.
    #[serde(default = "half_an_hour")]
    pub approval_timeout: Span,
    /// The rungs, mildest first.
    pub rungs: Vec<Rung>,
}

fn ten_minutes() -> Span {
    Span::secs(600)
}

fn half_an_hour() -> Span {
    Span::secs(1800)
}

/// At most `count` runs per `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxRuns {
    /// How many.
    pub count: u32,
    /// In how long a window.
    pub per: Span,
}

impl Default for MaxRuns {
    fn default() -> Self {
        MaxRuns { count: 3, per: Span::secs(3600) }
    }
}

/// One act, how to see whether it helped, and how to take it back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Its name.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// What takes it back; none: it stays.
    #[serde(default)]
    pub undo: Option<Action>,
    /// How long the act needs before its effect can be seen.
    #[serde(default = "half_a_minute")]
    pub settle: Span,
    /// How often the alert's expression is evaluated after that.
    #[serde(default = "ten_seconds")]
    pub check_every: Span,
    /// How long, from the first evaluation on, until the rung counts as no help.
    #[serde(default = "two_minutes")]
    pub verify_timeout: Span,
}

fn half_a_minute() -> Span {
    Span::secs(30)
}

fn ten_seconds() -> Span {
    Span::secs(10)
}

fn two_minutes() -> Span {
    Span::secs(120)
}

/// What can be done. Texts are Handlebars templates over `labels`, `annotations`, `alert` and `incident`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Action {
    /// A request.
    Http(HttpAction),
    /// A program, started without a shell.
    Command(CommandAction),
}

/// A request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpAction {
    /// GET, POST, PUT, PATCH or DELETE.
    #[serde(default = "post")]
    pub method: String,
    /// The address: values are percent-encoded for where they stand.
    pub url: String,
    /// Header lines; their values are secrets and never shown.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// The body: JSON (values are escaped as in a JSON text) unless a header `content-type` says otherwise.
    #[serde(default)]
    pub body: Option<String>,
    /// The statuses that mean success; empty: any 2xx.
    #[serde(default)]
    pub expect_status: Vec<u16>,
    /// For the whole request.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
}

fn post() -> String {
    "POST".to_owned()
}

/// A program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandAction {
    /// Its absolute path, one of `allow_commands`. No template.
    pub program: String,
    /// Its arguments; each is one argument, whatever the values hold.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment beside `PATH`; the values are secrets and never shown.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// After this time it is killed.
    #[serde(default = "half_a_minute")]
    pub timeout: Span,
}

impl Action {
    /// How long it may take.
    pub fn timeout(&self) -> Duration {
        match self {
            Action::Http(http) => http.timeout.0,
            Action::Command(command) => command.timeout.0,
        }
    }
    /// The word in metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Action::Http(_) => "http",
            Action::Command(_) => "command",
        }
    }
}

/// The longest that an action may take.
const LONGEST: Duration = Duration::from_secs(600);

/// The settings as they are now; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Live(Arc<RwLock<Arc<Config>>>);

impl Live {
    pub(crate) fn new(config: Config) -> Self {
        Live(Arc::new(RwLock::new(Arc::new(config))))
    }
    /// The settings at this moment.
    pub(crate) fn get(&self) -> Arc<Config> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Replaces the plans; the other settings stay.
    pub(crate) fn set_remediations(&self, remediations: Vec<Plan>) {
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::new(Config { remediations, ..(**slot).clone() });
    }
}

impl Config {
    /// The remediation of that name.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.remediations.iter().find(|plan| plan.name == name)
    }

    /// What is wrong, one sentence each; empty where all is well.
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        if self.max_concurrent == 0 && !self.remediations.is_empty() {
            problems.push("remediation.max_concurrent is 0, so nothing would ever run: use at least 1".to_owned());
        }
        for program in self.allow_commands.iter().filter(|program| !program.starts_with('/')) {
            problems.push(format!("remediation.allow_commands: `{program}` is not an absolute path such as /usr/bin/systemctl"));
        }
        for plan in &self.remediations {
            if !names.insert(&plan.name) {
                problems.push(format!("remediation `{}` is defined twice: rename one of them", plan.name));
            }
            self.check_plan(plan, &mut problems);
        }
        problems
    }

    fn check_plan(&self, plan: &Plan, problems: &mut Vec<String>) {
        let mut say = |wrong: bool, text: &str| {
            if wrong {
                problems.push(format!("remediation `{}`: {text}", plan.name));
            }
        };
        say(plan.name.trim().is_empty(), "it needs a name");
        say(plan.rungs.is_empty(), "it has no rungs: give it at least one");
        say(
            plan.approval && plan.approval_timeout.0.is_zero(),
            "approval_timeout is 0, so it could never be approved: use for example 30m",
        );
        say(
            plan.max_runs.count == 0 || plan.max_runs.per.0.is_zero(),
            "max_runs allows no run at all: use for example { count: 3, per: 1h }",
        );
        let mut names = BTreeSet::new();
        for rung in &plan.rungs {
            let place = format!("remediation `{}`, rung `{}`", plan.name, rung.name);
            if !names.insert(&rung.name) || rung.name.trim().is_empty() {
                problems.push(format!("{place}: every rung needs a name of its own"));
            }
            if rung.check_every.0.is_zero() {
                problems.push(format!("{place}: check_every is 0: use for example 10s"));
            }
            self.check_action(&format!("{place}, action"), &rung.action, problems);
            if let Some(undo) = &rung.undo {
                self.check_action(&format!("{place}, undo"), undo, problems);
            }
        }
    }

    fn check_action(&self, place: &str, action: &Action, problems: &mut Vec<String>) {
        let timeout = action.timeout();
        if timeout.is_zero() || timeout > LONGEST {
            problems.push(format!("{place}: timeout is {}: use 1s to 10m", Span(timeout)));
        }
        let found = match action {
            Action::Http(http) => check_http(http),
            Action::Command(command) => self.check_command(command),
        };
        problems.extend(found.into_iter().map(|problem| format!("{place}: {problem}")));
    }

    fn check_command(&self, command: &CommandAction) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.allow_commands.contains(&command.program) {
            problems.push(format!("program `{}` is not in remediation.allow_commands: add its absolute path there", command.program));
        }
        problems.extend(command.args.iter().filter_map(|arg| template::problem(arg)));
        problems
    }
}

fn check_http(http: &HttpAction) -> Vec<String> {
    let mut problems = Vec::new();
    if !["GET", "POST", "PUT", "PATCH", "DELETE"].contains(&http.method.as_str()) {
        problems.push(format!("method `{}` is unknown: use GET, POST, PUT, PATCH or DELETE", http.method));
    }
    if !http.url.starts_with("http://") && !http.url.starts_with("https://") {
        problems.push(format!("url `{}` does not begin with http:// or https://", http.url));
    }
    if let Some(status) = http.expect_status.iter().find(|status| !(100..600).contains(*status)) {
        problems.push(format!("expect_status {status} is no HTTP status"));
    }
    for (name, value) in &http.headers {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            problems.push(format!("`{name}` is no header name"));
        }
        // The value is a secret: say that it is wrong, not what it is.
        if template::problem(value.reveal()).is_some() {
            problems.push(format!("the value of header `{name}` is not a valid template"));
        }
    }
    problems.extend(std::iter::once(&http.url).chain(&http.body).filter_map(|text| template::problem(text)));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
        "allow_commands": ["/usr/bin/true"],
        "remediations": [{"name": "scale", "rungs": [
            {"name": "restart", "settle": "5s",
             "action": {"type": "http", "url": "http://{{labels.instance}}/restart/{{labels.service}}", "headers": {"authorization": "Bearer s3cret"}},
             "undo": {"type": "command", "program": "/usr/bin/true", "args": ["{{labels.service}}"]}}]}]}"#;

    #[test]
    fn a_good_one_is_fine_and_never_prints_its_secrets() {
        let config: Config = serde_json::from_str(GOOD).unwrap();
        assert_eq!(config.check(), Vec::<String>::new());
        assert!(!serde_json::to_string(&config).unwrap().contains("s3cret") && !format!("{config:?}").contains("s3cret"));
        assert_eq!(config.remediations[0].max_runs.count, 3);
        assert_eq!(Config::default().check(), Vec::<String>::new());
    }

    #[test]
    fn unknown_keys_are_refused_at_every_depth() {
        for (good, bad) in [("\"rungs\"", "\"rngs\""), ("\"settle\"", "\"setle\""), ("\"url\"", "\"uri\""), ("\"args\"", "\"arg\"")] {
            assert!(serde_json::from_str::<Config>(&GOOD.replace(good, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn mistakes_are_named_with_place_and_fix() {
        for (good, bad, sentence) in [
            ("http://", "ftp://", "does not begin with http"),
            ("\"name\": \"restart\"", "\"name\": \" \"", "every rung needs a name"),
            ("[\"/usr/bin/true\"]", "[]", "is not in remediation.allow_commands"),
            ("{{labels.service}}\"", "{{{labels.service}}}\"", "three braces"),
            ("{{labels.instance}}", "{{#if}}", "rung `restart`, action"),
            ("\"settle\": \"5s\"", "\"check_every\": \"0s\"", "check_every is 0"),
        ] {
            let config: Config = serde_json::from_str(&GOOD.replace(good, bad)).unwrap();
            let problems = config.check();
            assert!(problems.iter().any(|one| one.contains(sentence)), "{bad}: {problems:?}");
        }
    }
}
