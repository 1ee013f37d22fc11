//! What is read together, and whose part is what.

use model::labels::Labels;

use super::*;

const SPAN: Extent = Extent { after: 0, until: 300_000, wish: None };

fn selector(name: &str, pairs: &[(&str, MatchOp, &str)]) -> Vec<Matcher> {
    let name = Matcher::new(METRIC_NAME, MatchOp::Equal, name).unwrap();
    let rest = pairs.iter().map(|(name, op, value)| Matcher::new(name, *op, value).unwrap());
    [name].into_iter().chain(rest).collect()
}

fn series(pairs: &[(&str, &str)]) -> LoadedSeries {
    let labels: Labels = pairs.iter().copied().collect();
    let (delta, counter, histograms) = Default::default();
    LoadedSeries { labels: Arc::new(labels.with(METRIC_NAME, "up")), delta, counter, times: vec![1], values: vec![1.0], histograms }
}

fn asked(read: &Read) -> Vec<String> {
    read.matchers.iter().map(|matcher| format!("{}{:?}{}", matcher.name, matcher.op, matcher.value)).collect()
}

fn found(loaded: &Loaded) -> Vec<String> {
    loaded.samples().iter().map(|series| series.labels.to_string()).collect()
}

#[test]
fn of_one_metric_and_window_what_all_name_is_read_once() {
    use MatchOp::{Equal, NotEqual, Regex};
    let a = selector("up", &[("job", Equal, "api"), ("env", Equal, "prod"), ("code", Regex, "5..")]);
    let b = selector("up", &[("env", Equal, "prod"), ("job", Equal, "a.b")]);
    let c = selector("up", &[("job", Equal, "api"), ("env", Equal, "prod"), ("code", NotEqual, "")]);
    let reads = Reads::of(&[(&a, SPAN), (&b, SPAN), (&c, SPAN)]);
    let read = reads.find(&a, SPAN).unwrap();
    assert_eq!(asked(&read), ["__name__Equalup", "jobRegexa\\.b|api", "envEqualprod"], "no more than is wanted, as far as all say it");
    let all = read.all(Loaded::Samples(vec![
        series(&[("job", "a.b"), ("env", "prod"), ("code", "200")]),
        series(&[("job", "api"), ("env", "prod")]),
        series(&[("job", "api"), ("env", "prod"), ("code", "200")]),
        series(&[("job", "api"), ("env", "prod"), ("code", "503")]),
    ]));
    let part = |selector: &[Matcher]| found(&read.part(&all, selector)).len();
    assert_eq!((part(&a), part(&b), part(&c)), (1, 1, 2));
    assert!(Arc::ptr_eq(&reads.find(&b, SPAN).unwrap(), &read));
    assert!(reads.find(&c, SPAN).is_some());
    assert!(reads.find(&c, SPAN).is_none(), "all have had their part");
}

#[test]
fn another_metric_another_window_and_what_stands_alone_are_read_for_themselves() {
    let [up, down] = ["up", "down"].map(|name| selector(name, &[]));
    let longer = Extent { after: -300_000, ..SPAN };
    let any = vec![Matcher::new("job", MatchOp::Equal, "api").unwrap()];
    let reads = Reads::of(&[(&up, SPAN), (&up, longer), (&down, SPAN), (&any, SPAN), (&any, SPAN)]);
    assert!(reads.find(&up, SPAN).is_none() && reads.find(&down, SPAN).is_none() && reads.find(&any, SPAN).is_none());
    let twice = Reads::of(&[(&up, SPAN), (&down, SPAN), (&up, SPAN)]);
    let read = twice.find(&up, SPAN).unwrap();
    assert!(twice.find(&down, SPAN).is_none() && twice.find(&up, longer).is_none());
    let all = read.all(Loaded::Samples(vec![series(&[("job", "api")])]));
    assert!(Arc::ptr_eq(&read.part(&all, &up), &all.loaded), "all of it is not copied");
}

#[test]
fn ten_thousand_values_are_told_apart_without_a_pattern_of_them() {
    let selectors: Vec<Vec<Matcher>> =
        (0..10_000).map(|number| selector("up", &[("instance", MatchOp::Equal, &format!("host-{number}"))])).collect();
    let wanted: Vec<(&[Matcher], Extent)> = selectors.iter().map(|selector| (selector.as_slice(), SPAN)).collect();
    let reads = Reads::of(&wanted);
    let read = reads.find(&selectors[0], SPAN).unwrap();
    assert_eq!(asked(&read), ["__name__Equalup"]);
    let names: Vec<String> = (0..10_000).map(|number| format!("host-{number}")).collect();
    let all = read.all(Loaded::Samples(names.iter().map(|name| series(&[("instance", name)])).collect()));
    for number in [0, 7, 9_999] {
        assert_eq!(found(&read.part(&all, &selectors[number])), [format!("up{{instance=\"host-{number}\"}}")]);
    }
}
