//! A span around every PromQL query, whoever asks: a rule, a dashboard, a repair. Passes everything on unchanged.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::query::{Answer, MetricQuery, QueryError, QueryOptions};
use model::tenant::TenantId;
use model::time::Timestamp;
use tracing::{Instrument, Span, field};

/// Wraps an evaluator.
pub struct Traced(pub Arc<dyn MetricQuery>);

/// The longest expression that a span holds, in bytes.
const LONGEST: usize = 500;

fn span(name: &'static str, expr: &str) -> Span {
    let shown = expr.get(..expr.floor_char_boundary(LONGEST)).unwrap_or(expr);
    tracing::info_span!("promql", otel.name = name, db.system.name = "promql", db.query.text = shown, otel.status_code = field::Empty)
}

async fn watched<T>(span: Span, asked: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
    let outcome = asked.instrument(span.clone()).await;
    if outcome.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    outcome
}

#[async_trait]
impl MetricQuery for Traced {
    async fn instant(&self, tenant: &TenantId, expr: &str, at: Timestamp, options: &QueryOptions) -> Result<Answer, QueryError> {
        watched(span("promql instant", expr), self.0.instant(tenant, expr, at, options)).await
    }
    async fn range(
        &self,
        tenant: &TenantId,
        expr: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        watched(span("promql range", expr), self.0.range(tenant, expr, start, end, step, options)).await
    }
    fn check(&self, expr: &str) -> Result<(), QueryError> {
        self.0.check(expr)
    }
}
