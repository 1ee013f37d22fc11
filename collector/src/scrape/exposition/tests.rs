//! Texts of both formats, and broken ones.

use model::labels::METRIC_NAME;
use proptest::prelude::*;

use super::*;

/// Every sample as `name{labels} value @time`, with its family's type.
fn told(text: &str, format: Format) -> Result<Vec<String>, String> {
    let found = parse(text, format).map_err(|error| error.to_string())?;
    let shown = found.samples.iter().map(|sample| {
        let labels: Vec<String> = pairs(sample.series).unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let kind = sample.family.map_or("-".to_owned(), |at| format!("{:?}", found.families[at].kind));
        let at = sample.at.map_or(String::new(), |at| format!(" @{at}"));
        format!("{} {}{at} {kind}", labels.join(" "), sample.value)
    });
    Ok(shown.collect())
}

#[test]
fn the_text_format_is_read() {
    let text = concat!(
        "# HELP go_gc A summary \\\\ of\\n pauses.\n# TYPE go_gc summary\n",
        "go_gc{quantile=\"0\",} 4.9351e-05\ngo_gc_sum 1.5\ngo_gc_count 42\n",
        "  \n# some comment\n#HELP no_comment x\n",
        "# TYPE requests_total counter\n\trequests_total{ code = \"200\" , path=\"/a\\\"b\\\\c\\nd\\t\"} 1027 1395066363000\n",
        "weird{a=\"b\"}+Inf -5\nnan NaN\nneg{} -Inf\n",
        "{\"my.metric\",\"label.name\"=\"x\",y=\"z\"} 3\n",
        "# TYPE \"my.other\" gauge\n{\"my.other\"} .5\n",
        "late_bucket{le=\"+Inf\"} 1\n# TYPE late histogram\n# TYPE other gauge\nother 1\nlate_bucket{le=\"1\"} 1\nlast 0x",
    );
    let error = told(text, Format::Text).unwrap_err();
    assert_eq!(error, "line 22: a value that is no number, at `0x`");
    let told = told(&text.replace("last 0x", "last 1e3"), Format::Text).unwrap();
    assert_eq!(
        told,
        [
            "__name__=go_gc quantile=0 0.000049351 Summary",
            "__name__=go_gc_sum 1.5 Summary",
            "__name__=go_gc_count 42 Summary",
            "__name__=requests_total code=200 path=/a\"b\\c\nd\\t 1027 @1395066363000 Counter",
            "__name__=weird a=b inf @-5 -",
            "__name__=nan NaN -",
            "__name__=neg -inf -",
            "__name__=my.metric label.name=x y=z 3 -",
            "__name__=my.other 0.5 Gauge",
            "__name__=late_bucket le=+Inf 1 -",
            "__name__=other 1 Gauge",
            "__name__=late_bucket le=1 1 Histogram",
            "__name__=last 1000 -",
        ]
    );
    let found = parse(text.split("go_gc{").next().unwrap(), Format::Text).unwrap();
    assert_eq!(found.families[0].help, "A summary \\ of\n pauses.");
}

#[test]
fn nan_is_the_one_that_prometheus_stores() {
    let found = parse("a NaN\n", Format::Text).unwrap();
    assert_eq!(found.samples[0].value.to_bits(), NORMAL_NAN);
}

#[test]
fn open_metrics_is_read() {
    let text = concat!(
        "# TYPE requests counter\n# UNIT requests_seconds seconds\n# HELP requests Say \\\"hi\\\".\n",
        "requests_total{path=\"/\"} 17.0 1520879607.789 # {trace_id=\"oHg5SJYRHA0\"} 9.8 1520879607.7\n",
        "requests_created{path=\"/\"} 1520872607.123\n",
        "# TYPE latency histogram\nlatency_bucket{le=\"1\"} 8 # {} 0.67\nlatency_count 8\nlatency_sum 3.4\n",
        "# TYPE build info\nbuild_info{v=\"1\"} 1\n# TYPE state stateset\nstate{state=\"on\"} 1\n",
        "# TYPE sizes gaugehistogram\nsizes_bucket{le=\"+Inf\"} 4\nsizes_gcount 4\n# EOF\n",
    );
    let found = parse(text, Format::OpenMetrics).unwrap();
    assert_eq!(found.families[0].help, "Say \"hi\".");
    assert_eq!(found.families[1].unit, "seconds");
    let first = &found.samples[0];
    assert_eq!(first.at, Some(1_520_879_607_789));
    let exemplar = first.exemplar.as_ref().unwrap();
    assert_eq!((exemplar.value, exemplar.at), (9.8, Some(1_520_879_607_700)));
    assert_eq!(pairs(exemplar.labels).unwrap(), [("trace_id".into(), "oHg5SJYRHA0".into())]);
    assert_eq!(found.samples[2].exemplar.as_ref().unwrap().at, None);
    let told = told(text, Format::OpenMetrics).unwrap();
    for (at, expected) in [(0, "Counter"), (1, "Counter"), (3, "Histogram"), (5, "Info"), (6, "StateSet"), (8, "GaugeHistogram")] {
        assert!(told[at].ends_with(expected), "{}", told[at]);
    }
    assert!(parse("# EOF", Format::OpenMetrics).unwrap().samples.is_empty());
}

#[test]
fn what_is_broken_is_named_with_its_line() {
    for (format, text, said) in [
        (Format::Text, "a{b=\"c\" 1\n", "line 1: `,` or `}` was expected"),
        (Format::Text, "ok 1\na{b=\"c} 1\n", "line 2: a quote is not closed"),
        (Format::Text, "a{b=c} 1\n", "a quote was expected"),
        (Format::Text, "a{b} 1\n", "`=` was expected"),
        (Format::Text, "a{9=\"c\"} 1\n", "a label name was expected"),
        (Format::Text, "9a 1\n", "a metric name was expected"),
        (Format::Text, "ä 1\n", "a metric name was expected"),
        (Format::Text, "a\n", "a value that is no number"),
        (Format::Text, "a 1 x\n", "a time that is no number"),
        (Format::Text, "a 1 1.5\n", "a time that is no number"),
        (Format::Text, "a 1 5 5\n", "something follows"),
        (Format::Text, "a 1 # {} 1\n", "something follows"),
        (Format::Text, "a 1\r\n", "a value that is no number"),
        (Format::Text, "a{,} 1\n", "a label name was expected"),
        (Format::Text, "{a=\"b\"} 1\n", "a series without a name"),
        (Format::Text, "a{\"b\"} 1\n", "a series with two names"),
        (Format::Text, "# TYPE a counters\n", "a type that nobody knows"),
        (Format::Text, "# TYPE a info\n", "a type that nobody knows"),
        (Format::Text, "<html><body>no metrics</body></html>", "line 1: a metric name was expected, at `<html>"),
        (Format::OpenMetrics, "", "without `# EOF`"),
        (Format::OpenMetrics, "a 1\n", "without `# EOF`"),
        (Format::OpenMetrics, "# TYPE a gauge\n", "without `# EOF`"),
        (Format::OpenMetrics, "# EOF\na 1\n", "something follows `# EOF`"),
        (Format::OpenMetrics, "\n# EOF\n", "an empty line"),
        (Format::OpenMetrics, "# just words\n# EOF\n", "a comment that is none of"),
        (Format::OpenMetrics, "# TYPE a untyped\n# EOF\n", "a type that nobody knows"),
        (Format::OpenMetrics, "# UNIT a seconds\n# EOF\n", "does not end the name"),
        (Format::OpenMetrics, "a 1 NaN\n# EOF\n", "a time that is no number"),
        (Format::OpenMetrics, "a 1 # {b=\"c\"}\n# EOF\n", "an exemplar's value"),
        (Format::OpenMetrics, "a 1 # b\n# EOF\n", "`{` was expected"),
    ] {
        match told(text, format) {
            Err(error) => assert!(error.contains(said), "{text:?}: {error}"),
            Ok(told) => panic!("{text:?}: {told:?}"),
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[ -~\n\\\\\"é#{}=,]{0,80}", open in any::<bool>()) {
        let format = if open { Format::OpenMetrics } else { Format::Text };
        if let Ok(found) = parse(&text, format) {
            for sample in &found.samples {
                prop_assert!(pairs(sample.series).is_ok());
            }
        }
    }

    #[test]
    fn broken_texts_do_not_make_it_panic(places in proptest::collection::vec((any::<prop::sample::Index>(), "[ -~\n]"), 1..5)) {
        let whole = "# HELP a b\n# TYPE a counter\na_total{b=\"c\\\"\",d=\"e\"} 1.5 17 # {x=\"y\"} 2 3\n# EOF\n";
        let mut text = whole.to_owned();
        for (place, with) in &places {
            let at = place.index(text.len());
            text.replace_range(at..at + 1, with);
        }
        for format in [Format::Text, Format::OpenMetrics] {
            let _ = parse(&text, format);
        }
    }

    #[test]
    fn labels_survive_being_written_and_read(value in "[ -~\né]{0,12}", name in "[a-z_:][a-z0-9_:]{0,5}") {
        let written = value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"");
        let text = format!("{name}{{l=\"{written}\"}} 1\n");
        let found = parse(&text, Format::Text).unwrap();
        let expected: Pairs<'_> = vec![(METRIC_NAME.into(), name.as_str().into()), ("l".into(), value.as_str().into())];
        prop_assert_eq!(pairs(found.samples[0].series).unwrap(), expected);
    }
}
