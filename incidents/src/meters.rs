//! The metrics of incidents. In: incidents as they end, the state store. Out: `watchfire_incident*` in the server's registry.
//! The same clocks are written as series too (`worker`), because a registry forgets at a restart.

use model::incident::{Incident, IncidentStatus};
use model::state::{RecordQuery, Records, StateError};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

use crate::job::Clock;

const BUCKETS: [f64; 13] = [1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meters {
    clocks: Vec<(Clock, HistogramVec)>,
    total: IntCounterVec,
    open: IntGauge,
    /// Postmortems by whether the telemetry answered.
    pub postmortems: IntCounterVec,
}

impl Meters {
    /// Registers them. Fails if the registry has them already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let mut clocks = Vec::new();
        for clock in Clock::ALL {
            let help = format!("Seconds to {} an incident, recorded when it resolves.", clock.word());
            let options = HistogramOpts::new(clock.metric(), help).buckets(BUCKETS.to_vec());
            let histogram = HistogramVec::new(options, &["severity"])?;
            registry.register(Box::new(histogram.clone()))?;
            clocks.push((clock, histogram));
        }
        let total = IntCounterVec::new(Opts::new("watchfire_incidents_total", "Incidents that resolved."), &["severity"])?;
        let open = IntGauge::new("watchfire_incidents_open", "Incidents that are open or acknowledged, over all tenants.")?;
        let postmortems = IntCounterVec::new(
            Opts::new("watchfire_postmortems_total", "Postmortems drafted, by whether telemetry could be read (complete or partial)."),
            &["evidence"],
        )?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(postmortems.clone()))?;
        Ok(Meters { clocks, total, open, postmortems })
    }

    /// Counts a resolved incident and its clocks.
    pub fn resolved(&self, incident: &Incident) {
        let severity = [incident.severity.as_str()];
        self.total.with_label_values(&severity).inc();
        for (clock, histogram) in &self.clocks {
            if let Some(seconds) = clock.seconds(incident) {
                histogram.with_label_values(&severity).observe(seconds);
            }
        }
    }

    /// Counts the open incidents again: at the start, and whenever one opens or ends.
    pub async fn refresh(&self, state: &(impl Records + ?Sized)) -> Result<(), StateError> {
        let statuses = vec![IncidentStatus::Open.as_str().to_owned(), IncidentStatus::Acknowledged.as_str().to_owned()];
        let open = state.count(&RecordQuery { kind: "incident", statuses, ..RecordQuery::default() }).await?;
        self.open.set(i64::try_from(open).unwrap_or(i64::MAX));
        Ok(())
    }
}
