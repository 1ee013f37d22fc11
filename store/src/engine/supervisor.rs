//! The parent's side of the engine: start it, wait until it serves, forward its log, look after it, start it again with backoff,
//! stop it with grace. A crash, an out-of-memory kill or a hang of the engine never takes the server down.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::time::{Clock, Stopwatch, Timestamp};
use prometheus::{IntCounter, IntGauge, Registry};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::child::EngineArgs;
use crate::clickhouse::connector::UnixHttp;

mod log;

/// How the engine is run.
#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    /// The program that has the subcommand `engine`: a parameter, never the running program by itself.
    pub executable: PathBuf,
    /// What the child is told.
    pub args: EngineArgs,
    /// How long a start may take.
    pub start_timeout: Duration,
    /// How often its listener is asked whether it lives.
    pub ping_every: Duration,
    /// A ping without an answer for this long has failed; two failures in a row are a hang: kill and start again.
    pub ping_timeout: Duration,
    /// How often the engine behind the listener is asked, with a statement outside of the queue.
    pub probe_every: Duration,
    /// Without an answer to that for this long it hangs.
    pub probe_timeout: Duration,
    /// Resident memory above this for ten pings is a leak: start again. In bytes.
    pub resident_limit: u64,
    /// After this long in service the backoff begins anew.
    pub steady_after: Duration,
}

impl SupervisorConfig {
    /// The usual times: 60 s to start, a ping every second with 5 s to answer, a statement every 10 s with 30 s; resident memory a quarter
    /// and 512 MB over the engine's own cap.
    pub fn new(executable: PathBuf, args: EngineArgs) -> Self {
        let resident_limit = args.memory_bytes.saturating_add(args.memory_bytes / 4).saturating_add(512 << 20);
        SupervisorConfig {
            executable,
            args,
            start_timeout: Duration::from_secs(60),
            ping_every: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(5),
            probe_every: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(30),
            resident_limit,
            steady_after: Duration::from_secs(60),
        }
    }
}

/// How the engine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStatus {
    /// Whether it serves.
    pub up: bool,
    /// Its process id.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// Since when it has been up or down.
    pub since: Timestamp,
    /// Its resident memory at the last ping, in bytes.
    pub resident_bytes: u64,
    /// Where it listens for visitors, if it does.
    pub tcp: Option<SocketAddr>,
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

/// The child's one line on standard output.
#[derive(Deserialize)]
struct Ready {
    ready: bool,
    #[serde(default)]
    tcp: Option<SocketAddr>,
}

/// A child and our end of its standard input, whose closing tells it to stop. Kept apart: waiting for a child closes what it holds.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
}

/// The running supervisor. Dropped without [`Supervisor::stop`], it stops the engine in the background.
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

/// The number of the next start in the backoff: from 1 again after an engine that served for `steady`.
pub fn next_attempt(previous: u32, served: Duration, steady: Duration) -> u32 {
    if served >= steady { 1 } else { previous.saturating_add(1) }
}

/// How many checks in a row were over the limit, after one more.
pub fn checks_over(before: u32, resident: u64, limit: u64) -> u32 {
    if resident > limit { before.saturating_add(1) } else { 0 }
}

/// So many checks over the limit are a leak.
const LEAK: u32 = 10;

impl Supervisor {
    /// Starts the engine and waits until it serves.
    ///
    /// # Errors
    /// [`SupervisorError::Start`] with the child's own words when the first start fails: what fails at once will mostly fail again.
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

    /// Where the engine listens.
    pub fn socket_path(&self) -> &Path {
        &self.shared.config.args.socket
    }

    /// Stops the engine: it is told to end, and killed if it has not after 10 s.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // The task only ends by itself; a panic in it has nothing left to stop.
            let _ = task.await;
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.stop.cancel();
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
        self.meters.resident.set(i64::try_from(status.resident_bytes).unwrap_or(i64::MAX));
    }

    /// Starts a child and waits until it serves, or says why it does not. Dropped in between, it kills the child.
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
        let stderr = child.stderr.take().ok_or("the child has no standard error")?;
        let words = log::forward(stderr);
        let stdout = child.stdout.take().ok_or("the child has no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(ready) = serde_json::from_str::<Ready>(&line)
                    && ready.ready
                {
                    return Some(ready);
                }
            }
            None
        };
        let came_up = tokio::time::timeout(self.config.start_timeout, ready).await;
        if let Ok(Some(ready)) = came_up {
            // Whatever else it prints is its log too.
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    tracing::debug!(engine = %line)
                }
            });
            let pid = child.id();
            self.set(|status| {
                status.up = true;
                status.pid = pid;
                status.tcp = ready.tcp;
                status.resident_bytes = resident_bytes(pid);
                status.trouble = None;
            });
            let stdin = child.stdin.take();
            return Ok(Process { child, stdin });
        }
        let _ = child.kill().await;
        let words = words.last().await;
        match came_up {
            Err(_) => Err(format!("it did not serve within {:?}; its last words: {words}", self.config.start_timeout)),
            Ok(_) => Err(words),
        }
    }

    async fn look_after(self: Arc<Self>, mut process: Process) {
        let mut attempt = 0;
        loop {
            let served = Stopwatch::start();
            let trouble = tokio::select! {
                trouble = self.watch(&mut process.child) => trouble,
                () = self.stop.cancelled() => {
                    self.end(process).await;
                    return;
                }
            };
            let _ = process.child.kill().await;
            tracing::error!(%trouble, "the engine is down; it is started again");
            self.down(trouble);
            attempt = next_attempt(attempt, served.elapsed(), self.config.steady_after);
            process = tokio::select! {
                (process, reached) = self.again(attempt) => {
                    attempt = reached;
                    process
                }
                () = self.stop.cancelled() => return,
            };
        }
    }

    fn down(&self, trouble: String) {
        self.set(|status| {
            status.up = false;
            status.pid = None;
            status.resident_bytes = 0;
            status.trouble = Some(trouble);
        });
    }

    /// Returns with the trouble when the child has ended, hangs or leaks.
    async fn watch(&self, child: &mut Child) -> String {
        let (pid, http) = (child.id(), UnixHttp::new(&self.config.args.socket));
        tokio::select! {
            ended = child.wait() => ended.map_or_else(|error| error.to_string(), |status| format!("its process ended: {status}")),
            trouble = self.ping(&http, pid) => trouble,
            trouble = self.probe(&http) => trouble,
        }
    }

    async fn ping(&self, http: &UnixHttp, pid: Option<u32>) -> String {
        let (mut failures, mut over) = (0, 0);
        loop {
            tokio::time::sleep(self.config.ping_every).await;
            let trouble = match tokio::time::timeout(self.config.ping_timeout, http.get("/ping")).await {
                Ok(Ok(())) => {
                    failures = 0;
                    let resident = resident_bytes(pid);
                    self.set(|status| status.resident_bytes = resident);
                    over = checks_over(over, resident, self.config.resident_limit);
                    if over >= LEAK {
                        return format!("it holds {resident} bytes of memory, more than {}", self.config.resident_limit);
                    }
                    continue;
                }
                Ok(Err(error)) => format!("it does not answer: {error}"),
                Err(_) => format!("it hangs: no answer to a ping for {:?}", self.config.ping_timeout),
            };
            failures += 1;
            if failures >= 2 {
                return trouble;
            }
        }
    }

    async fn probe(&self, http: &UnixHttp) -> String {
        loop {
            tokio::time::sleep(self.config.probe_every).await;
            // Errors are the ping's to judge; here only silence counts.
            if tokio::time::timeout(self.config.probe_timeout, http.get("/alive")).await.is_err() {
                return format!("it hangs: no statement ended for {:?}", self.config.probe_timeout);
            }
        }
    }

    /// Starts the engine until it serves; returns which attempt succeeded.
    async fn again(&self, first: u32) -> (Process, u32) {
        let mut attempt = first;
        loop {
            tokio::time::sleep(restart_pause(attempt)).await;
            self.meters.restarts.inc();
            self.set(|status| status.restarts += 1);
            match self.launch().await {
                Ok(process) => {
                    tracing::info!(attempt, "the engine is up again");
                    return (process, attempt);
                }
                Err(trouble) => {
                    tracing::error!(attempt, %trouble, "the engine did not start");
                    self.down(trouble);
                }
            }
            attempt = attempt.saturating_add(1);
        }
    }

    async fn end(&self, Process { mut child, stdin }: Process) {
        self.down("it was stopped".to_owned());
        // The end of its standard input tells the child to stop.
        drop(stdin);
        if tokio::time::timeout(Duration::from_secs(10), child.wait()).await.is_err() {
            tracing::warn!("the engine did not end in 10 s and is killed");
            let _ = child.kill().await;
        }
    }
}

/// Resident memory of a process, from `/proc`; 0 where that is not known.
fn resident_bytes(pid: Option<u32>) -> u64 {
    let read = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let line = read.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("VmRSS:")));
    let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_back_off_to_ten_seconds_and_begin_anew_after_a_steady_time() {
        let pauses: Vec<u64> = (1..=9).map(|attempt| restart_pause(attempt).as_millis() as u64).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(restart_pause(u32::MAX), Duration::from_secs(10));
        let steady = Duration::from_secs(60);
        assert_eq!(next_attempt(0, Duration::ZERO, steady), 1);
        assert_eq!(next_attempt(4, Duration::from_secs(59), steady), 5);
        assert_eq!(next_attempt(4, steady, steady), 1);
    }

    #[test]
    fn only_lasting_weight_is_a_leak() {
        assert_eq!(checks_over(3, 101, 100), 4);
        assert_eq!(checks_over(3, 100, 100), 0);
    }

    #[test]
    fn our_own_memory_is_known() {
        assert!(resident_bytes(Some(std::process::id())) > 1 << 20);
        assert_eq!(resident_bytes(None), 0);
    }
}
