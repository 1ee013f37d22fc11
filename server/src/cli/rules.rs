//! `watchfire rules`: test rules, take over those of Prometheus and Alertmanager, replay history.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use model::labels::{MatchOp, Matcher};
use model::query::MetricQuery;
use model::time::Timestamp;
use store::promql::PromQl;
use store::promql::memory::MemorySource;

use super::client::Client;
use super::{Common, serve, table};
use crate::import;
use crate::pipeline::{self, load_rules};
use crate::replay::{self, HttpHistory, HttpRows, Replay, Replayed};
use crate::ruletest::{self, Case, Options, Report};

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Run unit tests of rules: promtool's files, and what people, ladders and remediations do meanwhile.
    Test {
        /// The test files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Only tests whose name matches.
        #[arg(long, value_name = "REGEX")]
        run: Option<String>,
    },
    /// Take over rule files of Prometheus and an alertmanager.yml: writes rule files and a configuration.
    Import {
        /// The files; which is which is told by their keys.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where to write watchfire.yaml and rules/.
        #[arg(long, value_name = "DIR", default_value = "watchfire-import")]
        out: PathBuf,
        /// Write over files that exist.
        #[arg(long)]
        force: bool,
    },
    /// Replay rules over the stored history of the running server: when each would have fired, whom it would have paged.
    Replay {
        /// From, as 2026-03-01T09:30:00Z.
        #[arg(long, value_name = "TIME")]
        from: Timestamp,
        /// To.
        #[arg(long, value_name = "TIME")]
        to: Timestamp,
        /// These rule files instead of the configured folder.
        #[arg(long, value_name = "FILE")]
        rules: Vec<PathBuf>,
    },
}

/// Runs it.
pub async fn run(common: &Common, command: RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::Test { files, run } => test(common, files, run).await,
        RulesCommand::Import { files, out, force } => take_over(common, &files, &out, force),
        RulesCommand::Replay { from, to, rules } => replay(common, from, to, &rules).await,
    }
}

async fn test(common: &Common, files: Vec<PathBuf>, run: Option<String>) -> anyhow::Result<ExitCode> {
    let only = run.map(|text| Matcher::new("name", MatchOp::Regex, &format!(".*(?:{text}).*")).with_context(|| format!("--run {text}")));
    let engine = serve::engine_place(common).ok();
    let options =
        Options { only: only.transpose()?, config: common.config.clone(), engine, most_ticks: None, most_tests: None, most_rows: None };
    let mut reports = Vec::new();
    for file in &files {
        let report = ruletest::run_file(file, &options).await;
        if !common.json {
            print(&report);
        }
        reports.push(report);
    }
    let failed = reports.iter().flat_map(|report| &report.cases).filter(|case| case.failure.is_some()).count();
    let passed = reports.iter().map(|report| report.cases.len()).sum::<usize>() - failed;
    let broken = reports.iter().filter(|report| !report.errors.is_empty()).count();
    let good = reports.iter().all(Report::passed);
    if common.json {
        let all = serde_json::json!({"passed": passed, "failed": failed, "unreadable": broken, "success": good, "files": reports});
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        let unreadable = if broken > 0 { format!(", {broken} not run") } else { String::new() };
        let nothing = if passed + failed == 0 && good { " Nothing was checked." } else { "" };
        println!(
            "{}: {passed} passed, {failed} failed, {} files{unreadable}.{nothing}",
            if good { "SUCCESS" } else { "FAILED" },
            files.len()
        );
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(report: &Report) {
    println!("{}", report.file);
    for warning in &report.warnings {
        println!("  warning: {warning}");
    }
    for error in &report.errors {
        println!("  error: {error}");
    }
    let mut tests: Vec<&str> = Vec::new();
    for case in &report.cases {
        if !tests.contains(&case.test.as_str()) {
            tests.push(&case.test);
        }
    }
    for test in tests {
        let cases: Vec<&Case> = report.cases.iter().filter(|case| case.test == test).collect();
        let failed: Vec<&&Case> = cases.iter().filter(|case| case.failure.is_some()).collect();
        println!("  {}  {test} ({} checked)", if failed.is_empty() { "ok  " } else { "FAIL" }, cases.len());
        for case in failed {
            println!("    {}:{}: {} {}", report.file, case.line, case.kind, case.about);
            for line in case.failure.iter().flat_map(|text| text.lines()) {
                println!("      {line}");
            }
        }
    }
}

/// Writes a file that may hold secrets: for its owner only.
fn write_new(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt;
    if path.exists() {
        anyhow::ensure!(force, "{} exists: choose another folder with --out, or write over it with --force", path.display());
        std::fs::remove_file(path).with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
}

fn take_over(common: &Common, files: &[PathBuf], out: &Path, force: bool) -> anyhow::Result<ExitCode> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok((path.display().to_string(), text))
    };
    let files: Vec<(String, String)> = files.iter().map(read).collect::<anyhow::Result<_>>()?;
    let imported = import::import(&files);
    let config = out.join("watchfire.yaml");
    let rules = out.join(import::RULES);
    std::fs::create_dir_all(&rules).with_context(|| format!("{} cannot be made", rules.display()))?;
    write_new(&config, &imported.config, force)?;
    for (name, text) in &imported.rules {
        write_new(&rules.join(name), text, force)?;
    }
    let checked = super::check::problems(&Common { config: Some(config.clone()), ..common.clone() });
    let good = imported.errors.is_empty() && checked.is_empty();
    if common.json {
        let notes: Vec<String> = imported.notes.iter().map(ToString::to_string).collect();
        let said = serde_json::json!({"config": config, "rules": imported.rules.len(), "notes": notes, "errors": imported.errors, "problems": checked});
        println!("{}", serde_json::to_string_pretty(&said)?);
    } else {
        imported.notes.iter().for_each(|note| eprintln!("note: {note}"));
        imported.errors.iter().chain(&checked).for_each(|error| eprintln!("error: {error}"));
        println!("Wrote {} and {} rule files; {} notes.", config.display(), imported.rules.len(), imported.notes.len());
        if good {
            println!("`watchfire check --config {}` accepts them.", config.display());
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// How wide the plot is, in characters.
const WIDTH: usize = 80;

/// The rules of the named files, else of the configured folder.
fn chosen(common: &Common, config: &crate::config::Config, files: &[PathBuf]) -> Result<alerting::RuleSet, Vec<String>> {
    if files.is_empty() {
        return load_rules(config, common.config.as_deref());
    }
    let lines = |errors: Vec<alerting::RuleError>| errors.iter().map(ToString::to_string).collect::<Vec<String>>();
    let rules = alerting::RuleSet::load(ruletest::load::files(files)?).map_err(lines)?;
    let parser = PromQl::new(Arc::new(MemorySource::new()));
    let problems = lines(rules.check(|expr| parser.check(expr), pipeline::statements(config), &config.alerting.escalations));
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

async fn replay(common: &Common, from: Timestamp, to: Timestamp, files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let config = serve::read_config(common)?;
    let rules = chosen(common, &config, files).map_err(|problems| anyhow::anyhow!(problems.join("\n")))?;
    anyhow::ensure!(!rules.is_empty(), "there are no rules: name files with --rules, or a configuration with --config");
    let client = Client::new(common)?;
    // Says at once where nobody answers, with the exit code for it.
    client.get("/api/v1/query", &[("query", "1".to_owned())]).await?;
    let bar = if common.json { ProgressBar::hidden() } else { ProgressBar::new(to.since(from).as_secs()) };
    if let Ok(style) = ProgressStyle::with_template("replaying [{bar:40}] {percent}% {eta} left") {
        bar.set_style(style);
    }
    let issues = if replay::reads_issues(&rules) { replay::http_issues(&client).await? } else { Vec::new() };
    let rows = Arc::new(HttpRows(Client::new(common)?));
    let setup = Replay { config: &config, rules, history: Arc::new(HttpHistory(client)), rows, issues, from, to };
    let replayed = replay::replay(setup, |passed| bar.set_position(passed.as_secs().min(to.since(from).as_secs()))).await?;
    bar.finish_and_clear();
    if common.json {
        println!("{}", serde_json::to_string_pretty(&replayed)?);
    } else {
        show(&replayed, from, to);
    }
    Ok(if replayed.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn show(replayed: &Replayed, from: Timestamp, to: Timestamp) {
    let time = |at: Timestamp| Timestamp::from_millis(at.millis()).rfc3339();
    let lines = replay::plot(&replayed.alerts, from, to, WIDTH);
    let longest = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, line) in &lines {
        println!("{name:longest$}  {line}");
    }
    if !lines.is_empty() {
        let before = if replayed.alerts.iter().any(|one| one.began_before) { ", < was there before" } else { "" };
        println!(
            "{:longest$}  {:<half$}{:>half$}\n{:longest$}  # fires, - is pending{before}\n",
            "",
            time(from),
            time(to),
            "",
            half = WIDTH / 2
        );
    }
    let earlier = |time: String| format!("<= {time}");
    let alert = |one: &replay::Raised| {
        let ended = one.ended.map_or_else(|| "goes on".to_owned(), time);
        let fired = one.fired.map_or_else(|| "never fired".to_owned(), time);
        let (since, fired) = if one.began_before { (earlier(time(one.pending)), earlier(fired)) } else { (time(one.pending), fired) };
        vec![one.name.clone(), one.severity.as_str().to_owned(), since, fired, ended, one.labels.to_string()]
    };
    let headers = ["alert", "severity", "true since", "fired", "ended", "labels"];
    table::print(&headers, replayed.alerts.iter().map(alert).collect(), "No rule would have fired.");
    let page = |one: &replay::Paged| {
        let ladder = one.ladder.clone().unwrap_or_default();
        let step = one.step.map_or_else(String::new, |step| step.to_string());
        let at = if one.began_before { earlier(time(one.at)) } else { time(one.at) };
        vec![at, one.receiver.clone(), one.kind.to_owned(), one.alerts.join(", "), ladder, step]
    };
    println!();
    table::print(
        &["at", "receiver", "message", "alerts", "ladder", "step"],
        replayed.pages.iter().map(page).collect(),
        "Nobody would have been told.",
    );
    if replayed.alerts.iter().any(|one| one.began_before) {
        println!("\n<= was there when the rules were first evaluated: when it began, and what was sent when, is not known. It is not new.");
    }
    println!("\nNobody acknowledges in a replay. {} evaluations.", replayed.evaluations);
    for (rule, (times, error)) in &replayed.failures {
        eprintln!("rule {rule} could not be evaluated {times} times: {error}");
    }
}
