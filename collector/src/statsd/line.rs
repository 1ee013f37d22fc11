//! A line: `name[,tag=value...]:value[:value...]|type[|@rate][|#tag:value,...][|T<seconds since 1970>]`. Pure. Fails: on what is no sample.

/// What a sample measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// `c`: added up.
    Counter,
    /// `g`: the last value counts; a value with a sign in front changes it.
    Gauge,
    /// `ms`: a distribution of milliseconds.
    Timer,
    /// `h` and `d`: a distribution.
    Histogram,
    /// `s`: how many different values there are.
    Set,
}

/// A line with one or more values of one series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    /// The name of the metric.
    pub(crate) name: &'a str,
    /// What it measures.
    pub(crate) kind: Kind,
    /// The values, divided by colons.
    pub(crate) values: &'a str,
    /// Which share of the measurements was sent, at most 1.
    pub(crate) rate: f64,
    /// Tags in the order of the line.
    pub(crate) tags: Vec<(&'a str, &'a str)>,
    /// When it was measured, in seconds since 1970, where the sender says so: of counters and gauges only.
    pub(crate) time: Option<i64>,
}

/// Why a line is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    /// Datadog's events and service checks.
    #[error("an event or service check, which are not kept")]
    NoMetric,
    /// A time of what has none in Datadog's protocol.
    #[error("a time with something else than a counter or a gauge")]
    Timed,
    /// Anything else.
    #[error("not a sample")]
    Malformed,
}

/// A smaller share would let one sample count for more than everything else.
const SMALLEST_RATE: f64 = 1e-6;
/// Most tags of a line.
const MOST_TAGS: usize = 128;
/// Longest name and tags of a line, in bytes: nobody's samples may take all the room.
const LONGEST_SERIES: usize = 8 << 10;

/// Reads a line without its end.
pub(crate) fn parse(line: &[u8]) -> Result<Sample<'_>, LineError> {
    let malformed = LineError::Malformed;
    let line = std::str::from_utf8(line).map_err(|_| malformed)?.trim();
    if line.starts_with("_e{") || line.starts_with("_sc|") {
        return Err(LineError::NoMetric);
    }
    // Control characters part the pieces of a series' identity.
    if line.chars().any(char::is_control) {
        return Err(malformed);
    }
    let mut sections = line.split('|');
    let (head, kind) = (sections.next().ok_or(malformed)?, sections.next().ok_or(malformed)?);
    let (series, values) = head.split_once(':').ok_or(malformed)?;
    let kind = match kind {
        "c" => Kind::Counter,
        "g" => Kind::Gauge,
        "ms" => Kind::Timer,
        "h" | "d" => Kind::Histogram,
        "s" => Kind::Set,
        _ => return Err(malformed),
    };
    let (mut rate, mut tags, mut time) = (1.0, Vec::new(), None);
    let mut parts = series.split(',');
    let name = parts.next().filter(|name| !name.is_empty()).ok_or(malformed)?;
    for tag in parts {
        add_tag(&mut tags, tag, '=')?;
    }
    for section in sections {
        if let Some(text) = section.strip_prefix('@') {
            rate = text.parse().ok().filter(|rate| (SMALLEST_RATE..=1.0).contains(rate)).ok_or(malformed)?;
        } else if let Some(list) = section.strip_prefix('#') {
            for tag in list.split(',').filter(|tag| !tag.is_empty()) {
                add_tag(&mut tags, tag, ':')?;
            }
        } else if let Some(seconds) = section.strip_prefix('T') {
            time = Some(seconds.parse().ok().filter(|seconds| *seconds > 0).ok_or(malformed)?);
        }
        // Others (container ids) say nothing that is kept.
    }
    let length = name.len() + tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    if values.is_empty() || length > LONGEST_SERIES {
        return Err(malformed);
    }
    if time.is_some() && !matches!(kind, Kind::Counter | Kind::Gauge) {
        return Err(LineError::Timed);
    }
    Ok(Sample { name, kind, values, rate, tags, time })
}

/// A tag and its value; one without a value is true.
fn add_tag<'a>(tags: &mut Vec<(&'a str, &'a str)>, tag: &'a str, divider: char) -> Result<(), LineError> {
    let (key, value) = tag.split_once(divider).unwrap_or((tag, "true"));
    if key.is_empty() || tags.len() >= MOST_TAGS {
        return Err(LineError::Malformed);
    }
    tags.push((key, value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind() {
        let sample = parse(b"page.views:1|c|@0.1|#env:prod,canary,url:http://x\n").unwrap();
        assert_eq!((sample.name, sample.kind, sample.values, sample.rate), ("page.views", Kind::Counter, "1", 0.1));
        assert_eq!(sample.tags, [("env", "prod"), ("canary", "true"), ("url", "http://x")]);
        let influx = parse(b"req,host=a,zone=b:1:2:3|ms").unwrap();
        assert_eq!((influx.name, influx.kind, influx.values), ("req", Kind::Timer, "1:2:3"));
        assert_eq!(influx.tags, [("host", "a"), ("zone", "b")]);
        for (line, kind) in [("a:-1|g", Kind::Gauge), ("a:x|s", Kind::Set), ("a:1|h", Kind::Histogram), ("a:1|d|c:id", Kind::Histogram)] {
            let sample = parse(line.as_bytes()).unwrap();
            assert_eq!((sample.kind, sample.time), (kind, None), "{line}");
        }
        for (line, time) in [("a:1|c|T1656581400", 1_656_581_400), ("a:-1|g|#t:T5|T17|c:id", 17)] {
            assert_eq!(parse(line.as_bytes()).unwrap().time, Some(time), "{line}");
        }
    }

    #[test]
    fn what_is_no_sample() {
        for line in [
            "",
            "a",
            "a:1",
            "a|c",
            ":1|c",
            "a:|c",
            "a:1|",
            "a:1|q",
            "a:1|c|@0",
            "a:1|c|@1e-9",
            "a:1|c|@2",
            "a:1|c|@x",
            "a:1|c|T",
            "a:1|c|T0",
            "a:1|g|T-5",
            "a:1|g|T1.5",
            "a:1|c|T99999999999999999999",
            "a:1|c|#:v",
            "a\u{1}:1|c",
            "a,=v:1|c",
        ] {
            assert_eq!(parse(line.as_bytes()), Err(LineError::Malformed), "{line}");
        }
        assert_eq!(parse(b"\xff:1|c"), Err(LineError::Malformed));
        assert_eq!(parse(b"_e{5,4}:title|text"), Err(LineError::NoMetric));
        assert_eq!(parse(b"_sc|db|0"), Err(LineError::NoMetric));
        for line in ["a:1|ms|T17", "a:1|h|T17", "a:1|d|T17", "a:x|s|T17"] {
            assert_eq!(parse(line.as_bytes()), Err(LineError::Timed), "{line}");
        }
        let (long, tags) = ("n".repeat(9_000), format!("n:1|c|#{}", format!("t:{},", "v".repeat(200)).repeat(60)));
        for line in [format!("{long}:1|c"), format!("a,t={long}:1|c"), tags] {
            assert_eq!(parse(line.as_bytes()), Err(LineError::Malformed));
        }
        let many = format!("a:1|c|#{}", "t:1,".repeat(200));
        assert_eq!(parse(many.as_bytes()), Err(LineError::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60), text in "[a-z,=:|@#.0-9cgmsh]{0,40}") {
            let _ = parse(&bytes);
            let _ = parse(text.as_bytes());
        }
    }
}
