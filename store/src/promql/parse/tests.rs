//! What does not parse, and how that is said.

use proptest::prelude::*;

use super::*;

mod wording;

fn fails(text: &str) -> String {
    match parse(text) {
        Err(QueryError::BadData(message)) => message,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn messages_name_place_and_cause() {
    for (text, expected) in [
        ("sum(foo(bar))", "1:5: parse error: unknown function with name \"foo\""),
        ("a\n + nonsense(b)", "2:4: parse error: unknown function with name \"nonsense\""),
        ("rate(x)", "expected type range vector in call to function \"rate\", got instant vector"),
        ("x[5m] + 1", "binary expression must contain only scalar and instant vector types"),
        ("1 > 2", "comparisons between scalars must use BOOL modifier"),
        ("integral(x[5m])", "1:1: parse error: function 'integral' is not supported"),
        ("histogram_quantiles(x, \"\", 0.5)", "invalid label name"),
        ("info(x, y offset 1m)", "expected label selectors"),
        ("a and fill(0) b", "fill"),
        ("a + fill(0) 1", "fill"),
        ("rate(x[5m] smoothed)", "1:12: parse error: the range modifiers anchored and smoothed are experimental"),
        ("rate(x[5m] anchored)", "experimental in Prometheus and not supported"),
        ("rate(x[5m + 1m])", "1:7: parse error: duration expressions are experimental"),
        ("x offset (1m * 2)", "duration expressions are experimental"),
        ("\"smoothed\" + x[", "parse error"),
        ("{a=\"1\" or b=\"2\"}", "`or` between label matchers"),
        ("{a=~\".*\"}", "vector selector must contain at least one non-empty matcher"),
        ("x{a=~\"(\"}", "illegal regex"),
        ("abs(1)", "expected type instant vector in call to function \"abs\", got scalar"),
        ("ln(0)", "expected type instant vector"),
        ("topk(x, y)", "expected type scalar"),
        ("count_values(\"\", y)", "invalid label name"),
        ("limitk(x, y)", "expected type scalar"),
        ("x[0s]", "duration must be greater than 0"),
        ("label_replace(x, \"a\", \"b\", \"c\", \"(\")", "invalid regular expression in label_replace(): ("),
        ("label_replace(x, \"\", \"b\", \"c\", \"d\")", "invalid destination label name"),
        ("x offset 1000000y", "out of range"),
        ("", "no expression found"),
        ("sum(", "unclosed left parenthesis"),
        ("a b", "unexpected identifier"),
        ("\"a\" + 1", "binary expression must contain only scalar and instant vector types"),
        ("-\"a\"", "unary expression only allowed on expressions of type scalar or"),
        ("x[5m][5m]", "ranges only allowed for vector selectors"),
        ("x[5m:0s]", "greater than 0"),
        ("sum by (a) (x) by (b)", "unexpected <by>"),
        ("vector(x)", "expected type scalar"),
        ("scalar(1)", "expected type instant vector"),
    ] {
        let message = fails(text);
        assert!(message.contains(expected), "{text}: {message}");
    }
}

#[test]
fn numbers_out_of_range_are_refused_without_a_panic() {
    for text in ["x[1e30]", "x[1e30:1m]", "x offset 1e30", "x[NaN]", "x @ 1e30"] {
        fails(text);
    }
}

#[test]
fn trees_too_deep_are_refused() {
    assert!(fails(&format!("{}x{}", "(-".repeat(1_001), ")".repeat(1_001))).contains("operators"));
    assert!(fails(&"1+".repeat(3_000)).contains("operators"));
    assert!(fails(&"x".repeat(200_000)).contains("bytes"));
    assert!(parse(&format!("{}x{}", "abs(".repeat(100), ")".repeat(100))).is_ok());
}

#[test]
fn everything_usual_parses() {
    for text in [
        "up",
        "{__name__=~\"a.*\"}",
        "{\"http.server\", \"label name\"=\"x\"}",
        "rate(x{a=\"b\",c!=\"d\",e=~\"f|g\",h!~\"i\"}[5m] offset -1h @ 1.5)",
        "rate(x[5m] @ end() offset 1m)",
        "x[1h30m:15s] offset 5m",
        "sum by (a, b) (x) / ignoring (c) group_left (d) y",
        "x == bool 1 and on () y unless z or w",
        "quantile_over_time(0.9, x[5m:])",
        "histogram_quantile(0.95, sum by (le, service_name) (rate(traces_span_metrics_duration_seconds_bucket[5m])))",
        "x{a=~\"b{c\"}",
        "count_values(\"v\", x) without (a)",
        "-x ^ 2",
        "\"text\"",
        "start() + end() + step() + range()",
    ] {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z(){}\\[\\]\"'@+*/^<>=!~,.:0-9 \n#-]{0,60}") {
        let _ = parse(&text);
        let _ = selector(&text);
    }

    #[test]
    fn no_mix_of_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "x", "{a=\"b\"}", "[5m]", "[5m:1m]", "offset", "5m", "@", "1", "sum", "by", "(", ")", "rate", "and", "on", "bool", "==", "-", ",",
        "group_left", "start()", "\"t\"", "topk", "1e30", "0x", "é", "{", "}",
    ]), 0..14)) {
        let _ = parse(&words.join(" "));
    }
}

#[test]
fn no_expression_needs_much_of_the_stack() {
    let nested = |open: &str, depth: usize| format!("{}x{}", open.repeat(depth), ")".repeat(depth));
    for (what, text) in [
        ("signs", nested("(-", 400)),
        ("parentheses", nested("(", 900)),
        ("calls", nested("abs(", 600)),
        ("aggregations", nested("sum(", 600)),
        ("powers", format!("x{}", " ^ x".repeat(900))),
        ("sums", format!("x{}", " + x".repeat(1_000))),
        ("signs alone", format!("{}x", "-".repeat(1_500))),
        ("subqueries", format!("x{}", "[5m:1m]".repeat(400))),
        ("open", "(".repeat(1_500)),
        ("deep", nested("abs(-", 99)),
        ("deep sums", format!("x{}", " + x".repeat(198))),
        ("deep powers", format!("x{}", " ^ x".repeat(198))),
    ] {
        eprintln!("{what}");
        // Half of what a thread of the server has.
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        let ended = thread.spawn(move || drop((parse(&text), tree(&text), format(&text)))).unwrap().join();
        assert!(ended.is_ok(), "{what}");
    }
}
