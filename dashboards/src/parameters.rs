//! Request parameters, from the query string or a form body, as Prometheus's API takes them and with its words where they are wrong.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, RawForm, Request};
use model::query::{QueryOptions, SeriesRange};
use model::time::{Span, Timestamp};

use crate::answer::ApiError;

/// No query runs longer, whatever is asked for: Prometheus's `query.timeout`.
pub const LONGEST: Duration = Duration::from_secs(120);
/// A metadata question gives at most so many results, and a warning where there are more: what one answer may take of the memory.
pub const MOST: usize = 1_000_000;

/// All parameters of a request, in order; names may repeat. A POST may carry some in its URL and some in its form.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let in_url = request.uri().query().unwrap_or("").to_owned();
        let is_get = request.method() == axum::http::Method::GET;
        let mut pairs: Vec<(String, String)> = Vec::new();
        if !is_get && request.headers().contains_key(axum::http::header::CONTENT_TYPE) {
            let RawForm(body) = RawForm::from_request(request, state)
                .await
                .map_err(|error| ApiError::bad_data(format!("error parsing form values: {}", error.body_text())))?;
            pairs.extend(url::form_urlencoded::parse(&body).into_owned());
        }
        // A form's values stand before those of the URL.
        pairs.extend(url::form_urlencoded::parse(in_url.as_bytes()).into_owned());
        Ok(Parameters(pairs))
    }
}

impl Parameters {
    /// The first value of a name, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
    /// All values of a name.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
    }
    /// The expression.
    pub fn query(&self) -> Result<&str, ApiError> {
        self.get("query").ok_or_else(|| ApiError::parameter("query", "unknown position: parse error: no expression found in input"))
    }
    /// A time: Unix seconds with a fraction, or RFC 3339.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.get(name).map(|text| parse_time(name, text)).transpose()
    }
    /// A time that must be there.
    pub fn required_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        parse_time(name, self.get(name).unwrap_or(""))
    }
    /// A duration: seconds with a fraction, or Prometheus's form (`5m`).
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        self.get(name).map(|text| parse_duration(name, text)).transpose()
    }
    /// The step of a range query.
    pub fn step(&self) -> Result<Duration, ApiError> {
        let text = self.get("step").unwrap_or("");
        // Prometheus reads a negative step and then refuses it.
        let negative = text.strip_prefix('-').is_some_and(|rest| parse_duration("step", rest).is_ok());
        let step = if negative { Duration::ZERO } else { parse_duration("step", text)? };
        if step.as_millis() == 0 {
            let message = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(ApiError::parameter("step", message));
        }
        Ok(step)
    }
    /// A number of results; `None` where it is absent or 0, which means no limit.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(0) => Ok(None),
            Ok(limit) => usize::try_from(limit).map(Some).map_err(|_| ApiError::parameter("limit", "limit must be non-negative")),
            Err(_) => Err(ApiError::parameter("limit", format!("cannot parse {text:?} to a whole number"))),
        }
    }
    /// Limits of one evaluation.
    pub fn options(&self) -> Result<QueryOptions, ApiError> {
        let mut options = QueryOptions::default();
        if let Some(timeout) = self.duration("timeout")? {
            options.timeout = timeout.min(LONGEST);
        }
        if let Some(lookback) = self.duration("lookback_delta")?.filter(|lookback| !lookback.is_zero()) {
            options.lookback = lookback;
        }
        options.step_samples = self.get("stats").map(|_| Arc::default());
        Ok(options)
    }
    /// `start` and `end` of the metadata routes: everything where they are absent.
    pub fn span(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), ApiError> {
        let start = self.time("start")?.unwrap_or(Timestamp::from_millis(0));
        let end = self.time("end")?.unwrap_or_else(|| now.plus(Duration::from_secs(24 * 3_600)).max(start));
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        Ok((start, end))
    }
    /// `match[]`, `start`, `end` of the metadata routes, for one result more than the limit, so that it is seen when there are more.
    pub fn series_range(&self, now: Timestamp) -> Result<SeriesRange, ApiError> {
        let (start, end) = self.span(now)?;
        let limit = self.limit()?.unwrap_or(MOST).min(MOST);
        Ok(SeriesRange { selectors: self.all("match[]"), start, end, limit: limit + 1 })
    }
}

fn parse_time(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    let number = text.parse::<f64>().ok().and_then(Timestamp::from_secs_f64);
    number.or_else(|| text.parse().ok()).ok_or_else(|| ApiError::parameter(name, format!("cannot parse {text:?} to a valid timestamp")))
}

fn parse_duration(name: &str, text: &str) -> Result<Duration, ApiError> {
    let number = text.parse::<f64>().ok().and_then(|secs| Duration::try_from_secs_f64(secs).ok());
    number
        .or_else(|| text.parse::<Span>().ok().map(|span| span.0))
        .ok_or_else(|| ApiError::parameter(name, format!("cannot parse {text:?} to a valid duration")))
}
