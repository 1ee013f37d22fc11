//! `watchfire on-call`: who is, who comes next, and a turn that somebody takes for another one.

use clap::Subcommand;
use model::time::{Clock, Span, SystemClock, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::Client;
use super::table::{print, short};
use super::talk::{API, list, time, word};

/// What to do; without anything: who is on call now.
#[derive(Subcommand, Clone, Debug)]
pub enum OnCallCommand {
    /// The turns of the next days.
    Shifts {
        /// Only of this schedule.
        schedule: Option<String>,
        /// Of how many days.
        #[arg(long, default_value_t = 14)]
        days: u32,
    },
    /// Take somebody's turn.
    Override {
        /// On which schedule.
        schedule: String,
        /// Who takes it.
        user: String,
        /// When it begins, as RFC 3339 (2026-03-01T22:00:00Z); without it, now.
        #[arg(long)]
        from: Option<Timestamp>,
        /// How long it lasts.
        #[arg(long = "for", default_value = "1d")]
        duration: Span,
        /// Why.
        #[arg(long, short = 'm', default_value = "")]
        comment: String,
    },
    /// Take an override back.
    Restore {
        /// Its id (`ovr_...`).
        id: String,
    },
}

/// Runs one of them.
pub async fn run(client: &Client, json: bool, command: Option<OnCallCommand>) -> anyhow::Result<()> {
    match command {
        None => {
            let answer = client.get(&format!("{API}/on-call"), &[("days", "1".to_owned())]).await?;
            if json { println!("{answer}") } else { now(&answer) }
        }
        Some(OnCallCommand::Shifts { schedule, days }) => {
            let answer = client.get(&format!("{API}/on-call"), &[("days", days.to_string())]).await?;
            if json { println!("{answer}") } else { shifts(&answer, schedule.as_deref()) }
        }
        Some(OnCallCommand::Override { schedule, user, from, duration, comment }) => {
            let from = from.unwrap_or_else(|| SystemClock.now());
            let body = json!({"schedule": schedule, "user": user, "starts_at": from, "ends_at": from.plus(duration.0), "comment": comment});
            let answer = client.post(Method::POST, &format!("{API}/on-call/overrides"), &body).await?;
            if json {
                println!("{answer}");
            } else {
                println!("{user} is on call on {schedule} from {from} for {duration}: {}", word(&answer, "/override/id"));
            }
        }
        Some(OnCallCommand::Restore { id }) => {
            client.post(Method::DELETE, &format!("{API}/on-call/overrides/{id}"), &json!({})).await?;
            println!("{id} is taken back.");
        }
    }
    Ok(())
}

const NONE: &str = "No schedules. Write them under alerting.schedules, with people under alerting.users (see deploy/watchfire.yaml).";

/// A name, or that there is nobody.
fn who(value: &Value, place: &str) -> String {
    let name = word(value, place);
    if name.is_empty() { "NOBODY".to_owned() } else { name }
}

fn now(answer: &Value) {
    let at = time(answer, "/at").unwrap_or_else(|| SystemClock.now());
    let rows = list(answer, "schedules").iter().map(|row| {
        let left = time(row, "/until").map_or("for good".to_owned(), |until| format!("for {}", short(until.since(at))));
        let next =
            if row["next"].is_null() { String::new() } else { format!("{} from {}", who(row, "/next/user"), word(row, "/next/from")) };
        vec![word(row, "/name"), who(row, "/user"), left, next]
    });
    print(&["SCHEDULE", "ON CALL", "", "NEXT"], rows.collect(), NONE);
    let overrides = list(answer, "overrides");
    if !overrides.is_empty() {
        println!();
        let rows = overrides.iter().map(|row| {
            ["/id", "/schedule", "/user", "/starts_at", "/ends_at", "/comment"].into_iter().map(|place| word(row, place)).collect()
        });
        print(&["OVERRIDE", "SCHEDULE", "WHO", "FROM", "TO", "WHY"], rows.collect(), "");
    }
}

fn shifts(answer: &Value, schedule: Option<&str>) {
    let wanted = list(answer, "schedules").iter().filter(|row| schedule.is_none_or(|name| row["name"] == name));
    let rows = wanted.flat_map(|row| {
        let name = word(row, "/name");
        list(row, "shifts").iter().map(move |shift| {
            let by = match (word(shift, "/override"), word(shift, "/layer")) {
                (id, _) if !id.is_empty() => id,
                (_, layer) if !layer.is_empty() => format!("layer {layer}"),
                (_, _) => String::new(),
            };
            vec![name.clone(), word(shift, "/from"), word(shift, "/to"), who(shift, "/user"), by]
        })
    });
    print(&["SCHEDULE", "FROM", "TO", "WHO", "BY"], rows.collect(), NONE);
}
