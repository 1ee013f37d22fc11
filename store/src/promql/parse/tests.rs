//! What does not parse, and how that is said.

use proptest::prelude::*;

use super::*;

mod wording;

fn fails(text: &str) -> String {
    match parse(text) {
        Err(QueryError::BadData(message) | QueryError::Execution(message)) => message,
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
        ("{a=\"1\" or b=`\\d`}", "1:8: parse error: `or` between label matchers"),
        ("{a=~\".*\"}", "vector selector must contain at least one non-empty matcher"),
        ("x{a=~\"(\"}", "1:3: parse error: error parsing regexp: missing closing ): `(`"),
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

/// The matchers of the only selector of an expression.
fn matchers(text: &str) -> Vec<String> {
    let plan = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    plan.selectors[0].matchers.iter().map(|matcher| std::format!("{} {:?} {}", matcher.name, matcher.op, matcher.value)).collect()
}

#[test]
fn raw_strings_hold_what_they_hold() {
    for (text, expected) in [
        (r"{job=~`j\d`}", r"job Regex j\d"),
        (r"{job=`a\qb`}", r"job Equal a\qb"),
        ("{job=`a\"b\nc'\\`}", "job Equal a\"b\nc'\\"),
        (r"{job=~`\Qa.b\E`}", r"job Regex \Qa.b\E"),
        ("{job=~\"\\\\d{,2}[[a]\"}", r"job Regex \d{,2}[[a]"),
        (r"{`a\b`}", r"__name__ Equal a\b"),
        ("{job=`é\t\u{7}`}", "job Equal é\t\u{7}"),
    ] {
        assert_eq!(matchers(text), [expected], "{text}");
        assert_eq!(matchers(&format(text).unwrap()), [expected], "{text} as {}", format(text).unwrap());
    }
    let plan = parse(r#"label_replace(g, "x", `$1`, "job", `(j\d)`)"#).unwrap();
    assert!(std::format!("{:?}", plan.root).contains(r"(j[0-9])"), "{:?}", plan.root);
    assert_eq!(fails("`\\d` +\n x{a=`\\d`} b"), "2:12: parse error: unexpected identifier \"b\"");
    assert_eq!(fails(r#"x{`\d`="a", b=~`\d(`}"#), r"1:13: parse error: error parsing regexp: missing closing ): `\d(`");
}

#[test]
fn words_of_modifiers_are_names_too() {
    for (text, expected) in [
        ("smoothed{a=\"b\"}", vec!["__name__ Equal smoothed", "a Equal b"]),
        ("rate(anchored[5m])", vec!["__name__ Equal anchored"]),
        ("sum by (anchored, Smoothed) (x)", vec!["__name__ Equal x"]),
        ("{anchored=\"given_0\"}", vec!["anchored Equal given_0"]),
        ("anchored * on (smoothed) group_left (anchored) smoothed", vec!["__name__ Equal anchored"]),
    ] {
        let mut found = matchers(text);
        found.sort();
        assert_eq!(found, expected, "{text}");
    }
    assert_eq!(format("sum by(anchored,step)(smoothed)").unwrap(), "sum by (anchored, step) (smoothed)");
    assert!(fails("rate(anchored[5m] anchored)").starts_with("1:19: parse error: the range modifiers anchored and smoothed are"));
}

#[test]
fn what_info_joins_with_may_match_nothing() {
    for (text, expected) in [
        ("info(m, {data=~\".*\"})", vec!["__name__ Equal target_info", "data Regex .*"]),
        ("info(m,{non_existent=~`.*`})", vec!["__name__ Equal target_info", "non_existent Regex .*"]),
        ("info(m,{__name__!=\"target_info\"})", vec!["__name__ NotEqual target_info", "__name__ Regex .+_info"]),
        ("info(m, { })", vec!["__name__ Equal target_info"]),
        ("info(m,{__name__!~\".+_info\",data=~\".*\"})", vec!["__name__ NotRegex .+_info", "__name__ Regex .+_info", "data Regex .*"]),
    ] {
        let plan = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let found: Vec<String> =
            plan.selectors[1].matchers.iter().map(|matcher| std::format!("{} {:?} {}", matcher.name, matcher.op, matcher.value)).collect();
        assert_eq!(found, expected, "{text}");
    }
    assert_eq!(fails("info({}, {})"), "1:6: parse error: vector selector must contain at least one non-empty matcher");
}

#[test]
fn a_pattern_that_excludes_nothing_is_enough_for_a_selector() {
    for text in [r#"{job!~""}"#, r#"{a!~".*"}"#, r#"{namespace!~"|kube-system"}"#, r#"count({job!~""} offset 5m)"#] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
    }
    assert_eq!(matchers(r#"{"given\x5f"="a",b=~"c"}"#).len(), 2, "no matcher of the user's is taken for ours");
}

#[test]
fn hostile_texts_are_read_to_their_end() {
    let half = 60_000;
    for text in [
        format!("x{{{}}} # {}", "a=~\"\",".repeat(9_000), "_".repeat(half)),
        format!("x{{a=~\"{}\"}}", "{".repeat(2 * half)),
        format!("x{{a=~\"{}}}\"}}", "{".repeat(2 * half)),
        format!("x{{a=~\"[{}\"}}", "[:".repeat(half)),
        format!("x{{a=~`{}`}}", "\\".repeat(2 * half)),
    ] {
        let _ = parse(&text);
    }
}

#[test]
fn what_is_evaluated_fails_there_and_has_a_tree() {
    for (text, expected) in [
        ("label_replace(x, \"a\", \"b\", \"c\", \"(\")", "invalid regular expression in label_replace(): ("),
        ("label_replace(x, \"\", \"b\", \"c\", \"d\")", "invalid destination label name in label_replace(): "),
        ("label_join(x, \"a\", \"b\", \"\")", "invalid source label name in label_join(): "),
        ("label_join(x, \"\", \"b\", \"c\")", "invalid destination label name in label_join(): "),
    ] {
        assert!(matches!(parse(text), Err(QueryError::Execution(said)) if said == expected), "{text}: {:?}", parse(text));
        assert!(tree(text).is_ok() && format(text).is_ok(), "{text}");
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(&tree(text).unwrap_or_else(|error| panic!("{text}: {error}"))).unwrap()
}

#[test]
fn trees_are_those_of_prometheus() {
    let name = |name: &str| serde_json::json!({"name": "__name__", "type": "=", "value": name});
    let selector = |name_before: &str, matchers: &[serde_json::Value]| {
        serde_json::json!({"type": "vectorSelector", "name": name_before, "offset": 0, "matchers": matchers, "timestamp": null,
            "startOrEnd": null, "anchored": false, "smoothed": false})
    };
    assert_eq!(json("foo"), selector("foo", &[name("foo")]));
    assert_eq!(json("{\"a.b\"}"), selector("", &[name("a.b")]));
    let fill = serde_json::json!({"lhs": null, "rhs": null});
    let division = serde_json::json!({"type": "binaryExpr", "op": "/", "bool": false, "lhs": selector("foo", &[name("foo")]),
        "rhs": selector("bar", &[name("bar")]),
        "matching": {"card": "one-to-one", "labels": [], "on": false, "include": [], "fillValues": fill}});
    assert_eq!(json("foo/bar"), division);
    for (text, card) in [
        ("a or b", "many-to-many"),
        ("a and on (x) b", "many-to-many"),
        ("a * on (x) group_left (y) b", "many-to-one"),
        ("a * ignoring (x) group_right (y) b", "one-to-many"),
    ] {
        assert_eq!(json(text)["matching"]["card"], card, "{text}");
    }
    let grouped = &json("a * on (x) group_left (y, anchored) b")["matching"];
    assert_eq!((&grouped["include"], &grouped["labels"]), (&serde_json::json!(["y", "anchored"]), &serde_json::json!(["x"])));
    assert_eq!(json("a * 2")["matching"], serde_json::Value::Null);
    let plus = json("+ (-x)");
    assert_eq!((&plus["type"], &plus["op"], &plus["expr"]["expr"]["op"]), (&"unaryExpr".into(), &"+".into(), &"-".into()));
    let matrix = json("rate(x{a=\"b\"}[5m] @ 1.5 offset -1h)");
    let (function, matrix) = (&matrix["func"], &matrix["args"][0]);
    assert_eq!((&function["argTypes"], &function["returnType"]), (&serde_json::json!(["matrix"]), &"vector".into()));
    assert_eq!((&matrix["range"], &matrix["timestamp"], &matrix["offset"]), (&300_000.into(), &1_500.into(), &(-3_600_000).into()));
    assert_eq!(matrix["matchers"][1], name("x"));
    let subquery = json("x[5m:] @ end()");
    assert_eq!((&subquery["type"], &subquery["step"], &subquery["startOrEnd"]), (&"subquery".into(), &0.into(), &"end".into()));
    assert_eq!(json("topk(3, x)")["param"], serde_json::json!({"type": "numberLiteral", "val": "3"}));
}

#[test]
fn signs_stay_where_they_are() {
    for (text, expected) in
        [("+x", "+x"), ("+sum(-x)", "+sum(-x)"), ("- +x  + +1", "-+x + 1"), ("+(1)", "+(1)"), ("x offset 0s + 0s", "x offset 0s + 0")]
    {
        assert_eq!(format(text).unwrap(), expected);
    }
    let long = std::format!("+sum({}) + -{}", "x".repeat(70), "y".repeat(70));
    assert_eq!(format(&long).unwrap().matches('+').count(), 2, "{}", format(&long).unwrap());
}

#[test]
fn numbers_out_of_range_are_refused_without_a_panic() {
    for text in ["x[1e30]", "x[1e30:1m]", "x offset 1e30", "x[NaN]", "x @ 1e30"] {
        fails(text);
    }
}

#[test]
fn trees_too_deep_are_refused() {
    assert!(fails(&std::format!("{}x{}", "(-".repeat(2_001), ")".repeat(2_001))).contains("inside of more than 2000 brackets"));
    assert!(fails(&"1+".repeat(5_001)).contains("more than 5000 operators"));
    assert!(fails(&"x".repeat(200_000)).contains("bytes"));
    // A quote in a comment quotes nothing.
    assert!(fails(&std::format!("# it's\n{}x", "-".repeat(5_001))).contains("operators"));
    assert!(fails(&std::format!("x{{# it's\n}} + {}x", "(".repeat(3_000))).contains("brackets"));
    assert!(parse(&std::format!("{}x{}", "abs(".repeat(100), ")".repeat(100))).is_ok());
}

#[test]
fn what_is_long_but_not_deep_is_answered() {
    let labels = (0..3_000).map(|number| std::format!("label_{number}")).collect::<Vec<_>>().join(", ");
    let matchers = (0..3_000).map(|number| std::format!("l{number}!=\"x\"")).collect::<Vec<_>>().join(",");
    for text in [
        std::format!("x{{a=\"1\"}}{}", " or x{a=\"2\",b=~\"c\"}".repeat(700)),
        std::format!("sum by ({labels}) (x)"),
        std::format!("x{{{matchers}}}"),
        std::format!("x{}", " + x".repeat(1_900)),
        std::format!("sum({})", vec!["rate(x[5m])"; 1_000].join(" + ")),
    ] {
        assert!(parse(&text).is_ok(), "{}: {:?}", &text[..40], parse(&text).err());
    }
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
        ("as many signs as there may be", std::format!("{}x", "-".repeat(5_000))),
        ("as many sums as there may be", std::format!("x{}", " + x".repeat(5_000))),
        ("as many powers as there may be", std::format!("x{}", " ^ x".repeat(5_000))),
        ("as many calls as there may be", nested("abs(", 2_000)),
        ("as many aggregations as there may be", nested("sum(", 2_000)),
        ("sums in aggregations", nested("sum(", 500).replace('x', &std::format!("x{}", " + x".repeat(1_000)))),
    ] {
        eprintln!("{what}");
        // Half of what a thread of the server has.
        let thread = std::thread::Builder::new().stack_size(1 << 20);
        let ended = thread.spawn(move || drop((parse(&text), tree(&text), format(&text)))).unwrap().join();
        assert!(ended.is_ok(), "{what}");
    }
}
