//! A real engine for tests: the child process of this package's `store-engine`, in a temporary folder, with the library from the
//! per-user cache (fetched once).

use std::path::PathBuf;
use std::sync::Arc;

use model::time::SystemClock;
use store::clickhouse::ClickHouse;
use store::engine::child::EngineArgs;
use store::engine::fetch;
use store::engine::supervisor::{Supervisor, SupervisorConfig};

/// A supervised engine with a folder of its own.
pub struct TestEngine {
    pub supervisor: Supervisor,
    pub clickhouse: ClickHouse,
    pub args: EngineArgs,
    _folder: tempfile::TempDir,
}

/// The engine's library.
pub fn library() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    fetch::ensure(&cache).unwrap()
}

/// The supervisor's configuration for a folder.
pub fn config(args: EngineArgs) -> SupervisorConfig {
    SupervisorConfig::new(env!("CARGO_BIN_EXE_store-engine").into(), args)
}

impl TestEngine {
    /// Starts one.
    pub async fn start() -> TestEngine {
        TestEngine::start_with(|_, _| {}).await
    }

    /// Starts one whose arguments are changed before; the folder is given too.
    pub async fn start_with(change: impl FnOnce(&std::path::Path, &mut EngineArgs)) -> TestEngine {
        let folder = tempfile::tempdir().unwrap();
        let library = tokio::task::spawn_blocking(library).await.unwrap();
        let mut args = EngineArgs {
            library,
            data_dir: folder.path().join("engine"),
            socket: folder.path().join("engine.sock"),
            memory_bytes: 2 << 30,
            threads: 2,
            connections: 6,
            tcp: None,
            backups: None,
        };
        change(folder.path(), &mut args);
        let supervisor = Supervisor::start(config(args.clone()), Arc::new(SystemClock), &prometheus::Registry::new()).await.unwrap();
        TestEngine { supervisor, clickhouse: ClickHouse::unix(&args.socket), args, _folder: folder }
    }

    /// One with the telemetry schema in database `watchfire`.
    pub async fn with_schema() -> TestEngine {
        let mut engine = TestEngine::start().await;
        engine.clickhouse.execute("CREATE DATABASE watchfire").await.unwrap();
        engine.clickhouse = engine.clickhouse.database("watchfire");
        store::clickhouse::migrations::migrate(&engine.clickhouse, store::clickhouse::migrations::TELEMETRY).await.unwrap();
        engine
    }

    /// A text answer.
    pub async fn text(&self, sql: &str) -> String {
        let query = self.clickhouse.client().query(&sql.replace('?', "??"));
        let bytes = query.fetch_bytes("TabSeparatedRaw").unwrap().collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        String::from_utf8(bytes.to_vec()).unwrap().trim_end().to_owned()
    }
}
