//! Numbers as Go and Prometheus write them: `%v`, `%.4g`, humanized values, durations and moments.

use model::time::Timestamp;

/// The decimal digits of a finite positive number (no trailing zeros), and the place of its decimal point.
fn digits(value: f64, significant: Option<usize>) -> (String, i32) {
    let text = match significant {
        Some(count) => format!("{:.*e}", count.max(1) - 1, value),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mut all: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    while all.len() > 1 && all.ends_with('0') {
        all.pop();
    }
    (all, exponent.parse::<i32>().unwrap_or(0) + 1)
}

fn special(value: f64) -> Option<String> {
    if value.is_nan() {
        Some("NaN".to_owned())
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned())
    } else {
        None
    }
}

/// Go's `%g` with a precision, or the shortest text that reads back as the same number (`%v`).
pub(super) fn format_g(value: f64, precision: Option<usize>) -> String {
    if let Some(text) = special(value) {
        return text;
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value == 0.0 {
        return format!("{sign}0");
    }
    let (all, point) = digits(value.abs(), precision);
    let count = all.len() as i32;
    // Go's strconv: the shortest form switches to an exponent at 10^6, as `%v` does.
    let limit = match precision.map(|p| p.max(1) as i32) {
        None => 6,
        Some(p) if p > count && count >= point => count,
        Some(p) => p,
    };
    let exponent = point - 1;
    if exponent < -4 || exponent >= limit {
        let (head, tail) = all.split_at(1);
        let dot = if tail.is_empty() { "" } else { "." };
        let mark = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{head}{dot}{tail}e{mark}{:02}", exponent.abs());
    }
    plain(sign, &all, point)
}

fn plain(sign: &str, all: &str, point: i32) -> String {
    let count = all.len() as i32;
    if point <= 0 {
        format!("{sign}0.{}{all}", "0".repeat(point.unsigned_abs() as usize))
    } else if point >= count {
        format!("{sign}{all}{}", "0".repeat((point - count) as usize))
    } else {
        let (head, tail) = all.split_at(point as usize);
        format!("{sign}{head}.{tail}")
    }
}

/// Go's `%v` of a float.
pub fn format_float(value: f64) -> String {
    format_g(value, None)
}

/// Go's `strconv.FormatFloat(v, 'e', -1, 64)`: how Prometheus's API shows the value of an alert.
pub fn format_e_shortest(value: f64) -> String {
    special(value).unwrap_or_else(|| go_exponent(&format!("{value:e}")))
}

/// Rust's `1.5e3` as Go writes it: `1.5e+03`.
fn go_exponent(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (mark, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{mark}{digits:0>2}")
}

/// Go's `%e` with a precision.
pub(super) fn format_e(value: f64, precision: usize) -> String {
    special(value).unwrap_or_else(|| go_exponent(&format!("{value:.precision$e}")))
}

/// Go's `%f` with a precision.
pub(super) fn format_f(value: f64, precision: usize) -> String {
    special(value).unwrap_or_else(|| format!("{value:.precision$}"))
}

/// How Go prints a moment in UTC: `2015-06-23 13:19:44.128 +0000 UTC`.
pub(super) fn format_time(millis: i64) -> String {
    let (second, milli) = (Timestamp::from_millis(millis).to_chrono().format("%Y-%m-%d %H:%M:%S"), millis.rem_euclid(1_000));
    let fraction = format!(".{milli:03}");
    format!("{second}{} +0000 UTC", fraction.trim_end_matches('0').trim_end_matches('.'))
}

/// How Go prints a duration of so many seconds: `1h0m1.5s`, `250ms`, `0s`.
pub(super) fn format_duration(seconds: f64) -> String {
    let nanos = (seconds * 1e9) as i64;
    let (sign, size) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let with = |whole: u64, per: u64, unit: &str| {
        let digits = per.ilog10() as usize;
        let text = format!("{}.{:0digits$}", whole / per, whole % per);
        format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    let text = match size {
        0 => "0s".to_owned(),
        1..=999 => format!("{size}ns"),
        1_000..=999_999 => with(size, 1_000, "µs"),
        1_000_000..=999_999_999 => with(size, 1_000_000, "ms"),
        _ => {
            let minutes = size / 60_000_000_000;
            let rest = with(size % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes) {
                (0, 0) => rest,
                (0, minutes) => format!("{minutes}m{rest}"),
                (hours, minutes) => format!("{hours}h{}m{rest}", minutes % 60),
            }
        }
    };
    format!("{sign}{text}")
}

const UP: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const UP_1024: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const DOWN: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

fn scale<'a>(mut value: f64, by: f64, up: bool, prefixes: &[&'a str]) -> (f64, &'a str) {
    let mut prefix = "";
    for next in prefixes {
        if up == (value.abs() < if up { by } else { 1.0 }) {
            break;
        }
        prefix = next;
        value = if up { value / by } else { value * by };
    }
    (value, prefix)
}

/// `1234567` -> `1.235M`
pub fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format_g(value, Some(4));
    }
    let (value, prefix) = if value.abs() >= 1.0 { scale(value, 1000.0, true, &UP) } else { scale(value, 1000.0, false, &DOWN) };
    format!("{}{prefix}", format_g(value, Some(4)))
}

/// `1048576` -> `1Mi`
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return format_g(value, Some(4));
    }
    let (value, prefix) = scale(value, 1024.0, true, &UP_1024);
    format!("{}{prefix}", format_g(value, Some(4)))
}

/// Seconds for people: `3661` -> `1h 1m 1s`, `0.01` -> `10ms`.
pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return format_g(value, Some(4));
    }
    if value == 0.0 {
        return format!("{}s", format_g(value, Some(4)));
    }
    if value.abs() < 1.0 {
        let (value, prefix) = scale(value, 1000.0, false, &DOWN);
        return format!("{}{prefix}s", format_g(value, Some(4)));
    }
    let (sign, value) = if value < 0.0 { ("-", -value) } else { ("", value) };
    let whole = value as i64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", format_g(value, Some(4)))
    }
}

/// `0.1234` -> `12.34%`
pub(super) fn humanize_percentage(value: f64) -> String {
    format!("{}%", format_g(value * 100.0, Some(4)))
}

/// Seconds since the epoch as milliseconds; `None` where no moment has this number.
pub(super) fn to_millis(seconds: f64) -> Option<i64> {
    let nanos = seconds * 1e9;
    (nanos.is_finite() && nanos.abs() < 9.2e18).then(|| (nanos as i64).div_euclid(1_000_000))
}
