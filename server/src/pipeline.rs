//! The wiring, in the order in which data flows: stores, intake, rules, incidents, repair, what people read. One place builds
//! everything; nothing else knows who implements which port.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alerting::delivery::DeliveryWorker;
use alerting::routing::Routing;
use alerting::{Alerting, AlertingDeps, RuleSet};
use anyhow::Context;
use collector::checks::Checker;
use collector::pipeline::Pipeline;
use collector::scrape::Scraper;
use collector::{Collector, Sockets};
use dashboards::Sources;
use dashboards::events::Feed;
use dashboards::tail::Tail;
use incidents::Incidents;
use incidents::issues::Issues;
use model::drive::{Follower, Nudge, Worker};
use model::fingerprint::Rules;
use model::ids::{IdSource, RandomIds};
use model::query::{Freshness, MetricCatalog, MetricQuery, QueryError, RowQuery};
use model::sink::TelemetrySink;
use model::state::{Fence, StateStore};
use model::tenant::TenantId;
use model::time::{Clock, SystemClock};
use model::units::ByteCount;
use prometheus::Registry;
use remediation::Remediation;
use store::clickhouse::ClickHouse;
use store::clickhouse::migrations::{TELEMETRY, migrate};
use store::engine::child::{EngineArgs, TcpArgs};
use store::engine::supervisor::{Supervisor, SupervisorConfig};
use store::errors::ClickHouseErrors;
use store::evidence::ClickHouseEvidence;
use store::promql::PromQl;
use store::promql::arrivals::{Arrivals, Lag, Watched};
use store::promql::cache::Cache;
use store::promql::clickhouse::ClickHouseSource;
use store::promql::head::Head;
use store::promql::head::fill::Filler;
use store::promql::head::source::HeadSource;
use store::promql::source::SeriesSource;
use store::sql::{GuardedSql, RuleSql, Watermark, check_question};
use store::state::{PostgresState, SqliteState};
use store::wal::{Wal, WalSeries, WalSeriesConfig};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::about::{self, About};
use crate::access::keys::{self, KeyRing, NewKey};
use crate::access::visitors::UsersFile;
use crate::access::{Access, guard};
use crate::arrival::Arrival;
use crate::config::Config;
use crate::desk::{self, Desk};
use crate::health::{EngineProbe, StateProbe, WalProbe};
use crate::heartbeat::{self, Pulse};
use crate::listen::{self, Addresses};
use crate::maintenance::{self, Maintenance};
use crate::nodes::{Node, Others};
use crate::observe::queries::Traced;
use crate::reload::{Parts, Reloading};
use crate::ruletest::EnginePlace;
use crate::runtime::nudging::Nudging;
use crate::runtime::{self, Loop};
use crate::usage::Processes;

/// A running Watchfire.
pub struct Running {
    /// Where it listens.
    pub addresses: Addresses,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// The state store.
    pub state: Arc<dyn StateStore>,
    /// PromQL.
    pub metrics: Arc<dyn MetricQuery>,
    /// The collector's own routes without the guard before them, for own spans.
    pub(crate) intake_router: axum::Router,
    /// The metrics of this server.
    pub(crate) registry: Registry,
    /// Takes up a changed configuration.
    pub reloading: Reloading,
    delivery: Arc<DeliveryWorker>,
    wal: Wal,
    engine: Option<Arc<Supervisor>>,
    stop: Stop,
    leader: JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
    listeners: Vec<JoinHandle<()>>,
}

/// What ends, in this order.
struct Stop {
    intake: CancellationToken,
    loops: CancellationToken,
    leading: CancellationToken,
}

/// The state store: PostgreSQL where one is named, else SQLite in the data folder. `node` is who claims work rows through it.
pub async fn open_state(config: &Config, data_dir: &Path, node: &str) -> anyhow::Result<Arc<dyn StateStore>> {
    Ok(match &config.storage.postgres_url {
        Some(url) => Arc::new(PostgresState::connect(url).await?.named(node)),
        None => Arc::new(SqliteState::open(&data_dir.join("state.db"), Arc::new(SystemClock)).await?.named(node)),
    })
}

/// The rules of the configured folder and the configured ladders, checked against the configuration. One line for each problem.
pub fn load_rules(config: &Config, config_file: Option<&Path>) -> Result<RuleSet, Vec<String>> {
    let Some(folder) = &config.alerting.rules else {
        let problems = config.alerting.check_routed_ladders(&[]);
        if !problems.is_empty() {
            return Err(problems);
        }
        return Ok(RuleSet { escalations: config.alerting.escalations.clone(), ..RuleSet::default() });
    };
    let folder = config_file.and_then(Path::parent).map_or_else(|| folder.clone(), |beside| beside.join(folder));
    judged(config, alerting::rules::read_folder(&folder).map_err(|error| vec![error.to_string()])?)
}

/// Rule files by name and text, checked against the configuration. One line for each problem.
pub(crate) fn judged(config: &Config, files: Vec<(String, String)>) -> Result<RuleSet, Vec<String>> {
    let lines = |errors: Vec<alerting::RuleError>| errors.iter().map(ToString::to_string).collect::<Vec<String>>();
    let mut rules = RuleSet::load(files).map_err(lines)?;
    let parser = PromQl::new(Arc::new(store::promql::memory::MemorySource::new()));
    let mut problems = lines(rules.check(|expr| parser.check(expr), statements(config), &config.alerting.escalations));
    let remediations: BTreeSet<&str> = config.remediation.remediations.iter().map(|plan| plan.name.as_str()).collect();
    for rule in rules.groups.iter().flat_map(|group| &group.rules) {
        let alerting::rules::Rule::Alert(alert) = rule else { continue };
        if let Some(name) = alert.remediation.as_deref().filter(|name| !remediations.contains(name)) {
            let file = &rule.place().file;
            problems.push(format!(
                "{file}: `remediation` of rule `{}` names `{name}`, which is not under remediation.remediations",
                alert.name
            ));
        }
    }
    problems.extend(config.alerting.check_routed_ladders(&rules.escalations));
    let receivers: BTreeSet<String> = config.receivers.iter().map(|receiver| receiver.name().to_owned()).collect();
    for problem in alerting::config::check_ladders(rules.escalations.iter(), &config.alerting.told(&receivers)) {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    // The configured ladders travel with the rules, so that both are exchanged at once.
    rules.escalations.splice(0..0, config.alerting.escalations.iter().cloned());
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

/// What says whether a statement of a rule may be run.
pub(crate) fn statements(config: &Config) -> impl Fn(&str) -> Result<(), QueryError> {
    let database = database(config);
    move |statement| check_question(statement, &database)
}

/// The database's name without what would end its quotes.
fn database(config: &Config) -> String {
    config.storage.clickhouse.database.replace('`', "")
}

/// Who may use the engine's SQL listener, if there is one.
fn visitors(config: &Config, data_dir: &Path) -> Option<UsersFile> {
    let settings = &config.storage.clickhouse;
    let file = |_| UsersFile { path: data_dir.join("sql-users.json"), database: database(config), engine_memory: settings.engine_memory.0 };
    settings.sql_listen.filter(|_| settings.url.is_none()).map(file)
}

/// ClickHouse: the embedded engine, started and supervised, or a server.
pub(crate) async fn open_clickhouse(
    config: &Config,
    data_dir: &Path,
    executable: PathBuf,
    library: Option<PathBuf>,
    visitors: Option<&UsersFile>,
    clock: Arc<dyn Clock>,
    registry: &Registry,
) -> anyhow::Result<(ClickHouse, Option<Arc<Supervisor>>)> {
    let settings = &config.storage.clickhouse;
    let (clickhouse, engine) = match (&settings.url, library) {
        (Some(url), _) => (ClickHouse::url(url, &settings.user, &settings.password), None),
        (None, Some(library)) => {
            let threads = std::thread::available_parallelism().map_or(2, usize::from);
            let args = EngineArgs {
                library,
                data_dir: data_dir.join("engine"),
                socket: data_dir.join("engine.sock"),
                memory_bytes: settings.engine_memory.0,
                threads,
                connections: 8,
                tcp: settings.sql_listen.zip(visitors).map(|(address, file)| TcpArgs { address, users_file: file.path.clone() }),
                backups: None,
            };
            let clickhouse = ClickHouse::unix(&args.socket);
            let supervisor = Supervisor::start(SupervisorConfig::new(executable, args), clock, registry).await?;
            (clickhouse, Some(Arc::new(supervisor)))
        }
        (None, None) => anyhow::bail!("there is neither an engine library nor storage.clickhouse.url"),
    };
    let name = database(config);
    clickhouse.execute(&format!("CREATE DATABASE IF NOT EXISTS `{name}`")).await.context("creating the database")?;
    let clickhouse = clickhouse.database(&name);
    migrate(&clickhouse, TELEMETRY).await?;
    Ok((clickhouse, engine))
}

/// The name of this node in tokens: made once, kept in the data folder.
fn node_name(data_dir: &Path, ids: &dyn IdSource) -> anyhow::Result<String> {
    let path = data_dir.join("node");
    if let Ok(name) = std::fs::read_to_string(&path)
        && !name.trim().is_empty()
    {
        return Ok(name.trim().to_owned());
    }
    let name = format!("{:012x}", ids.random() & 0xFFFF_FFFF_FFFF);
    std::fs::write(&path, &name).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(name)
}

/// Questions to the store at the same time: of people, and of rules. The embedded engine runs eight statements at once; what is left over
/// is for inserts.
const TURNS: (usize, usize) = (3, 2);

/// Who asks the store.
struct Queries {
    /// For people.
    promql: PromQl,
    /// For rules: with turns of its own, so that no dashboard delays an alert.
    for_rules: PromQl,
    /// The way into the log.
    sink: Arc<dyn TelemetrySink>,
    /// Reads the newest samples into memory.
    filler: Option<Filler>,
}

fn queries(config: &Config, clickhouse: &ClickHouse, wal: &Wal, clock: &Arc<dyn Clock>, registry: &Registry) -> anyhow::Result<Queries> {
    let settings = &config.storage.queries;
    let is_alone = config.storage.postgres_url.is_none() && config.storage.clickhouse.url.is_none();
    let bytes = |count: ByteCount| usize::try_from(count.0).unwrap_or(usize::MAX);
    let lag = || -> Lag {
        let log = wal.clone();
        Box::new(move || log.health().lag)
    };
    let head = (is_alone && settings.head.0 > 0).then(|| Head::new(bytes(settings.head), registry).map(Arc::new)).transpose()?;
    let source = |turns| -> Arc<dyn SeriesSource> {
        let store = Arc::new(ClickHouseSource::new(clickhouse.client()).with_memory(settings.memory.0).with_turns(turns));
        match &head {
            Some(head) => Arc::new(HeadSource::new(head.clone(), store)),
            None => store,
        }
    };
    let mut promql = PromQl::new(source(TURNS.0)).with_metrics(registry)?;
    let for_rules = promql.apart(source(TURNS.1), 20);
    let mut cache = None;
    if is_alone && settings.cache.0 > 0 {
        let kept = Arc::new(Cache::new(Arrivals::new(clock.clone(), lag()), bytes(settings.cache), registry)?);
        promql = promql.with_cache(kept.clone());
        cache = Some(kept);
    }
    let filler = head.clone().map(|head| Filler::new(head, clickhouse.client(), clock.clone(), lag()));
    let sink: Arc<dyn TelemetrySink> = Arc::new(Watched::new(Arc::new(wal.clone()), cache, head));
    Ok(Queries { promql, for_rules, sink, filler })
}

/// Until when what this node and the others received is stored.
fn arrival(wal: &Wal, others: Option<Arc<Others>>, clock: Arc<dyn Clock>) -> Watermark {
    let log = wal.clone();
    let behind = move || log.health().behind.max(others.as_ref().and_then(|others| others.behind()));
    Watermark::new(clock, Box::new(behind))
}

async fn fill(filler: Option<Filler>, stop: CancellationToken) {
    if let Some(filler) = filler {
        stop.run_until_cancelled(filler.run()).await;
    }
}

async fn first_key(config: &Config, state: &dyn StateStore, ids: &dyn IdSource) -> anyhow::Result<()> {
    let Some(path) = &config.server.first_key_file else { return Ok(()) };
    if !keys::list(state).await?.is_empty() {
        return Ok(());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("server.first_key_file: {} cannot be read", path.display()))?;
    let text = text.trim().to_owned();
    anyhow::ensure!(text.len() >= 16, "server.first_key_file: the key in {} is shorter than 16 characters", path.display());
    let permissions = vec![model::access::Permission::Admin];
    let new = NewKey { tenant: TenantId::default(), name: "first".to_owned(), permissions, user: None, text: Some(text) };
    keys::create(state, ids, model::event::Actor::system("server"), new).await?;
    Ok(())
}

/// The folder of the configuration file, where relative paths are; the present one if there is no file.
pub fn beside(config_file: Option<&Path>) -> &Path {
    config_file.and_then(Path::parent).unwrap_or(Path::new(""))
}

/// Builds everything and starts it.
pub async fn start(
    config: Config,
    config_file: Option<PathBuf>,
    data_dir: PathBuf,
    executable: PathBuf,
    library: Option<PathBuf>,
) -> anyhow::Result<Running> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdSource> = Arc::new(RandomIds);
    let registry = Registry::new();
    let nudge = Nudge::default();
    let tenant = TenantId::default();
    let rules = load_rules(&config, config_file.as_deref()).map_err(|problems| anyhow::anyhow!(problems.join("\n")))?;

    // Stores. One process a folder: the log's lock comes first, so that a second one touches nothing.
    let node = node_name(&data_dir, &*ids)?;
    let wal_config = config.storage.wal.for_node(data_dir.join("wal"), &node);
    let (opening_clock, opening_ids, opening_registry) = (clock.clone(), ids.clone(), registry.clone());
    let (wal, _) = tokio::task::spawn_blocking(move || Wal::open(wal_config, opening_clock, &*opening_ids, &opening_registry)).await??;
    let state: Arc<dyn StateStore> = Arc::new(Nudging::new(open_state(&config, &data_dir, &node).await?, nudge.clone()));
    // The log's lock says that the process before us is gone: what it held need not wait for the end of its leases.
    let taken_back = state.take_back(&node).await?;
    if taken_back > 0 {
        tracing::info!(rows = taken_back, "the process before this one ended at work; its rows are taken up again");
    }
    first_key(&config, &*state, &*ids).await?;
    let ring = Arc::new(KeyRing::default());
    ring.refresh(&*state).await?;
    let listeners = listen::bind(&config.server, !ring.snapshot().is_empty()).await?;
    let mut addresses = listeners.addresses()?;
    let sockets = Sockets::bind(&config.collector).await?;
    for (name, address) in sockets.addresses()? {
        tracing::info!(%address, "listening for {name}");
    }
    let visitors = visitors(&config, &data_dir);
    if let Some(file) = &visitors {
        file.keep(&ring.snapshot()).with_context(|| format!("{} cannot be written", file.path.display()))?;
    }
    // Tests of rules over logs, spans and errors run on an engine of their own, where there is one at all.
    let spare =
        library.clone().map(|library| EnginePlace { executable: executable.clone(), library: Some(library), cache: PathBuf::new() });
    let (clickhouse, engine) =
        open_clickhouse(&config, &data_dir, executable, library, visitors.as_ref(), clock.clone(), &registry).await?;
    addresses.sql = engine.as_ref().and_then(|engine| engine.status().tcp);
    registry.register(Box::new(Processes::new(engine.clone())?))?;
    let others = config.storage.postgres_url.is_some().then(|| Arc::new(Others::new(clock.clone())));
    let watermark = Arc::new(arrival(&wal, others.clone(), clock.clone()));
    let Queries { promql, for_rules, sink, filler } = queries(&config, &clickhouse, &wal, &clock, &registry)?;
    let for_rules = for_rules.waiting_for(watermark.clone());
    let (intake, loops, leading) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let tail = Tail::new(intake.clone(), &registry)?;
    let sink = tail.before(sink);
    let promql = Arc::new(promql);
    let metrics: Arc<dyn MetricQuery> = Arc::new(Traced(promql.clone()));
    let for_rules: Arc<dyn MetricQuery> = Arc::new(Traced(Arc::new(for_rules)));
    let series = Arc::new(WalSeries::new(sink.clone(), clock.clone(), WalSeriesConfig::default()));
    let arrival = Arrival::new(&node, series.clone(), clickhouse.clone(), clock.clone(), &registry)?;

    // Intake, rules, incidents, repair: in the order of the data.
    let collector = Collector::new(config.collector.clone(), sink, clock.clone(), &registry)?;
    let processing = Pipeline::new(&config.pipeline)
        .map_err(|problems| anyhow::anyhow!(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    collector.set_pipeline(Arc::new(processing));
    // Not before: spans that wait since before the start are decided as the pipeline says.
    wal.start_writer(Arc::new(clickhouse.clone()));
    collector.set_error_rules(Rules::new(&config.errors.rules).map_err(|problems| anyhow::anyhow!(problems.join("\n")))?);
    let scraper = Scraper::new(&config.scrape, beside(config_file.as_deref()), &node, collector.clone(), &registry)?;
    let checker = Checker::new(&config.checks, &node, series.clone(), clock.clone(), &registry)?;
    let public_url = config.server.public_url.clone().unwrap_or_else(|| format!("http://{}", addresses.http));
    let alerting_config = alerting::Config {
        external_url: config.alerting.external_url.clone().or(Some(public_url.clone())),
        escalations: Vec::new(), // they are with the rules
        ..config.alerting.clone()
    };
    let rules_ask = RuleSql::new(clickhouse.client(), &config.storage.clickhouse.database).waiting_for(watermark);
    let rows: Arc<dyn RowQuery> = Arc::new(rules_ask);
    let alerting = Arc::new(Alerting::new(AlertingDeps {
        config: alerting_config,
        rules,
        state: state.clone(),
        metrics: for_rules,
        rows: rows.clone(),
        series: series.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        nudge: nudge.clone(),
        registry: registry.clone(),
        tenant: tenant.clone(),
    })?);
    alerting.reroute(Routing::of(&config.alerting).knowing(config.receivers.iter().map(|one| one.name().to_owned())));
    let delivery = Arc::new(DeliveryWorker::new(&config.receivers, config.delivery.clone(), ids.clone(), &registry)?);
    let incidents = Incidents::new(
        incidents::Deps {
            config: config.incidents.clone(),
            data_dir: data_dir.clone(),
            public_url: Some(public_url),
            state: state.clone(),
            evidence: Arc::new(ClickHouseEvidence::new(clickhouse.client())),
            series: series.clone(),
            ids: ids.clone(),
        },
        &registry,
    )?;
    incidents.refresh_metrics().await?;
    let errors = Arc::new(ClickHouseErrors::new(clickhouse.client()));
    let issues = Issues::new(
        incidents::issues::Deps {
            config: config.errors.clone(),
            state: state.clone(),
            arrivals: errors.clone(),
            reads: errors,
            series: series.clone(),
            ids: ids.clone(),
        },
        &registry,
    )?;
    let keyless = Arc::new(AtomicBool::new(ring.snapshot().is_empty()));
    let remediation = Remediation::new(
        remediation::Deps {
            config: config.remediation.clone(),
            state: state.clone(),
            probe: alerting.probe(),
            ids: ids.clone(),
            keyless: keyless.clone(),
        },
        &registry,
    )?;

    // What people and tools read.
    let catalog: Arc<dyn MetricCatalog> = promql;
    let freshness: Arc<dyn Freshness> = Arc::new(wal.clone());
    let mut probes: Vec<Arc<dyn dashboards::health::Probe>> =
        vec![Arc::new(WalProbe(wal.clone())), Arc::new(StateProbe(state.clone())), arrival.clone()];
    probes.extend(engine.clone().map(|engine| Arc::new(EngineProbe(engine)) as Arc<dyn dashboards::health::Probe>));
    let heartbeat = match &config.alerting.heartbeat_url {
        Some(url) => {
            let heartbeat = alerting::channels::heartbeat::Heartbeat::new(url, &alerting::channels::client()?);
            Some(Pulse::new(heartbeat, config.alerting.heartbeat_interval.0, probes.clone(), &registry)?)
        }
        None => None,
    };
    let (jobs, scrape) = (scraper.clone(), config.scrape.clone());
    let rules = config.alerting.rules.as_ref().map(|folder| beside(config_file.as_deref()).join(folder));
    let reading = dashboards::router(Sources {
        configuration: Arc::new(move || crate::prometheus_config::yaml(&scrape, &jobs.jobs(), rules.as_deref())),
        metrics: metrics.clone(),
        catalog,
        sql: Arc::new(GuardedSql::new(clickhouse.client(), &config.storage.clickhouse.database)),
        freshness,
        state: state.clone(),
        clock: clock.clone(),
        registry: registry.clone(),
        probes,
    });
    let longest = if config.storage.postgres_url.is_some() { runtime::SHARED } else { runtime::ALONE };
    let feed = Feed { state: state.clone(), nudge: nudge.clone(), longest, closing: intake.clone() };
    let running = Arc::new(Mutex::new(config.clone()));
    let desk = Desk {
        running: running.clone(),
        config_file: config_file.clone(),
        metrics: metrics.clone(),
        rows,
        state: state.clone(),
        engine: spare,
        turn: Arc::new(Semaphore::new(1)),
    };
    let (publish, fence) = watch::channel::<Option<Fence>>(None);
    let about = About { running: running.clone(), state: state.clone(), wal: wal.clone(), engine: engine.clone(), fence: fence.clone() };
    let access = Access::new(ring.clone(), state.clone(), &registry)?;
    let guarded = |router: axum::Router| router.layer(axum::middleware::from_fn_with_state(access.clone(), guard));
    let api = reading
        .merge(collector.http_router())
        .merge(collector.sentry_router())
        .merge(collector.remote_write_router())
        .merge(collector.formats_router())
        .merge(scraper.router().layer(axum::middleware::from_fn(dashboards::serve_prometheus)))
        .merge(checker.router())
        .merge(alerting.router().layer(axum::middleware::from_fn(dashboards::serve_prometheus)))
        .merge(alerting::heartbeat::router(series.clone(), clock.clone()))
        .merge(alerting::delivery::router(state.clone(), ids.clone(), nudge.clone()))
        .merge(alerting::delivery::voice::router(delivery.clone(), state.clone(), ids.clone(), nudge.clone(), tenant.clone()))
        .merge(incidents.router())
        .merge(issues.router())
        .merge(remediation.router())
        .merge(dashboards::events::router(feed, &registry)?)
        .merge(tail.router())
        .merge(desk::router(Arc::new(desk)))
        .merge(about::router(Arc::new(about)))
        .merge(dashboards::boards::router(&config.dashboards, beside(config_file.as_deref())))
        .layer(axum::middleware::from_fn(dashboards::rejections::speak_json));

    // Loops.
    let context = Loop { state: state.clone(), nudge: nudge.clone(), fence: fence.clone(), stop: loops.clone(), longest };
    alerting.hand_over_to(delivery.clone(), fence.clone());
    let mut followers: Vec<Arc<dyn Follower>> = incidents.followers();
    followers.extend(alerting.followers());
    followers.extend(remediation.followers());
    let mut workers: Vec<Arc<dyn Worker>> = alerting.workers();
    workers.extend(incidents.workers());
    workers.extend(remediation.workers());
    workers.push(Arc::new(Maintenance::new(config.storage.finished_work.0, &registry)?));
    maintenance::begin(&*state).await?;
    // Another process of this node is another holder, so that its fence is another one.
    let holder = format!("{node}/{:016x}", ids.random());
    let leadership = runtime::Leadership::new(holder, publish, &registry)?;
    let leader = tokio::spawn(runtime::lead(state.clone(), leadership, nudge, leading.clone()));
    let mut tasks = vec![
        tokio::spawn(runtime::keys(state.clone(), ring, keyless, visitors, loops.clone())),
        tokio::spawn(runtime::follow(context.clone(), followers)),
        tokio::spawn(runtime::issues(context.clone(), issues.follower())),
        tokio::spawn(runtime::deliver(context.clone(), delivery.clone())),
        tokio::spawn(alerting.evaluator().run(fence.clone(), loops.clone().cancelled_owned())),
        tokio::spawn(scraper.clone().run(fence.clone(), loops.clone())),
        tokio::spawn(checker.clone().run(fence, loops.clone())),
        tokio::spawn(arrival.run(loops.clone())),
        tokio::spawn(fill(filler, loops.clone())),
    ];
    tasks.extend(others.map(|others| {
        let log = wal.clone();
        let told = Node { name: node.clone(), lag: Box::new(move || log.health().behind), state: state.clone(), others };
        tokio::spawn(told.run(loops.clone()))
    }));
    tasks.extend(heartbeat.map(|pulse| tokio::spawn(heartbeat::run(context.clone(), pulse))));
    tasks.extend(workers.into_iter().map(|worker| tokio::spawn(runtime::work(context.clone(), worker))));
    let mut intake_tasks = collector.serve_sockets(sockets, ids.clone(), &intake);
    intake_tasks.extend(listeners.zipkin.map(|zipkin| listen::serve(zipkin, guarded(collector.zipkin_router()), intake.clone())));
    intake_tasks.extend([
        // Set after the guard: the console's files are for everybody, what they ask for is guarded.
        listen::serve(listeners.http, guarded(api).fallback(dashboards::console::answer), intake.clone()),
        listen::serve(listeners.otlp_grpc, guarded(collector.grpc_router()), intake.clone()),
        listen::serve(listeners.otlp_http, guarded(collector.http_router()), intake.clone()),
    ]);
    let intake_router = collector.http_router();
    let stop = Stop { intake, loops, leading };
    let parts = Parts { alerting, delivery: delivery.clone(), remediation, collector: collector.clone(), scraper, checker, clock };
    let reloading = Reloading::new(running, config_file, parts, &registry)?;
    Ok(Running {
        addresses,
        data_dir,
        state,
        metrics,
        intake_router,
        registry,
        reloading,
        delivery,
        wal,
        engine,
        stop,
        leader,
        tasks,
        listeners: intake_tasks,
    })
}

impl Running {
    /// Stops with grace: intake, loops and the sends under way, leadership (what they commit is fenced by it), the log, the engine.
    pub async fn stop(self) {
        let grace = self.reloading.running().server.shutdown_grace.0;
        self.stop.intake.cancel();
        for listener in self.listeners {
            if tokio::time::timeout(Duration::from_secs(5), listener).await.is_err() {
                tracing::warn!("a listener still had requests at work; they were cut off");
            }
        }
        self.stop.loops.cancel();
        let loops_end = async {
            for task in self.tasks {
                if tokio::time::timeout(grace, task).await.is_err() {
                    tracing::warn!("a loop did not end in time; what it was at is a row and is taken again");
                }
            }
        };
        tokio::join!(self.delivery.drain(grace), loops_end);
        self.stop.leading.cancel();
        if tokio::time::timeout(grace, self.leader).await.is_err() {
            tracing::warn!("leadership was not given back in time; it runs out by itself");
        }
        let report = self.wal.stop(grace).await;
        if report.unwritten_blocks > 0 {
            tracing::info!(blocks = report.unwritten_blocks, "some rows stay in the log; they are written at the next start");
        }
        if let Some(engine) = self.engine {
            engine.stop().await;
        }
    }
}
