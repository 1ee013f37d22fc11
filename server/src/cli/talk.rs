//! The commands that ask a running server: what people type at 3 a.m. Tables for people, `--json` passes the server's answer on.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use model::time::{Clock, Span, SystemClock, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::table::{ago, print, short, sparkline};
use super::{Command, Common, DeliveriesCommand, IncidentCommand, MaintenanceCommand, SilenceCommand, errors};

/// Where Watchfire's own API begins.
pub const API: &str = "/api/watchfire/v1";

/// Runs one of them.
pub async fn run(common: &Common, command: Command) -> anyhow::Result<ExitCode> {
    let client = Client::new(common)?;
    let json = common.json;
    match command {
        Command::Status => return status(&client, json).await,
        Command::Incidents { status } => incidents(&client, json, status).await?,
        Command::Incident(command) => incident(&client, json, command).await?,
        Command::Errors(command) => errors::errors(&client, json, command).await?,
        Command::Error(command) => errors::error(&client, json, command).await?,
        Command::Alerts { state } => alerts(&client, json, state).await?,
        Command::Silence(command) => silence(&client, json, command).await?,
        Command::Maintenance(command) => maintenance(&client, json, command).await?,
        Command::OnCall { command } => super::on_call::run(&client, json, command).await?,
        Command::Remediation(command) => super::remediation::run(&client, json, command).await?,
        Command::Postmortem { incident } => {
            print!("{}", client.get_text(&format!("{API}/incidents/{incident}/postmortem"), "text/markdown").await?);
        }
        Command::Query { expr, range } => query(&client, json, &expr, range).await?,
        Command::Sql { statement } => {
            let format = if json { "JSON" } else { "PrettyCompact" };
            print!("{}", client.post_text(&format!("{API}/sql"), &[("format", format.to_owned())], statement).await?);
        }
        Command::Deployments(command) => super::deployments::run(&client, json, command).await?,
        Command::Deliveries(command) => deliveries(&client, json, command).await?,
        Command::Load(command) => return crate::load::run(common, command).await,
        Command::Serve
        | Command::Engine(_)
        | Command::Demo(_)
        | Command::Check { .. }
        | Command::Pipeline(_)
        | Command::Keys(_)
        | Command::Rules(_)
        | Command::Completions { .. } => {
            bail!("this command does not ask a server")
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The text at a place of an answer; empty where there is none.
pub fn word(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The time at a place of an answer.
pub fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    value.pointer(pointer)?.as_str()?.parse().ok()
}

/// The list of this name, or the answer itself where it is one.
pub fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).or(Some(value)).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

async fn status(client: &Client, json: bool) -> anyhow::Result<ExitCode> {
    let status = client.get(&format!("{API}/status"), &[]).await?;
    let ready = status["ready"] == true;
    if json {
        println!("{status}");
    } else {
        println!("Watchfire {} is {}.", word(&status, "/version"), if ready { "well" } else { "NOT WELL" });
        println!("{} open incidents, {} firing alerts\n", status["open_incidents"], status["firing_alerts"]);
        let parts = list(&status, "parts");
        let rows = parts
            .iter()
            .map(|part| vec![word(part, "/part"), if part["healthy"] == true { "ok" } else { "BAD" }.to_owned(), word(part, "/detail")]);
        print(&["PART", "STATE", "DETAIL"], rows.collect(), "");
        let age = |row: &Value| {
            row["age_seconds"].as_f64().map_or("none yet".to_owned(), |secs| format!("{} ago", short(Duration::from_secs_f64(secs))))
        };
        let newest = list(&status, "newest_rows");
        println!();
        print(&["SIGNAL", "NEWEST STORED ROW"], newest.iter().map(|row| vec![word(row, "/signal"), age(row)]).collect(), "");
        let queues = list(&status, "queues");
        println!();
        print(
            &["QUEUE", "PENDING", "DEAD LETTERS", "OVERDUE"],
            queues
                .iter()
                .map(|row| {
                    vec![
                        word(row, "/queue"),
                        word(row, "/pending"),
                        word(row, "/dead"),
                        format!("{:.1}s", row["overdue_seconds"].as_f64().unwrap_or(0.0)),
                    ]
                })
                .collect(),
            "",
        );
    }
    Ok(ExitCode::from(u8::from(!ready)))
}

async fn incidents(client: &Client, json: bool, status: Option<String>) -> anyhow::Result<()> {
    let query: Vec<(&str, String)> = status.into_iter().map(|status| ("status", status)).collect();
    let answer = client.get(&format!("{API}/incidents"), &query).await?;
    if json {
        println!("{answer}");
        return Ok(());
    }
    let now = SystemClock.now();
    let rows = list(&answer, "incidents").iter().map(|row| {
        let since = time(row, "/clocks/detected").map(|at| ago(at, now)).unwrap_or_default();
        vec![word(row, "/number"), word(row, "/severity"), word(row, "/status"), since, word(row, "/title")]
    });
    print(&["#", "SEVERITY", "STATUS", "SINCE", "TITLE"], rows.collect(), "No incidents. All quiet.");
    Ok(())
}

async fn incident(client: &Client, json: bool, command: IncidentCommand) -> anyhow::Result<()> {
    let act = async |reference: &str, act: &str, body: Value, said: &str| -> anyhow::Result<()> {
        let answer = client.post(Method::POST, &format!("{API}/incidents/{reference}/{act}"), &body).await?;
        if json {
            println!("{answer}")
        } else {
            println!("Incident {reference} {said}.")
        }
        Ok(())
    };
    match command {
        IncidentCommand::Ack { incident } => act(&incident, "acknowledge", json!({}), "is yours: its ladders have stopped").await,
        IncidentCommand::Unack { incident } => act(&incident, "unacknowledge", json!({}), "is nobody's: its ladders climb again").await,
        IncidentCommand::Escalate { incident, reason } => {
            act(&incident, "escalate", json!({"reason": reason}), "is escalated: whoever comes next on its ladders is told now").await
        }
        IncidentCommand::Update { incident, text, phase } => {
            act(&incident, "update", json!({"text": text, "phase": phase}), "has a new status update").await
        }
        IncidentCommand::Snooze { incident, duration } => snooze(client, json, &incident, duration).await,
        IncidentCommand::Resolve { incident, reason } => act(&incident, "resolve", json!({"reason": reason}), "is resolved").await,
        IncidentCommand::Note { incident, text } => act(&incident, "note", json!({"text": text}), "has a note more").await,
        IncidentCommand::Show { incident } => show(client, json, &incident).await,
    }
}

/// An incident is put off by one of its firing alerts: the acknowledgement and its end hold for the incident.
async fn snooze(client: &Client, json: bool, reference: &str, duration: Span) -> anyhow::Result<()> {
    let answer = client.get(&format!("{API}/incidents/{reference}"), &[]).await?;
    let incident = answer.get("incident").unwrap_or(&answer);
    let Some(alert) = list(incident, "firing").first().and_then(Value::as_str) else {
        bail!("nothing fires in incident {reference}: there is nothing to put off")
    };
    let answer = client.post(Method::POST, &format!("{API}/alerts/{alert}/snooze"), &json!({"duration": duration})).await?;
    if json {
        println!("{answer}");
    } else {
        println!("Incident {reference} is yours for {duration}; if it goes on then, its ladders climb again.");
    }
    Ok(())
}

async fn show(client: &Client, json: bool, reference: &str) -> anyhow::Result<()> {
    let answer = client.get(&format!("{API}/incidents/{reference}"), &[]).await?;
    if json {
        println!("{answer}");
        return Ok(());
    }
    let incident = answer.get("incident").unwrap_or(&answer);
    println!("Incident {} · {} · {}", word(incident, "/number"), word(incident, "/severity"), word(incident, "/status"));
    println!("{}\n", word(incident, "/title"));
    let started = time(incident, "/clocks/detected");
    for (name, at) in [("acknowledged", "/clocks/acknowledged"), ("mitigated", "/clocks/mitigated"), ("resolved", "/clocks/resolved")] {
        if let (Some(from), Some(to)) = (started, time(incident, at)) {
            println!("{name} after {}", short(to.since(from)));
        }
    }
    println!();
    let rows = list(&answer, "timeline").iter().map(|row| {
        let at = time(row, "/at").map(|at| at.to_chrono().format("%H:%M:%S").to_string()).unwrap_or_default();
        let after = started.zip(time(row, "/at")).map(|(from, at)| format!("+{}", short(at.since(from)))).unwrap_or_default();
        vec![at, after, word(row, "/text")]
    });
    print(&["UTC", "", "WHAT HAPPENED"], rows.collect(), "Nothing in the journal.");
    Ok(())
}

async fn alerts(client: &Client, json: bool, state: Option<String>) -> anyhow::Result<()> {
    let query: Vec<(&str, String)> = state.into_iter().map(|state| ("state", state)).collect();
    let answer = client.get(&format!("{API}/alerts"), &query).await?;
    if json {
        println!("{answer}");
        return Ok(());
    }
    let now = SystemClock.now();
    let rows = list(&answer, "alerts").iter().map(|row| {
        let state = row.pointer("/state/state").map_or_else(|| word(row, "/state"), |state| state.as_str().unwrap_or("").to_owned());
        let since = time(row, "/state/active_at").or(time(row, "/active_at")).map(|at| ago(at, now)).unwrap_or_default();
        let summary = match word(row, "/annotations/summary") {
            text if text.is_empty() => word(row, "/labels"),
            text => text,
        };
        vec![word(row, "/severity"), state, word(row, "/labels/alertname"), since, word(row, "/value"), summary]
    });
    print(&["SEVERITY", "STATE", "ALERT", "SINCE", "VALUE", "SUMMARY"], rows.collect(), "No alerts.");
    Ok(())
}

/// `name=value`, `name!=value`, `name=~pattern`, `name!~pattern`; quotes as in Alertmanager.
fn matcher(text: &str) -> anyhow::Result<Value> {
    let matcher = text.parse::<alerting::matchers::MatcherText>().map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(json!(matcher.0))
}

async fn maintenance(client: &Client, json: bool, command: MaintenanceCommand) -> anyhow::Result<()> {
    match command {
        MaintenanceCommand::Add { name, matchers, from, duration, comment } => {
            let matchers = matchers.iter().map(|text| matcher(text)).collect::<anyhow::Result<Vec<_>>>()?;
            let from = from.unwrap_or_else(|| SystemClock.now());
            let body = json!({"name": name, "matchers": matchers, "starts_at": from, "ends_at": from.plus(duration.0), "comment": comment});
            let answer = client.post(Method::POST, &format!("{API}/maintenance"), &body).await?;
            if json {
                println!("{answer}");
            } else {
                println!("Maintenance {name} from {from} for {duration}: {}", word(&answer, "/maintenance/id"));
            }
        }
        MaintenanceCommand::List => {
            let answer = client.get(&format!("{API}/maintenance"), &[]).await?;
            if json {
                println!("{answer}");
                return Ok(());
            }
            let planned = list(&answer, "planned").iter().map(|row| {
                let matchers: Vec<String> = list(row, "matchers")
                    .iter()
                    .map(|one| format!("{}{}{}", word(one, "/name"), word(one, "/op"), word(one, "/value")))
                    .collect();
                let words = ["/maintenance", "/state", "/id"].map(|place| word(row, place));
                words.into_iter().chain([matchers.join(" "), word(row, "/starts_at"), word(row, "/ends_at")]).collect()
            });
            let recurring = list(&answer, "recurring").iter().map(|row| {
                let active = word(row, "/active_until");
                let texts = |key| list(row, key).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
                let state = if active.is_empty() { "waits" } else { "active" };
                vec![word(row, "/name"), state.to_owned(), "(configuration)".to_owned(), texts("matchers"), texts("time_intervals"), active]
            });
            print(&["NAME", "STATE", "ID", "MATCHES", "FROM", "TO"], planned.chain(recurring).collect(), "No maintenance is planned.");
        }
        MaintenanceCommand::End { id } => {
            client.post(Method::DELETE, &format!("{API}/maintenance/{id}"), &json!({})).await?;
            println!("{id} is over.");
        }
    }
    Ok(())
}

async fn silence(client: &Client, json: bool, command: SilenceCommand) -> anyhow::Result<()> {
    match command {
        SilenceCommand::Add { matchers, duration, comment } => {
            let matchers = matchers.iter().map(|text| matcher(text)).collect::<anyhow::Result<Vec<_>>>()?;
            let now = SystemClock.now();
            let body = json!({"matchers": matchers, "starts_at": now, "ends_at": now.plus(duration.0), "comment": comment});
            let answer = client.post(Method::POST, &format!("{API}/silences"), &body).await?;
            if json {
                println!("{answer}");
            } else {
                println!("Silenced for {duration}: {}", word(answer.get("silence").unwrap_or(&answer), "/id"));
            }
        }
        SilenceCommand::List => {
            let answer = client.get(&format!("{API}/silences"), &[]).await?;
            if json {
                println!("{answer}");
                return Ok(());
            }
            let rows = list(&answer, "silences").iter().map(|row| {
                let matchers: Vec<String> = list(row, "matchers")
                    .iter()
                    .map(|one| format!("{}{}{}", word(one, "/name"), word(one, "/op"), word(one, "/value")))
                    .collect();
                vec![word(row, "/id"), matchers.join(" "), word(row, "/starts_at"), word(row, "/ends_at"), word(row, "/comment")]
            });
            print(&["ID", "MATCHES", "FROM", "TO", "WHY"], rows.collect(), "No silences.");
        }
        SilenceCommand::Expire { id } => {
            client.post(Method::DELETE, &format!("{API}/silences/{id}"), &json!({})).await?;
            println!("{id} is over.");
        }
    }
    Ok(())
}

async fn query(client: &Client, json: bool, expr: &str, range: Option<Span>) -> anyhow::Result<()> {
    let Some(Span(length)) = range else {
        let answer = client.get("/api/v1/query", &[("query", expr.to_owned())]).await?;
        if json {
            println!("{answer}");
            return Ok(());
        }
        let result = answer.pointer("/data/result").cloned().unwrap_or(Value::Null);
        if word(&answer, "/data/resultType") == "scalar" {
            println!("{}", word(&result, "/1"));
            return Ok(());
        }
        let rows = result.as_array().into_iter().flatten().map(|row| vec![labels(&row["metric"]), word(row, "/value/1")]);
        print(&["SERIES", "VALUE"], rows.collect(), "No series match.");
        return Ok(());
    };
    let now = SystemClock.now();
    let step = (length.as_secs_f64() / 60.0).max(1.0);
    let parameters = [
        ("query", expr.to_owned()),
        ("start", now.minus(length).secs_f64().to_string()),
        ("end", now.secs_f64().to_string()),
        ("step", step.to_string()),
    ];
    let answer = client.get("/api/v1/query_range", &parameters).await?;
    if json {
        println!("{answer}");
        return Ok(());
    }
    let result = answer.pointer("/data/result").cloned().unwrap_or(Value::Null);
    let rows = result.as_array().into_iter().flatten().map(|row| {
        let values: Vec<f64> = row["values"].as_array().into_iter().flatten().filter_map(|pair| pair[1].as_str()?.parse().ok()).collect();
        let last = values.last().map(|value| format!("{value:.6}")).unwrap_or_default();
        vec![labels(&row["metric"]), sparkline(&values), last]
    });
    print(&["SERIES", &format!("LAST {}", Span(length)), "NOW"], rows.collect(), "No series match.");
    Ok(())
}

fn labels(metric: &Value) -> String {
    let labels: model::labels::Labels = serde_json::from_value(metric.clone()).unwrap_or_default();
    labels.to_string()
}

async fn deliveries(client: &Client, json: bool, command: DeliveriesCommand) -> anyhow::Result<()> {
    match command {
        DeliveriesCommand::List { state } => {
            let query: Vec<(&str, String)> = state.into_iter().map(|state| ("state", state)).collect();
            let answer = client.get(&format!("{API}/deliveries"), &query).await?;
            if json {
                println!("{answer}");
                return Ok(());
            }
            let now = SystemClock.now();
            let rows = list(&answer, "deliveries").iter().map(|row| {
                let at = time(row, "/queued_at").map(|at| ago(at, now)).unwrap_or_default();
                let words = ["/id", "/receiver", "/action", "/title", "/state", "/attempts"].map(|place| word(row, place));
                let why = [word(row, "/unneeded"), word(row, "/error")].into_iter().find(|why| !why.is_empty()).unwrap_or_default();
                words.into_iter().chain([at, why]).collect()
            });
            let heads = ["ID", "RECEIVER", "ACTION", "ABOUT", "STATE", "ATTEMPTS", "WRITTEN", "WHY"];
            print(&heads, rows.collect(), "No deliveries.");
        }
        DeliveriesCommand::Replay { id, force } => {
            client.post(Method::POST, &format!("{API}/deliveries/{id}/replay?force={force}"), &json!({})).await?;
            println!("{id} is sent again.");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_read_as_prometheus_writes_them() {
        assert_eq!(matcher("service=checkout").unwrap(), json!({"name": "service", "op": "=", "value": "checkout"}));
        assert_eq!(matcher("zone!~eu-.*").unwrap(), json!({"name": "zone", "op": "!~", "value": "eu-.*"}));
        assert!(matcher("checkout").is_err());
        assert!(matcher("=x").is_err());
    }
}
