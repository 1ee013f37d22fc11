//! `/federate`: the newest sample of selected stored series in the text format, for a Prometheus that scrapes Watchfire. Native
//! histograms have no form in it and stay away.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use model::access::{Permission, Principal};
use model::labels::{Labels, METRIC_NAME};
use model::query::{QueryOptions, SeriesSample};
use model::units::Value;

use crate::Sources;
use crate::answer::ApiError;
use crate::parameters::Parameters;

pub(super) async fn federate(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let selectors = parameters.all("match[]");
    // Without one nothing is selected.
    selected(&sources, &principal, &selectors).await
}

/// The newest samples of what the selectors match.
pub(crate) async fn selected(sources: &Sources, principal: &Principal, selectors: &[String]) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let lookback = QueryOptions::default().lookback;
    let found = sources.catalog.newest(&principal.tenant, selectors, sources.clock.now(), lookback).await;
    let found = found.map_err(ApiError::of_parameter("match[]"))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exposition(&found)).into_response())
}

/// Whether a name needs no quotes in the text format.
fn plain(name: &str, colons: bool) -> bool {
    let good = |c: char, first: bool| c == '_' || (colons && c == ':') || c.is_ascii_alphabetic() || (!first && c.is_ascii_digit());
    !name.is_empty() && name.chars().enumerate().all(|(at, c)| good(c, at == 0))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// One family a name, in order of name; series without a name have no place in the format.
fn exposition(found: &[(Labels, SeriesSample)]) -> String {
    let mut all: Vec<(&str, &Labels, &SeriesSample)> =
        found.iter().filter_map(|(labels, sample)| Some((labels.get(METRIC_NAME)?, labels, sample))).collect();
    all.sort_by(|a, b| a.0.cmp(b.0).then_with(|| a.1.cmp(b.1)));
    let (mut text, mut last) = (String::new(), "");
    for (name, labels, sample) in all {
        let quoted = if plain(name, true) { name.to_owned() } else { format!("\"{}\"", escaped(name)) };
        if name != last {
            let _ = writeln!(text, "# TYPE {quoted} untyped");
            last = name;
        }
        let mut inside: Vec<String> = Vec::with_capacity(labels.len());
        if !plain(name, true) {
            inside.push(quoted.clone());
        } else {
            text.push_str(name);
        }
        for (label, value) in labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
            let label = if plain(label, false) { label.to_owned() } else { format!("\"{}\"", escaped(label)) };
            inside.push(format!("{label}=\"{}\"", escaped(value)));
        }
        // A scraper would put its own target's there, with `honor_labels` too: Prometheus says that there is none.
        if labels.get("instance").is_none() {
            inside.push("instance=\"\"".to_owned());
        }
        if !inside.is_empty() {
            let _ = write!(text, "{{{}}}", inside.join(","));
        }
        let _ = writeln!(text, " {} {}", Value(sample.value), sample.at.millis());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::time::Timestamp;

    #[test]
    fn families_stand_together_and_names_of_any_kind_are_written() {
        let sample = SeriesSample { at: Timestamp::from_millis(1_500), value: 2.5 };
        let series = |pairs: &[(&str, &str)]| (pairs.iter().copied().collect::<Labels>(), sample);
        let found = [
            series(&[("__name__", "b"), ("instance", "i")]),
            series(&[("__name__", "a"), ("path", "c:\\x\n\"y\"")]),
            series(&[("__name__", "dotted.name"), ("service.name", "s")]),
            series(&[("nameless", "1")]),
            series(&[("__name__", "a")]),
        ];
        assert_eq!(
            exposition(&found),
            "# TYPE a untyped\na{instance=\"\"} 2.5 1500\na{path=\"c:\\\\x\\n\\\"y\\\"\",instance=\"\"} 2.5 1500\n\
             # TYPE b untyped\nb{instance=\"i\"} 2.5 1500\n\
             # TYPE \"dotted.name\" untyped\n{\"dotted.name\",\"service.name\"=\"s\",instance=\"\"} 2.5 1500\n"
        );
    }
}
