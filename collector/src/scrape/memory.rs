//! What is remembered of a target between scrapes: the labels that each series of its text got, so that relabelling runs once a
//! series, and which series had samples in the last stored scrape, so that those that are gone get staleness markers. Pure.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use model::labels::{Labels, METRIC_NAME};
use model::tenant::TenantId;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::exposition::Pairs;
use super::relabel::{Rule, relabel};
use crate::family::Family;
use crate::rows::named::{Named, identity};

/// A series of a target as it is stored.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its labels, `__name__` among them.
    pub(crate) labels: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// [`identity`] of them.
    pub(crate) identity: u128,
    /// Of the labels that it shares with the series of the same metric point, hashed; so that `_created` finds them.
    pub(crate) group: u64,
    /// Whether its value is the time when its group began to count.
    pub(crate) created: bool,
}

impl Entry {
    /// As rows need it.
    pub(crate) fn named<'l>(&'l self, family: &'l Family<'l>) -> Named<'l> {
        Named { labels: &self.labels, identity: self.identity, family }
    }
}

/// How the labels of a target's text become those of stored series.
#[derive(Clone, Debug)]
pub(crate) struct Labelling {
    /// Whose the series are.
    pub(crate) tenant: TenantId,
    /// The target's labels.
    pub(crate) target: Labels,
    /// Whether the text's labels win.
    pub(crate) honor: bool,
    /// `metric_relabel_configs`.
    pub(crate) rules: Arc<Vec<Rule>>,
    /// Most labels; 0 is no limit. The same for the length of names and values.
    pub(crate) limits: LabelLimits,
}

/// Limits of a job.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LabelLimits {
    /// Labels of a series.
    pub(crate) count: u64,
    /// Bytes of a name.
    pub(crate) name: u64,
    /// Bytes of a value.
    pub(crate) value: u64,
}

/// A series that fails its whole scrape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LabelError {
    /// More labels than `label_limit`.
    #[error("a series has {0} labels, more than label_limit ({1})")]
    TooMany(u64, u64),
    /// A longer name than allowed.
    #[error("a label name has {0} bytes, more than label_name_length_limit ({1})")]
    NameTooLong(u64, u64),
    /// A longer value than allowed.
    #[error("a label value has {0} bytes, more than label_value_length_limit ({1})")]
    ValueTooLong(u64, u64),
    /// Relabelling took the name away.
    #[error("a series has no name after metric_relabel_configs")]
    NoName,
    /// The text says the same label twice.
    #[error("a series has the label `{0}` twice")]
    Twice(String),
}

impl Labelling {
    /// The series behind the labels of a text; `None` where it is dropped.
    pub(crate) fn entry(&self, pairs: &Pairs<'_>) -> Result<Option<Entry>, LabelError> {
        let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(LabelError::Twice(twice[0].to_owned()));
        }
        let Some(labels) = relabel(&self.rules, self.merged(pairs)).filter(|labels| !labels.is_empty()) else {
            return Ok(None);
        };
        self.check(&labels)?;
        let labels: Vec<_> = labels.iter().map(|(name, value)| (Cow::Owned(name.to_owned()), Cow::Owned(value.to_owned()))).collect();
        let name = pairs.iter().find(|(name, _)| name == METRIC_NAME).map_or("", |(_, name)| name.as_ref());
        let created = name.ends_with("_created");
        Ok(Some(Entry { identity: identity(&mut Vec::new(), &self.tenant, &labels), labels, group: group(pairs), created }))
    }

    /// The text's labels and the target's. Where both have one, one of them is renamed or gives way; an empty value in the text
    /// says, where it is honoured, that the series has no such label.
    fn merged(&self, pairs: &Pairs<'_>) -> Labels {
        let mut labels: Labels = pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        if self.honor {
            for (name, value) in self.target.iter().filter(|(name, _)| !pairs.iter().any(|(known, _)| known == name)) {
                labels.set(name, value);
            }
            return labels;
        }
        let mut exposed = Vec::new();
        for (name, value) in self.target.iter() {
            exposed.extend(labels.get(name).map(|before| (name, before.to_owned())));
            labels.set(name, value);
        }
        exposed.sort_by_key(|(name, _)| name.len());
        for (name, value) in exposed {
            let mut renamed = format!("exported_{name}");
            while labels.get(&renamed).is_some() {
                renamed.insert_str(0, "exported_");
            }
            labels.set(&renamed, &value);
        }
        labels
    }

    fn check(&self, labels: &Labels) -> Result<(), LabelError> {
        let limits = self.limits;
        let over = |found: usize, limit: u64| limit > 0 && found as u64 > limit;
        if labels.get(METRIC_NAME).is_none() {
            return Err(LabelError::NoName);
        }
        if over(labels.len(), limits.count) {
            return Err(LabelError::TooMany(labels.len() as u64, limits.count));
        }
        for (name, value) in labels.iter() {
            if over(name.len(), limits.name) {
                return Err(LabelError::NameTooLong(name.len() as u64, limits.name));
            }
            if over(value.len(), limits.value) {
                return Err(LabelError::ValueTooLong(value.len() as u64, limits.value));
            }
        }
        Ok(())
    }

    /// A series of Watchfire's own about the target, such as `up`.
    pub(crate) fn own(&self, name: &str) -> Entry {
        let labels: Vec<_> = self
            .target
            .iter()
            .chain([(METRIC_NAME, name)])
            .map(|(name, value)| (Cow::Owned(name.to_owned()), Cow::Owned(value.to_owned())))
            .collect();
        Entry { identity: identity(&mut Vec::new(), &self.tenant, &labels), labels, group: 0, created: false }
    }
}

/// The labels that tell metric points apart, and the family's name, hashed.
fn group(pairs: &Pairs<'_>) -> u64 {
    let name = pairs.iter().find(|(name, _)| name == METRIC_NAME).map_or("", |(_, name)| name.as_ref());
    let base = crate::family::SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let mut others: Vec<(&str, &str)> = pairs
        .iter()
        .filter(|(name, _)| !matches!(name.as_ref(), METRIC_NAME | "le" | "quantile"))
        .map(|(name, value)| (name.as_ref(), value.as_ref()))
        .collect();
    others.sort_unstable();
    let mut bytes = base.as_bytes().to_vec();
    for (name, value) in others {
        for text in [name, value] {
            bytes.push(0xFF);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    xxh3_64(&bytes)
}

/// A series that had a sample.
#[derive(Clone, Debug)]
pub(crate) struct Alive {
    /// Its labels.
    pub(crate) entry: Arc<Entry>,
    /// What was said of it.
    pub(crate) family: Arc<Family<'static>>,
}

/// Series that had a sample, by their identity.
pub(crate) type Live = HashMap<u128, Alive>;

/// What a target said of a family, by the family's name in its text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Described {
    /// The name.
    pub(crate) name: String,
    /// The rest.
    pub(crate) family: Arc<Family<'static>>,
}

/// What is remembered of a target.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// By the hash of a series's text: its entry (`None` where it is dropped), and the last scrape that had it.
    known: HashMap<u128, (Option<Arc<Entry>>, u64)>,
    /// Families by their id, so that unchanged ones are kept once.
    families: HashMap<u64, Arc<Family<'static>>>,
    scrape: u64,
    /// Series with samples in the last scrape that was stored.
    pub(crate) live: Arc<Live>,
    /// What the last text that could be read said of its families, in its order.
    pub(crate) described: Arc<Vec<Described>>,
}

/// Texts that are remembered beyond those of the last scrape.
const SLACK: usize = 1_000;

impl Memory {
    /// A scrape begins.
    pub(crate) fn begin(&mut self) {
        self.scrape += 1;
    }
    /// The series behind a text, and whether the text before did not have it; `make` makes one that is not known yet.
    pub(crate) fn entry<E>(
        &mut self,
        text: &str,
        make: impl FnOnce() -> Result<Option<Entry>, E>,
    ) -> Result<(Option<Arc<Entry>>, bool), E> {
        let key = xxh3_128(text.as_bytes());
        if let Some((entry, last)) = self.known.get_mut(&key) {
            let new = std::mem::replace(last, self.scrape) + 1 < self.scrape;
            return Ok((entry.clone(), new));
        }
        let entry = make()?.map(Arc::new);
        self.known.insert(key, (entry.clone(), self.scrape));
        Ok((entry, true))
    }
    /// The rules changed: the labels of every text are made anew. What is live stays, so that what is gone is marked.
    pub(crate) fn relabel(&mut self) {
        self.known.clear();
    }
    /// Keeps what a text said of its families.
    pub(crate) fn describe(&mut self, families: Vec<Described>) {
        if *self.described != families {
            self.described = Arc::new(families);
        }
    }
    /// A family as it is kept between scrapes.
    pub(crate) fn family(&mut self, family: &Family<'_>) -> Arc<Family<'static>> {
        let keep = || {
            let (help, unit) = (family.help.to_string(), family.unit.to_string());
            Arc::new(Family { kind: family.kind, help: help.into(), unit: unit.into(), id: family.id })
        };
        Arc::clone(self.families.entry(family.id).or_insert_with(keep))
    }
    /// A scrape of `texts` series was read: forgets texts of earlier ones, once there are many.
    pub(crate) fn tidy(&mut self, texts: usize) {
        if self.known.len() > texts * 2 + SLACK {
            let scrape = self.scrape;
            self.known.retain(|_, (_, last)| *last == scrape);
        }
        if self.families.len() > texts + SLACK {
            self.families.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::exposition::pairs;

    fn labelling(honor: bool, rules: &str) -> Labelling {
        let rules: Vec<super::super::relabel::RelabelConfig> = serde_saphyr::from_str(rules).unwrap();
        Labelling {
            tenant: TenantId::default(),
            target: [("job", "j"), ("instance", "i:1")].into_iter().collect(),
            honor,
            rules: Arc::new(Rule::list(&rules).unwrap()),
            limits: LabelLimits::default(),
        }
    }

    fn told(labelling: &Labelling, text: &str) -> Result<String, LabelError> {
        let entry = labelling.entry(&pairs(text).unwrap())?;
        let labels = entry.map(|entry| entry.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "));
        Ok(labels.unwrap_or_else(|| "dropped".to_owned()))
    }

    #[test]
    fn labels_of_text_and_target_meet_as_in_prometheus() {
        for (honor, text, expected) in [
            (false, "m{a=\"b\"}", "__name__=m a=b instance=i:1 job=j"),
            (false, "m{job=\"x\",instance=\"y\"}", "__name__=m exported_instance=y exported_job=x instance=i:1 job=j"),
            (false, "m{job=\"x\",exported_job=\"y\"}", "__name__=m exported_exported_job=x exported_job=y instance=i:1 job=j"),
            (false, "m{job=\"\"}", "__name__=m instance=i:1 job=j"),
            (true, "m{job=\"x\"}", "__name__=m instance=i:1 job=x"),
            (true, "m{job=\"x\",instance=\"\"}", "__name__=m job=x"),
        ] {
            assert_eq!(told(&labelling(honor, "[]"), text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn series_are_relabelled_dropped_and_limited() {
        let rules = "[{ source_labels: [__name__], regex: 'go_.*', action: drop }, { regex: secret, action: labeldrop }]";
        let mut some = labelling(false, rules);
        assert_eq!(told(&some, "go_x").unwrap(), "dropped");
        assert_eq!(told(&some, "m{secret=\"x\"}").unwrap(), "__name__=m instance=i:1 job=j");
        assert_eq!(told(&some, "m{a=\"1\",a=\"2\"}"), Err(LabelError::Twice("a".into())));
        assert_eq!(told(&labelling(false, "[{ regex: __name__, action: labeldrop }]"), "m"), Err(LabelError::NoName));
        some.limits = LabelLimits { count: 4, name: 8, value: 5 };
        assert!(told(&some, "m{a=\"b\"}").is_ok());
        assert_eq!(told(&some, "m{a=\"b\",c=\"d\"}"), Err(LabelError::TooMany(5, 4)));
        assert_eq!(told(&some, "m{a=\"bbbbbb\"}"), Err(LabelError::ValueTooLong(6, 5)));
        assert_eq!(told(&some, "m{aaaaaaaaa=\"b\"}"), Err(LabelError::NameTooLong(9, 8)));
    }

    #[test]
    fn series_of_a_metric_point_share_their_group() {
        let of = |text: &str| group(&pairs(text).unwrap());
        assert_eq!(of("h_bucket{le=\"1\",a=\"b\",c=\"d\"}"), of("h_created{c=\"d\",a=\"b\"}"));
        assert_eq!(of("s{quantile=\"0.5\"}"), of("s_created"));
        assert_ne!(of("h_bucket{le=\"1\",a=\"b\"}"), of("h_created{a=\"c\"}"));
        assert_ne!(of("x_total"), of("y_created"));
    }

    #[test]
    fn a_series_is_new_where_the_text_before_did_not_have_it() {
        let (mut memory, labelling) = (Memory::default(), labelling(false, "[]"));
        let mut scrape = |texts: &[&str]| -> Vec<bool> {
            memory.begin();
            texts.iter().map(|text| memory.entry(text, || labelling.entry(&pairs(text).unwrap())).unwrap().1).collect()
        };
        assert_eq!(scrape(&["a", "b", "a"]), [true, true, false]);
        assert_eq!(scrape(&["a"]), [false]);
        assert_eq!(scrape(&["a", "b"]), [false, true]);
    }

    #[test]
    fn the_memory_forgets_what_is_long_gone() {
        let (mut memory, labelling) = (Memory::default(), labelling(false, "[]"));
        for scrape in 0..5_000 {
            memory.begin();
            for text in ["always".to_owned(), format!("only_{scrape}")] {
                memory.entry(&text, || labelling.entry(&pairs(&text).unwrap())).unwrap();
            }
            memory.tidy(2);
        }
        assert!(memory.known.len() <= SLACK + 5, "{}", memory.known.len());
        let known = || -> Result<Option<Entry>, ()> { panic!("it is known") };
        assert!(memory.entry("always", known).unwrap().0.is_some());
    }
}
