//! The command line. Without a command it serves. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing found, 4 the server
//! does not answer, 141 nobody reads the output.

pub mod check;
pub mod client;
pub mod deployments;
pub mod errors;
pub mod keys;
mod on_call;
mod processing;
mod remediation;
pub mod rules;
pub mod serve;
pub mod table;
pub mod talk;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use collector::pipeline::dry_run::{INPUT_FORMATS, InputFormat};
use model::access::Permission;
use model::secret::Secret;

/// One program for whoever is on call: telemetry in, alerts, incidents, repair and postmortem out.
#[derive(Debug, Parser)]
#[command(name = "watchfire", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do; nothing means `serve`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The configuration file; without it the documented defaults hold.
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder; overrides `server.data_dir`.
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The engine's library instead of the per-user cache.
    #[arg(long, global = true, value_name = "PATH")]
    pub engine_lib: Option<PathBuf>,
    /// Where the running server answers, for commands that ask it.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:7700")]
    pub server: String,
    /// The API key for it; better in the environment variable WATCHFIRE_KEY.
    #[arg(long, global = true, value_name = "KEY")]
    pub key: Option<String>,
    /// Print JSON for machines instead of tables for people.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve: intake, rules, paging, incidents, repair.
    Serve,
    /// The embedded ClickHouse engine; started by `serve`, not by hand.
    #[command(hide = true)]
    Engine(EngineCommand),
    /// A shop of five services that breaks on a schedule: the whole story in under three minutes.
    Demo(DemoCommand),
    /// Measure how much a running server takes and what it costs: sends OTLP and checks that all of it is stored.
    Load(crate::load::LoadCommand),
    /// Check the configuration and the rules without starting anything.
    Check {
        /// Print the documented defaults and end.
        #[arg(long)]
        print_defaults: bool,
    },
    /// Try processing out: rules, redaction, sampling, limits.
    #[command(subcommand)]
    Pipeline(PipelineCommand),
    /// How the running server is.
    Status,
    /// The incidents, newest first.
    Incidents {
        /// open, acknowledged, resolved, closed or cancelled.
        #[arg(long)]
        status: Option<String>,
    },
    /// One incident.
    #[command(subcommand)]
    Incident(IncidentCommand),
    /// The error issues: what goes wrong in code, grouped.
    Errors(errors::ErrorsCommand),
    /// One error issue.
    #[command(subcommand)]
    Error(errors::ErrorCommand),
    /// The alerts.
    Alerts {
        /// pending, firing or resolved; nothing means pending and firing.
        #[arg(long)]
        state: Option<String>,
    },
    /// Silence alerts for a while, list or end silences.
    #[command(subcommand)]
    Silence(SilenceCommand),
    /// Plan maintenance windows: alerts in them are recorded and shown, and page nobody.
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
    /// Who is on call, who comes next; take a turn.
    OnCall {
        /// What to do; without anything: who is on call now.
        #[command(subcommand)]
        command: Option<on_call::OnCallCommand>,
    },
    /// Repairs: what ran; start, approve or stop one.
    #[command(subcommand)]
    Remediation(remediation::RemediationCommand),
    /// The postmortem draft of an incident, as Markdown.
    Postmortem {
        /// Number or id.
        incident: String,
    },
    /// Evaluate PromQL now, or over a span of time.
    Query {
        /// The expression.
        expr: String,
        /// Plot over this long up to now, e.g. 1h.
        #[arg(long, value_name = "DURATION")]
        range: Option<model::time::Span>,
    },
    /// Run one read-only SELECT over the telemetry.
    Sql {
        /// The statement.
        statement: String,
    },
    /// Which versions went out when; record one from a pipeline.
    #[command(subcommand)]
    Deployments(DeploymentsCommand),
    /// What was sent to whom; dead letters; replay.
    #[command(subcommand)]
    Deliveries(DeliveriesCommand),
    /// Test rules, take over those of Prometheus and Alertmanager, replay history.
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// API keys. Works on the data folder, with or without a running server.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Shell completions, for example `watchfire completions bash > /etc/bash_completion.d/watchfire`.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// What to do with processing.
#[derive(Debug, Subcommand)]
pub enum PipelineCommand {
    /// Print what would be stored of a request, and which rule changed what. Stores nothing and asks no server.
    Test {
        /// A file with the body of a request (of OTLP one JSON object of spans, log records or metrics, or several); `-` is standard input.
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        /// What it is: otlp, loki, ndjson, zipkin, sentry-envelope, sentry-store. All but OTLP's arrive now.
        #[arg(long, value_name = "FORMAT", default_value = "otlp", value_parser = input_format)]
        format: InputFormat,
    },
}

/// The format of an input, by its name.
fn input_format(name: &str) -> Result<InputFormat, String> {
    let found = INPUT_FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format);
    found.ok_or_else(|| format!("use one of {}", INPUT_FORMATS.map(|(known, _)| known).join(", ")))
}

/// Arguments of the engine child process.
#[derive(Clone, Debug, Args)]
pub struct EngineCommand {
    /// The arguments that the supervisor passes, as one JSON text.
    #[arg(long, value_name = "JSON")]
    pub args: String,
}

/// Options of the demo.
#[derive(Clone, Debug, Args)]
pub struct DemoCommand {
    /// Keep serving when the story is told.
    #[arg(long)]
    pub stay: bool,
    /// How long all is well before the bad release goes out: 12s, 1m, ...
    #[arg(long, value_name = "TIME", default_value = "12s")]
    pub healthy_for: model::time::Span,
}

/// What to do with an incident.
#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// Its state and timeline.
    Show {
        /// Number or id.
        incident: String,
    },
    /// Take it: ladders stop.
    Ack {
        /// Number or id.
        incident: String,
    },
    /// Give it back: ladders climb again.
    Unack {
        /// Number or id.
        incident: String,
    },
    /// Call for help: whoever comes next on its ladders is told now.
    Escalate {
        /// Number or id.
        incident: String,
        /// Why.
        #[arg(long, default_value = "escalated by hand")]
        reason: String,
    },
    /// Tell those who wait how it stands: incidents.update_receivers and the incident's channel.
    Update {
        /// Number or id.
        incident: String,
        /// The text.
        text: String,
        /// investigating, identified, monitoring or resolved.
        #[arg(long, default_value = "investigating")]
        phase: String,
    },
    /// Take it for a time; if it goes on then, ladders climb again.
    Snooze {
        /// Number or id.
        incident: String,
        /// For how long.
        #[arg(long = "for", default_value = "1h")]
        duration: model::time::Span,
    },
    /// It is over.
    Resolve {
        /// Number or id.
        incident: String,
        /// Why.
        #[arg(long, default_value = "resolved by hand")]
        reason: String,
    },
    /// Write something into its timeline.
    Note {
        /// Number or id.
        incident: String,
        /// The text.
        text: String,
    },
}

/// What to do with maintenance windows.
#[derive(Debug, Subcommand)]
pub enum MaintenanceCommand {
    /// Plan a window for alerts that match all of these.
    Add {
        /// What it is called.
        name: String,
        /// `name=value`, `name!=value`, `name=~pattern`, `name!~pattern`.
        #[arg(required = true)]
        matchers: Vec<String>,
        /// When it begins, as RFC 3339 (2026-03-01T22:00:00Z); without it, now.
        #[arg(long)]
        from: Option<model::time::Timestamp>,
        /// How long it lasts.
        #[arg(long = "for", default_value = "1h")]
        duration: model::time::Span,
        /// Why.
        #[arg(long, short = 'm', default_value = "")]
        comment: String,
    },
    /// The windows: planned ones and those of the configuration.
    List,
    /// End a planned one.
    End {
        /// Its id.
        id: String,
    },
}

/// What to do with silences.
#[derive(Debug, Subcommand)]
pub enum SilenceCommand {
    /// Silence alerts that match all of these.
    Add {
        /// `name=value`, `name!=value`, `name=~pattern`, `name!~pattern`.
        #[arg(required = true)]
        matchers: Vec<String>,
        /// For how long.
        #[arg(long = "for", default_value = "1h")]
        duration: model::time::Span,
        /// Why.
        #[arg(long, short = 'm', default_value = "")]
        comment: String,
    },
    /// The silences.
    List,
    /// End one.
    Expire {
        /// Its id.
        id: String,
    },
}

/// What to do with deployments.
#[derive(Debug, Subcommand)]
pub enum DeploymentsCommand {
    /// The newest ones.
    List {
        /// Of this service only.
        #[arg(long)]
        service: Option<String>,
        /// In this environment only.
        #[arg(long)]
        environment: Option<String>,
        /// How far back.
        #[arg(long, value_name = "DURATION", default_value = "7d")]
        since: model::time::Span,
    },
    /// Say that a version went out. Saying it again with the same --key, or with the same --at, changes nothing.
    Record {
        /// As its telemetry calls itself (service.name).
        service: String,
        /// The version (service.version).
        version: String,
        /// Where (deployment.environment.name).
        #[arg(long, default_value = "production")]
        environment: String,
        /// What is in it.
        #[arg(long, short = 'm')]
        description: Option<String>,
        /// Where to read more: an http or https address.
        #[arg(long, value_name = "URL")]
        link: Option<String>,
        /// When it went out, as 2026-03-01T09:30:00Z; nothing means now.
        #[arg(long, value_name = "TIME")]
        at: Option<model::time::Timestamp>,
        /// A name of its own, for example the build's: for pipelines that try again.
        #[arg(long)]
        key: Option<String>,
    },
}

/// What to do with deliveries.
#[derive(Debug, Subcommand)]
pub enum DeliveriesCommand {
    /// The newest ones.
    List {
        /// pending, done, dead or cancelled.
        #[arg(long)]
        state: Option<String>,
    },
    /// Send a dead letter again.
    Replay {
        /// Its id (`wrk_...`).
        id: String,
        /// Send a trigger even though a later resolve was delivered: the receiver opens it again.
        #[arg(long)]
        force: bool,
    },
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it once. From the first key on, every request needs one.
    Create {
        /// What to call it.
        name: String,
        /// The tenant it opens.
        #[arg(long, default_value = "default")]
        tenant: String,
        /// ingest, read, respond, admin; may be repeated. Without it: ingest, read and respond; with --dsn ingest alone.
        #[arg(long = "permission", value_parser = permission)]
        permissions: Vec<Permission>,
        /// Print a DSN for Sentry's SDKs, with this project number (see `collector.sentry.projects`), instead of the key.
        #[arg(long, value_name = "PROJECT")]
        dsn: Option<u64>,
        /// The person whose key it is (alerting.users): the timeline then names them, and the console shows their pages.
        #[arg(long)]
        user: Option<String>,
    },
    /// The keys, without their secrets.
    List,
    /// Revoke one.
    Revoke {
        /// Its id (`key_...`).
        id: String,
    },
}

fn permission(word: &str) -> Result<Permission, String> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|_| format!("`{word}` is not a permission: use ingest, read, respond or admin"))
}

impl Common {
    /// The key for the running server.
    #[allow(clippy::disallowed_methods)] // the command line is where the environment is read
    pub fn key(&self) -> Option<Secret> {
        self.key.clone().or_else(|| std::env::var("WATCHFIRE_KEY").ok()).filter(|key| !key.is_empty()).map(Secret::new)
    }
}

/// The whole of `main`: parse, install the TLS provider, run, turn the outcome into an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Only fails when a provider is there already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("watchfire: {error:#}");
            client::exit_code(&error)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { command, common } = cli;
    let command = command.unwrap_or(Command::Serve);
    if !matches!(command, Command::Serve | Command::Engine(_) | Command::Demo(_)) {
        end_with_the_reader();
    }
    huge_pages(!matches!(command, Command::Serve | Command::Demo(_)));
    match command {
        Command::Engine(engine) => serve::engine(&engine),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "watchfire", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { print_defaults } => check::check(&common, print_defaults),
        Command::Pipeline(command) => processing::run(&common, &command),
        Command::Serve => block_on(serve::serve(&common)),
        Command::Demo(demo) => block_on(crate::demo::run(&common, &demo)),
        Command::Keys(keys) => block_on(keys::run(&common, keys)),
        Command::Rules(command) => block_on(rules::run(&common, command)),
        other => block_on(talk::run(&common, other)),
    }
}

/// Lets the system give this process and its children huge pages, or not. A server's requests take and give back a few hundred KiB each;
/// in huge pages that cost a seventh of intake's CPU and a third more memory (`watchfire load logs`, before and after). The engine, which
/// is a child, has use for them.
#[cfg(target_os = "linux")]
fn huge_pages(wanted: bool) {
    // Where it is not known, it is as it was: slower.
    let _ = rustix::thread::disable_transparent_huge_pages(!wanted);
}

#[cfg(not(target_os = "linux"))]
fn huge_pages(_wanted: bool) {}

/// The status of a program that ended because nobody read on: 128 and the number of SIGPIPE.
const NOBODY_READS: i32 = 141;

/// Ends quietly where the reader of the output is gone (`watchfire alerts | head -1`), as other programs do. Printing panics then.
fn end_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|text| text.contains("Broken pipe")) {
            std::process::exit(NOBODY_READS);
        }
        usual(panic);
    }));
}

fn block_on(future: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    // Few threads for blocking work, because each keeps memory of its own: decoding and encoding take one a core at a time.
    let threads = std::thread::available_parallelism().map_or(2, usize::from) + 4;
    tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(threads).build()?.block_on(future)
}
