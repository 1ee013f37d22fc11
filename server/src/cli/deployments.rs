//! `watchfire deployments`: what went out, and a line for pipelines that says so.

use model::time::{Clock, SystemClock};
use reqwest::Method;
use serde_json::json;

use super::DeploymentsCommand;
use super::client::Client;
use super::table::{ago, print};
use super::talk::{API, list, time, word};

/// Runs one of them.
pub async fn run(client: &Client, json: bool, command: DeploymentsCommand) -> anyhow::Result<()> {
    match command {
        DeploymentsCommand::Record { service, version, environment, description, link, at, key } => {
            let mut body = json!({"service": service, "version": version, "environment": environment});
            for (name, said) in [("description", description), ("link", link), ("at", at.map(|at| at.rfc3339())), ("key", key)] {
                if let Some(said) = said {
                    body[name] = json!(said);
                }
            }
            let answer = client.post(Method::POST, &format!("{API}/deployments"), &body).await?;
            if json {
                println!("{answer}");
                return Ok(());
            }
            let what = format!("{} {} in {}", word(&answer, "/deployment/service"), word(&answer, "/deployment/version"), environment);
            let id = word(&answer, "/deployment/id");
            let outcome = if answer["created"] == true { "is recorded" } else { "was recorded already" };
            println!("{what} {outcome}: {id}");
        }
        DeploymentsCommand::List { service, environment, since } => {
            let now = SystemClock.now();
            let mut query = vec![("since", now.minus(since.0).rfc3339())];
            query.extend(service.map(|service| ("service", service)));
            query.extend(environment.map(|environment| ("environment", environment)));
            let answer = client.get(&format!("{API}/deployments"), &query).await?;
            if json {
                println!("{answer}");
                return Ok(());
            }
            let rows = list(&answer, "deployments").iter().map(|row| {
                let at = time(row, "/at").map(|at| ago(at, now)).unwrap_or_default();
                let columns = ["/service", "/version", "/environment", "/description", "/link"];
                std::iter::once(at).chain(columns.map(|column| word(row, column))).collect()
            });
            let empty = format!("No deployment in the last {since}. Record one: watchfire deployments record SERVICE VERSION");
            print(&["WHEN", "SERVICE", "VERSION", "ENVIRONMENT", "WHAT", "LINK"], rows.collect(), &empty);
        }
    }
    Ok(())
}
