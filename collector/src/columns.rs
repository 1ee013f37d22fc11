//! The columns of each table as typed fields, so that a row is filled by name. Out: a [`TableBlock`] in the order of
//! `model::tables`; a test compares names and types with it.

use model::columns::{Column, Dictionary, StringMaps, Strings, TableBlock, spare};
use model::tables::{ERROR_EVENTS, EXEMPLARS, EXP_HISTOGRAMS, HISTOGRAMS, LOGS, PATTERNS, POINTS, SERIES, SPANS, SUMMARIES};

/// What can become a [`Column`].
pub(crate) trait IntoColumn: Default {
    /// The column.
    fn into_column(self) -> Column;
    /// What became this column; without its room where it is another type.
    fn from_column(column: Column) -> Self;
    /// About how many bytes it takes.
    fn bytes(&self) -> usize;
}

macro_rules! plain {
    ($($rows:ty => $variant:ident, $bytes:expr);* $(;)?) => {
        $(impl IntoColumn for $rows {
            fn into_column(self) -> Column {
                Column::$variant(self)
            }
            fn from_column(column: Column) -> Self {
                if let Column::$variant(rows) = column { rows } else { Self::default() }
            }
            fn bytes(&self) -> usize {
                let bytes: fn(&Self) -> usize = $bytes;
                bytes(self)
            }
        })*
    };
}

plain! {
    Vec<u8> => UInt8, |rows| rows.len();
    Vec<u16> => UInt16, |rows| rows.len() * 2;
    Vec<u32> => UInt32, |rows| rows.len() * 4;
    Vec<u64> => UInt64, |rows| rows.len() * 8;
    Vec<i32> => Int32, |rows| rows.len() * 4;
    Vec<i64> => Int64, |rows| rows.len() * 8;
    Vec<f64> => Float64, |rows| rows.len() * 8;
    Strings => String, |rows| rows.encoded().len();
    Dictionary => LowCardinality, |rows| rows.rows().len() * 4 + rows.keys().encoded().len();
    StringMaps => StringMap, |maps| maps.ends.len() * 8 + maps.keys.bytes() + maps.values.bytes();
}

/// `N` bytes a row.
#[derive(Default)]
pub(crate) struct Fixed<const N: usize>(Vec<u8>);

impl<const N: usize> Fixed<N> {
    /// Appends a row; anything that is not `N` bytes long counts as absent: zeros.
    pub(crate) fn push(&mut self, value: &[u8]) {
        if value.len() == N {
            self.0.extend_from_slice(value);
        } else {
            self.0.resize(self.0.len() + N, 0);
        }
    }
}

impl<const N: usize> IntoColumn for Fixed<N> {
    fn into_column(self) -> Column {
        Column::Fixed { width: N, bytes: self.0 }
    }
    fn from_column(column: Column) -> Self {
        if let Column::Fixed { bytes, .. } = column { Fixed(bytes) } else { Self::default() }
    }
    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// A list of items a row.
#[derive(Default)]
pub(crate) struct Lists<T> {
    ends: Vec<u64>,
    /// The items of all rows.
    pub(crate) items: T,
}

impl<T> Lists<T> {
    /// Ends the row, to which `count` items were added.
    pub(crate) fn end_row(&mut self, count: usize) {
        self.ends.push(self.ends.last().copied().unwrap_or(0) + count as u64);
    }
}

impl<T: IntoColumn> IntoColumn for Lists<T> {
    fn into_column(self) -> Column {
        Column::Array { ends: self.ends, items: Box::new(self.items.into_column()) }
    }
    fn from_column(column: Column) -> Self {
        if let Column::Array { ends, items } = column { Lists { ends, items: T::from_column(*items) } } else { Self::default() }
    }
    fn bytes(&self) -> usize {
        self.ends.len() * 8 + self.items.bytes()
    }
}

macro_rules! table {
    ($(#[$doc:meta])* $name:ident of $spec:ident { $($field:ident: $rows:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $name {
            $(pub(crate) $field: $rows,)*
        }

        impl $name {
            /// The field names, in order.
            #[cfg(test)]
            const NAMES: &[&str] = &[$(stringify!($field)),*];

            /// No rows, in columns that an earlier request needed, where there are any.
            pub(crate) fn reused() -> Self {
                let mut columns = spare::take(&$spec).unwrap_or_default().into_iter();
                $name { $($field: columns.next().map(IntoColumn::from_column).unwrap_or_default()),* }
            }

            /// About how many bytes they take.
            pub(crate) fn bytes(&self) -> usize {
                0 $(+ self.$field.bytes())*
            }

            /// The block of these rows.
            pub(crate) fn into_block(self) -> TableBlock {
                TableBlock { table: &$spec, columns: vec![$(self.$field.into_column()),*] }
            }
        }
    };
}

table! {
    /// Rows of `spans`.
    SpanColumns of SPANS {
        tenant: Dictionary, ts: Vec<i64>, received: Vec<i64>, trace_id: Fixed<16>, span_id: Fixed<8>, parent_span_id: Fixed<8>,
        trace_state: Strings, service: Dictionary, name: Dictionary, kind: Vec<u8>, duration: Vec<u64>, status: Vec<u8>,
        status_message: Strings, scope_name: Dictionary, scope_version: Dictionary, resource: StringMaps, attributes: StringMaps,
        event_ts: Lists<Vec<i64>>, event_name: Lists<Dictionary>, event_attributes: Lists<StringMaps>,
        link_trace_id: Lists<Fixed<16>>, link_span_id: Lists<Fixed<8>>, link_trace_state: Lists<Strings>,
        link_attributes: Lists<StringMaps>, flags: Vec<u32>, sample_rate: Vec<u32>, retention_days: Vec<u16>,
        scope_attributes: StringMaps, dropped_attributes: Vec<u32>, dropped_events: Vec<u32>, dropped_links: Vec<u32>,
        event_dropped_attributes: Lists<Vec<u32>>, link_dropped_attributes: Lists<Vec<u32>>, resource_dropped_attributes: Vec<u32>,
        scope_dropped_attributes: Vec<u32>,
    }
}

table! {
    /// Rows of `logs`.
    LogColumns of LOGS {
        tenant: Dictionary, ts: Vec<i64>, observed: Vec<i64>, received: Vec<i64>, trace_id: Fixed<16>, span_id: Fixed<8>,
        flags: Vec<u32>, severity_number: Vec<u8>, severity_text: Dictionary, service: Dictionary, body: Strings,
        event_name: Dictionary, scope_name: Dictionary, scope_version: Dictionary, resource: StringMaps, attributes: StringMaps,
        retention_days: Vec<u16>, scope_attributes: StringMaps, dropped_attributes: Vec<u32>, resource_schema_url: Dictionary,
        scope_schema_url: Dictionary, sample_rate: Vec<u32>, resource_dropped_attributes: Vec<u32>, scope_dropped_attributes: Vec<u32>,
    }
}

table! {
    /// Rows of `series`.
    SeriesColumns of SERIES {
        tenant: Dictionary, metric: Dictionary, fingerprint: Vec<u64>, kind: Vec<u8>, temporality: Vec<u8>, monotonic: Vec<u8>,
        otel_name: Dictionary, unit: Dictionary, description: Strings, labels: StringMaps, resource: StringMaps,
        scope_name: Dictionary, scope_version: Dictionary, first_seen: Vec<i64>, last_seen: Vec<i64>,
        resource_dropped_attributes: Vec<u32>, scope_dropped_attributes: Vec<u32>,
    }
}

table! {
    /// Rows of `points`.
    PointColumns of POINTS {
        tenant: Dictionary, metric: Dictionary, fingerprint: Vec<u64>, ts: Vec<i64>, start_ts: Vec<i64>, value: Vec<f64>,
        flags: Vec<u32>, retention_days: Vec<u16>,
    }
}

table! {
    /// Rows of `histograms`.
    HistogramColumns of HISTOGRAMS {
        tenant: Dictionary, metric: Dictionary, fingerprint: Vec<u64>, ts: Vec<i64>, start_ts: Vec<i64>, count: Vec<u64>,
        sum: Vec<f64>, min: Vec<f64>, max: Vec<f64>, bounds: Lists<Vec<f64>>, counts: Lists<Vec<u64>>, flags: Vec<u32>,
        retention_days: Vec<u16>,
    }
}

table! {
    /// Rows of `exp_histograms`.
    ExponentialColumns of EXP_HISTOGRAMS {
        tenant: Dictionary, metric: Dictionary, fingerprint: Vec<u64>, ts: Vec<i64>, start_ts: Vec<i64>, count: Vec<f64>,
        sum: Vec<f64>, min: Vec<f64>, max: Vec<f64>, scale: Vec<i32>, zero_count: Vec<f64>, zero_threshold: Vec<f64>,
        positive_offset: Vec<i32>, positive_counts: Lists<Vec<f64>>, negative_offset: Vec<i32>, negative_counts: Lists<Vec<f64>>,
        flags: Vec<u32>, retention_days: Vec<u16>, custom_bounds: Lists<Vec<f64>>,
    }
}

table! {
    /// Rows of `summaries`.
    SummaryColumns of SUMMARIES {
        tenant: Dictionary, metric: Dictionary, fingerprint: Vec<u64>, ts: Vec<i64>, start_ts: Vec<i64>, count: Vec<u64>,
        sum: Vec<f64>, quantiles: Lists<Vec<f64>>, values: Lists<Vec<f64>>, flags: Vec<u32>, retention_days: Vec<u16>,
    }
}

table! {
    /// Rows of `exemplars`.
    ExemplarColumns of EXEMPLARS {
        tenant: Dictionary, metric: Dictionary, fingerprint: Vec<u64>, ts: Vec<i64>, value: Vec<f64>, trace_id: Fixed<16>,
        span_id: Fixed<8>, attributes: StringMaps, retention_days: Vec<u16>,
    }
}

table! {
    /// Rows of `error_events`.
    ErrorColumns of ERROR_EVENTS {
        tenant: Dictionary, project: Dictionary, fingerprint: Vec<u64>, ts: Vec<i64>, received: Vec<i64>, event_id: Fixed<16>,
        source: Vec<u8>, r#type: Dictionary, value: Strings, normalized: Strings, level: Dictionary, release: Dictionary,
        environment: Dictionary, user: Strings, trace_id: Fixed<16>, span_id: Fixed<8>, frames_function: Lists<Strings>,
        frames_file: Lists<Strings>, frames_line: Lists<Vec<i32>>, frames_in_app: Lists<Vec<u8>>, stack: Strings,
        tags: StringMaps, retention_days: Vec<u16>,
    }
}

table! {
    /// Rows of `patterns`.
    PatternColumns of PATTERNS {
        tenant: Dictionary, service: Dictionary, pattern_id: Vec<u64>, severity_number: Vec<u8>, first_ts: Vec<i64>, last_ts: Vec<i64>,
        received: Vec<i64>, count: Vec<u64>, template: Strings, sample: Strings, retention_days: Vec<u16>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_the_order_and_with_the_types_of_the_tables() {
        for (block, names) in [
            (SpanColumns::default().into_block(), SpanColumns::NAMES),
            (LogColumns::default().into_block(), LogColumns::NAMES),
            (SeriesColumns::default().into_block(), SeriesColumns::NAMES),
            (PointColumns::default().into_block(), PointColumns::NAMES),
            (HistogramColumns::default().into_block(), HistogramColumns::NAMES),
            (ExponentialColumns::default().into_block(), ExponentialColumns::NAMES),
            (SummaryColumns::default().into_block(), SummaryColumns::NAMES),
            (ExemplarColumns::default().into_block(), ExemplarColumns::NAMES),
            (ErrorColumns::default().into_block(), ErrorColumns::NAMES),
            (PatternColumns::default().into_block(), PatternColumns::NAMES),
        ] {
            let expected: Vec<&str> = block.table.columns.iter().map(|column| column.name).collect();
            let found: Vec<&str> = names.iter().map(|name| name.trim_start_matches("r#")).collect();
            assert_eq!(found, expected, "{}", block.table.name);
            block.check().unwrap();
            for (column, empty) in block.columns.iter().zip(block.table.empty_columns()) {
                assert_eq!(shape(column), shape(&empty), "{}", block.table.name);
            }
        }
    }

    fn shape(column: &Column) -> String {
        match column {
            Column::Array { items, .. } => format!("[{}]", shape(items)),
            Column::Fixed { width, .. } => format!("Fixed({width})"),
            other => format!("{:?}", std::mem::discriminant(other)),
        }
    }
}
