//! `watchfire check`: configuration and rules, without starting anything. Every problem is one line: file, place, fix.

use std::process::ExitCode;

use super::{Common, serve};
use crate::config::DEFAULT_FILE;
use crate::pipeline::load_rules;

/// Checks; exit code 1 with a line for each problem.
pub fn check(common: &Common, print_defaults: bool) -> anyhow::Result<ExitCode> {
    if print_defaults {
        print!("{DEFAULT_FILE}");
        return Ok(ExitCode::SUCCESS);
    }
    let config = serve::read_config(common)?;
    match load_rules(&config, common.config.as_deref()) {
        Ok(rules) => {
            println!(
                "The configuration is good: {} rules in {} groups, {} receivers.",
                rules.len(),
                rules.groups.len(),
                config.receivers.len()
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            for problem in &problems {
                eprintln!("{problem}");
            }
            eprintln!("{} problem(s).", problems.len());
            Ok(ExitCode::from(1))
        }
    }
}
