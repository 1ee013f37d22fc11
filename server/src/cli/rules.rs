//! `watchfire rules`: test rules, take over those of Prometheus and Alertmanager, replay history.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use model::labels::{MatchOp, Matcher};

use super::Common;
use crate::import;
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
}

/// Runs it.
pub async fn run(common: &Common, command: RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::Test { files, run } => test(common, files, run).await,
        RulesCommand::Import { files, out, force } => take_over(common, &files, &out, force),
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
