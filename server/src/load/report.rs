//! The report of a run, for people and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::bodies::Bodies;
use super::sender::Sent;
use super::usage::Usage;
use super::{LoadCommand, Protocol};

/// What was measured.
pub struct Report {
    command: LoadCommand,
    record_bytes: f64,
    sent: Sent,
    stored: Option<u64>,
    /// Seconds of sending, and until everything was stored.
    seconds: (f64, f64),
    server_cpu: Option<f64>,
    engine_cpu: Option<f64>,
    own_cpu: Option<f64>,
    server_memory: Option<f64>,
    engine_memory: Option<f64>,
}

impl Report {
    /// Of a run.
    pub fn new(
        command: &LoadCommand,
        bodies: &Bodies,
        sent: &Sent,
        stored: Option<u64>,
        (sending, whole): (Duration, Duration),
        (before, after): (&Usage, &Usage),
    ) -> Self {
        let spent = |from: Option<f64>, to: Option<f64>| Some(to? - from?);
        Report {
            command: command.clone(),
            record_bytes: bodies.record_bytes(),
            sent: sent.clone(),
            stored,
            seconds: (sending.as_secs_f64(), whole.as_secs_f64()),
            server_cpu: spent(before.server_cpu, after.server_cpu),
            engine_cpu: spent(before.engine_cpu, after.engine_cpu),
            own_cpu: spent(before.own_cpu, after.own_cpu),
            server_memory: after.server_memory,
            engine_memory: after.engine_memory,
        }
    }

    /// Whether more is stored than was acknowledged and could have been accepted without an answer.
    pub fn duplicated(&self) -> bool {
        let unanswered = (self.sent.failed + self.sent.refused) * self.command.batch as u64;
        self.stored.is_some_and(|stored| stored > self.sent.acknowledged + unanswered)
    }

    fn micros(&self, cpu: Option<f64>) -> Option<f64> {
        let records = self.sent.acknowledged as f64;
        cpu.filter(|_| records > 0.0).map(|cpu| cpu * 1e6 / records)
    }

    fn json(&self) -> Value {
        json!({
            "signal": self.command.signal.noun(),
            "protocol": match self.command.protocol { Protocol::Grpc => "grpc", Protocol::Http => "http" },
            "record_bytes": self.record_bytes,
            "acknowledged": self.sent.acknowledged,
            "stored": self.stored,
            "refused_requests": self.sent.refused,
            "failed_requests": self.sent.failed,
            "late_requests": self.sent.late,
            "seconds": { "sending": self.seconds.0, "stored": self.seconds.1 },
            "records_per_second": {
                "acknowledged": self.sent.acknowledged as f64 / self.seconds.0,
                "stored": self.stored.map(|stored| stored as f64 / self.seconds.1),
            },
            "cpu_microseconds_per_record": {
                "server": self.micros(self.server_cpu),
                "engine": self.micros(self.engine_cpu),
                "sender": self.micros(self.own_cpu),
            },
            "acknowledge_milliseconds": { "p50": self.sent.percentile(0.5), "p99": self.sent.percentile(0.99) },
            "resident_bytes": { "server": self.server_memory, "engine": self.engine_memory },
        })
    }

    /// Writes it to standard output.
    pub fn print(&self, json: bool) {
        if json {
            println!("{}", self.json());
            return;
        }
        let noun = self.command.signal.noun();
        let number = |value: Option<f64>, digits: usize| value.map_or("unknown".to_owned(), |value| format!("{value:.digits$}"));
        let mebibytes = |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{:.0} MiB", value / 1048576.0));
        println!("\r{} {noun} of {:.0} bytes acknowledged in {:.1} s", self.sent.acknowledged, self.record_bytes, self.seconds.0);
        println!("  acknowledged      {:>10.0} {noun}/s", self.sent.acknowledged as f64 / self.seconds.0);
        if let Some(stored) = self.stored {
            println!(
                "  stored            {:>10.0} {noun}/s, until the last row was there ({:.1} s)",
                stored as f64 / self.seconds.1,
                self.seconds.1
            );
            let verdict = match stored {
                stored if stored < self.sent.acknowledged => "LOST ROWS",
                _ if self.duplicated() => "ROWS STORED TWICE",
                _ => "every acknowledged row, once",
            };
            println!("  in the tables     {stored:>10} rows: {verdict}");
        }
        println!(
            "  CPU a record      server {} us, engine {} us, this sender {} us",
            number(self.micros(self.server_cpu), 2),
            number(self.micros(self.engine_cpu), 2),
            number(self.micros(self.own_cpu), 2)
        );
        println!("  acknowledge       p50 {} ms, p99 {} ms", number(self.sent.percentile(0.5), 1), number(self.sent.percentile(0.99), 1));
        println!("  memory            server {}, engine {}", mebibytes(self.server_memory), mebibytes(self.engine_memory));
        if self.sent.refused + self.sent.failed + self.sent.late > 0 {
            println!(
                "  requests          {} refused (sent as new ones later), {} failed, {} late{}",
                self.sent.refused,
                self.sent.failed,
                self.sent.late,
                self.sent.failure.as_ref().map_or(String::new(), |why| format!("; the last failure: {why}"))
            );
        }
    }
}
