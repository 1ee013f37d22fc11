//! `watchfire check`: configuration and rules, without starting anything. Every problem is one line: file, place, fix.

use std::process::ExitCode;

use super::{Common, serve};
use crate::config::DEFAULT_FILE;
use crate::pipeline::{beside, load_rules};

/// Checks; exit code 1 with a line for each problem.
pub fn check(common: &Common, print_defaults: bool) -> anyhow::Result<ExitCode> {
    if print_defaults {
        print!("{DEFAULT_FILE}");
        return Ok(ExitCode::SUCCESS);
    }
    let config = serve::read_config(common)?;
    let (rules, jobs) = (load_rules(&config, common.config.as_deref()), config.scrape.with_files(beside(common.config.as_deref())));
    match (rules, jobs) {
        (Ok(rules), Ok(scrape)) => {
            println!(
                "The configuration is good: {} rules in {} groups, {} receivers, {} scrape jobs.",
                rules.len(),
                rules.groups.len(),
                config.receivers.len(),
                scrape.scrape_configs.len()
            );
            Ok(ExitCode::SUCCESS)
        }
        (rules, jobs) => {
            let problems: Vec<String> = rules.err().into_iter().chain(jobs.err()).flatten().collect();
            for problem in &problems {
                eprintln!("{problem}");
            }
            eprintln!("{} problem(s).", problems.len());
            Ok(ExitCode::from(1))
        }
    }
}

/// What `watchfire check` would complain of, one sentence each.
pub fn problems(common: &Common) -> Vec<String> {
    match serve::read_config(common) {
        Ok(config) => load_rules(&config, common.config.as_deref()).err().unwrap_or_default(),
        Err(error) => vec![format!("{error:#}")],
    }
}
