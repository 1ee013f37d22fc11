//! Prometheus names for OpenTelemetry metrics and attributes: Prometheus's own OTLP translation with underscores and suffixes
//! (`UnderscoreEscapingWithSuffixes`, the default of Prometheus 3; behaviour after github.com/prometheus/otlptranslator).
//! In: names and units as sent. Out: names that PromQL can say. Fails: `None` where nothing speakable is left.

use std::borrow::Cow;

/// UCUM units and the words that Prometheus uses for them.
const UNITS: [(&str, &str); 24] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
];

/// Units after the slash, in the singular.
const PER_UNITS: [(&str, &str); 7] =
    [("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

/// What the suffix of a metric name depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A gauge: `_ratio` for unit `1`.
    Gauge,
    /// A monotonic sum, delta or cumulative: `_total`.
    Counter,
    /// Anything else: no suffix of its own.
    Other,
}

/// The Prometheus name of a metric; `None` where no letter, digit or colon is left.
pub fn metric_name(name: &str, unit: &str, kind: MetricKind) -> Option<String> {
    let mut tokens: Vec<Cow<'_, str>> =
        name.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':')).filter(|token| !token.is_empty()).map(Cow::Borrowed).collect();
    let (main, per) = unit_suffixes(unit);
    let main = if tokens.iter().any(|token| *token == main) { String::new() } else { main };
    let per = if tokens.iter().any(|token| *token == per) { String::new() } else { per };
    tokens.extend([main, per].into_iter().filter(|suffix| !suffix.is_empty()).map(Cow::Owned));
    let ending = match kind {
        MetricKind::Counter => Some("total"),
        MetricKind::Gauge if unit == "1" => Some("ratio"),
        MetricKind::Gauge | MetricKind::Other => None,
    };
    if let Some(ending) = ending {
        tokens.retain(|token| token != ending);
        tokens.push(Cow::Borrowed(ending));
    }
    let mut joined = tokens.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) {
        joined.insert(0, '_');
    }
    (!joined.is_empty()).then_some(joined)
}

/// The words for both sides of the slash; braces mark annotations, which are no units.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |part: &str, table: &[(&'static str, &'static str)]| -> String {
        let part = part.trim();
        if part.contains(['{', '}']) {
            return String::new();
        }
        clean(table.iter().find(|(from, _)| *from == part).map_or(part, |(_, to)| to))
    };
    let main = match main.trim() {
        "1" => String::new(),
        "%" => "percent".to_owned(),
        other => word(other, &UNITS),
    };
    let per = word(per, &PER_UNITS);
    let per = if per.is_empty() { per } else { format!("per_{}", per.trim_end_matches('_')) };
    (if per.is_empty() { main } else { main.trim_end_matches('_').to_owned() }, per)
}

/// Only letters, digits, colons and single underscores, none of them in front.
fn clean(unit: &str) -> String {
    let mut cleaned = String::with_capacity(unit.len());
    for c in unit.chars() {
        if c.is_ascii_alphanumeric() || c == ':' {
            cleaned.push(c);
        } else if !cleaned.ends_with('_') {
            cleaned.push('_');
        }
    }
    cleaned.trim_start_matches('_').to_owned()
}

/// The Prometheus name of an attribute; `None` where nothing but underscores is left.
pub fn label_name(key: &str) -> Option<Cow<'_, str>> {
    let fits = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let name: Cow<'_, str> = if fits {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect())
    };
    let first = name.bytes().next()?;
    if name.bytes().all(|b| b == b'_') {
        return None;
    }
    if first.is_ascii_digit() {
        return Some(Cow::Owned(format!("key_{name}")));
    }
    if first == b'_' && !name.starts_with("__") {
        return Some(Cow::Owned(format!("key{name}")));
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use MetricKind::{Counter, Gauge, Other};

    use super::*;

    #[test]
    fn metrics_are_named_as_prometheus_names_them() {
        for (name, unit, kind, expected) in [
            ("http.server.request.duration", "s", Other, "http_server_request_duration_seconds"),
            ("requests", "", Counter, "requests_total"),
            ("requests_total", "", Counter, "requests_total"),
            ("total.requests", "1", Counter, "requests_total"),
            ("items", "1", Counter, "items_total"),
            ("cpu_usage", "1", Gauge, "cpu_usage_ratio"),
            ("cpu_usage_ratio", "1", Gauge, "cpu_usage_ratio"),
            ("active_connections", "1", Other, "active_connections"),
            ("response_time", "ms", Gauge, "response_time_milliseconds"),
            ("response_time_seconds", "s", Gauge, "response_time_seconds"),
            ("cpu.time", "s", Counter, "cpu_time_seconds_total"),
            ("memory.usage", "By", Gauge, "memory_usage_bytes"),
            ("requests", "1/s", Gauge, "requests_per_second"),
            ("throughput", "By/s", Gauge, "throughput_bytes_per_second"),
            ("system.network.io", "By/mo", Other, "system_network_io_bytes_per_month"),
            ("custom_metric", "custom_unit", Gauge, "custom_metric_custom_unit"),
            ("custom_metric", "{custom}", Gauge, "custom_metric"),
            ("custom_metric", "By/{custom}", Gauge, "custom_metric_bytes"),
            ("http.server.active_requests", "{request}", Other, "http_server_active_requests"),
            ("disk", "%", Gauge, "disk_percent"),
            ("metric__with__underscores", "unit__x", Gauge, "metric_with_underscores_unit_x"),
            ("custom_metric", "unit@with#special/chars", Gauge, "custom_metric_unit_with_special_per_chars"),
            ("metric@@##$$name", "", Gauge, "metric_name"),
            ("123metric", "", Gauge, "_123metric"),
            ("job:rate:sum", "", Gauge, "job:rate:sum"),
            ("größe", "", Gauge, "gr_e"),
        ] {
            assert_eq!(metric_name(name, unit, kind).as_deref(), Some(expected), "{name} {unit} {kind:?}");
        }
        assert_eq!(metric_name("@#$%", "", Gauge), None);
        assert_eq!(metric_name("", "", Gauge), None);
    }

    #[test]
    fn labels_are_named_as_prometheus_names_them() {
        for (key, expected) in [
            ("http.method", Some("http_method")),
            ("label:with:colons", Some("label_with_colons")),
            ("LabelWithCapitals", Some("LabelWithCapitals")),
            ("label!with&special$chars)", Some("label_with_special_chars_")),
            ("foreign_字符", Some("foreign___")),
            ("123label", Some("key_123label")),
            ("_private", Some("key_private")),
            ("__reserved", Some("__reserved")),
            ("", None),
            ("__", None),
            ("ようこそ", None),
        ] {
            assert_eq!(label_name(key).as_deref(), expected, "{key}");
        }
    }
}
