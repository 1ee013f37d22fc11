//! `watchfire serve` and the engine child: read, build, bind, say where, run, drain.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use store::sql::TenantGuard;
use tokio::signal::unix::{SignalKind, signal};

use super::{Common, EngineCommand};
use crate::config::{self, Config};
use crate::listen::Addresses;
use crate::pipeline::Running;
use crate::reload::files::{self, Changes};
use crate::{observe, pipeline};

/// The configuration of the command line.
pub fn read_config(common: &Common) -> anyhow::Result<Config> {
    #[allow(clippy::disallowed_methods)] // the command line is where the environment is read
    let environment = |name: &str| std::env::var(name).ok();
    Ok(config::read(common.config.as_deref(), &environment)?)
}

#[allow(clippy::disallowed_methods)] // the command line is where the environment is read
fn environment_folder(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// `--data-dir`, else `server.data_dir`, else the user's folder for data.
pub fn data_dir(common: &Common, config: &Config) -> anyhow::Result<PathBuf> {
    let chosen = common.data_dir.clone().or_else(|| config.server.data_dir.clone());
    let users = || {
        environment_folder("XDG_DATA_HOME")
            .or_else(|| environment_folder("HOME").map(|home| home.join(".local/share")))
            .map(|folder| folder.join("watchfire"))
    };
    let folder = chosen.or_else(users).context("no data folder: pass --data-dir DIR, or set server.data_dir")?;
    create_private(&folder)?;
    folder.canonicalize().with_context(|| format!("the data folder {} cannot be opened", folder.display()))
}

fn create_private(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the data folder {} cannot be made", folder.display()))
}

/// The user's folder for caches.
pub fn cache_dir() -> anyhow::Result<PathBuf> {
    environment_folder("XDG_CACHE_HOME")
        .or_else(|| environment_folder("HOME").map(|home| home.join(".cache")))
        .context("no cache folder: HOME is not set; set it, or pass --engine-lib PATH")
}

/// The engine child process.
pub fn engine(command: &EngineCommand) -> anyhow::Result<ExitCode> {
    let args = serde_json::from_str(&command.args).context("--args: this command is started by the supervisor")?;
    store::engine::child::run_guarded(args, Some(Arc::new(TenantGuard))).map_err(anyhow::Error::from)?;
    Ok(ExitCode::SUCCESS)
}

/// Serves until SIGTERM or SIGINT.
pub async fn serve(common: &Common) -> anyhow::Result<ExitCode> {
    let config = read_config(common)?;
    let observing = observe::install(&config.observe)?;
    let data_dir = data_dir(common, &config)?;
    // Before anything answers, so that whoever sees it ready can stop it with grace.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut reload = signal(SignalKind::hangup())?;
    let running = start(common, config, data_dir).await?;
    observing.attach(&running)?;
    print_screen(&running.addresses, &running.data_dir);
    let mut watching = Watching::new(common, &running).await;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = tokio::signal::ctrl_c() => break,
            _ = reload.recv() => watching.reload(&running).await,
            () = watching.changed(&running) => watching.reload(&running).await,
        }
    }
    tracing::info!("stopping: intake first, then the log, deliveries and stores");
    observing.detach().await;
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration again when asked to, or when its files changed.
struct Watching<'a> {
    common: &'a Common,
    changes: Changes,
}

impl<'a> Watching<'a> {
    async fn new(common: &'a Common, running: &Running) -> Self {
        Watching { common, changes: Changes::new(look(running).await) }
    }
    /// Comes back once the files changed; never where that is switched off or there is no file.
    async fn changed(&mut self, running: &Running) {
        if !running.reloading.running().server.reload_on_change || running.reloading.file().is_none() {
            std::future::pending::<()>().await;
        }
        loop {
            tokio::time::sleep(files::EVERY).await;
            if self.changes.look(look(running).await) {
                return;
            }
        }
    }
    async fn reload(&mut self, running: &Running) {
        // Looked at first: what is written after that is read again.
        let seen = look(running).await;
        running.reloading.reload(read_config(self.common).map_err(|error| format!("{error:#}")));
        self.changes.read(seen);
    }
}

async fn look(running: &Running) -> files::Stamp {
    let Some(file) = running.reloading.file() else { return files::Stamp::new() };
    let config = running.reloading.running();
    // A look that fails is a defect; the next one is two seconds away.
    tokio::task::spawn_blocking(move || files::stamp(&file, &config)).await.unwrap_or_default()
}

/// Where the engine for tests of rules comes from.
pub fn engine_place(common: &Common) -> anyhow::Result<crate::ruletest::EnginePlace> {
    let executable = std::env::current_exe().context("the path of this program is not known")?;
    Ok(crate::ruletest::EnginePlace { executable, library: common.engine_lib.clone(), cache: cache_dir()? })
}

/// Fetches the engine if need be, builds everything and starts it.
pub async fn start(common: &Common, config: Config, data_dir: PathBuf) -> anyhow::Result<Running> {
    let executable = std::env::current_exe().context("the path of this program is not known")?;
    let given = common.engine_lib.clone().or_else(|| config.storage.clickhouse.engine_lib.clone());
    let library = match (given, &config.storage.clickhouse.url) {
        (_, Some(_)) => None,
        (Some(library), None) => Some(library),
        (None, None) => {
            let cache = cache_dir()?;
            Some(tokio::task::spawn_blocking(move || store::engine::fetch::ensure(&cache)).await??)
        }
    };
    pipeline::start(config, common.config.clone(), data_dir, executable, library).await
}

fn print_screen(addresses: &Addresses, data_dir: &Path) {
    println!(
        "\nWatchfire {} is serving. Data lies in {}.\n\n  everything HTTP   http://{}\n  OTLP over gRPC    {}\n  OTLP over HTTP    http://{}\n",
        env!("CARGO_PKG_VERSION"),
        data_dir.display(),
        addresses.http,
        addresses.otlp_grpc,
        addresses.otlp_http
    );
    if let Some(zipkin) = addresses.zipkin {
        println!("  Zipkin            http://{zipkin}\n");
    }
    if let Some(sql) = addresses.sql {
        println!("  SQL, with a key   http://{sql}  (ClickHouse's HTTP interface; any user name, an API key that may read as password)\n");
    }
    println!(
        "Send the first data from any program with an OpenTelemetry SDK:\n\n  export OTEL_EXPORTER_OTLP_ENDPOINT=http://{}\n\nor watch the whole story first: `watchfire demo`. Then ask: `watchfire status`, `watchfire incidents`,\n`watchfire query 'sum by (service_name) (rate(traces_span_metrics_calls_total[5m]))'`.\nGrafana: add a Prometheus data source with the URL http://{}\n",
        addresses.otlp_grpc, addresses.http
    );
}
