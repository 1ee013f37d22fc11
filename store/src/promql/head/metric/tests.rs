//! Selectors over the series of a metric: what they look at, beside a plain scan, while series come, are named late, and go.

use proptest::prelude::*;

use super::*;

const NAME: &str = "x_total";

fn labels(job: u64, series: u64) -> Vec<(String, String)> {
    let all = [
        ("job", format!("job-{job}")),
        ("series", series.to_string()),
        ("zone", if series.is_multiple_of(3) { "z" } else { "" }.to_owned()),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
    Matcher::new(name, op, value).unwrap()
}

fn append(metric: &Metric, fingerprint: u64, at: i64) -> isize {
    metric.append(&Points { fingerprints: &[fingerprint], times: &[at], values: &[1.0], flags: &[0] }, i64::MIN)
}

/// A metric of so many series in ten jobs, each with a sample.
fn filled(series: u64) -> Metric {
    let metric = Metric::default();
    for number in 0..series {
        // Fingerprints are in another order than labels.
        let fingerprint = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        append(&metric, fingerprint, 10);
        metric.name(fingerprint, Known::new(NAME, labels(number % 10, number), (1, 1, 1)));
    }
    metric
}

fn texts(found: &Found) -> Vec<String> {
    found.held.iter().map(|(known, _)| known.labels.to_string()).collect()
}

#[test]
fn a_question_for_one_series_looks_at_one_and_one_for_a_job_at_the_jobs() {
    let metric = filled(8_400);
    let name = || matcher(METRIC_NAME, MatchOp::Equal, NAME);
    let ask = |matchers: &[Matcher]| metric.hold(matchers, 0, 100, 100_000).unwrap();
    let one = ask(&[name(), matcher("series", MatchOp::Equal, "7"), matcher("job", MatchOp::Regex, "job-.*")]);
    assert_eq!((texts(&one), one.looked_at), (vec!["x_total{job=\"job-7\", series=\"7\"}".to_owned()], 1));
    let job = ask(&[matcher("job", MatchOp::Equal, "job-3"), name(), matcher("zone", MatchOp::NotEqual, "")]);
    assert_eq!((job.held.len(), job.looked_at), (280, 840));
    let some = ask(&[name(), matcher("series", MatchOp::Regex, "(7|8399|none)")]);
    assert_eq!((texts(&some).len(), some.looked_at), (2, 2));
    let absent = ask(&[name(), matcher("nothing", MatchOp::Equal, "7")]);
    assert_eq!((absent.held.len(), absent.looked_at), (0, 0));
    let all = ask(&[name(), matcher("zone", MatchOp::Equal, "")]);
    assert_eq!((all.held.len(), all.looked_at), (5_600, 8_400));
    let sorted = texts(&all);
    let mut expected: Vec<Arc<Labels>> = all.held.iter().map(|(known, _)| known.labels.clone()).collect();
    expected.sort();
    assert_eq!(sorted, expected.iter().map(ToString::to_string).collect::<Vec<_>>());
    let other = ask(&[matcher(METRIC_NAME, MatchOp::Regex, "y.*"), matcher("series", MatchOp::Equal, "7")]);
    assert_eq!((other.held.len(), other.looked_at), (0, 0));
    assert_eq!(metric.hold(&[name()], 0, 100, 5).unwrap().held.len(), 6, "one more than may be");
}

#[test]
fn what_is_said_again_of_a_series_changes_no_order() {
    let metric = filled(50);
    metric.hold(&[], 0, 100, 100).unwrap();
    let grown = metric.name(0, Known::new(NAME, labels(0, 0), (1, 1, 1)));
    assert_eq!((grown, metric.write().fresh.len()), (0, 0));
    metric.name(0, Known::new(NAME, labels(9, 999), (1, 1, 1)));
    let ask = |value: &str| texts(&metric.hold(&[matcher("series", MatchOp::Equal, value)], 0, 100, 100).unwrap()).len();
    assert_eq!((ask("0"), ask("999")), (0, 1), "of two that share a fingerprint the later one counts");
    assert_eq!(metric.hold(&[], 0, 100, 100).unwrap().held.len(), 50);
}

/// What happens to a metric.
#[derive(Clone, Debug)]
enum Step {
    Name(u64),
    Append(u64, i64),
    Forget(i64),
    Ask(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..40).prop_map(Step::Name),
        4 => (0u64..40, 0i64..100).prop_map(|(series, at)| Step::Append(series, at)),
        1 => (0i64..100).prop_map(Step::Forget),
        2 => (0usize..7).prop_map(Step::Ask),
    ]
}

proptest! {
    /// Beside a list of series with the times of their samples.
    #[test]
    fn answers_are_those_of_a_scan(steps in prop::collection::vec(step(), 1..120)) {
        let metric = Metric::default();
        let mut plain: std::collections::BTreeMap<u64, (bool, Vec<i64>)> = std::collections::BTreeMap::new();
        let (mut bytes, mut floor) = (0isize, i64::MIN);
        for step in steps {
            match step {
                Step::Name(series) => {
                    bytes += metric.name(series, Known::new(NAME, labels(series % 10, series), (1, 1, 1)));
                    plain.entry(series).or_default().0 = true;
                }
                Step::Append(series, at) if at > floor => {
                    bytes += append(&metric, series, at);
                    plain.entry(series).or_default().1.push(at);
                }
                Step::Append(..) => {}
                Step::Forget(until) => {
                    floor = floor.max(until);
                    bytes -= metric.forget(until) as isize;
                    // Samples that are not packed go together.
                    plain.retain(|_, (_, times)| times.iter().any(|at| *at > until));
                }
                Step::Ask(which) => {
                    let asked = match which {
                        0 => vec![],
                        1 => vec![matcher("series", MatchOp::Equal, "7")],
                        2 => vec![matcher("job", MatchOp::Equal, "job-1"), matcher("zone", MatchOp::Equal, "z")],
                        3 => vec![matcher("job", MatchOp::Regex, "job-1|job-2")],
                        4 => vec![matcher("zone", MatchOp::Regex, ".+"), matcher("job", MatchOp::NotRegex, "job-(0|9)")],
                        5 => vec![matcher("zone", MatchOp::NotEqual, "z")],
                        _ => vec![matcher("series", MatchOp::NotRegex, "1.*")],
                    };
                    let found = metric.hold(&asked, -1, 100, 1_000);
                    let expected = plain.values().all(|(known, _)| *known).then(|| {
                        let with_samples = plain.iter().filter(|(_, (_, times))| !times.is_empty());
                        let all = with_samples.map(|(series, _)| Known::new(NAME, labels(series % 10, *series), (1, 1, 1)).labels);
                        let mut all: Vec<_> = all.filter(|labels| asked.iter().all(|matcher| matcher.matches(labels))).collect();
                        all.sort();
                        all.iter().map(ToString::to_string).collect::<Vec<_>>()
                    });
                    prop_assert_eq!(found.as_ref().map(texts), expected);
                }
            }
        }
        bytes -= metric.forget(1_000) as isize;
        prop_assert_eq!(bytes, 0, "what grew is freed");
    }
}
