//! `watchfire rules`: test rules, take over those of Prometheus and Alertmanager, replay history.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use model::labels::{MatchOp, Matcher};

use super::Common;
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
}

/// Runs it.
pub async fn run(common: &Common, command: RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::Test { files, run } => test(common, files, run).await,
    }
}

async fn test(common: &Common, files: Vec<PathBuf>, run: Option<String>) -> anyhow::Result<ExitCode> {
    let only = run.map(|text| Matcher::new("name", MatchOp::Regex, &format!(".*(?:{text}).*")).with_context(|| format!("--run {text}")));
    let options = Options { only: only.transpose()?, config: common.config.clone() };
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
