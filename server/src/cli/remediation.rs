//! `watchfire remediation`: runs, and what people ask of them.

use clap::Subcommand;
use model::time::{Clock, SystemClock};
use reqwest::Method;
use serde_json::json;

use super::client::Client;
use super::table::{ago, print};
use super::talk::{API, list, time, word};

/// What to do.
#[derive(Subcommand, Clone, Debug)]
pub enum RemediationCommand {
    /// The newest runs.
    List {
        /// live, awaiting_approval, verified, handed_over, refused, dry_run or not_needed.
        #[arg(long)]
        status: Option<String>,
    },
    /// The plans that can be started.
    Plans,
    /// Start one by hand: its guards are asked, and you have approved it.
    Start {
        /// The plan's name.
        remediation: String,
        /// For this incident (number or id): the worst of its alerts that fire.
        #[arg(long, conflicts_with = "alert", required_unless_present = "alert")]
        incident: Option<String>,
        /// For this alert (`alr_...`).
        #[arg(long)]
        alert: Option<String>,
    },
    /// Say yes to a run that waits for it.
    Approve {
        /// Its id (`rem_...`).
        run: String,
    },
    /// Stop a run after the act that is at work.
    Stop {
        /// Its id (`rem_...`).
        run: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
}

/// Runs one of them.
pub async fn run(client: &Client, json: bool, command: RemediationCommand) -> anyhow::Result<()> {
    let path = format!("{API}/remediations");
    let (answer, words) = match command {
        RemediationCommand::List { status } => {
            let query: Vec<(&str, String)> = status.into_iter().map(|status| ("status", status)).collect();
            let answer = client.get(&path, &query).await?;
            if !json {
                let now = SystemClock.now();
                let rows = list(&answer, "runs").iter().map(|row| {
                    let since = time(row, "/created_at").map(|at| ago(at, now)).unwrap_or_default();
                    vec![
                        word(row, "/id"),
                        word(row, "/remediation"),
                        word(row, "/status"),
                        since,
                        word(row, "/target"),
                        word(row, "/incident"),
                    ]
                });
                print(&["ID", "REMEDIATION", "STATUS", "BEGAN", "TARGET", "INCIDENT"], rows.collect(), "No remediation ran.");
            }
            (answer, None)
        }
        RemediationCommand::Plans => {
            let answer = client.get(&format!("{path}/plans"), &[]).await?;
            if !json {
                let yes = |row: &serde_json::Value, key: &str| if row[key] == true { "yes" } else { "no" }.to_owned();
                let rows = list(&answer, "plans").iter().map(|row| {
                    let rungs: Vec<&str> = list(row, "rungs").iter().filter_map(|rung| rung.as_str()).collect();
                    vec![word(row, "/name"), yes(row, "approval"), yes(row, "dry_run"), rungs.join(", then ")]
                });
                print(&["PLAN", "WANTS A YES", "DRY RUN", "RUNGS"], rows.collect(), "No plan is under remediation.remediations.");
            }
            (answer, None)
        }
        RemediationCommand::Start { remediation, incident, alert } => {
            let mut body = json!({"remediation": remediation});
            for (name, said) in [("incident", incident), ("alert", alert)] {
                if let Some(said) = said {
                    body[name] = json!(said);
                }
            }
            let answer = client.post(Method::POST, &path, &body).await?;
            let words = format!("{remediation}, run {}: {}", word(&answer, "/run/id"), word(&answer, "/message"));
            (answer, Some(words))
        }
        RemediationCommand::Approve { run } => {
            let answer = client.post(Method::POST, &format!("{path}/{run}/approve"), &json!({})).await?;
            let words = format!("{run}: {}", word(&answer, "/message"));
            (answer, Some(words))
        }
        RemediationCommand::Stop { run, reason } => {
            let body = if reason.is_empty() { json!({}) } else { json!({"reason": reason}) };
            let answer = client.post(Method::POST, &format!("{path}/{run}/stop"), &body).await?;
            let words = format!("{run}: {}", word(&answer, "/message"));
            (answer, Some(words))
        }
    };
    if json {
        println!("{answer}");
    } else if let Some(words) = words {
        println!("{words}.");
    }
    Ok(())
}
