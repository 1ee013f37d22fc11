//! `golden.json` holds what Prometheus 2.42 itself made of these templates (`promtool test rules`).

use super::*;
use proptest::prelude::*;

fn data(value: f64) -> TemplateData {
    TemplateData {
        figures: BTreeMap::new(),
        labels: [("__name__", "v"), ("job", "api"), ("instance", "web1.example.com:80")].into_iter().collect(),
        value,
        external_labels: [("dc", "eu")].into_iter().collect(),
        external_url: "http://h/prom".to_owned(),
        at: Timestamp::from_millis(1_800_000_000_500),
    }
}

/// Answers `up` with instances b (1500) and a (1).
fn expand(text: &str, value: f64) -> String {
    let template = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let sample = |instance: &str, value: f64| (Labels::empty().with("instance", instance), value);
    let mut answers = Answers::new();
    loop {
        match template.expand(&data(value), &answers) {
            Expansion::Text(text) => return text,
            Expansion::Failed(reason) => return error_text(&reason),
            Expansion::NeedsQuery(expr) => {
                let answer = match expr.as_str() {
                    "up" => vec![sample("b", 1500.0), sample("a", 1.0)],
                    "up{instance='a'}" | "up{instance=\"a\"}" => vec![sample("a", 1.0)],
                    "up{instance='b'}" => vec![sample("b", 1500.0)],
                    _ => Vec::new(),
                };
                assert!(answers.insert(expr, Ok(answer)).is_none(), "{text} asks the same twice");
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct Golden {
    template: String,
    value: f64,
    text: String,
}

#[test]
fn templates_expand_as_prometheus_expands_them() {
    let golden: Vec<Golden> = serde_json::from_str(include_str!("golden.json")).unwrap();
    assert!(golden.len() > 80);
    let mut wrong = Vec::new();
    for Golden { template, value, text } in golden {
        let got = expand(&template, value);
        let same = if text.starts_with("<error") { got.starts_with(&text) } else { got == text };
        if !same {
            wrong.push(format!("{template} of {value}\n  Prometheus: {text}\n  here:       {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn external_labels_and_url_are_seen() {
    assert_eq!(
        expand("{{ externalURL }}|{{ pathPrefix }}|{{ $externalLabels.dc }}|{{ .ExternalURL }}", 1.0),
        "http://h/prom|/prom|eu|http://h/prom"
    );
}

/// What Prometheus 2.42 makes of these, but for `toDuration`, which it has not: that is Go's `time.Duration`.
#[test]
fn the_rarer_functions_and_verbs_of_go() {
    for (text, expanded) in [
        ("{{ slice $labels.instance 0 4 }} {{ slice \"abcdef\" 2 }} {{ slice \"abc\" }}", "web1 cdef abc"),
        ("{{ slice \"abc\" 2 9 }}", "<error expanding template: error calling slice: index out of range: 9>"),
        ("{{ (index (slice (query \"up\") 1) 0).Labels.instance }}", "a"),
        ("{{ js \"it's <b>\" }}", "it\\'s \\u003Cb\\u003E"),
        ("{{ printf \"%[2]d %[1]d\" 1 2 }} {{ printf \"%[1]s %[1]s\" \"a\" }} {{ printf \"%[3]d\" 1 2 }}", "2 1 a a %!d(BADINDEX)"),
        ("{{ printf \"%*d|%*d|\" 5 42 -5 42 }}", "   42|42   |"),
        ("{{ printf \"%T %T %U %#x %G\" $value \"a\" 65 255 1e-7 }}", "float64 string U+0041 0xff 1E-07"),
        ("{{ toTime 0 }} {{ toTime \"1.5\" }}", "1970-01-01 00:00:00 +0000 UTC 1970-01-01 00:00:01.5 +0000 UTC"),
        (
            "{{ toDuration 3601.5 }} {{ toDuration 90 }} {{ toDuration \"0.25\" }} {{ toDuration 0 }} {{ toDuration -2 }}",
            "1h0m1.5s 1m30s 250ms 0s -2s",
        ),
    ] {
        assert_eq!(expand(text, 1.0), expanded, "{text}");
    }
    let root = TemplateData { external_url: "http://h/".to_owned(), ..data(1.0) };
    let expanded = Template::parse("{{ pathPrefix }}/graph").unwrap().expand(&root, &Answers::new());
    assert_eq!(expanded, Expansion::Text("/graph".to_owned()));
}

#[test]
fn wrong_templates_are_refused_with_a_reason() {
    for (text, reason) in [
        ("{{ $labels.job", "unclosed action"),
        ("{{ if true }}x", "never closed"),
        ("{{ end }}", "no block is open"),
        ("{{ nope 1 }}", "function \"nope\" not defined"),
        ("{{ $nope }}", "undefined variable \"$nope\""),
        ("{{ }}", "missing value"),
        ("{{ $value | }}", "missing value"),
        ("{{ (printf \"a\" }}", "unclosed left paren"),
        ("{{ \"a }}", "unterminated"),
        ("{{ $value | 3 }}", "only a function"),
        ("{{ break }}", "outside"),
        ("{{/* a }}", "unclosed comment"),
        ("{{ if true }}{{ $z := 1 }}{{ end }}{{ $z }}", "undefined variable"),
        ("{{ template \"x\" }}", "cannot stand in a rule"),
    ] {
        let error = Template::parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert!(error.to_string().contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_failing_query_and_a_runaway_template_become_error_texts() {
    let template = Template::parse("{{ query \"x\" | first | value }}").unwrap();
    assert_eq!(template.expand(&data(1.0), &Answers::new()), Expansion::NeedsQuery("x".to_owned()));
    let answers = [("x".to_owned(), Err("no engine".to_owned()))].into();
    assert!(matches!(template.expand(&data(1.0), &answers), Expansion::Failed(reason) if reason.contains("no engine")));
    let endless = Template::parse("{{ range query \"a\" }}{{ range query \"a\" }}{{ printf \"%1000d\" 1 }}{{ end }}{{ end }}").unwrap();
    let many = (0..1_000).map(|at| (Labels::empty().with("at", &at.to_string()), 1.0)).collect();
    assert!(
        matches!(endless.expand(&data(1.0), &[("a".to_owned(), Ok(many))].into()), Expansion::Failed(reason) if reason.contains("longer"))
    );
    let deep = format!("{}1{}", "{{ (".to_owned() + &"(".repeat(500), ")".repeat(501) + " }}");
    assert!(Template::parse(&deep).unwrap_err().to_string().contains("nest deeper"));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_or_the_evaluator_panic(text in "(\\{\\{|\\}\\}|-|\\$[a-z]*|\\.|\"|`|\\(|\\)|\\||if|end|range|with|else|printf|query|first|humanize|%[a-z.0-9]*| |[0-9.e]{1,5}|:=|,|é){0,24}", value in any::<f64>()) {
        if let Ok(template) = Template::parse(&text) {
            template.expand(&data(value), &Answers::new());
        }
    }

    #[test]
    fn text_without_actions_stays(text in "[^{]{0,40}") {
        prop_assert_eq!(expand(&text, 1.0), text);
    }

    #[test]
    fn printed_numbers_read_back(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
        prop_assert_eq!(format_float(value).parse::<f64>().unwrap(), value);
    }
}

/// Prometheus has it since version 3: the moment of the evaluation, in seconds.
#[test]
fn now_is_the_moment_of_the_evaluation() {
    assert_eq!(expand("{{ now }} {{ humanizeTimestamp now }}", 1.0), "1.8000000005e+09 2027-01-15 08:00:00.5 +0000 UTC");
    assert!(expand("{{ now 1 }}", 1.0).contains("wrong number of args for now: got 1"));
}

#[test]
fn figures_of_an_anomaly_are_variables() {
    let of = |text: &str, data: &TemplateData| Template::parse(text).unwrap().expand(data, &Answers::new());
    let foreseen = TemplateData { figures: [("expected", 12.5)].into(), ..data(20.0) };
    let text = "{{ $value }} instead of {{ $expected }} {{ if gt $value $upper }}never{{ end }}";
    assert_eq!(of(text, &foreseen), Expansion::Text("20 instead of 12.5 ".to_owned()));
    assert_eq!(of("{{ $lower }}", &data(1.0)), Expansion::Text("NaN".to_owned()));
}
