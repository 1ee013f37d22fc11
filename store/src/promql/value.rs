//! Step-aligned values: what every node of a plan evaluates to. A column has one cell per step of the frame; an absent cell holds
//! the staleness marker's bits, which arithmetic can never produce (it quiets the NaN).

use std::collections::HashMap;
use std::sync::Arc;

use model::labels::{Labels, METRIC_NAME};
use model::query::QueryError;

use super::native::Histogram;

/// Prometheus's staleness marker, as bits of a NaN.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;
/// The cell of a step at which a series has no value.
pub const ABSENT: f64 = f64::from_bits(STALE_BITS);

/// The cell or sample whose value is a native histogram, found beside it; also bits of a NaN that arithmetic never produces.
pub const HISTOGRAM: f64 = f64::from_bits(STALE_BITS + 1);

/// Whether a cell or sample is a value (an ordinary NaN is one).
pub fn present(value: f64) -> bool {
    value.to_bits() != STALE_BITS
}

/// Whether a cell or sample is a native histogram.
pub fn is_histogram(value: f64) -> bool {
    value.to_bits() == STALE_BITS + 1
}

/// Whether a cell or sample is a number.
pub fn is_number(value: f64) -> bool {
    present(value) && !is_histogram(value)
}

/// A label set as Prometheus's messages write it: the name is a label like others.
pub fn written(labels: &Labels) -> String {
    let legacy = |name: &str| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    let one = |(name, value): (&str, &str)| if legacy(name) { format!("{name}={value:?}") } else { format!("{name:?}={value:?}") };
    format!("{{{}}}", labels.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// The histograms beside cells or samples: none where no cell is one, else as many.
pub type Histograms = Vec<Option<Arc<Histogram>>>;

/// The moments at which a plan is evaluated: `start`, `start + step`, ... up to `end`, in milliseconds. Empty if `start > end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The first moment.
    pub start: i64,
    /// No moment lies after it.
    pub end: i64,
    /// Between moments; at least 1.
    pub step: i64,
}

impl Frame {
    /// How many moments there are.
    pub fn len(&self) -> usize {
        if self.start > self.end { 0 } else { ((self.end - self.start) / self.step.max(1)) as usize + 1 }
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The moment with a number.
    pub fn time(&self, index: usize) -> i64 {
        self.start + self.step * index as i64
    }
    /// All moments.
    pub fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let frame = *self;
        (0..frame.len()).map(move |index| frame.time(index))
    }
}

/// One series over the steps of a frame.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its labels.
    pub labels: Arc<Labels>,
    /// One cell per step; [`ABSENT`] where there is no value.
    pub cells: Vec<f64>,
    /// The histogram of each [`HISTOGRAM`] cell; only the cell says whether it counts.
    pub histograms: Histograms,
    /// Whether the values are raw deltas of a series with delta temporality.
    pub delta: bool,
}

impl Column {
    /// A column of computed values.
    pub fn new(labels: impl Into<Arc<Labels>>, cells: Vec<f64>) -> Self {
        Column { labels: labels.into(), cells, histograms: Histograms::new(), delta: false }
    }
    /// The histogram at a step.
    pub fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        if is_histogram(self.cells[step]) { self.histograms.get(step).and_then(Option::as_ref) } else { None }
    }
    /// How many cells it takes the room of; a histogram that of sixteen numbers.
    pub fn cells(&self) -> usize {
        self.cells.len() + 16 * self.histograms.iter().flatten().count()
    }
    /// Whether any cell may be a histogram.
    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }
    /// Writes a histogram into a cell, or takes the cell's value away.
    pub fn put(&mut self, step: usize, histogram: Option<Histogram>) {
        if histogram.is_some() && self.histograms.is_empty() {
            self.histograms = vec![None; self.cells.len()];
        }
        self.cells[step] = if histogram.is_some() { HISTOGRAM } else { ABSENT };
        if let Some(place) = self.histograms.get_mut(step) {
            *place = histogram.map(Arc::new);
        }
    }
    /// Leaves only numbers.
    pub fn drop_histograms(&mut self) {
        if self.has_histograms() {
            self.cells.iter_mut().filter(|cell| is_histogram(**cell)).for_each(|cell| *cell = ABSENT);
            self.histograms = Histograms::new();
        }
    }
    /// Whether no cell holds a value.
    pub fn is_absent(&self) -> bool {
        !self.cells.iter().copied().any(present)
    }
}

/// What a node evaluates to.
#[derive(Clone, Debug)]
pub enum Value {
    /// One number per step.
    Scalar(Vec<f64>),
    /// Series.
    Vector(Vec<Column>),
    /// A text.
    Text(String),
}

impl Value {
    /// How many cells it takes the room of.
    pub fn cells(&self) -> usize {
        match self {
            Value::Scalar(numbers) => numbers.len(),
            Value::Vector(columns) => columns.iter().map(Column::cells).sum(),
            Value::Text(_) => 0,
        }
    }
}

/// The labels that say what a metric is and go with its name.
const METADATA: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// The label set without the metric name and what describes the metric.
pub fn nameless(labels: &Arc<Labels>) -> Arc<Labels> {
    if METADATA.iter().any(|name| labels.get(name).is_some()) {
        Arc::new(labels.filtered(|name| !METADATA.contains(&name)))
    } else {
        Arc::clone(labels)
    }
}

/// Joins columns that have the same labels and never a value at the same step; two values at one step are an error, as in
/// Prometheus. Columns without any value are dropped.
pub fn merge_columns(columns: Vec<Column>) -> Result<Vec<Column>, QueryError> {
    let mut seen: HashMap<Arc<Labels>, usize> = HashMap::with_capacity(columns.len());
    let mut merged: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        if column.is_absent() {
            continue;
        }
        let Some(&at) = seen.get(&column.labels) else {
            seen.insert(Arc::clone(&column.labels), merged.len());
            merged.push(column);
            continue;
        };
        let kept = &mut merged[at];
        if column.has_histograms() && !kept.has_histograms() {
            kept.histograms = vec![None; kept.cells.len()];
        }
        for (step, value) in column.cells.iter().enumerate().filter(|(_, value)| present(**value)) {
            if present(kept.cells[step]) {
                return Err(QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned()));
            }
            kept.cells[step] = *value;
            if let Some(histogram) = column.histogram(step) {
                kept.histograms[step] = Some(Arc::clone(histogram));
            }
        }
        kept.delta |= column.delta;
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_its_moments() {
        assert_eq!(Frame { start: 0, end: 0, step: 1 }.len(), 1);
        assert_eq!(Frame { start: 0, end: 99, step: 10 }.len(), 10);
        assert_eq!(Frame { start: 10, end: 9, step: 10 }.len(), 0);
        assert_eq!(Frame { start: 5, end: 26, step: 10 }.times().collect::<Vec<_>>(), [5, 15, 25]);
    }

    #[test]
    fn messages_write_labels_as_prometheus_does() {
        let labels: Labels = [("__name__", "g"), ("job", "a\"b"), ("a.b", "1")].into_iter().collect();
        assert_eq!(written(&labels), r#"{__name__="g", "a.b"="1", job="a\"b"}"#);
        assert_eq!(written(&Labels::empty()), "{}");
    }

    #[test]
    fn arithmetic_never_gives_the_absent_cell() {
        assert!(!present(ABSENT));
        assert!(present(f64::NAN) && present(ABSENT + 1.0) && present(ABSENT * 0.0) && present(-ABSENT));
        assert!(present(HISTOGRAM) && is_histogram(HISTOGRAM) && !is_histogram(f64::NAN) && !is_histogram(HISTOGRAM + 1.0));
    }

    #[test]
    fn columns_with_the_same_labels_join_unless_they_overlap() {
        let labels: Labels = [("a", "1")].into_iter().collect();
        let column = |cells: &[f64]| Column::new(labels.clone(), cells.to_vec());
        let joined = merge_columns(vec![column(&[1.0, ABSENT]), column(&[ABSENT, 2.0]), column(&[ABSENT, ABSENT])]).unwrap();
        assert_eq!(joined.len(), 1);
        assert_eq!(joined[0].cells, [1.0, 2.0]);
        assert!(merge_columns(vec![column(&[1.0, 3.0]), column(&[ABSENT, 2.0])]).is_err());
    }
}
