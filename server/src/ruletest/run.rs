//! Runs a test file: loads what it names, lets time pass tick by tick, compares. Each test has a world of its own. At one moment rules
//! are evaluated first, then follows what that causes, then people act.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alerting::RuleSet;
use alerting::machine::Flapping;
use alerting::rules::Question;
use model::issue::Issue;
use model::labels::Matcher;
use model::query::RowQuery;
use model::tenant::TenantId;
use model::time::{Span, Timestamp};
use serde_saphyr::Spanned;
use store::promql::PromQl;
use store::promql::memory::MemorySource;
use store::promql::source::{NativePoint, Samples, SeriesKind, Temporality};

use super::file::{ActYaml, AlertYaml, FileYaml, TestYaml, line};
use super::notation::{self, Point};
use super::signals::{self, EnginePlace, Signals};
use super::{Case, Report, alerts, file, folk, issues, load, pages, promql, repairs};
use crate::config::Config;
use crate::simulate::{Known, NoRows, PastIssues, Setup, Simulation, Sink};

/// promtool's default.
const USUAL_INTERVAL: Duration = Duration::from_secs(60);
/// How many ticks a test may have: a typing error such as `eval_time: 10y` must not run for days.
const MOST_TICKS: u128 = 5_000_000;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only tests whose names match, where this is given.
    pub only: Option<Matcher>,
    /// The configuration for files that name none.
    pub config: Option<PathBuf>,
    /// For rules over logs, spans, errors and SQL; none: files that need it fail.
    pub engine: Option<EnginePlace>,
    /// How many ticks a test may have; none: as many as anybody can wait for.
    pub most_ticks: Option<u128>,
    /// How many tests a file may have, and rows all of them together; none: as many as anybody can wait for.
    pub most_tests: Option<usize>,
    /// See `most_tests`.
    pub most_rows: Option<u64>,
}

/// Runs a file.
pub async fn run_file(path: &Path, options: &Options) -> Report {
    let mut report = Report { file: path.display().to_string(), ..Report::default() };
    let yaml = match std::fs::read_to_string(path) {
        Ok(text) => file::parse(&text).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) => Err(format!("{}: the file cannot be read: {error}", path.display())),
    };
    let yaml = match yaml {
        Ok(yaml) => yaml,
        Err(error) => {
            report.errors.push(error);
            return report;
        }
    };
    let config = match load::config(path, &yaml, options.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            report.errors.push(error);
            return report;
        }
    };
    let rules = match load::rules(path, &yaml, &config) {
        Ok((rules, warnings)) => {
            report.warnings = warnings;
            rules
        }
        Err(errors) => {
            report.errors = errors;
            return report;
        }
    };
    let configured = yaml.config.is_some() || options.config.is_some();
    run_all(report, &yaml, &Under { config: &config, configured, rules: &rules }, options).await
}

/// What is tested, and with which configuration.
struct Under<'a> {
    config: &'a Config,
    configured: bool,
    rules: &'a RuleSet,
}

/// Runs a test file's text against rules that are given beside it; nothing is read from the disk, so `rule_files` and `config` have no
/// meaning in it.
pub async fn run_text(name: &str, text: &str, rules: &RuleSet, config: &Config, options: &Options) -> Report {
    let mut report = Report { file: name.to_owned(), ..Report::default() };
    let yaml = match file::parse(text) {
        Ok(yaml) => yaml,
        Err(error) => {
            report.errors.push(format!("{name}: {error}"));
            return report;
        }
    };
    for (key, named) in [("rule_files", yaml.rule_files.is_some()), ("config", yaml.config.is_some())] {
        if named {
            report
                .warnings
                .push(format!("{name}: `{key}` is not read here: the rules beside it are tested, with the server's configuration"));
        }
    }
    let mut rules = rules.clone();
    in_order(&mut rules, &yaml);
    run_all(report, &yaml, &Under { config, configured: true, rules: &rules }, options).await
}

/// promtool: a group that is not named counts as first.
pub(super) fn in_order(rules: &mut RuleSet, yaml: &FileYaml) {
    let order = yaml.group_eval_order.clone().unwrap_or_default();
    rules.groups.sort_by_key(|group| order.iter().position(|name| *name == group.name).unwrap_or(0));
}

async fn run_all(mut report: Report, yaml: &FileYaml, under: &Under<'_>, options: &Options) -> Report {
    let Under { config, configured, rules } = *under;
    if let Some(reason) = too_much(yaml, options) {
        report.errors.push(format!("{reason}: use `watchfire rules test`, which may take longer"));
        return report;
    }
    let signals = match signals(yaml, rules, options).await {
        Ok(signals) => signals,
        Err(error) => {
            report.errors.push(format!("{}: {error}", report.file));
            return report;
        }
    };
    let most = options.most_ticks.unwrap_or(MOST_TICKS);
    for (at, test) in yaml.tests.iter().flatten().enumerate() {
        let name = test.value.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| format!("test {}", at + 1));
        if options.only.as_ref().is_some_and(|only| !only.matches_value(&name)) {
            continue;
        }
        let mut one = Test { name, yaml: test, file: yaml, config, configured, rules, most, cases: Vec::new() };
        if let Err(failure) = one.run(signals.as_ref()).await {
            one.fail("rules", "this test", line(test), failure);
        }
        one.cases.sort_by_key(|case| case.line);
        report.cases.append(&mut one.cases);
    }
    if let Some(signals) = signals {
        signals.stop().await;
    }
    report
}

/// Why a file is not run here at all.
fn too_much(yaml: &FileYaml, options: &Options) -> Option<String> {
    let tests = yaml.tests.as_ref().map_or(0, Vec::len);
    let rows = yaml.tests.iter().flatten().map(|test| signals::count(&test.value)).fold(0, u64::saturating_add);
    let many = options.most_tests.filter(|most| tests > *most).map(|most| format!("{tests} tests are more than {most}"));
    many.or_else(|| options.most_rows.filter(|most| rows > *most).map(|most| format!("{rows} rows are more than {most}")))
}

/// An engine, where a rule or a test needs one.
async fn signals(yaml: &FileYaml, rules: &RuleSet, options: &Options) -> Result<Option<Signals>, String> {
    let asks = rules.groups.iter().flat_map(|group| &group.rules).any(|rule| matches!(rule.question(), Question::Sql(_)));
    let given = |test: &TestYaml| test.input_logs.is_some() || test.input_spans.is_some() || test.input_errors.is_some();
    if !asks && !yaml.tests.iter().flatten().any(|test| given(&test.value)) {
        return Ok(None);
    }
    let Some(place) = &options.engine else {
        return Err("logs, spans, errors and SQL need the engine, and there is none here".to_owned());
    };
    Signals::start(place).await.map(Some).map_err(|error| format!("{error:#}"))
}

/// One test at work.
struct Test<'a> {
    name: String,
    yaml: &'a Spanned<TestYaml>,
    file: &'a FileYaml,
    config: &'a Config,
    /// Whether a configuration was named: without one alerts do not flap, as in Prometheus.
    configured: bool,
    rules: &'a RuleSet,
    /// How many ticks it may have.
    most: u128,
    cases: Vec<Case>,
}

/// What time passes in.
struct World {
    simulation: Simulation,
    known: Arc<Known>,
    metrics: Arc<PromQl>,
    start: Timestamp,
    every: Duration,
    end: Timestamp,
}

impl Test<'_> {
    fn case(&mut self, kind: &'static str, about: impl Into<String>, line: u64, failure: Option<String>) {
        let failure = failure.map(|text| text.trim_end().to_owned());
        self.cases.push(Case { test: self.name.clone(), kind, about: about.into(), line, failure });
    }

    fn fail(&mut self, kind: &'static str, about: &str, line: u64, failure: String) {
        self.case(kind, about, line, Some(failure));
    }

    /// `Err`: the test cannot be run.
    async fn run(&mut self, signals: Option<&Signals>) -> Result<(), String> {
        let yaml = &self.yaml.value;
        let usual = if signals.is_some() { signals::START } else { Timestamp::EPOCH };
        let start = yaml.start_timestamp.as_ref().map_or(Ok(usual), file::StartYaml::moment)?;
        if let Some(signals) = signals
            && let Err((key, line, problem)) = signals.fill(yaml, start).await
        {
            self.fail("rules", key, line, problem);
            return Ok(());
        }
        let rows: Arc<dyn RowQuery> = signals.map_or_else(|| Arc::new(NoRows) as Arc<dyn RowQuery>, Signals::rows);
        let every = self.file.evaluation_interval.map(|span| span.0).filter(|every| !every.is_zero()).unwrap_or(USUAL_INTERVAL);
        let interval = yaml.interval.map(|span| span.0).filter(|interval| !interval.is_zero()).unwrap_or(every);
        let source = Arc::new(MemorySource::new());
        let Some(longest) = self.fill(&source, start, interval) else { return Ok(()) };
        let longest = longest.max(signals::length(yaml));
        let end = start.plus(self.length(longest).0);
        if end.since(start).as_nanos() / every.as_nanos() > self.most {
            return Err(format!(
                "{} of evaluations every {} are more than {}: shorten the test",
                Span(end.since(start)),
                Span(every),
                self.most
            ));
        }
        let issues = match issues::past(yaml, start) {
            Ok(issues) => issues,
            Err((line, problem)) => {
                self.fail("rules", "people", line, problem);
                return Ok(());
            }
        };
        let mut world = self.world(source, rows, (start, every, end), issues).map_err(|error| format!("{error:#}"))?;
        if !self.pass(&mut world).await? {
            return Ok(());
        }
        // promtool: expressions see what was stored when the last tick ran.
        let ticks = end.since(start).as_nanos() / every.as_nanos();
        world.known.until(start.plus(every.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))));
        for test in yaml.promql_expr_test.iter().flatten() {
            let failure = promql::check(&test.value, &*world.metrics, start, self.file.fuzzy_compare).await;
            self.case("promql_expr_test", format!("{} at {}", test.value.expr.trim(), test.value.eval_time), line(test), failure);
        }
        if let Some(test) = &yaml.delivery_test {
            let until = test.value.until.unwrap_or(Span(end.since(start)));
            let failure = pages::check(&test.value, world.simulation.sent(), start, until);
            self.case("delivery_test", format!("until {until}"), line(test), failure);
        }
        if let Some(test) = &yaml.remediation_test {
            let until = test.value.until.unwrap_or(Span(end.since(start)));
            let journal = world.simulation.journal().await.map_err(|error| format!("{error:#}"))?;
            let failure = repairs::check(&test.value, &journal, start, until);
            self.case("remediation_test", format!("until {until}"), line(test), failure);
        }
        Ok(())
    }

    /// Puts the series into the source. Gives back how long the longest is; `None` where one cannot be read.
    fn fill(&mut self, source: &MemorySource, start: Timestamp, interval: Duration) -> Option<Duration> {
        let (mut longest, mut wrong) = (0, Vec::new());
        for series in self.yaml.value.input_series.iter().flatten() {
            let text = series.values.as_ref().map_or("", |values| values.value.as_str());
            let labels = notation::labels(&series.series.value).map_err(|error| (line(&series.series), error));
            let points = notation::points(text).map_err(|error| (series.values.as_ref().map_or(0, line), error));
            match labels.and_then(|labels| Ok((labels, points?))) {
                Ok((labels, points)) => {
                    longest = longest.max(points.len());
                    add(source, &labels, points, start, interval);
                }
                Err(error) => wrong.push(error),
            }
        }
        for (line, error) in &wrong {
            self.fail("rules", "input_series", *line, error.clone());
        }
        let steps = u32::try_from(longest.saturating_sub(1)).unwrap_or(u32::MAX);
        wrong.is_empty().then(|| interval.saturating_mul(steps))
    }

    /// How long time passes: to the last expectation, and with stories to the end of the series.
    fn length(&self, longest: Duration) -> Span {
        let yaml = &self.yaml.value;
        let mut ends: Vec<Span> = yaml.alert_rule_test.iter().flatten().map(|test| test.value.eval_time).collect();
        ends.extend(yaml.promql_expr_test.iter().flatten().map(|test| test.value.eval_time));
        ends.extend(yaml.people.iter().flatten().map(|act| act.value.at));
        if let Some(test) = &yaml.delivery_test {
            ends.push(test.value.until.unwrap_or(Span(longest)));
            ends.extend(test.value.exp_notifications.iter().flatten().map(|page| page.value.at));
        }
        if let Some(test) = &yaml.remediation_test {
            ends.push(test.value.until.unwrap_or(Span(longest)));
            ends.extend(test.value.exp_steps.iter().flatten().map(|step| step.value.at));
        }
        ends.into_iter().max().unwrap_or_default()
    }

    fn world(
        &self,
        source: Arc<MemorySource>,
        rows: Arc<dyn RowQuery>,
        (start, every, end): (Timestamp, Duration, Timestamp),
        issues: Vec<(Timestamp, Issue)>,
    ) -> anyhow::Result<World> {
        let yaml = &self.yaml.value;
        let mut config = self.config.clone();
        if let Some(labels) = &yaml.external_labels {
            config.alerting.external_labels.clone_from(labels);
        }
        if let Some(url) = &yaml.external_url {
            config.alerting.external_url = Some(url.clone());
        }
        if !self.configured {
            config.alerting.flapping = Flapping { changes: 0, ..Flapping::default() };
            config.alerting.max_alerts_per_rule = usize::MAX;
            config.alerting.no_data_after = Span::default();
        }
        let known = Arc::new(Known::new(source.clone()));
        let metrics = Arc::new(PromQl::new(known.clone()));
        let results = yaml.remediation_test.iter().flat_map(|test| test.value.results.iter().flatten());
        let setup = Setup {
            config: &config,
            rules: self.rules.clone(),
            metrics: metrics.clone(),
            rows,
            series: Arc::new(Sink(source)),
            script: results.map(|result| (result.act.clone(), result.outcome)).collect(),
            start,
            known: Some(known.clone()),
            issues: PastIssues::new(issues),
        };
        Ok(World { simulation: Simulation::new(setup)?, known, metrics, start, every, end })
    }

    /// Lets time pass. `false`: a rule cannot be evaluated or somebody cannot act, which is told.
    async fn pass(&mut self, world: &mut World) -> Result<bool, String> {
        let yaml = &self.yaml.value;
        let told = |error: anyhow::Error| format!("{error:#}");
        let story = yaml.people.is_some() || yaml.delivery_test.is_some() || yaml.remediation_test.is_some();
        let mut people: Vec<&Spanned<ActYaml>> = yaml.people.iter().flatten().collect();
        people.sort_by_key(|act| act.value.at);
        let mut people = people.into_iter().peekable();
        let mut waiting: Vec<&Spanned<AlertYaml>> = yaml.alert_rule_test.iter().flatten().collect();
        waiting.sort_by_key(|test| test.value.eval_time);
        let mut waiting = waiting.into_iter().peekable();
        let mut tick = world.start;
        while tick <= world.end {
            if story && tick > world.start {
                // What is due at the tick itself comes after the rules.
                world.simulation.pass_to(tick.minus(Duration::from_millis(1))).await.map_err(told)?;
            }
            for group in 0..world.simulation.groups() {
                world.simulation.evaluate(group, tick).await.map_err(told)?;
            }
            if self.broken(world, tick) {
                return Ok(false);
            }
            if story {
                world.simulation.settle().await.map_err(told)?;
            }
            let next = tick.plus(world.every);
            while let Some(test) = waiting.next_if(|test| world.start.plus(test.value.eval_time.0) < next) {
                let failure = alerts::check(test, &world.simulation.views());
                let name = test.value.alertname.as_deref().unwrap_or("(no alertname)");
                self.case("alert_rule_test", format!("{name} at {}", test.value.eval_time), line(test), failure);
            }
            while let Some(act) = people.next_if(|act| world.start.plus(act.value.at.0) < next) {
                world.simulation.pass_to(world.start.plus(act.value.at.0)).await.map_err(told)?;
                if let Err(error) = folk::act(&world.simulation, &act.value).await {
                    self.fail("rules", &format!("people at {}", act.value.at), line(act), error);
                    return Ok(false);
                }
                world.simulation.settle().await.map_err(told)?;
            }
            tick = next;
        }
        if story {
            world.simulation.pass_to(world.end).await.map_err(told)?;
        }
        Ok(true)
    }

    /// Tells which rules could not be evaluated.
    fn broken(&mut self, world: &World, tick: Timestamp) -> bool {
        let views = world.simulation.views();
        let failing = views.iter().flat_map(|view| &view.rules).filter_map(|view| Some((view, view.last_error.clone()?)));
        let at = Span(tick.since(world.start));
        let found: Vec<(String, String)> = failing
            .map(|(view, error)| {
                let place = view.rule.place();
                let place = place.line.map_or_else(|| place.file.clone(), |line| format!("{}:{line}", place.file));
                (format!("rule {} at {at}", view.rule.key().name), format!("{place}: {error}"))
            })
            .collect();
        for (about, failure) in &found {
            self.fail("rules", about, line(self.yaml), failure.clone());
        }
        !found.is_empty()
    }
}

/// Adds one series.
fn add(source: &MemorySource, labels: &model::labels::Labels, points: Vec<Point>, start: Timestamp, interval: Duration) {
    let (mut numbers, mut natives) = (Samples::default(), Vec::new());
    let step = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
    for (index, point) in (0i64..).zip(points) {
        let at = start.millis().saturating_add(step.saturating_mul(index));
        match point {
            Point::Blank => {}
            Point::Number(value) => {
                numbers.times.push(at);
                numbers.values.push(value);
            }
            Point::Histogram(histogram) => natives.push(NativePoint { at, histogram: Some(Arc::from(histogram)) }),
        }
    }
    let tenant = TenantId::default();
    if !natives.is_empty() {
        source.add_native(&tenant, labels, Temporality::Cumulative, natives);
    }
    if !numbers.times.is_empty() {
        source.add(&tenant, labels, SeriesKind::Untyped, Temporality::Cumulative, &numbers);
    }
}
