//! Scrapes of a target one after the other, and the rows that each becomes.

use model::columns::Column;
use model::labels::Labels;
use model::tenant::TenantId;

use super::*;
use crate::scrape::memory::LabelLimits;
use crate::scrape::relabel::{RelabelConfig, Rule};
use crate::tests::fixtures::{NOW, Row, World, rows};

const AT: Timestamp = Timestamp::from_nanos(NOW as i64);

fn wishes(rules: &str) -> Wishes {
    let rules: Vec<RelabelConfig> = serde_saphyr::from_str(rules).unwrap();
    let target: Labels = [("job", "j"), ("instance", "i")].into_iter().collect();
    let labelling = Labelling {
        tenant: TenantId::default(),
        target,
        honor: false,
        rules: Arc::new(Rule::list(&rules).unwrap()),
        limits: LabelLimits::default(),
    };
    Wishes { labelling, honor_timestamps: true, track_timestamps: false, sample_limit: 0, extra: None }
}

/// A target over several scrapes that are all stored.
struct Story {
    world: World,
    wishes: Wishes,
    memory: Memory,
    at: Timestamp,
}

impl Story {
    fn new(wishes: Wishes) -> Self {
        Story { world: World::default(), wishes, memory: Memory::default(), at: AT.minus(Duration::from_secs(100)) }
    }
    /// A scrape of a text; `Err` where nothing of it counts.
    fn scrape(&mut self, text: &str, format: Format) -> (Built, Counts, Option<String>) {
        self.at = self.at.plus(Duration::from_secs(1));
        let mut counts = Counts::default();
        let mut to = Builder::new(self.world.arrival(), None);
        let filled = fill(text, format, self.at, &self.wishes, &mut self.memory, &mut counts, &mut to);
        let (to, live, error) = match filled {
            Ok(live) => (to, live, None),
            Err(error) => (Builder::new(self.world.arrival(), None), Live::new(), Some(error.to_string())),
        };
        let body = Some(text.len() as u64);
        let went = Went { up: error.is_none(), took: Duration::from_millis(1_500), counts, body };
        let built = end(&self.memory.live, &live, went, &self.wishes, self.at, to).unwrap();
        self.memory.live = Arc::new(live);
        self.world.series.remember(&built.series);
        (built, counts, error)
    }
    /// `metric value flags` of every sample that is no report.
    fn samples(&mut self, text: &str) -> Vec<String> {
        let (built, ..) = self.scrape(text, Format::Text);
        let own = |row: &Row| REPORT.iter().any(|(name, ..)| *name == row["metric"]);
        let mut told: Vec<String> = rows(&built.blocks, "points")
            .iter()
            .filter(|row| !own(row))
            .map(|row| if row["flags"] == "1" { format!("{} stale", row["metric"]) } else { format!("{} {}", row["metric"], row["value"]) })
            .collect();
        told.sort();
        told
    }
}

fn report_of(built: &Built) -> Vec<String> {
    let points = rows(&built.blocks, "points");
    REPORT.iter().map(|(name, ..)| points.iter().find(|row| row["metric"] == *name).unwrap()["value"].clone()).collect()
}

#[test]
fn a_scrape_is_its_samples_and_how_it_went() {
    let mut story = Story::new(wishes("[{ source_labels: [__name__], regex: 'go_.*', action: drop }]"));
    let text = "# HELP a_total Helps.\n# TYPE a_total counter\na_total{code=\"200\"} 5\ngo_x 1\nb 2.5 1772323100000\n";
    let (built, counts, error) = story.scrape(text, Format::Text);
    assert_eq!((counts, error), (Counts { scraped: 3, kept: 2, added: 2 }, None));
    assert_eq!(report_of(&built), ["1", "1.5", "3", "2", "2"]);
    let series = rows(&built.blocks, "series");
    let a = series.iter().find(|row| row["metric"] == "a_total").unwrap();
    assert_eq!((a["kind"].as_str(), a["monotonic"].as_str(), a["description"].as_str()), ("sum", "1", "Helps."));
    assert_eq!(a["labels"], "{code=200,instance=i,job=j}");
    let up = series.iter().find(|row| row["metric"] == "up").unwrap();
    assert_eq!((up["kind"].as_str(), up["labels"].as_str()), ("gauge", "{instance=i,job=j}"));
    let points = rows(&built.blocks, "points");
    assert_eq!(points[0]["ts"], story.at.millis().to_string());
    assert_eq!(points[1]["ts"], "1772323100000", "a time of the target's own");
    let (built, ..) = story.scrape(text, Format::Text);
    assert!(rows(&built.blocks, "series").is_empty(), "all series are known");
    assert_eq!(report_of(&built)[4], "0");
}

#[test]
fn series_that_are_gone_are_marked_stale_once() {
    let mut story = Story::new(wishes("[]"));
    assert_eq!(story.samples("a 1\nb 2\n"), ["a 1", "b 2"]);
    assert_eq!(story.samples("a 1\n"), ["a 1", "b stale"]);
    assert_eq!(story.samples("a 1\n"), ["a 1"]);
    assert_eq!(story.samples("b 1\n"), ["a stale", "b 1"]);
    assert_eq!(story.samples("broken\n"), ["b stale"], "nothing of a broken text counts");
    assert_eq!(story.samples("broken\n"), [""; 0]);
    assert_eq!(story.samples("a 1\nc 3 1772323100000\n"), ["a 1", "c 3"]);
    assert_eq!(story.samples("x 1\n"), ["a stale", "x 1"], "a series with its own time is not tracked");
    story.wishes.track_timestamps = true;
    assert_eq!(story.samples("c 3 1772323100000\n"), ["c 3", "x stale"]);
    assert_eq!(story.samples(""), ["c stale"]);
    story.wishes.honor_timestamps = false;
    let (built, ..) = story.scrape("c 4 17\n", Format::Text);
    assert_eq!(rows(&built.blocks, "points")[0]["ts"], story.at.millis().to_string());
}

#[test]
fn the_marker_is_that_of_prometheus_and_describes_nothing_anew() {
    let mut story = Story::new(wishes("[]"));
    story.scrape("# TYPE a counter\na 1\n", Format::Text);
    let (built, ..) = story.scrape("", Format::Text);
    assert!(rows(&built.blocks, "series").is_empty());
    let points = built.blocks.iter().find(|block| block.table.name == "points").unwrap();
    let Some(Column::Float64(values)) = points.columns.iter().find(|column| matches!(column, Column::Float64(_))) else { panic!() };
    assert_eq!(values[0].to_bits(), STALE_NAN);
}

#[test]
fn a_scrape_that_could_not_be_stored_leaves_no_gap_in_what_is_marked() {
    let mut story = Story::new(wishes("[]"));
    story.samples("a 1\nb 1\n");
    let before = story.memory.live.clone();
    story.samples("a 1\n");
    // As if the log had refused that one.
    story.memory.live = before;
    assert_eq!(story.samples("a 1\n"), ["a 1", "b stale"]);
}

#[test]
fn limits_fail_the_whole_scrape_and_say_how_much_there_was() {
    let mut story = Story::new(Wishes { sample_limit: 2, ..wishes("[{ source_labels: [__name__], regex: x, action: drop }]") });
    let (built, counts, error) = story.scrape("a 1\nb 1\nc 1\nx 1\n", Format::Text);
    assert_eq!(error.as_deref(), Some("the target has more than 2 samples (sample_limit)"));
    assert_eq!((counts.scraped, counts.kept), (4, 3));
    assert_eq!(report_of(&built)[..1], ["0"]);
    assert_eq!(rows(&built.blocks, "points").len(), REPORT.len());
    assert_eq!(story.samples("a 1\nb 1\nx 1\n"), ["a 1", "b 1"]);
    story.wishes.labelling.limits = LabelLimits { count: 3, ..LabelLimits::default() };
    let (_, _, error) = story.scrape("a{l=\"v\"} 1\n", Format::Text);
    assert_eq!(error.as_deref(), Some("a series has 4 labels, more than label_limit (3)"));
}

#[test]
fn exemplars_and_created_times_of_open_metrics_are_kept() {
    let mut story = Story::new(wishes("[]"));
    let text = concat!(
        "# TYPE r counter\nr_total{p=\"/\"} 17 # {trace_id=\"0102030405060708090a0b0c0d0e0f10\",user=\"u\"} 0.5 1772323100.5\n",
        "r_created{p=\"/\"} 1772320000.25\nr_total{p=\"/x\"} 1\n",
        "# TYPE g gauge\ng 1\n# EOF\n",
    );
    let (built, _, error) = story.scrape(text, Format::OpenMetrics);
    assert_eq!(error, None);
    let points = rows(&built.blocks, "points");
    let starts: Vec<(&str, &str)> = points.iter().take(4).map(|row| (row["metric"].as_str(), row["start_ts"].as_str())).collect();
    assert_eq!(starts, [("r_total", "1772320000250"), ("r_created", "0"), ("r_total", "0"), ("g", "0")]);
    let exemplar = &rows(&built.blocks, "exemplars")[0];
    assert_eq!((exemplar["ts"].as_str(), exemplar["attributes"].as_str()), ("1772323100500", "{user=u}"));
    assert_eq!(exemplar["fingerprint"], points[0]["fingerprint"]);
}

#[test]
fn the_same_series_twice_counts_once() {
    let mut story = Story::new(wishes("[{ regex: l, action: labeldrop }]"));
    assert_eq!(story.samples("a{l=\"1\"} 1\na{l=\"2\"} 1\n"), ["a 1"]);
    let (built, ..) = story.scrape("a{l=\"1\"} 1\na{l=\"2\"} 2\n", Format::Text);
    assert_eq!(built.tally.rejected().map(|(reason, count)| (reason.label(), count)).collect::<Vec<_>>(), [("duplicate_sample", 1)]);
}

#[test]
fn a_buried_target_has_everything_marked() {
    let mut story = Story::new(wishes("[]"));
    story.samples("a 1\nb 2\n");
    let buried = |others: &[Arc<Live>]| {
        let mut to = Builder::new(story.world.arrival(), None);
        bury(&story.memory.live, others, &story.wishes, AT, &mut to).unwrap();
        rows(&to.finish().unwrap().blocks, "points")
    };
    let points = buried(&[]);
    assert_eq!(points.len(), 2 + REPORT.len());
    assert!(points.iter().all(|row| row["flags"] == "1"));
    // A successor that has one of its series goes on with it, and with those about scrapes.
    let mut successor = Story::new(wishes("[]"));
    successor.samples("b 3\n");
    let points = buried(&[Arc::clone(&successor.memory.live)]);
    assert_eq!(points.iter().map(|row| row["metric"].as_str()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_scrape_that_fails_tells_what_stood_before_the_mistake() {
    let mut story = Story::new(wishes("[{ source_labels: [__name__], regex: x, action: drop }]"));
    let (built, counts, error) = story.scrape("a 1\nx 1\nb 1\nbroken\nc 1\n", Format::Text);
    assert_eq!(counts, Counts { scraped: 3, kept: 2, added: 2 });
    assert!(error.unwrap().starts_with("line 4: "));
    assert_eq!(report_of(&built), ["0", "1.5", "3", "2", "2"]);
    let (_, counts, _) = story.scrape("a 1\nx 1\nb 1\nc 1\n", Format::Text);
    assert_eq!(counts.added, 1, "a and b are known by now");
}

#[test]
fn more_is_told_where_it_is_asked_for() {
    let extra = Some(Duration::from_secs(10));
    let mut story = Story::new(Wishes { extra, sample_limit: 7, ..wishes("[]") });
    let (built, ..) = story.scrape("a 1\n", Format::Text);
    let points = rows(&built.blocks, "points");
    let told: Vec<&str> =
        EXTRA.iter().map(|(name, ..)| points.iter().find(|row| row["metric"] == *name).unwrap()["value"].as_str()).collect();
    assert_eq!(told, ["10", "7", "4"]);
}

#[test]
fn rules_that_changed_make_the_old_series_stale() {
    let mut story = Story::new(wishes("[]"));
    assert_eq!(story.samples("a 1\n"), ["a 1"]);
    story.wishes = wishes("[{ source_labels: [__name__], regex: a, target_label: __name__, replacement: b }]");
    story.memory.relabel();
    assert_eq!(story.samples("a 1\n"), ["a stale", "b 1"]);
}

#[test]
fn what_a_target_says_of_its_families_is_remembered() {
    let mut story = Story::new(wishes("[]"));
    story.scrape("# HELP a Helps.\n# TYPE a counter\na 1\n# TYPE b gauge\n", Format::Text);
    let before = Arc::clone(&story.memory.described);
    let told: Vec<(&str, FamilyKind, &str)> =
        before.iter().map(|one| (one.name.as_str(), one.family.kind, one.family.help.as_ref())).collect();
    assert_eq!(told, [("a", FamilyKind::Counter, "Helps."), ("b", FamilyKind::Gauge, "")]);
    story.scrape("# HELP a Helps.\n# TYPE a counter\na 2\n# TYPE b gauge\n", Format::Text);
    assert!(Arc::ptr_eq(&before, &story.memory.described), "nothing new is kept twice");
    story.scrape("broken", Format::Text);
    assert_eq!(story.memory.described.len(), 2);
}

/// Scraped series are processed as those that are sent: rules, secrets in labels, limits; staleness markers go where the samples went.
#[test]
fn scraped_series_are_processed() {
    let config = serde_json::json!({
        "redaction": {"enabled": true},
        "rules": [
            {"drop": true, "match": {"signal": "metric", "name": "go_*"}},
            {"delete": ["pod"], "match": {"signal": "metric", "name": "gone"}},
        ],
        "cardinality": {"max_series_per_metric": 1},
    });
    let config: crate::pipeline::Config = serde_json::from_value(config).unwrap();
    let mut story = Story::new(wishes("[]"));
    story.world.pipeline = crate::pipeline::Pipeline::new(&config).unwrap();
    let text = "go_threads 1\ngone{pod=\"a\"} 2\nlevel{url=\"http://ann:hunter22@db/\"} 3\nlevel{url=\"b\"} 4\n";
    let (built, counts, _) = story.scrape(text, Format::Text);
    assert_eq!(counts.scraped, 4);
    let labels: Vec<String> = rows(&built.blocks, "series").iter().map(|row| format!("{}{}", row["metric"], row["labels"])).collect();
    assert_eq!(
        labels[..3],
        [
            "gone{instance=i,job=j}",
            "level{instance=i,job=j,url=http://ann:[redacted:url_password]@db/}",
            "level{otel_metric_overflow=true}"
        ]
    );
    assert!(labels[3].starts_with("up{"), "Watchfire's own are of metrics of their own: {labels:?}");
    assert_eq!((built.changes.dropped.as_slice(), built.changes.overflowed), (&[1][..], 1));
    let of = |built: &Built| {
        let row = rows(&built.blocks, "points").into_iter().find(|row| row["metric"] == "gone").unwrap();
        (row["fingerprint"].clone(), row["flags"].clone())
    };
    let (fingerprint, flags) = of(&built);
    assert_eq!(flags, "0");
    let (built, ..) = story.scrape("", Format::Text);
    assert_eq!(of(&built), (fingerprint, "1".to_owned()), "the marker is of the series as it is stored");
}
