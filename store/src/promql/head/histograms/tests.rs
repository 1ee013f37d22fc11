//! The series that are made of histograms, beside what the split of the same points gives: whatever comes, in whatever order, from the log
//! or filled in, named early or late, partly forgotten.

use model::labels::Labels;
use proptest::prelude::*;

use super::super::Answer;
use super::super::metric::Points;
use super::*;
use crate::promql::clickhouse::labels_of;
use crate::promql::eval::LoadedSeries;
use crate::promql::histogram::bound_text;
use crate::promql::source::{BUCKET_LABEL, Samples, Shape};

const PARTS: [Part; 3] = [Part::Bucket, Part::Sum, Part::Count];

/// A point and its sum.
type Point = (BucketPoint, f64);
/// Labels, and times with the bits of values.
type Series = (Labels, Vec<(i64, u64)>);

fn point(at: i64, bounds: &[f64], counts: &[u64]) -> Point {
    let count = counts.iter().sum();
    (BucketPoint { at, bounds: bounds.to_vec(), counts: counts.to_vec(), count, stale: false }, count as f64 * 0.3)
}

fn end(at: i64) -> Point {
    (BucketPoint { at, bounds: Vec::new(), counts: vec![0], count: 0, stale: true }, 0.0)
}

fn pairs() -> Vec<(String, String)> {
    vec![("job".to_owned(), "a".to_owned())]
}

fn known(delta: bool) -> Known {
    Known::new("x", pairs(), (2, if delta { 1 } else { 2 }, 0))
}

/// The histograms `x`, and how many bytes they take.
struct World {
    metrics: [Arc<Metric>; 3],
    histograms: Histograms,
    bytes: isize,
}

impl World {
    fn new() -> Self {
        let metrics: [Arc<Metric>; 3] = std::array::from_fn(|_| Arc::default());
        World { histograms: Histograms::new(metrics.clone()), metrics, bytes: 0 }
    }

    fn name(&mut self, fingerprint: u64, delta: bool) {
        self.bytes += self.histograms.name(fingerprint, known(delta));
    }

    fn append<'a>(&mut self, fingerprint: u64, points: impl IntoIterator<Item = &'a Point>, floor: i64) {
        let row = |(point, sum): &'a Point| {
            let BucketPoint { at, bounds, counts, count, stale } = point;
            (fingerprint, HistogramRow { at: *at, bounds, counts, count: *count, sum: *sum, stale: *stale })
        };
        self.bytes += self.histograms.append(points.into_iter().map(row), floor);
    }

    fn fill(&mut self, fingerprint: u64, points: impl IntoIterator<Item = Point>) {
        let (points, sums): (Vec<BucketPoint>, Vec<f64>) = points.into_iter().unzip();
        if !points.is_empty() {
            self.bytes += self.histograms.fill(fingerprint, points, &sums);
        }
    }

    fn forget(&mut self, until: i64) {
        self.bytes -= self.metrics.iter().map(|metric| metric.forget(until) as isize).sum::<isize>();
        self.bytes -= self.histograms.sweep(until) as isize;
    }

    fn loaded(&self, part: Part, after: i64, until: i64) -> Option<Vec<LoadedSeries>> {
        let metric = &self.metrics[PARTS.iter().position(|other| *other == part).unwrap()];
        let held = metric.hold(&[], after, until, 1_000)?.held;
        Some(Answer { held, after, until, max_samples: 1_000_000 }.unpack().unwrap())
    }

    fn ask(&self, part: Part, after: i64, until: i64) -> Option<Vec<Series>> {
        let series = |series: LoadedSeries| {
            assert!(series.counter && series.histograms.is_empty());
            let samples = series.times.iter().zip(&series.values).map(|(at, value)| (*at, value.to_bits()));
            (Labels::clone(&series.labels), samples.collect())
        };
        Some(self.loaded(part, after, until)?.into_iter().map(series).collect())
    }

    fn knows_nothing(&self) -> bool {
        self.bytes == 0 && self.histograms.lock().all.is_empty() && self.histograms.unknown().is_empty()
    }
}

/// What the store's way gives of points in order of time.
fn stored(points: &[Point], part: Part, after: i64, until: i64) -> Vec<Series> {
    let labels = labels_of("x", Shape::Histograms(part), pairs());
    let within: Vec<&Point> = points.iter().filter(|(point, _)| point.at > after && point.at <= until).collect();
    let bits = |times: &[i64], values: &[f64]| times.iter().copied().zip(values.iter().map(|value| value.to_bits())).collect();
    if part == Part::Bucket {
        let points: Vec<BucketPoint> = within.into_iter().map(|(point, _)| point.clone()).collect();
        let series = |(bound, samples): (f64, Samples)| {
            (labels.clone().with(BUCKET_LABEL, &bound_text(bound)), bits(&samples.times, &samples.values))
        };
        let mut all: Vec<Series> = split_buckets(&points).into_iter().map(series).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        return all;
    }
    let value = |(point, sum): &Point| match part {
        _ if point.stale => ABSENT,
        Part::Sum => *sum,
        Part::Count | Part::Bucket => point.count as f64,
    };
    let times: Vec<i64> = within.iter().map(|(point, _)| point.at).collect();
    let values: Vec<f64> = within.into_iter().map(value).collect();
    if times.is_empty() { Vec::new() } else { vec![(labels, bits(&times, &values))] }
}

#[test]
fn bounds_may_change_and_what_has_not_begun_does_not_end() {
    let mut world = World::new();
    world.name(7, false);
    let points = [
        end(5),
        point(10, &[0.5, 1.0], &[1, 2, 3]),
        end(20),
        point(30, &[0.25, 1.0], &[4, 0, 1]),
        end(40),
        point(50, &[0.25, 1.0], &[4, 1, 1]),
    ];
    world.append(7, &points, i64::MIN);
    // A late one, with a bound that no other has.
    let late = point(15, &[2.5], &[9, 1]);
    world.append(7, [&late], i64::MIN);
    let mut all: Vec<Point> = points.into_iter().chain([late]).collect();
    all.sort_by_key(|(point, _)| point.at);
    for (after, until) in [(0, 100), (4, 5), (5, 20), (10, 20), (12, 45), (20, 40), (30, 60), (60, 100)] {
        for part in PARTS {
            assert_eq!(world.ask(part, after, until), Some(stored(&all, part, after, until)), "{part:?} {after} {until}");
        }
    }
    let texts: Vec<String> = world.ask(Part::Bucket, 0, 100).unwrap().iter().map(|(labels, _)| labels.to_string()).collect();
    assert_eq!(texts[..2], ["x_bucket{job=\"a\", le=\"+Inf\"}".to_owned(), "x_bucket{job=\"a\", le=\"0.25\"}".to_owned()]);
}

#[test]
fn of_two_rows_at_a_moment_the_later_counts_unless_they_are_deltas() {
    let mut world = World::new();
    world.append(7, &[point(10, &[1.0], &[1, 2]), point(10, &[1.0], &[3, 4])], i64::MIN);
    let values = |world: &World, part| world.loaded(part, 0, 100).unwrap().into_iter().map(|series| series.values).collect::<Vec<_>>();
    world.name(7, true);
    assert_eq!(values(&world, Part::Bucket), [vec![3.0, 7.0], vec![1.0, 3.0]]);
    assert_eq!(values(&world, Part::Count), [vec![3.0, 7.0]]);
    assert!(PARTS.iter().all(|part| world.loaded(*part, 0, 100).unwrap()[0].delta));
    world.name(7, false);
    assert_eq!(values(&world, Part::Bucket), [vec![7.0], vec![3.0]]);
    // Where there is only a count, it is that of the only bucket.
    let mut only = point(20, &[], &[]);
    only.0.count = 12;
    world.append(7, [&only], i64::MIN);
    assert_eq!(values(&world, Part::Bucket), [vec![7.0, 12.0], vec![3.0]]);
    // A sum that nobody has sent is undefined, not absent.
    world.append(7, [&(point(30, &[], &[1]).0, f64::NAN)], i64::MIN);
    assert!(values(&world, Part::Sum)[0][2].is_nan() && present(values(&world, Part::Sum)[0][2]));
}

#[test]
fn what_nobody_has_named_is_not_answered() {
    let mut world = World::new();
    world.append(7, &[point(10, &[1.0], &[1, 2])], i64::MIN);
    assert!(PARTS.iter().all(|part| world.ask(*part, 0, 100).is_none()));
    assert_eq!(world.histograms.unknown(), [7]);
    assert!(world.metrics.iter().all(|metric| metric.unknown().is_empty()), "the histogram is asked for, not what is made of it");
    world.bytes += world.metrics[0].append(&Points { fingerprints: &[8], times: &[10], values: &[1.0], flags: &[0] }, i64::MIN);
    assert_eq!(world.metrics[0].unknown(), [8]);
    world.name(7, false);
    assert!(world.ask(Part::Bucket, 0, 100).is_none() && world.ask(Part::Sum, 0, 100).is_some());
    assert_eq!(world.histograms.unknown(), Vec::<u64>::new());
    // A classic bucket with the same labels goes first.
    let labels = [pairs(), vec![(BUCKET_LABEL.to_owned(), "1".to_owned())]].concat();
    world.bytes += world.metrics[0].name(8, Known::new("x_bucket", labels, (5, 0, 0)));
    let loaded = world.loaded(Part::Bucket, 0, 100).unwrap();
    assert_eq!(loaded.iter().map(|series| series.counter).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!((&loaded[1].labels, &loaded[1].times), (&loaded[2].labels, &loaded[2].times));
    // What comes new of a histogram that is known is known.
    world.append(7, &[point(20, &[1.0, 2.0], &[1, 2, 1])], i64::MIN);
    assert_eq!(world.loaded(Part::Bucket, 0, 100).unwrap().len(), 4);
    world.forget(100);
    assert!(world.knows_nothing(), "{} bytes", world.bytes);
}

#[test]
fn a_histogram_is_known_as_long_as_anything_of_it_is_held() {
    let mut world = World::new();
    world.name(6, true);
    world.name(7, false);
    world.append(7, &[point(10, &[1.0], &[1, 2]), end(11), point(500, &[2.0], &[1, 2])], i64::MIN);
    // Nothing is packed, so nothing goes but the one that has no samples.
    world.forget(20);
    assert_eq!(world.histograms.lock().all.len(), 1);
    assert!(world.histograms.lock().all[&7u64].ends.is_empty(), "nobody may ask for so long ago");
    assert_eq!(world.histograms.lock().all[&7u64].bounds.len(), 2, "that of 1 is gone");
    world.append(7, &[point(15, &[3.0], &[9, 9]), point(510, &[1.0], &[1, 2])], 20);
    let all = [point(500, &[2.0], &[1, 2]), point(510, &[1.0], &[1, 2])];
    for part in PARTS {
        assert_eq!(world.ask(part, 20, 600), Some(stored(&all, part, 20, 600)));
    }
    world.forget(1_000);
    assert!(world.knows_nothing(), "{} bytes", world.bytes);
    // It comes again, and nobody knows it.
    world.append(7, &[point(2_000, &[1.0], &[1, 2]), end(2_001)], 1_000);
    assert_eq!((world.ask(Part::Count, 1_500, 3_000), world.histograms.unknown()), (None, vec![7]));
    world.forget(3_000);
    assert!(world.knows_nothing(), "{} bytes", world.bytes);
}

/// A point, and by which ways it comes: 0 and 1 it is stored, from 1 on it comes through the log.
type Coming = (Point, u8);

/// Points in order of time, no two at the same.
fn points() -> impl Strategy<Value = Vec<Coming>> {
    let one = (0usize..6, 0u64..9, 0u8..4);
    prop::collection::btree_map(0i64..600, one, 1..300).prop_map(|all| {
        let bounds: [&[f64]; 5] = [&[], &[1.0], &[1.0, 2.0], &[0.5, 2.0], &[-1.0, 0.0, 1.0]];
        let made = |(at, (kind, count, way)): (i64, (usize, u64, u8))| {
            let made = match bounds.get(kind) {
                None => end(at),
                Some(bounds) => point(at, bounds, &(0..=bounds.len() as u64).map(|bucket| count + bucket % 2).collect::<Vec<_>>()),
            };
            (made, way)
        };
        all.into_iter().map(made).collect()
    })
}

proptest! {
    #[test]
    fn they_are_what_the_split_of_stored_points_gives(
        points in points(),
        seed in any::<u64>(),
        cut in 0i64..600,
        floor in 0i64..600,
        named in 0u8..3,
        delta in any::<bool>(),
        spans in prop::collection::vec((0i64..600, 0i64..600), 4),
    ) {
        let mut world = World::new();
        let is_stored = |(point, way): &Coming| point.0.at < cut && *way < 2;
        let mut live: Vec<&Coming> = points.iter().filter(|one| !is_stored(one) || one.1 == 1).collect();
        live.sort_by_key(|((point, _), _)| xxh3_64(&(point.at as u64 ^ seed).to_le_bytes()));
        // What is stored too came before it was read.
        let (before, after): (Vec<&Coming>, Vec<&Coming>) =
            live.into_iter().partition(|one| is_stored(one) || (one.0.0.at as u64 ^ seed).is_multiple_of(3));
        if named == 0 {
            world.name(7, delta);
        }
        world.append(7, before.into_iter().map(|(point, _)| point), i64::MIN);
        for (from, to) in [(cut / 2, cut), (0, cut / 2)] {
            let span = points.iter().filter(|one| is_stored(one) && (from..to).contains(&one.0.0.at));
            world.fill(7, span.map(|(point, _)| point.clone()));
        }
        if named == 1 {
            world.name(7, delta);
        }
        world.forget(floor);
        world.append(7, after.into_iter().map(|(point, _)| point), floor);
        world.name(7, delta);
        let all: Vec<Point> = points.into_iter().map(|(point, _)| point).collect();
        for (a, b) in spans {
            let (after, until) = (a.min(b).max(floor), a.max(b));
            for part in PARTS {
                prop_assert_eq!(world.ask(part, after, until), Some(stored(&all, part, after, until)));
            }
        }
        world.forget(1_000);
        prop_assert!(world.knows_nothing(), "{} bytes", world.bytes);
    }
}
