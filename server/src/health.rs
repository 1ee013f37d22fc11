//! How the parts are, for `/-/ready` and `watchfire status`.

use std::sync::Arc;

use async_trait::async_trait;
use dashboards::health::{PartHealth, Probe};
use model::state::StateStore;
use store::engine::supervisor::Supervisor;
use store::wal::Wal;

/// The embedded engine.
pub struct EngineProbe(pub Arc<Supervisor>);

#[async_trait]
impl Probe for EngineProbe {
    async fn health(&self) -> PartHealth {
        let status = self.0.status();
        let detail = match (&status.trouble, status.pid) {
            (Some(trouble), _) if !status.up => trouble.clone(),
            (_, Some(pid)) => {
                let mebibytes = status.resident_bytes >> 20;
                format!("process {pid}, {mebibytes} MiB, started again {} times", status.restarts)
            }
            (_, None) => "no process".to_owned(),
        };
        PartHealth { part: "engine".to_owned(), healthy: status.up, detail }
    }
}

/// The write-ahead log and its writer.
pub struct WalProbe(pub Wal);

#[async_trait]
impl Probe for WalProbe {
    async fn health(&self) -> PartHealth {
        let health = self.0.health();
        // Rows that wait longer than this are late, whatever the writer says of itself.
        let late = health.lag.is_some_and(|lag| lag.as_secs() > 20);
        let lag = health.lag.map_or("nothing waits".to_owned(), |lag| format!("oldest row waits {:.1} s", lag.as_secs_f64()));
        let mut detail = format!("{lag}, {} bytes", health.bytes);
        if !health.is_ok() {
            detail.push_str(&format!("; {health:?}"));
        }
        PartHealth { part: "log".to_owned(), healthy: health.is_ok() && !late, detail }
    }
}

/// The state store.
pub struct StateProbe(pub Arc<dyn StateStore>);

#[async_trait]
impl Probe for StateProbe {
    async fn health(&self) -> PartHealth {
        let asked = tokio::time::timeout(std::time::Duration::from_secs(1), self.0.now()).await;
        let (healthy, detail) = match asked {
            Ok(Ok(_)) => (true, "answers".to_owned()),
            Ok(Err(error)) => (false, crate::runtime::chain(&error)),
            Err(_) => (false, "no answer within a second".to_owned()),
        };
        PartHealth { part: "state".to_owned(), healthy, detail }
    }
}
