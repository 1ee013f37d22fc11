//! `watchfire load`: how much a running Watchfire takes, and what it costs. Sends OTLP requests that were encoded before the clock
//! started, at a fixed rate or as fast as they are acknowledged; every record is distinct. In: a running server. Out: a report of
//! records per second and per CPU second of server and engine apart, acknowledge latency, memory, and whether everything that was
//! acknowledged is stored. It measures, it decides nothing.

pub mod bodies;
mod report;
mod sender;
mod usage;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use model::time::{Clock, Stopwatch, SystemClock};
use serde_json::Value;

use crate::cli::Common;
use crate::cli::client::Client;
use bodies::Bodies;
use report::Report;
use sender::Target;
use usage::Usage;

/// Options of the load tool.
#[derive(Clone, Debug, Args)]
pub struct LoadCommand {
    /// What to send.
    #[arg(value_enum, default_value_t = Signal::Spans)]
    pub signal: Signal,
    /// Records per second; nothing means as many as are acknowledged.
    #[arg(long, value_name = "RECORDS")]
    pub rate: Option<u64>,
    /// How long to send.
    #[arg(long, default_value = "10s")]
    pub duration: model::time::Span,
    /// Requests under way at the same time.
    #[arg(long, default_value_t = 8)]
    pub concurrency: usize,
    /// Records a request.
    #[arg(long, default_value_t = 1_000)]
    pub batch: usize,
    /// Attributes a record, those of its resource not counted.
    #[arg(long, default_value_t = 10)]
    pub attributes: usize,
    /// OTLP over gRPC or HTTP.
    #[arg(long, value_enum, default_value_t = Protocol::Grpc)]
    pub protocol: Protocol,
    /// Where OTLP is taken; nothing means port 4317 (gRPC) or 4318 (HTTP) of this machine.
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// Do not wait until everything is stored, and do not count it.
    #[arg(long)]
    pub no_verify: bool,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Signal {
    /// Spans of five services.
    Spans,
    /// Log records of five services.
    Logs,
    /// Points of 1,000 series, sums and gauges.
    Metrics,
}

/// How to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    Http,
}

impl Signal {
    /// In the words of the report.
    fn noun(self) -> &'static str {
        match self {
            Signal::Spans => "spans",
            Signal::Logs => "log records",
            Signal::Metrics => "points",
        }
    }
    /// The statement that counts what this run stored.
    fn count(self, run: &str) -> String {
        match self {
            Signal::Spans => format!("SELECT count() AS n FROM spans WHERE resource['load.run'] = '{run}'"),
            Signal::Logs => format!("SELECT count() AS n FROM logs WHERE resource['load.run'] = '{run}'"),
            Signal::Metrics => format!("SELECT count() AS n FROM points WHERE metric LIKE 'load_{run}_%'"),
        }
    }
}

/// How long everything that was acknowledged may take to be stored.
const DRAIN: Duration = Duration::from_secs(300);
/// How long the log is waited for before rows are counted all the same.
const DRAINED: Duration = Duration::from_secs(60);

/// Runs the load.
pub async fn run(common: &Common, command: LoadCommand) -> anyhow::Result<ExitCode> {
    if command.batch == 0 || command.concurrency == 0 || command.rate == Some(0) {
        bail!("--batch, --concurrency and --rate must be at least 1");
    }
    let client = Client::new(common)?;
    client.get("/api/watchfire/v1/status", &[]).await?;
    let run = format!("{:x}", SystemClock.now().nanos() as u64);
    let target = Target::new(&command, common.key().as_ref())?;
    if !common.json {
        println!("Encoding requests of {} {} ...", command.batch, command.signal.noun());
    }
    let bodies = Arc::new(Bodies::encode(command.signal, command.batch, command.attributes, &run));
    let before = Usage::read(&client).await?;
    let bar = bar(common.json, command.duration.0);
    let watch = Stopwatch::start();
    let sent = sender::send(&command, &target, &bodies, &bar).await?;
    let sending = watch.elapsed();
    bar.finish_and_clear();
    if !command.no_verify {
        drained(&client).await?;
    }
    let (mut whole, mut after) = (watch.elapsed(), Usage::read(&client).await?);
    let mut stored = None;
    if !command.no_verify {
        let counted = count(&client, &command, &run, sent.acknowledged, common.json).await?;
        stored = Some(counted.rows);
        if counted.again {
            (whole, after) = (watch.elapsed(), Usage::read(&client).await?);
        }
    }
    let report = Report::new(&command, &bodies, &sent, stored, (sending, whole), (&before, &after));
    report.print(common.json);
    let lost = stored.is_some_and(|stored| stored < sent.acknowledged);
    Ok(ExitCode::from(u8::from(lost || report.duplicated())))
}

fn bar(hidden: bool, length: Duration) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {elapsed} of {prefix}  {msg}");
    let bar = ProgressBar::new(length.as_millis() as u64).with_prefix(format!("{length:?}"));
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Waits until the server's log holds nothing that is not stored: counting reads all rows, and is no part of what they cost. Where others
/// write too there may be no such moment.
async fn drained(client: &Client) -> anyhow::Result<()> {
    let watch = Stopwatch::start();
    loop {
        let metrics = client.get_text("/metrics", "text/plain").await.context("reading the server's /metrics")?;
        if usage::unconfirmed(&metrics).is_none_or(|blocks| blocks == 0.0) || watch.elapsed() > DRAINED {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a count found.
struct Counted {
    rows: u64,
    /// Whether more had to be waited for.
    again: bool,
}

/// Counts until as many rows are stored as were acknowledged.
async fn count(client: &Client, command: &LoadCommand, run: &str, acknowledged: u64, quiet: bool) -> anyhow::Result<Counted> {
    let (watch, statement) = (Stopwatch::start(), command.signal.count(run));
    let mut again = false;
    loop {
        let answer = client.post_text("/api/watchfire/v1/sql", &[("format", "JSON".to_owned())], statement.clone()).await?;
        let answer: Value = serde_json::from_str(&answer).context("the answer of the count is not JSON")?;
        let count = &answer["data"][0]["n"];
        let stored = count.as_u64().or_else(|| count.as_str().and_then(|text| text.parse().ok())).context("the count has no number")?;
        if stored >= acknowledged || watch.elapsed() > DRAIN {
            // Once more a moment later: rows that are there twice come late.
            return Ok(Counted { rows: stored, again });
        }
        again = true;
        if !quiet {
            eprint!("\r{stored} of {acknowledged} stored ...   ");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
