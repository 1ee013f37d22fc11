//! The main of the engine's child process (`watchfire engine`): lock the folder, load the library, serve on a Unix socket (and on TCP
//! for visitors), and end when the parent does (its end of our standard input closes, however it went) or says so (SIGTERM).
//!
//! Its standard output is one line of JSON when it serves; its log is lines `<Level> text` on standard error. (`PR_SET_PDEATHSIG` is not
//! used: it would fire when the parent's *thread* ends.)

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use super::access::{Access, SqlGuard};
use super::http::{Desk, serve_tcp, serve_unix};
use super::library::{Connection, Engine, EngineError, EngineLibrary};

/// How long a new engine waits for its predecessor to let go of the folder.
const PREDECESSOR: Duration = Duration::from_secs(10);
/// How long running statements may take to end after the engine was told to stop.
const LAST_STATEMENTS: Duration = Duration::from_secs(5);
/// Blocking threads beside those that run statements: to end statements and to say that the engine is alive.
const SPARE_THREADS: usize = 8;

/// What the supervisor passes, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineArgs {
    /// `libchdb.so`.
    pub library: PathBuf,
    /// The engine's data folder; made if missing. One process at a time.
    pub data_dir: PathBuf,
    /// The Unix socket to listen on; an old one is replaced.
    pub socket: PathBuf,
    /// What the engine may use, in bytes.
    pub memory_bytes: u64,
    /// Threads of one statement.
    pub threads: usize,
    /// Statements at the same time at the most; more wait.
    pub connections: usize,
    /// A listener for visitors with a key; off by default.
    #[serde(default)]
    pub tcp: Option<TcpArgs>,
    /// Where `BACKUP ... TO File(...)` may write and `RESTORE` read; nowhere by default.
    #[serde(default)]
    pub backups: Option<PathBuf>,
}

/// The TCP listener for SQL clients such as Grafana's ClickHouse plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpArgs {
    /// Where to listen.
    pub address: SocketAddr,
    /// A JSON list of [`super::access::EngineUser`]; read again when it changes.
    pub users_file: PathBuf,
}

/// Why the child ended.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// A file or socket.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process has the folder.
    #[error("the data folder {path} is in use by process {holder}: stop that one, or use another --data-dir")]
    Held {
        /// Which folder.
        path: PathBuf,
        /// Whose process id stands in the lock file.
        holder: String,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The TCP listener was asked for, but nothing guards it.
    #[error("the engine's TCP listener needs a guard for its statements, and this program has none: leave `tcp` out")]
    Unguarded,
    /// The TCP listener.
    #[error("the engine cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The runtime.
    #[error("the runtime could not be started: {0}")]
    Runtime(std::io::Error),
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> ChildError + 'a {
    move |source| ChildError::Io { doing, path: path.to_owned(), source }
}

/// Locks a folder for this process; the lock ends with the file handle. Waits a little for a predecessor that is on its way out.
///
/// # Errors
/// [`ChildError::Held`] with the holder's process id when the wait is over; [`ChildError::Io`].
pub fn lock_folder(folder: &Path, wait: Duration) -> Result<File, ChildError> {
    std::fs::create_dir_all(folder).map_err(io("making the folder", folder))?;
    let path = folder.join("lock");
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(io("opening the lock", &path))?;
    let step = Duration::from_millis(50);
    let mut left = wait;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(io("locking", &path)(error)),
            Err(TryLockError::WouldBlock) if left.is_zero() => {
                let mut holder = String::new();
                // The holder's number is a courtesy; a lock without one is held all the same.
                let _ = file.read_to_string(&mut holder);
                return Err(ChildError::Held { path: folder.to_owned(), holder: holder.trim().to_owned() });
            }
            Err(TryLockError::WouldBlock) => {
                std::thread::sleep(step);
                left = left.saturating_sub(step);
            }
        }
    }
    file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(io("writing the lock", &path))?;
    Ok(file)
}

/// Runs the engine to its end, without a TCP listener.
///
/// # Errors
/// [`ChildError`], one sentence.
pub fn run(args: EngineArgs) -> Result<(), ChildError> {
    run_guarded(args, None)
}

/// Runs the engine to its end; with a guard, [`EngineArgs::tcp`] may be given.
///
/// # Errors
/// [`ChildError`], one sentence.
pub fn run_guarded(args: EngineArgs, guard: Option<Arc<dyn SqlGuard>>) -> Result<(), ChildError> {
    let access = match (&args.tcp, guard) {
        (None, _) => None,
        (Some(_), None) => return Err(ChildError::Unguarded),
        (Some(tcp), Some(guard)) => Some((tcp.address, Arc::new(Access::new(tcp.users_file.clone(), guard)))),
    };
    let parent = Parent::watch();
    // When memory is short the kernel should take the engine, which comes back, and not the server. Where it is not Linux: no matter.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    let _lock = lock_folder(&args.data_dir, PREDECESSOR)?;
    let (engine, first) = open(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(args.connections + SPARE_THREADS)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
        .map_err(ChildError::Runtime)?;
    let desk = Desk::new(engine, args.connections.max(1), args.threads, args.memory_bytes);
    runtime.block_on(serve(&args, desk, access, &parent))?;
    let _ = std::fs::remove_file(&args.socket);
    drop(first);
    // What still runs is not acknowledged and comes again under the same token.
    runtime.shutdown_timeout(Duration::from_secs(1));
    std::process::exit(0)
}

fn open(args: &EngineArgs) -> Result<(Engine, Connection), ChildError> {
    let config = args.data_dir.join("engine.xml");
    std::fs::write(&config, config_xml(args)).map_err(io("writing", &config))?;
    let store = args.data_dir.join("store");
    std::fs::create_dir_all(&store).map_err(io("making the folder", &store))?;
    let library = EngineLibrary::load(&args.library)?;
    Ok(Engine::open(library, &store, &config)?)
}

async fn serve(args: &EngineArgs, desk: Arc<Desk>, access: Option<(SocketAddr, Arc<Access>)>, parent: &Parent) -> Result<(), ChildError> {
    let _ = std::fs::remove_file(&args.socket);
    let unix = UnixListener::bind(&args.socket).map_err(io("listening on", &args.socket))?;
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&args.socket, only_owner).map_err(io("protecting", &args.socket))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ChildError::Runtime)?;
    let mut address = None;
    let visitors = match access {
        None => None,
        Some((wanted, access)) => {
            let listen = |source| ChildError::Listen { address: wanted, source };
            let tcp = TcpListener::bind(wanted).await.map_err(listen)?;
            address = Some(tcp.local_addr().map_err(listen)?);
            Some(tokio::spawn(serve_tcp(tcp, desk.clone(), access)))
        }
    };
    let local = tokio::spawn(serve_unix(unix, desk.clone()));
    parent.serving.store(true, Ordering::Release);
    println!("{}", serde_json::json!({ "ready": true, "pid": std::process::id(), "tcp": address }));
    tokio::select! {
        _ = terminate.recv() => {}
        () = parent.gone.notified() => {}
    }
    local.abort();
    if let Some(visitors) = visitors {
        visitors.abort();
    }
    // Statements that do not end in time are cut off with the process.
    let _ = tokio::time::timeout(LAST_STATEMENTS, desk.drain()).await;
    Ok(())
}

/// Knows when the parent is gone: standard input ends then.
struct Parent {
    gone: Arc<Notify>,
    serving: Arc<AtomicBool>,
}

impl Parent {
    fn watch() -> Self {
        let parent = Parent { gone: Arc::new(Notify::new()), serving: Arc::default() };
        let (gone, serving) = (parent.gone.clone(), parent.serving.clone());
        std::thread::spawn(move || {
            let mut bytes = [0u8; 64];
            let mut stdin = std::io::stdin();
            while stdin.read(&mut bytes).is_ok_and(|read| read > 0) {}
            if !serving.load(Ordering::Acquire) {
                // Nothing to stop with grace yet.
                std::process::exit(0);
            }
            gone.notify_one();
        });
        parent
    }
}

/// A path as text in XML.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The engine's configuration: small pools, no log tables, a memory cap. (`<profiles>` are not honoured; settings of statements are set on
/// their connections.) No console log either: with one, the library writes every trace line whatever `<level>` says (tried on 26.7);
/// what fails comes back as a statement's exception, and panics and the child's own words still go to standard error.
fn config_xml(args: &EngineArgs) -> String {
    const LOG_TABLES: [&str; 21] = [
        "query_log",
        "query_thread_log",
        "query_views_log",
        "part_log",
        "trace_log",
        "metric_log",
        "asynchronous_metric_log",
        "asynchronous_insert_log",
        "text_log",
        "crash_log",
        "opentelemetry_span_log",
        "processors_profile_log",
        "session_log",
        "error_log",
        "latency_log",
        "query_metric_log",
        "background_schedule_pool_log",
        "backup_log",
        "zookeeper_log",
        "blob_storage_log",
        "transactions_info_log",
    ];
    let memory = args.memory_bytes;
    let numbers: [(&str, u64); 15] = [
        ("max_server_memory_usage", memory),
        // The mark cache makes repeated reads cheap; the page caches are the kernel's work here.
        ("mark_cache_size", (memory / 16).min(256 << 20)),
        ("uncompressed_cache_size", 0),
        ("index_mark_cache_size", (memory / 32).min(64 << 20)),
        ("mmap_cache_size", 64),
        ("compiled_expression_cache_size", 16 << 20),
        ("background_pool_size", 4),
        ("background_schedule_pool_size", 4),
        ("background_fetches_pool_size", 1),
        ("background_common_pool_size", 2),
        ("background_move_pool_size", 1),
        ("max_thread_pool_free_size", 16),
        ("max_io_thread_pool_size", 16),
        ("max_io_thread_pool_free_size", 0),
        ("asynchronous_metrics_update_period_s", 60),
    ];
    let numbers: String = numbers.iter().map(|(name, value)| format!("  <{name}>{value}</{name}>\n")).collect();
    let tables: String = LOG_TABLES.iter().map(|table| format!("  <{table} remove=\"1\"/>\n")).collect();
    let backups = args
        .backups
        .as_deref()
        .map_or_else(String::new, |path| format!("  <backups><allowed_path>{}</allowed_path></backups>\n", escaped(path)));
    let logger = "  <logger><level>warning</level></logger>\n";
    format!("<clickhouse>\n{logger}{numbers}{backups}{tables}</clickhouse>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> EngineArgs {
        let text = r#"{"library":"l","data_dir":"d","socket":"s","memory_bytes":1073741824,"threads":2,"connections":4}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_folder_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock_folder(folder.path(), Duration::ZERO).unwrap();
        let refused = lock_folder(folder.path(), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        lock_folder(folder.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_listener_without_a_guard_is_refused() {
        let tcp = TcpArgs { address: ([127, 0, 0, 1], 0).into(), users_file: "u".into() };
        let refused = run(EngineArgs { tcp: Some(tcp), ..args() }).unwrap_err();
        assert!(matches!(refused, ChildError::Unguarded));
    }

    #[test]
    fn the_configuration_names_the_cap_and_the_backups() {
        let text = config_xml(&EngineArgs { backups: Some("/a & b".into()), ..args() });
        assert!(text.contains("<max_server_memory_usage>1073741824</max_server_memory_usage>"));
        assert!(text.contains("<allowed_path>/a &amp; b</allowed_path>"));
        assert!(!config_xml(&args()).contains("<backups>"));
    }
}
