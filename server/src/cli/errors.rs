//! The commands about error issues: the list, one issue, what people do with it. Tables for people, `--json` passes the server's
//! answer on.

use clap::{Args, Subcommand};
use model::time::{Clock, Span, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::table::{ago, print, sparkline};
use super::talk::{API, list, time, word};

/// Which issues.
#[derive(Debug, Args)]
pub struct ErrorsCommand {
    /// open (new or regressed), regressed, resolved, ignored, merged or all.
    #[arg(long, default_value = "open")]
    pub status: String,
    /// Only those seen in this service.
    #[arg(long)]
    pub service: Option<String>,
    /// Only those seen in this release.
    #[arg(long)]
    pub release: Option<String>,
    /// Only those seen in this environment.
    #[arg(long)]
    pub environment: Option<String>,
    /// Only those with this text in title, type, message or culprit.
    #[arg(long)]
    pub text: Option<String>,
    /// Only those of this person; `none`: of nobody.
    #[arg(long)]
    pub assignee: Option<String>,
    /// last_seen, first_seen, events or users.
    #[arg(long, default_value = "last_seen")]
    pub sort: String,
    /// Count over this long up to now.
    #[arg(long, value_name = "DURATION", default_value = "14d")]
    pub window: Span,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// After so many.
    #[arg(long, default_value_t = 0)]
    pub offset: usize,
}

/// What to do with an error issue.
#[derive(Debug, Subcommand)]
pub enum ErrorCommand {
    /// Its numbers, breakdowns, newest event and history.
    Show {
        /// Number or id.
        issue: String,
        /// Count over this long up to now.
        #[arg(long, value_name = "DURATION", default_value = "14d")]
        window: Span,
    },
    /// It is fixed. It opens again by itself when it comes back.
    Resolve {
        /// Number or id.
        issue: String,
        /// The release that has the fix: older ones do not open it again.
        #[arg(long, value_name = "RELEASE")]
        in_release: Option<String>,
    },
    /// Open it again.
    Unresolve {
        /// Number or id.
        issue: String,
    },
    /// Do not show it, for good or until a condition holds.
    Ignore {
        /// Number or id.
        issue: String,
        /// For this long, e.g. 1h.
        #[arg(long = "for", value_name = "DURATION", group = "until")]
        length: Option<Span>,
        /// Until so many more events.
        #[arg(long, group = "until")]
        events: Option<u64>,
        /// Until so many users were affected from now on.
        #[arg(long, group = "until")]
        users: Option<u64>,
    },
    /// Give it to somebody.
    Assign {
        /// Number or id.
        issue: String,
        /// The person's id; nothing: nobody.
        to: Option<String>,
    },
    /// Make other issues part of this one.
    Merge {
        /// Number or id.
        issue: String,
        /// Numbers or ids of the others.
        #[arg(required = true)]
        others: Vec<String>,
    },
    /// Make a part of this issue one of its own again.
    Unmerge {
        /// Number or id.
        issue: String,
        /// Number or id of the part.
        part: String,
    },
}

/// Prints the list.
pub async fn errors(client: &Client, json: bool, command: ErrorsCommand) -> anyhow::Result<()> {
    let ErrorsCommand { status, service, release, environment, text, assignee, sort, window, limit, offset } = command;
    let mut query = vec![
        ("status", status),
        ("sort", sort),
        ("window", window.to_string()),
        ("limit", limit.to_string()),
        ("offset", offset.to_string()),
    ];
    let filters = [("service", service), ("release", release), ("environment", environment), ("text", text), ("assignee", assignee)];
    query.extend(filters.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let answer = client.get(&format!("{API}/errors"), &query).await?;
    if json {
        println!("{answer}");
        return Ok(());
    }
    let now = SystemClock.now();
    let rows = list(&answer, "issues").iter().map(|row| {
        let seen = time(row, "/last_seen").map(|at| ago(at, now)).unwrap_or_default();
        let (number, status, title) = (word(row, "/number"), word(row, "/status"), word(row, "/title"));
        vec![number, status, word(row, "/events"), word(row, "/users"), bars(&row["hourly"]), seen, words(&row["services"]), title]
    });
    print(&["#", "STATUS", "EVENTS", "USERS", "24 HOURS", "LAST SEEN", "SERVICE", "TITLE"], rows.collect(), "No errors. All quiet.");
    if let Some(next) = answer["next_offset"].as_u64() {
        println!("\n{} of {}; more with --offset {next}", list(&answer, "issues").len(), answer["total"]);
    }
    warn(&answer);
    Ok(())
}

/// Does one thing with an issue.
pub async fn error(client: &Client, json: bool, command: ErrorCommand) -> anyhow::Result<()> {
    let reference = |text: &String| text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number));
    let (issue, act, body) = match command {
        ErrorCommand::Show { issue, window } => return show(client, json, &issue, window).await,
        ErrorCommand::Resolve { issue, in_release } => (issue, "resolve", json!({"in_release": in_release})),
        ErrorCommand::Unresolve { issue } => (issue, "unresolve", json!({})),
        ErrorCommand::Ignore { issue, length, events, users } => {
            (issue, "ignore", json!({"for": length, "events": events, "users": users}))
        }
        ErrorCommand::Assign { issue, to } => (issue, "assign", json!({"to": to})),
        ErrorCommand::Merge { issue, others } => (issue, "merge", json!({"issues": others.iter().map(reference).collect::<Vec<Value>>()})),
        ErrorCommand::Unmerge { issue, part } => (issue, "unmerge", json!({"issue": reference(&part)})),
    };
    let answer = client.post(Method::POST, &format!("{API}/errors/{issue}/{act}"), &body).await?;
    if json {
        println!("{answer}");
    } else {
        println!("{}", word(&answer, "/message"));
    }
    Ok(())
}

async fn show(client: &Client, json: bool, reference: &str, window: Span) -> anyhow::Result<()> {
    let answer = client.get(&format!("{API}/errors/{reference}"), &[("window", window.to_string())]).await?;
    if json {
        println!("{answer}");
        return Ok(());
    }
    let (issue, now) = (&answer["issue"], SystemClock.now());
    println!("Error issue {} · {}", word(issue, "/number"), word(issue, "/status"));
    println!("{}", word(issue, "/title"));
    for (name, text) in [
        ("culprit", word(issue, "/culprit")),
        ("", word(issue, "/grouped_by")),
        ("assigned to", word(issue, "/assignee")),
        ("part of issue", word(issue, "/state/into_number")),
        ("first seen", time(issue, "/first_seen").map(|at| ago(at, now)).unwrap_or_default()),
        ("last seen", time(issue, "/last_seen").map(|at| ago(at, now)).unwrap_or_default()),
        ("releases", [word(issue, "/first_release"), word(issue, "/last_release")].join(" ... ")),
        ("events", format!("{} in {window}, {} users", word(&answer, "/events"), word(&answer, "/users"))),
        ("24 hours", bars(&answer["hourly"])),
        ("by day", bars(&answer["daily"])),
    ] {
        if !text.trim_matches([' ', '.']).is_empty() {
            println!("{}", format!("{name} {text}").trim());
        }
    }
    println!();
    print(&["PROPERTY", "VALUE", "EVENTS"], properties(&answer["breakdowns"]), "No events in the window.");
    newest(&answer["latest"]);
    println!();
    let history = list(&answer, "history").iter().map(|row| vec![word(row, "/at"), word(row, "/by"), word(row, "/text")]);
    print(&["UTC", "WHO", "WHAT HAPPENED"], history.collect(), "Nothing happened to it.");
    warn(&answer);
    Ok(())
}

/// The five commonest values of each property, tags last.
fn properties(breakdowns: &Value) -> Vec<Vec<String>> {
    let own = breakdowns.as_object().into_iter().flatten().filter(|(name, _)| *name != "tags");
    let tags = breakdowns["tags"].as_object().into_iter().flatten();
    let rows = own.chain(tags).flat_map(|(name, values)| {
        let values = values.as_array().into_iter().flatten().take(5);
        values.map(move |value| vec![name.clone(), word(value, "/value"), word(value, "/events")])
    });
    rows.collect()
}

/// The newest event with its frames; `>` marks those of the application.
fn newest(event: &Value) {
    if event.is_null() {
        return;
    }
    println!("\nNewest event {} at {}: {}", word(event, "/event_id"), word(event, "/at"), word(event, "/message"));
    if !word(event, "/trace_id").is_empty() {
        println!("in trace {}", word(event, "/trace_id"));
    }
    for frame in event["frames"].as_array().into_iter().flatten().take(20) {
        let mark = if frame["in_app"] == true { '>' } else { ' ' };
        println!("  {mark} {} ({}:{})", word(frame, "/function"), word(frame, "/file"), frame["line"]);
    }
}

fn warn(answer: &Value) {
    for warning in answer["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("watchfire: {warning}");
    }
}

fn bars(numbers: &Value) -> String {
    let values: Vec<f64> = numbers.as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    sparkline(&values)
}

fn words(texts: &Value) -> String {
    texts.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_come_before_tags_and_five_of_each() {
        let values: Vec<Value> = (0..9).map(|n| json!({"value": format!("v{n}"), "events": n})).collect();
        let rows = properties(&json!({"release": values, "tags": {"a": [{"value": "x", "events": 1}]}, "service": []}));
        assert_eq!(rows.len(), 6);
        assert_eq!((rows[0].join(" "), rows[5].join(" ")), ("release v0 0".to_owned(), "a x 1".to_owned()));
        assert!(properties(&Value::Null).is_empty());
    }
}
