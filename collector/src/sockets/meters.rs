//! What the receivers with sockets say about themselves. Fails: only at start, if a name is taken.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The metrics of the sockets.
pub(crate) struct SocketMeters {
    messages: IntCounterVec,
    faults: IntCounterVec,
    connections: IntGaugeVec,
    /// Series that StatsD holds.
    pub(crate) statsd_series: IntGauge,
}

/// What goes wrong on a socket. Each is a value of the metric label `fault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The kernel dropped datagrams because they were not read fast enough.
    KernelDropped,
    /// A datagram was lost because too much waits to be stored.
    QueueFull,
    /// A message was cut because it is too long.
    TooLong,
    /// A message whose connection ended before it did.
    Truncated,
    /// A connection whose bytes are not of the protocol: it was closed.
    Framing,
    /// A connection past the number allowed: it was closed.
    TooManyConnections,
    /// A connection that did not show the shared key: it was closed.
    Stranger,
    /// A connection that let a message stand half sent: it was closed.
    Slow,
    /// What was read and could not be stored.
    NotStored,
    /// A sample or message that is none.
    Malformed,
    /// A kind of sample that is not kept.
    Unsupported,
    /// A sample past the number of series or set values.
    Overflow,
}

impl Fault {
    fn label(self) -> &'static str {
        match self {
            Fault::KernelDropped => "kernel_dropped",
            Fault::QueueFull => "queue_full",
            Fault::TooLong => "too_long",
            Fault::Truncated => "truncated",
            Fault::Framing => "framing",
            Fault::TooManyConnections => "too_many_connections",
            Fault::Stranger => "stranger",
            Fault::Slow => "slow",
            Fault::NotStored => "not_stored",
            Fault::Malformed => "malformed",
            Fault::Unsupported => "unsupported",
            Fault::Overflow => "overflow",
        }
    }
}

impl SocketMeters {
    /// Registers all of them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = ["protocol", "transport"];
        let meters = SocketMeters {
            messages: IntCounterVec::new(
                Opts::new(
                    "watchfire_collector_socket_messages_total",
                    "Messages read from sockets: log records of syslog, messages of Fluent, samples of StatsD.",
                ),
                &labels,
            )?,
            faults: IntCounterVec::new(
                Opts::new("watchfire_collector_socket_faults_total", "What went wrong on sockets; loss of datagrams among it."),
                &["protocol", "transport", "fault"],
            )?,
            connections: IntGaugeVec::new(Opts::new("watchfire_collector_socket_connections", "Open connections."), &["protocol"])?,
            statsd_series: IntGauge::new("watchfire_collector_statsd_series", "Series that StatsD holds in memory.")?,
        };
        registry.register(Box::new(meters.messages.clone()))?;
        registry.register(Box::new(meters.faults.clone()))?;
        registry.register(Box::new(meters.connections.clone()))?;
        registry.register(Box::new(meters.statsd_series.clone()))?;
        Ok(meters)
    }
    /// The messages of a protocol over a transport.
    pub(crate) fn messages(&self, protocol: &str, transport: &str) -> IntCounter {
        self.messages.with_label_values(&[protocol, transport])
    }
    /// Counts faults.
    pub(crate) fn fault(&self, protocol: &str, transport: &str, fault: Fault, count: u64) {
        self.faults.with_label_values(&[protocol, transport, fault.label()]).inc_by(count);
    }
    /// The open connections of a protocol.
    pub(crate) fn connections(&self, protocol: &str) -> IntGauge {
        self.connections.with_label_values(&[protocol])
    }
}
