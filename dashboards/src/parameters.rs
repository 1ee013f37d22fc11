//! Request parameters, from the query string or a form body, as Prometheus's API takes them.

use std::time::Duration;

use axum::extract::{FromRequest, RawForm, Request};
use model::query::{QueryOptions, SeriesRange};
use model::time::{Span, Timestamp};

use crate::answer::ApiError;

/// All parameters of a request, in order; names may repeat. A POST may carry some in its URL and some in its form.
#[derive(Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let in_url = request.uri().query().unwrap_or("").to_owned();
        let is_get = request.method() == axum::http::Method::GET;
        let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(in_url.as_bytes()).into_owned().collect();
        if !is_get && request.headers().contains_key(axum::http::header::CONTENT_TYPE) {
            let RawForm(body) = RawForm::from_request(request, state)
                .await
                .map_err(|error| ApiError::bad_data(format!("the form could not be read: {}", error.body_text())))?;
            pairs.extend(url::form_urlencoded::parse(&body).into_owned());
        }
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
    /// A value that must be there.
    pub fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::bad_data(format!("parameter `{name}` is missing")))
    }
    /// A time: Unix seconds with a fraction, or RFC 3339.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        self.get(name).map(|text| parse_time(name, text)).transpose()
    }
    /// A time that must be there.
    pub fn required_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        parse_time(name, self.required(name)?)
    }
    /// A duration: seconds with a fraction, or Prometheus's form (`5m`).
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        self.get(name).map(|text| parse_duration(name, text)).transpose()
    }
    /// A number of results; 0 and absent mean `default`.
    pub fn limit(&self, default: usize) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(default) };
        match text.parse() {
            Ok(0) => Ok(default),
            Ok(limit) => Ok(limit),
            Err(_) => Err(ApiError::bad_data(format!("parameter `limit`: `{text}` is not a whole number"))),
        }
    }
    /// Limits of one evaluation.
    pub fn options(&self) -> Result<QueryOptions, ApiError> {
        let mut options = QueryOptions::default();
        if let Some(timeout) = self.duration("timeout")? {
            options.timeout = timeout.min(Duration::from_secs(120));
        }
        if let Some(lookback) = self.duration("lookback_delta")? {
            options.lookback = lookback;
        }
        Ok(options)
    }
    /// `match[]`, `start`, `end`, `limit` of the metadata routes. Without a time span: the last six hours.
    pub fn series_range(&self, now: Timestamp) -> Result<SeriesRange, ApiError> {
        let end = self.time("end")?.unwrap_or(now);
        let start = self.time("start")?.unwrap_or_else(|| end.minus(Duration::from_secs(6 * 3600)));
        if end < start {
            return Err(ApiError::bad_data("parameter `end` is before `start`"));
        }
        Ok(SeriesRange { selectors: self.all("match[]"), start, end, limit: self.limit(100_000)? })
    }
}

fn parse_time(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    let number = text.parse::<f64>().ok().and_then(Timestamp::from_secs_f64);
    number
        .or_else(|| text.parse().ok())
        .ok_or_else(|| ApiError::bad_data(format!("parameter `{name}`: `{text}` is not a time: write Unix seconds or RFC 3339")))
}

fn parse_duration(name: &str, text: &str) -> Result<Duration, ApiError> {
    let number = text.parse::<f64>().ok().and_then(|secs| Duration::try_from_secs_f64(secs).ok());
    number
        .or_else(|| text.parse::<Span>().ok().map(|span| span.0))
        .ok_or_else(|| ApiError::bad_data(format!("parameter `{name}`: `{text}` is not a duration: write seconds or a form like 5m")))
}
