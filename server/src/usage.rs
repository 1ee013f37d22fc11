//! What the processes cost: CPU, memory and open files of the server and of its engine, read from `/proc` when somebody asks, under
//! Prometheus's standard names. On systems without `/proc` the metrics are missing.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Opts};
use store::engine::supervisor::Supervisor;

/// Linux counts CPU time for user space in hundredths of a second on every architecture (`USER_HZ`, man 5 proc).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// CPU seconds since its start, user and system.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: f64,
}

/// Of a process; `None` where it is gone or the system does not tell.
pub fn usage_of(pid: u32) -> Option<ProcessUsage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    parse(&stat, &status)
}

fn parse(stat: &str, status: &str) -> Option<ProcessUsage> {
    // The name may hold spaces and brackets: the fields start after its last bracket, with the third.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at - 3).and_then(|text| text.parse::<f64>().ok());
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = resident.split_whitespace().next()?.parse().ok()?;
    Some(ProcessUsage { cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND, resident_bytes: kib * 1024.0 })
}

/// The metrics of this process and of its engine.
pub struct Processes {
    engine: Option<Arc<Supervisor>>,
    descriptions: Vec<Desc>,
}

const NAMES: [(&str, &str); 4] = [
    ("process_cpu_seconds_total", "CPU time of the server, user and system."),
    ("process_resident_memory_bytes", "Resident memory of the server."),
    ("process_open_fds", "Open files of the server."),
    ("watchfire_engine_cpu_seconds_total", "CPU time of the engine since it was started last, user and system."),
];

impl Processes {
    /// Of this process and the engine that it supervises, if any.
    pub fn new(engine: Option<Arc<Supervisor>>) -> Result<Self, prometheus::Error> {
        let describe = |(name, help): &(&str, &str)| Desc::new((*name).into(), (*help).into(), Vec::new(), Default::default());
        Ok(Processes { engine, descriptions: NAMES.iter().map(describe).collect::<Result<_, _>>()? })
    }
}

fn counter((name, help): (&str, &str), value: f64) -> Option<Vec<MetricFamily>> {
    let counter = Counter::with_opts(Opts::new(name, help)).ok()?;
    counter.inc_by(value);
    Some(counter.collect())
}

fn gauge((name, help): (&str, &str), value: f64) -> Option<Vec<MetricFamily>> {
    let gauge = Gauge::with_opts(Opts::new(name, help)).ok()?;
    gauge.set(value);
    Some(gauge.collect())
}

impl Collector for Processes {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }
    fn collect(&self) -> Vec<MetricFamily> {
        let own = usage_of(std::process::id());
        let files = std::fs::read_dir("/proc/self/fd").ok().map(|list| list.count() as f64);
        let engine = self.engine.as_ref().and_then(|engine| engine.status().pid).and_then(usage_of);
        let families = [
            own.and_then(|own| counter(NAMES[0], own.cpu_seconds)),
            own.and_then(|own| gauge(NAMES[1], own.resident_bytes)),
            files.and_then(|files| gauge(NAMES[2], files)),
            engine.and_then(|engine| counter(NAMES[3], engine.cpu_seconds)),
        ];
        families.into_iter().flatten().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_stand_after_the_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 8 0 12345 1000000 500 18446744073709551615";
        let found = parse(stat, "Name:\tx\nVmRSS:\t  2048 kB\n").unwrap();
        assert_eq!(found, ProcessUsage { cpu_seconds: 3.0, resident_bytes: 2_097_152.0 });
        assert_eq!(parse("42 (a) S 1", "VmRSS: 1 kB"), None);
    }

    #[test]
    fn this_process_is_told() {
        let families = Processes::new(None).unwrap().collect();
        let names: Vec<&str> = families.iter().map(MetricFamily::name).collect();
        assert_eq!(names, ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"]);
        assert!(families[1].get_metric()[0].get_gauge().get_value() > 1e6);
    }
}
