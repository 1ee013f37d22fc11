//! The parent's side of the engine: start it, wait until it serves, forward its log, look after it, start it again with backoff,
//! stop it with grace. A crash, an out-of-memory kill or a hang of the engine never takes the server down.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::time::{Clock, Timestamp};
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::child::EngineArgs;
use crate::clickhouse::ClickHouse;

/// How the engine is run.
#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    /// The program that has the subcommand `engine`: a parameter, never the running program by itself.
    pub executable: PathBuf,
    /// What the child is told.
    pub args: EngineArgs,
    /// How long a start may take.
    pub start_timeout: Duration,
    /// How often it is asked whether it lives.
    pub ping_every: Duration,
    /// A ping without an answer for this long is a hang: kill and start again.
    pub ping_timeout: Duration,
}

impl SupervisorConfig {
    /// The usual times: 60 s to start, a ping every second, 5 s to answer it.
    pub fn new(executable: PathBuf, args: EngineArgs) -> Self {
        SupervisorConfig {
            executable,
            args,
            start_timeout: Duration::from_secs(60),
            ping_every: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(5),
        }
    }
}

/// How the engine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStatus {
    /// Whether it answered the last ping.
    pub up: bool,
    /// Its process id.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// Since when it has been up or down.
    pub since: Timestamp,
    /// Why it is down.
    pub trouble: Option<String>,
}

struct Meters {
    restarts: IntCounter,
    up: IntGauge,
    resident: IntGauge,
}

impl Meters {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let restarts = IntCounter::new("watchfire_engine_restarts_total", "How often the engine was started again.")?;
        let up = IntGauge::new("watchfire_engine_up", "1 while the engine answers.")?;
        let resident = IntGauge::new("watchfire_engine_resident_bytes", "Resident memory of the engine.")?;
        registry.register(Box::new(restarts.clone()))?;
        registry.register(Box::new(up.clone()))?;
        registry.register(Box::new(resident.clone()))?;
        Ok(Meters { restarts, up, resident })
    }
}

struct Shared {
    config: SupervisorConfig,
    clock: Arc<dyn Clock>,
    status: Mutex<EngineStatus>,
    meters: Meters,
    stop: CancellationToken,
}

/// A child and our end of its standard input, whose closing tells it to stop. Kept apart: waiting for a child closes what it holds.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

/// The running supervisor.
pub struct Supervisor {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// The engine did not come up at the start.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The child ended or said nothing.
    #[error("the engine did not start: {0}")]
    Start(String),
    /// Metrics.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// How long to wait before start number `attempt` (from 1): 100 ms doubling to 10 s.
pub fn restart_pause(attempt: u32) -> Duration {
    Duration::from_millis(100).saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1).min(16))).min(Duration::from_secs(10))
}

impl Supervisor {
    /// Starts the engine and waits until it serves. Fails with the child's own words when the first start fails.
    pub async fn start(config: SupervisorConfig, clock: Arc<dyn Clock>, registry: &Registry) -> Result<Self, SupervisorError> {
        let status = EngineStatus { since: clock.now(), ..EngineStatus::default() };
        let meters = Meters::register(registry)?;
        let shared = Arc::new(Shared { config, clock, status: Mutex::new(status), meters, stop: CancellationToken::new() });
        let process = shared.launch().await.map_err(SupervisorError::Start)?;
        let task = tokio::spawn(shared.clone().look_after(process));
        Ok(Supervisor { shared, task: Mutex::new(Some(task)) })
    }

    /// How the engine is.
    pub fn status(&self) -> EngineStatus {
        self.shared.status()
    }

    /// Stops the engine: SIGTERM, then `kill -9` after the grace time.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // The task only ends by itself; a panic in it has nothing left to stop.
            let _ = task.await;
        }
    }
}

impl Shared {
    fn status(&self) -> EngineStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, change: impl FnOnce(&mut EngineStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let was = status.up;
        change(&mut status);
        if was != status.up {
            status.since = self.clock.now();
        }
        self.meters.up.set(i64::from(status.up));
    }

    /// Starts a child and waits until it serves, or says why it does not.
    async fn launch(&self) -> Result<Process, String> {
        let args = serde_json::to_string(&self.config.args).map_err(|error| error.to_string())?;
        let mut child = Command::new(&self.config.executable)
            .arg("engine")
            .arg("--args")
            .arg(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} cannot be run: {error}", self.config.executable.display()))?;
        let last_words = Arc::new(Mutex::new(Vec::new()));
        let forwarding = child.stderr.take().map(|stderr| tokio::spawn(forward(stderr, last_words.clone())));
        let stdout = child.stdout.take().ok_or("the child has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("\"ready\":true") {
                    return true;
                }
            }
            false
        };
        let came_up = tokio::time::timeout(self.config.start_timeout, ready).await;
        // Whatever else it prints is its log too.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                tracing::debug!(engine = %line)
            }
        });
        if came_up == Ok(true) {
            let pid = child.id();
            self.set(|status| {
                status.up = true;
                status.pid = pid;
                status.trouble = None;
            });
            let stdin = child.stdin.take();
            return Ok(Process { child, stdin });
        }
        let _ = child.kill().await;
        // Its last words may still be on their way.
        if let Some(forwarding) = forwarding {
            let _ = tokio::time::timeout(Duration::from_secs(2), forwarding).await;
        }
        let words = last_words.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
        Err(if words.is_empty() { "it said nothing".to_owned() } else { words })
    }

    async fn look_after(self: Arc<Self>, mut process: Process) {
        loop {
            let trouble = tokio::select! {
                trouble = self.watch(&mut process.child) => trouble,
                () = self.stop.cancelled() => {
                    self.end(process).await;
                    return;
                }
            };
            let _ = process.child.kill().await;
            tracing::error!(%trouble, "the engine is down; it is started again");
            self.set(|status| {
                status.up = false;
                status.pid = None;
                status.trouble = Some(trouble);
            });
            let Some(next) = self.again().await else { return };
            process = next;
        }
    }

    /// Returns with the trouble when the child has ended or hangs.
    async fn watch(&self, child: &mut Child) -> String {
        let client = ClickHouse::unix(&self.config.args.socket);
        loop {
            tokio::select! {
                ended = child.wait() => {
                    return ended.map_or_else(|error| error.to_string(), |status| format!("its process ended: {status}"));
                }
                () = tokio::time::sleep(self.config.ping_every) => {}
            }
            match tokio::time::timeout(self.config.ping_timeout, client.ping()).await {
                Ok(Ok(())) => self.meters.resident.set(resident_bytes(child.id())),
                Ok(Err(error)) => return format!("it does not answer: {error}"),
                Err(_) => return format!("it hangs: no answer to a ping for {:?}", self.config.ping_timeout),
            }
        }
    }

    async fn again(&self) -> Option<Process> {
        for attempt in 1.. {
            tokio::select! {
                () = tokio::time::sleep(restart_pause(attempt)) => {}
                () = self.stop.cancelled() => return None,
            }
            self.meters.restarts.inc();
            self.set(|status| status.restarts += 1);
            match self.launch().await {
                Ok(process) => {
                    tracing::info!(attempt, "the engine is up again");
                    return Some(process);
                }
                Err(trouble) => {
                    tracing::error!(attempt, %trouble, "the engine did not start");
                    self.set(|status| status.trouble = Some(trouble));
                }
            }
        }
        None
    }

    async fn end(&self, Process { mut child, stdin }: Process) {
        self.set(|status| {
            status.up = false;
            status.trouble = Some("it was stopped".to_owned());
        });
        // The end of its standard input tells the child to stop.
        drop(stdin);
        if tokio::time::timeout(Duration::from_secs(10), child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }
}

async fn forward(stderr: tokio::process::ChildStderr, last_words: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // The engine's own levels; what it says before its configuration is read is chatter.
        if ["<Trace>", "<Debug>", "<Information>"].iter().any(|level| line.contains(level)) {
            tracing::debug!(engine = %line);
            continue;
        }
        tracing::warn!(engine = %line);
        let mut kept = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(line);
        if kept.len() > 5 {
            kept.remove(0);
        }
    }
}

fn resident_bytes(pid: Option<u32>) -> i64 {
    let read = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/statm")).ok());
    let pages = read.and_then(|text| text.split_whitespace().nth(1).and_then(|pages| pages.parse::<i64>().ok()));
    pages.unwrap_or(0) * 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_back_off_to_ten_seconds() {
        let pauses: Vec<u64> = (1..=9).map(|attempt| restart_pause(attempt).as_millis() as u64).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
    }
}
