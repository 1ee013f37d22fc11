//! What is said of expressions that are none: Prometheus 3's words and places. Source of the expected texts: its parser's own tests and
//! grammar (promql/parser), as facts. All experimental functions are enabled here, as with `--enable-feature=promql-experimental-functions`.

use super::super::*;
use super::fails;

/// Expression, place, message.
const WORDED: &[(&str, &str, &str)] = &[
    // Words.
    ("# just a comment\n\n", "1:1", "no expression found in input"),
    (".", "1:1", "unexpected character: '.'"),
    ("2.5.", "1:1", "bad number or duration syntax: \"2.5.\""),
    ("100..4", "1:1", "bad number or duration syntax: \"100..\""),
    ("0deadbeef", "1:1", "bad number or duration syntax: \"0de\""),
    ("1 !~ 1", "1:3", "unexpected character after '!': '~'"),
    ("1 =~ 1", "1:3", "unexpected character after '=': '~'"),
    ("x ! y", "1:3", "unexpected character after '!': ' '"),
    ("x $ y", "1:3", "unexpected character: '$'"),
    ("x{a!\"b\"}", "1:4", "unexpected character after '!' inside braces: '\"'"),
    ("x{a=\"b\"", "1:8", "unexpected end of input inside braces"),
    ("x{a={", "1:5", "unexpected left brace '{'"),
    ("x{a;b}", "1:4", "unexpected character inside braces: ';'"),
    ("\"text", "1:1", "unterminated quoted string"),
    ("x{a=\"b}", "1:5", "unterminated quoted string"),
    ("`text", "1:1", "unterminated raw string"),
    ("\"\\", "1:1", "escape sequence not terminated"),
    ("\"\\c\"", "1:1", "unknown escape sequence U+0063 'c'"),
    ("\"\\x.\"", "1:1", "illegal character U+002E '.' in escape sequence"),
    ("sum by (\"foo)(some_metric{})", "1:9", "unterminated quoted string"),
    // Brackets and parentheses.
    ("(1))", "1:5", "unexpected right parenthesis ')'"),
    ("((1)", "1:5", "unclosed left parenthesis"),
    ("(", "1:2", "unclosed left parenthesis"),
    ("sum(", "1:5", "unclosed left parenthesis"),
    ("rate(x[5m]", "1:11", "unclosed left parenthesis"),
    ("x]", "1:2", "unexpected right bracket ']'"),
    ("x[", "1:3", "unexpected end of input in duration expression"),
    ("x[5m", "1:5", "unclosed left bracket"),
    ("x[5m:30s", "1:9", "unclosed left bracket"),
    // What may not stand there.
    ("1+", "1:3", "unexpected end of input"),
    ("1 /", "1:4", "unexpected end of input"),
    ("*1", "1:1", "unexpected <op:*>"),
    ("@@", "1:1", "unexpected <op:@>"),
    ("-=", "1:2", "unexpected \"=\""),
    ("++-++-+-+-<", "1:11", "unexpected <op:<>"),
    ("e-+=/(0)", "1:4", "unexpected \"=\""),
    ("a b", "1:3", "unexpected identifier \"b\""),
    ("a 5m", "1:3", "unexpected duration \"5m\""),
    ("a 1", "1:3", "unexpected number \"1\""),
    ("a \"a long text\"", "1:3", "unexpected string \"\\\"a long te\"..."),
    ("a a:b", "1:3", "unexpected metric identifier \"a:b\""),
    ("(a,b)", "1:3", "unexpected \",\""),
    ("a\n  + sum(b)\n  c", "3:3", "unexpected identifier \"c\""),
    ("a - on(b) ignoring(c) d", "1:11", "unexpected <ignoring>"),
    ("a + group_left() b", "1:5", "unexpected <group_left>"),
    ("a and\nand b", "2:5", "unexpected identifier \"b\""),
    // Aggregations.
    ("sum(1+)", "1:7", "unexpected \")\" in aggregation"),
    ("sum(a b)", "1:7", "unexpected identifier \"b\" in aggregation"),
    ("sum by (a) b", "1:12", "unexpected identifier \"b\" in aggregation"),
    ("sum by a (x)", "1:8", "unexpected identifier \"a\" in grouping opts, expected \"(\""),
    ("sum by (a b) (x)", "1:11", "unexpected identifier \"b\" in grouping opts, expected \",\" or \")\""),
    ("sum by (5) (x)", "1:9", "unexpected number \"5\" in grouping opts, expected label"),
    ("sum some_metric by (test)", "1:5", "unexpected identifier \"some_metric\""),
    ("sum (some_metric) by test", "1:22", "unexpected identifier \"test\" in grouping opts, expected \"(\""),
    ("MIN (some_metric) keep_common", "1:19", "unexpected identifier \"keep_common\""),
    ("sum (some_metric) without (test) by (test)", "1:34", "unexpected <by>"),
    ("sum without (test) (some_metric) by (test)", "1:34", "unexpected <by>"),
    ("sum()", "1:1", "no arguments for aggregate expression provided"),
    ("topk(some_metric)", "1:1", "wrong number of arguments for aggregate expression provided, expected 2, got 1"),
    ("sum(a, b)", "1:1", "wrong number of arguments for aggregate expression provided, expected 1, got 2"),
    ("topk(some_metric,)", "1:17", "trailing commas not allowed in function call args"),
    ("topk(some_metric, other_metric)", "1:6", "expected type scalar in aggregation parameter, got instant vector"),
    ("count_values(5, other_metric)", "1:14", "expected type string in aggregation parameter, got scalar"),
    ("sum(x[5m])", "1:5", "expected type instant vector in aggregation expression, got range vector"),
    ("sum(1)", "1:5", "expected type instant vector in aggregation expression, got scalar"),
    // Selectors.
    ("{}", "1:1", "vector selector must contain at least one non-empty matcher"),
    ("1 + {a=~\".*\"}", "1:5", "vector selector must contain at least one non-empty matcher"),
    ("foo{__name__=\"bar\"}", "1:1", "metric name must not be set twice: \"foo\" or \"bar\""),
    ("foo{__name__= =\"bar\"}", "1:15", "unexpected \"=\" in label matching, expected string"),
    ("foo{__name__=\"bar\" lol}", "1:20", "unexpected identifier \"lol\" in label matching, expected \",\" or \"}\""),
    ("foo{\"a\"=}", "1:9", "unexpected \"}\" in label matching, expected string"),
    ("foo{gibberish}", "1:14", "unexpected \"}\" in label matching, expected label matching operator"),
    ("foo{a=}", "1:7", "unexpected \"}\" in label matching, expected string"),
    ("foo{,a=\"b\"}", "1:5", "unexpected \",\" in label matching, expected identifier or \"}\""),
    ("foo{a=b}", "1:7", "unexpected identifier \"b\" in label matching, expected string"),
    // Ranges, offsets, moments.
    ("foo[5mm]", "1:5", "bad number or duration syntax: \"5mm\""),
    ("foo[5m1]", "1:5", "bad number or duration syntax: \"5m1\""),
    ("foo[5m:1m1]", "1:8", "bad number or duration syntax: \"1m1\""),
    ("foo[5y1hs]", "1:5", "unknown unit \"hs\" in duration \"5y1hs\""),
    ("foo[5m1h]", "1:5", "not a valid duration string: \"5m1h\""),
    ("foo[0m]", "1:5", "duration must be greater than 0"),
    ("foo[-1]", "1:5", "duration must be greater than 0"),
    ("foo[5m:0s]", "1:8", "duration must be greater than 0"),
    ("foo[\"5m\"]", "1:5", "unexpected character in duration expression: '\"'"),
    ("foo[]", "1:5", "unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()"),
    ("foo[5m 3]", "1:8", "unexpected number \"3\" in subquery or range, expected \":\" or \"]\""),
    ("(foo + bar)[5m]", "1:12", "ranges only allowed for vector selectors"),
    ("foo[5m][5m]", "1:8", "ranges only allowed for vector selectors"),
    ("some_metric OFFSET 1m[5m]", "1:22", "no offset modifiers allowed before range"),
    ("some_metric @ 1234 [5m]", "1:20", "no @ modifiers allowed before range"),
    ("some_metric[5m] OFFSET 1mm", "1:24", "bad number or duration syntax: \"1mm\""),
    ("some_metric[5m] OFFSET", "1:23", "unexpected end of input in offset, expected number, duration, step(), or range()"),
    ("some_metric[5m] @", "1:18", "unexpected end of input in @, expected timestamp"),
    ("x @ foo", "1:5", "unexpected identifier \"foo\" in @, expected timestamp"),
    ("foo offset 1s offset 2s", "1:1", "offset may not be set multiple times"),
    ("1 offset 1d", "1:1", "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery"),
    (
        "sum(x) + rate(some_metric[5m]) @ 1234",
        "1:10",
        "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
    ),
    ("1 + x @ NaN", "1:5", "timestamp out of bounds for @ modifier: NaN"),
    ("x @ Inf", "1:1", "timestamp out of bounds for @ modifier: +Inf"),
    ("x @ -Inf", "1:1", "timestamp out of bounds for @ modifier: -Inf"),
    ("x @ 1e20", "1:1", "timestamp out of bounds for @ modifier: 100000000000000000000.000000"),
    // Patterns.
    ("x{b=\"c\", a=~\"(\"}", "1:10", "error parsing regexp: missing closing ): `(`"),
    ("x{a!~\"[a\"}", "1:3", "error parsing regexp: missing closing ]: `[a`"),
    ("x{a=~\"*\"}", "1:3", "error parsing regexp: missing argument to repetition operator: `*`"),
    ("x{a=~`\\8`}", "1:3", "error parsing regexp: invalid escape sequence: `\\8`"),
    ("x{a=~\"a{2,1}\"}", "1:3", "error parsing regexp: invalid repeat count: `{2,1}`"),
    ("x{a=~\"[[:foo:]]\"}", "1:3", "error parsing regexp: invalid character class range: `[:foo:]`"),
    ("x{a=~\"a**\"}", "1:3", "error parsing regexp: invalid nested repetition operator: `**`"),
    // Types.
    ("1 and 1", "1:1", "set operator \"and\" not allowed in binary scalar expression"),
    ("x unless 1", "1:1", "set operator \"unless\" not allowed in binary scalar expression"),
    ("1 == 1", "1:3", "comparisons between scalars must use BOOL modifier"),
    ("x + bool y", "1:3", "bool modifier can only be used on comparison operators"),
    ("-\"string\"", "1:1", "unary expression only allowed on expressions of type scalar or instant vector, got \"string\""),
    ("-test[5m]", "1:1", "unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\""),
    ("1 + \"text\"", "1:5", "binary expression must contain only scalar and instant vector types"),
    ("x[5m] + 1", "1:1", "binary expression must contain only scalar and instant vector types"),
    ("1 + on (a) x", "1:1", "vector matching only allowed between instant vectors"),
    ("x and on (a) group_left (b) y", "1:1", "no grouping allowed for \"and\" operation"),
    ("x + on (a) group_left (a) y", "1:3", "label \"a\" must not occur in ON and GROUP clause at once"),
    ("1[5m:1m]", "1:1", "subquery is only allowed on instant vector, got scalar instead"),
    // Calls.
    ("floor()", "1:1", "expected 1 argument(s) in call to \"floor\", got 0"),
    ("floor(some_metric, 1)", "1:1", "expected 1 argument(s) in call to \"floor\", got 2"),
    ("floor(1)", "1:7", "expected type instant vector in call to function \"floor\", got scalar"),
    ("hour(a, a, a)", "1:1", "expected at most 1 argument(s) in call to \"hour\", got 3"),
    ("label_join(a)", "1:1", "expected at least 3 argument(s) in call to \"label_join\", got 1"),
    ("time(some_metric)", "1:1", "expected 0 argument(s) in call to \"time\", got 1"),
    ("sum(foo(bar))", "1:5", "unknown function with name \"foo\""),
    ("a>b()", "1:3", "unknown function with name \"b\""),
    ("holt_winters(x[5m], 0.5, 0.5)", "1:1", "unknown function with name \"holt_winters\""),
    ("rate(some_metric)", "1:6", "expected type range vector in call to function \"rate\", got instant vector"),
    ("rate(avg)", "1:6", "expected type range vector in call to function \"rate\", got instant vector"),
    ("abs(x[5m])", "1:5", "expected type instant vector in call to function \"abs\", got range vector"),
    ("histogram_quantile(x, 0.9)", "1:20", "expected type scalar in call to function \"histogram_quantile\", got instant vector"),
    ("quantile_over_time(x[5m], 0.9)", "1:20", "expected type scalar in call to function \"quantile_over_time\", got range vector"),
    ("label_replace(x, 1, \"b\", \"c\", \"d\")", "1:18", "expected type string in call to function \"label_replace\", got scalar"),
    ("sum(\n  rate(x)\n)", "2:8", "expected type range vector in call to function \"rate\", got instant vector"),
    ("\"é\" + rate(x)", "1:13", "expected type range vector in call to function \"rate\", got instant vector"),
    ("info(x, y)", "1:9", "expected label selectors only, got vector selector instead"),
];

/// Where our words are others, and why.
const KNOWN_DIFFERENCES: &[(&str, &str)] = &[
    // Prometheus has it behind feature flags, and names the flag.
    (
        "rate(x[5m] smoothed)",
        "1:12: parse error: the range modifiers anchored and smoothed are experimental in Prometheus and not supported",
    ),
    ("rate(x[5m + 1m])", "1:7: parse error: duration expressions are experimental in Prometheus and not supported"),
    ("x offset (1m * 2)", "1:3: parse error: duration expressions are experimental in Prometheus and not supported"),
    ("integral(x[5m])", "1:1: parse error: function 'integral' is not supported: it is experimental in Prometheus"),
    ("x </ 5", "1:3: parse error: the operators </ and >/, which trim native histograms, are not supported"),
    ("sum(x) >/ y", "1:8: parse error: the operators </ and >/, which trim native histograms"),
    // The crate reads what Prometheus does not have.
    ("{a=\"1\" or b=\"2\"}", "1:8: parse error: `or` between label matchers is not PromQL"),
    // Prometheus takes durations of up to 292 years, and fails beyond with "duration out of range".
    ("x offset 1000000y", "1:10: parse error: duration out of range (at most 100 years)"),
    ("x[1e30]", "1:3: parse error: duration out of range (at most 100 years)"),
    ("x[0.0001]", "1:3: parse error: duration must be greater than 0"),
];

#[test]
fn wrong_expressions_are_refused_in_the_words_of_prometheus() {
    assert!(WORDED.len() >= 60);
    let mut others = Vec::new();
    for (text, place, message) in WORDED {
        let (expected, said) = (format!("{place}: parse error: {message}"), fails(text));
        if said != expected {
            others.push(format!("{text:?}\n  expected {expected}\n  said     {said}"));
        }
    }
    assert!(others.is_empty(), "{} of {}:\n{}", others.len(), WORDED.len(), others.join("\n"));
}

#[test]
fn where_our_words_are_others_they_are_clear() {
    for (text, expected) in KNOWN_DIFFERENCES {
        let said = fails(text);
        assert!(said.starts_with(expected), "{text}: {said}");
    }
}

#[test]
fn every_function_is_computed_except_those_that_the_readme_names() {
    let readme = include_str!("../../../../../README.md");
    let section = readme.split("## PromQL\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let mut refused = Vec::new();
    for (arguments, _, _, names) in types::FUNCTIONS {
        for name in names.split(' ') {
            let argument = |letter: char| match letter {
                'v' if name == "info" => "{a=\"b\"}",
                'v' => "x",
                'm' => "x[5m]",
                's' => "1",
                _ => "\"a\"",
            };
            let call = format!("{name}({})", arguments.chars().map(argument).collect::<Vec<_>>().join(", "));
            match parse(&call) {
                Ok(_) => {}
                Err(QueryError::BadData(message)) => {
                    assert_eq!(message, format!("1:1: parse error: function '{name}' is not supported: it is experimental in Prometheus"));
                    refused.push(name);
                }
                Err(other) => panic!("{call}: {other}"),
            }
        }
    }
    assert_eq!(refused, ["integral"]);
    for name in
        refused.iter().chain(&["anchored", "smoothed", "start_timestamp", "[5m + 1m]", "offset (1m * 2)", "</", ">/", "5,000 operators"])
    {
        assert!(section.contains(name), "the README does not name {name}");
    }
}

#[test]
fn what_parses_is_read_and_typed_alike() {
    for text in [
        "up",
        "{\"http.server\", \"label name\"=\"x\", a=~\"b{c\"}",
        "rate(x{a=\"b\",c!=\"d\",e=~\"f|g\",h!~\"i\",}[5m] offset -1h @ 1.5)",
        "rate(x[5m] @ end() offset 1m)",
        "x[1h30m:15s] offset 5m",
        "sum by (a, b,) (x) / ignoring (c) group_left (d) y",
        "x == bool 1 and on () y unless z or w",
        "quantile_over_time(0.9, x[5m:])",
        "count_values(\"v\", x) without (a)",
        "-x ^ -2 * 3 atan2 +y",
        "start() + end() + step() + range() + 0x1F + 1e-3 + Inf + NaN + 5m + .5",
        "sum(sum) + by + and + offset{a=\"b\"} + fill + step",
        "x + fill (0) y + on (a) group_right fill_left(1) fill_right (2) z",
        "x offset 3600 @ -1 + sum_over_time(x[300] @ start()) + ((1))",
        "hour() + hour(x) + round(x, 5) + info(x, {a=\"b\"}) + info(x)",
        "sort_by_label(x, \"a\", \"b\") + label_join(x, \"a\", \"-\") + histogram_quantiles(x, \"q\", 0.5, 0.9)",
        "# comment\nx # another\n + y",
    ] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
        let (tree, _) = grammar::read(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        types::check(&tree).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }
}

#[test]
fn parts_of_an_expression_have_their_places() {
    let text = "+sum by (a) (\n  topk(3, rate(x[5m])) / -(y ^ 2)\n)";
    let (expr, tree) = syntax(text, Pluses::Dropped).unwrap();
    let tree = tree.unwrap();
    let places = Places::new(text, &expr, &tree);
    let at = |expr: &Expr| (places.of(expr).line, places.of(expr).column);
    let Expr::Aggregate(sum) = &expr else { panic!("{expr:?}") };
    let Expr::Binary(binary) = &*sum.expr else { panic!("{:?}", sum.expr) };
    let Expr::Aggregate(topk) = &*binary.lhs else { panic!("{:?}", binary.lhs) };
    assert_eq!((at(&expr), at(&sum.expr), at(&binary.rhs)), ((1, 1), (2, 3), (2, 26)));
    assert_eq!((at(topk.param.as_ref().unwrap()), at(&topk.expr)), ((2, 8), (2, 11)));
}

mod random {
    use proptest::prelude::*;

    use super::super::super::*;

    /// Expressions of some depth; all of them parse.
    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec!["x", "x{a=\"b\"}", "{__name__=~\"x.*\"}", "x offset 5m", "x @ start()", "sum", "hour()"]);
        leaf.prop_map(str::to_owned).prop_recursive(5, 40, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|x| format!("sum by (a) ({x})")),
                inner.clone().prop_map(|x| format!("topk(2, {x}) without (b, c)")),
                inner.clone().prop_map(|x| format!("-{x}")),
                inner.clone().prop_map(|x| format!("+ ({x})")),
                inner.clone().prop_map(|x| format!("max_over_time(({x})[5m:1m] offset 1m)")),
                inner.clone().prop_map(|x| format!("clamp({x}, 1, 2 * 3)")),
                (
                    inner.clone(),
                    inner.clone(),
                    prop::sample::select(vec!["+", "^", "> bool", "and on (a)", "* ignoring (b) group_left ()", "or"])
                )
                    .prop_map(|(a, b, op)| format!("{a} {op} {b}")),
            ]
        })
    }

    proptest! {
        /// Every part of what the crate reads has a place that begins with it.
        #[test]
        fn both_read_the_same_tree(text in expression()) {
            let (expr, _) = syntax(&text, Pluses::Dropped).unwrap();
            let tree = grammar::read(&text);
            prop_assert!(tree.is_ok(), "{}: {:?}", text, tree);
            let (tree, _) = tree.unwrap();
            prop_assert!(types::check(&tree).is_ok(), "{}: {:?}", text, types::check(&tree));
            let places = Places::new(&text, &expr, &tree);
            let mut left = vec![&expr];
            while let Some(part) = left.pop() {
                let place = places.of(part);
                prop_assert!(place.line == 1, "{} has no place in {}", part, text);
                match part {
                    Expr::Paren(of) => left.push(&of.expr),
                    Expr::Unary(of) => left.push(&of.expr),
                    Expr::Binary(of) => left.extend([&*of.lhs, &*of.rhs]),
                    Expr::Aggregate(of) => left.push(&of.expr),
                    Expr::Subquery(of) => left.push(&of.expr),
                    Expr::Call(of) => {
                        prop_assert!(text[place.column - 1..].starts_with(of.func.name), "{} at {:?} in {}", part, place, text);
                        left.extend(of.args.args.iter().map(|one| &**one));
                    }
                    _ => {}
                }
            }
        }

        /// What is refused in Prometheus's words is refused, and what is not is read by both.
        #[test]
        fn both_refuse_the_same(words in prop::collection::vec(prop::sample::select(vec![
            "x", "{a=\"b\"}", "[5m]", "[5m:1m]", "[5m:]", "offset", "5m", "@", "1", "sum", "by", "(a)", "(", ")", "(", ")", "rate", "and", "on", "bool",
            "==", "-", ",", "group_left", "start()", "\"t\"", "topk", "+", "*", "^", "max_over_time", "without", "ignoring", "time()", "y:z", "vector",
            "clamp", "info", "unless", "abs", "(a, b,)", "{}", "{\"u\"}", "fill(0)", "quantile", "atan2", "end",
        ]), 1..9)) {
            let text = words.join(" ");
            let read = grammar::read(&text);
            let accepted = promql_parser::parser::parse(&text).is_ok();
            match &read {
                Ok((tree, _)) => prop_assert!(accepted || types::check(tree).is_err(), "{}: read here alone", text),
                Err(grammar::Unread::Wrong(wrong)) => prop_assert!(!accepted, "{}: {:?}", text, wrong),
                Err(grammar::Unread::GivenUp) => {}
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[a-z(){}\\[\\]\"'@+*/^<>=!~,.:0-9 \n#é\\\\-]{0,60}") {
            if let Ok((tree, _)) = grammar::read(&text) {
                let _ = types::check(&tree);
            }
        }
    }
}
