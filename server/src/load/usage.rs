//! What a run costs: CPU seconds and memory of server and engine as the server's own `/metrics` says, and those of this process.

use anyhow::Context;

use crate::cli::client::Client;

/// One reading. What the server does not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds of the server since its start.
    pub server_cpu: Option<f64>,
    /// CPU seconds of the engine since its start.
    pub engine_cpu: Option<f64>,
    /// Resident bytes of the server.
    pub server_memory: Option<f64>,
    /// Resident bytes of the engine.
    pub engine_memory: Option<f64>,
    /// CPU seconds of this process.
    pub own_cpu: Option<f64>,
}

impl Usage {
    /// Asks the server.
    pub async fn read(client: &Client) -> anyhow::Result<Self> {
        let metrics = client.get_text("/metrics", "text/plain").await.context("reading the server's /metrics")?;
        let mut usage = Usage::parse(&metrics);
        usage.own_cpu = crate::usage::usage_of(std::process::id()).map(|own| own.cpu_seconds);
        Ok(usage)
    }

    fn parse(metrics: &str) -> Self {
        let value = |name| value(metrics, name);
        Usage {
            server_cpu: value("process_cpu_seconds_total"),
            engine_cpu: value("watchfire_engine_cpu_seconds_total"),
            server_memory: value("process_resident_memory_bytes"),
            engine_memory: value("watchfire_engine_resident_bytes"),
            own_cpu: None,
        }
    }
}

/// How many blocks the server's log holds that are not stored yet, as its `/metrics` say.
pub fn unconfirmed(metrics: &str) -> Option<f64> {
    value(metrics, "watchfire_wal_blocks")
}

fn value(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
    line.and_then(|rest| rest.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_whole_name() {
        let text = "# HELP process_cpu_seconds_total x\nprocess_cpu_seconds_total 1.5\nprocess_cpu_seconds_total_other 9\nwatchfire_engine_resident_bytes 7\n";
        let usage = Usage::parse(text);
        assert_eq!((usage.server_cpu, usage.engine_memory, usage.engine_cpu), (Some(1.5), Some(7.0), None));
        assert_eq!((unconfirmed("watchfire_wal_blocks 3\n"), unconfirmed(text)), (Some(3.0), None));
    }
}
