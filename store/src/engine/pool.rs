//! A bounded pool of engine connections. A statement runs on a blocking thread; its settings are set before and reset after, and
//! a connection that cannot be reset is closed rather than lent again.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::library::{Connection, EngineError, EngineLibrary, Output};
use super::statement::{Ask, literal};

/// How long a request waits for a connection.
const WAIT: Duration = Duration::from_secs(30);

/// How often a statement whose client went away is told to end.
const KILL_TRIES: usize = 60;

/// The pool.
pub struct Pool {
    library: Arc<EngineLibrary>,
    data: PathBuf,
    config: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// Marks of the statements at work.
    running: Mutex<HashSet<String>>,
    /// Settings of every statement (the engine ignores profiles in its configuration file).
    defaults: Vec<(&'static str, String)>,
}

/// Why a statement gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PoolError {
    /// All connections stayed busy.
    #[error("Code: 202. DB::Exception: all connections of the engine stayed busy for {WAIT:?}; try again. (TOO_MANY_SIMULTANEOUS_QUERIES)")]
    Busy,
    /// The engine said no.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The thread died.
    #[error("the thread that ran the statement died")]
    Thread,
}

impl Pool {
    /// Opens the folder with a first connection; at most `size` connections.
    pub fn open(
        library: Arc<EngineLibrary>,
        data: PathBuf,
        config: PathBuf,
        size: usize,
        threads: usize,
    ) -> Result<Arc<Self>, EngineError> {
        let defaults = vec![
            ("async_insert", "0".to_owned()),
            ("max_threads", threads.max(1).to_string()),
            ("max_insert_threads", "1".to_owned()),
            ("allow_experimental_time_series_aggregate_functions", "1".to_owned()),
            ("log_queries", "0".to_owned()),
        ];
        let pool = Pool {
            library,
            data,
            config,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(size)),
            running: Mutex::default(),
            defaults,
        };
        let first = pool.fresh()?;
        pool.give_back(first);
        Ok(Arc::new(pool))
    }

    fn fresh(&self) -> Result<Connection, EngineError> {
        let mut connection = self.library.connect(&self.data, &self.config)?;
        for (name, value) in &self.defaults {
            connection.query(&format!("SET {name} = {}", literal(value)), "Null")?;
        }
        Ok(connection)
    }

    fn take(&self) -> Result<Connection, EngineError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.fresh(), Ok)
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// Runs a request. `mark` identifies it for [`Pool::kill`].
    pub async fn run(self: &Arc<Self>, ask: Ask, mark: String) -> Result<Output, PoolError> {
        let permits = self.permits.clone();
        let permit =
            tokio::time::timeout(WAIT, permits.acquire_owned()).await.map_err(|_| PoolError::Busy)?.map_err(|_| PoolError::Busy)?;
        let pool = self.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            pool.running.lock().unwrap_or_else(PoisonError::into_inner).insert(mark.clone());
            let outcome = pool.run_blocking(&ask, &mark);
            pool.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&mark);
            outcome
        })
        .await
        .map_err(|_| PoolError::Thread)?
    }

    fn run_blocking(&self, ask: &Ask, mark: &str) -> Result<Output, PoolError> {
        let mut connection = self.take()?;
        let outcome = prepare(&mut connection, ask, mark).and_then(|()| match &ask.data {
            Some((format, data)) => connection.insert(&ask.sql, format, data),
            None => connection.query(&ask.sql, &ask.format),
        });
        // `readonly` cannot be undone, and a failed reset leaves a connection in an unknown state: such a one is closed.
        let sticky = ask.settings.contains_key("readonly") || is_session_statement(&ask.sql);
        if !sticky && self.reset(&mut connection, ask).is_ok() {
            self.give_back(connection);
        }
        Ok(outcome?)
    }

    fn reset(&self, connection: &mut Connection, ask: &Ask) -> Result<(), EngineError> {
        for name in ask.settings.keys().filter(|name| !name.starts_with("param_")) {
            let usual = self.defaults.iter().find(|(default, _)| default == name).map_or("DEFAULT".to_owned(), |(_, value)| literal(value));
            connection.query(&format!("SET {name} = {usual}"), "Null")?;
        }
        if ask.database.is_some() {
            connection.query("USE default", "Null")?;
        }
        Ok(())
    }

    /// Ends the statement with this mark, if it still runs. Asks again while it does: a statement can be between two of its steps.
    pub async fn kill(self: &Arc<Self>, mark: &str) {
        for _ in 0..KILL_TRIES {
            if !self.running.lock().unwrap_or_else(PoisonError::into_inner).contains(mark) {
                return;
            }
            let pool = self.clone();
            let sql = format!("KILL QUERY WHERE Settings['log_comment'] = {} ASYNC", literal(mark));
            // The statement may hold the last permit: the kill takes a connection beside the count.
            let done = tokio::task::spawn_blocking(move || {
                let mut connection = pool.take()?;
                let outcome = connection.query(&sql, "Null");
                pool.give_back(connection);
                outcome.map(|_| ())
            })
            .await;
            if let Ok(Err(error)) = done {
                tracing::warn!(%error, "a statement whose client went away could not be ended");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Closes the idle connections; those at work close when their statement ends.
    pub fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn prepare(connection: &mut Connection, ask: &Ask, mark: &str) -> Result<(), EngineError> {
    connection.query(&format!("SET log_comment = {}", literal(mark)), "Null")?;
    if let Some(database) = &ask.database {
        connection.query(&format!("USE `{}`", database.replace('`', "``")), "Null")?;
    }
    // `readonly` last: it forbids the settings after it.
    let (locks, others): (Vec<_>, Vec<_>) = ask.settings.iter().partition(|(name, _)| *name == "readonly");
    for (name, value) in others.into_iter().chain(locks) {
        connection.query(&format!("SET {name} = {}", literal(value)), "Null")?;
    }
    Ok(())
}

fn is_session_statement(sql: &str) -> bool {
    let word = sql.split_whitespace().next().unwrap_or("");
    word.eq_ignore_ascii_case("set") || word.eq_ignore_ascii_case("use")
}
