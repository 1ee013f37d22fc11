//! The main of the engine's child process (`watchfire engine`): lock the folder, load the library, serve on a Unix socket, and end
//! when the parent does (its end of our standard input closes) or says so (SIGTERM).

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use super::http;
use super::library::{EngineError, EngineLibrary};
use super::pool::Pool;

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
    /// Connections at the most: statements at the same time.
    pub connections: usize,
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
    /// The runtime.
    #[error("the runtime could not be started: {0}")]
    Runtime(std::io::Error),
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> ChildError + 'a {
    move |source| ChildError::Io { doing, path: path.to_owned(), source }
}

/// Locks a folder for this process; the lock ends with the file handle. Waits a little for a predecessor that is on its way out.
pub fn lock_folder(folder: &Path, wait: Duration) -> Result<File, ChildError> {
    std::fs::create_dir_all(folder).map_err(io("making the folder", folder))?;
    let path = folder.join("lock");
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(io("opening the lock", &path))?;
    let step = Duration::from_millis(50);
    let mut left = wait;
    loop {
        if exclusive(&file) {
            break;
        }
        if left.is_zero() {
            let mut holder = String::new();
            // The holder's number is a courtesy; a lock without one is held all the same.
            let _ = file.read_to_string(&mut holder);
            return Err(ChildError::Held { path: folder.to_owned(), holder: holder.trim().to_owned() });
        }
        std::thread::sleep(step);
        left = left.saturating_sub(step);
    }
    file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(io("writing the lock", &path))?;
    Ok(file)
}

#[allow(unsafe_code)]
fn exclusive(file: &File) -> bool {
    // SAFETY: flock on a descriptor that is open for as long as `file` lives.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// Runs the engine to its end.
pub fn run(args: EngineArgs) -> Result<(), ChildError> {
    let _lock = lock_folder(&args.data_dir, Duration::from_secs(10))?;
    let config = args.data_dir.join("engine.xml");
    std::fs::write(&config, config_xml(&args)).map_err(io("writing", &config))?;
    let store = args.data_dir.join("store");
    std::fs::create_dir_all(&store).map_err(io("making the folder", &store))?;
    let library = EngineLibrary::load(&args.library)?;
    let pool = Pool::open(library, store, config, args.connections, args.threads)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(args.connections + 4)
        .enable_all()
        .build()
        .map_err(ChildError::Runtime)?;
    runtime.block_on(async {
        let _ = std::fs::remove_file(&args.socket);
        let listener = UnixListener::bind(&args.socket).map_err(io("listening on", &args.socket))?;
        println!("{{\"ready\":true,\"pid\":{}}}", std::process::id());
        let mut terminate = signal(SignalKind::terminate()).map_err(ChildError::Runtime)?;
        tokio::select! {
            () = http::serve(listener, pool.clone()) => {}
            _ = terminate.recv() => {}
            () = parent_gone() => {}
        }
        Ok::<(), ChildError>(())
    })?;
    pool.close();
    let _ = std::fs::remove_file(&args.socket);
    // What still runs may take long; it is not acknowledged and comes again under the same token.
    runtime.shutdown_timeout(Duration::from_secs(3));
    std::process::exit(0)
}

/// Returns when standard input ends: the parent is gone, however it went.
async fn parent_gone() {
    let ended = tokio::task::spawn_blocking(|| {
        let mut byte = [0u8; 64];
        let mut stdin = std::io::stdin();
        while stdin.read(&mut byte).is_ok_and(|read| read > 0) {}
    });
    let _ = ended.await;
}

/// The engine's configuration: small pools, no system logs, a memory cap. No console log either: with one, the library writes every
/// trace line whatever level is set (tried on 26.7); what fails comes back as a statement's exception, and panics and the child's own
/// words still go to standard error.
fn config_xml(args: &EngineArgs) -> String {
    let no_logs: String = [
        "query_log",
        "query_thread_log",
        "query_views_log",
        "part_log",
        "trace_log",
        "metric_log",
        "asynchronous_metric_log",
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
    ]
    .iter()
    .map(|log| format!("  <{log} remove=\"1\"/>\n"))
    .collect();
    format!(
        "<clickhouse>\n  <logger><level>warning</level></logger>\n  <max_server_memory_usage>{memory}</max_server_memory_usage>\n  \
         <mark_cache_size>134217728</mark_cache_size>\n  <uncompressed_cache_size>0</uncompressed_cache_size>\n  <background_pool_size>4</background_pool_size>\n  \
         <background_schedule_pool_size>4</background_schedule_pool_size>\n  <background_fetches_pool_size>1</background_fetches_pool_size>\n  \
         <background_common_pool_size>2</background_common_pool_size>\n  <background_move_pool_size>1</background_move_pool_size>\n  \
         <asynchronous_metrics_update_period_s>60</asynchronous_metrics_update_period_s>\n{no_logs}</clickhouse>\n",
        memory = args.memory_bytes
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock_folder(folder.path(), Duration::ZERO).unwrap();
        let refused = lock_folder(folder.path(), Duration::ZERO).unwrap_err();
        assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
        drop(first);
        lock_folder(folder.path(), Duration::ZERO).unwrap();
    }
}
