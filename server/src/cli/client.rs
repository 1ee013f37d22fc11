//! The HTTP client behind the commands that ask a running server.

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::Common;

/// A server's answer that is no success.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody answers.
    #[error("no server answers at {url}: is `watchfire serve` running there? ({why})")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It said no.
    #[error("the server answered {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Its sentence.
        message: String,
    },
}

/// 3 where nothing was found, 4 where the server does not answer, else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<AskError>() {
        Some(AskError::NotFound(_)) => ExitCode::from(3),
        Some(AskError::Unreachable { .. }) => ExitCode::from(4),
        Some(AskError::Refused { .. }) | None => ExitCode::from(1),
    }
}

/// A connection to the running server.
pub struct Client {
    http: reqwest::Client,
    common: Common,
}

impl Client {
    /// With the address and key of the command line.
    pub fn new(common: &Common) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(std::time::Duration::from_secs(90)).build().context("preparing the HTTP client")?;
        Ok(Client { http, common: common.clone() })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.common.server.trim_end_matches('/'));
        let request = self.http.request(method, url);
        match self.common.key() {
            Some(key) => request.bearer_auth(key.reveal()),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<String, AskError> {
        let unreachable = |error: reqwest::Error| AskError::Unreachable { url: self.common.server.clone(), why: root(&error) };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.text().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(body);
        }
        let message = serde_json::from_str::<Value>(&body)
            .ok()
            .and_then(|json| json.get("error").and_then(Value::as_str).map(str::to_owned))
            .unwrap_or_else(|| body.trim().to_owned());
        Err(if status == StatusCode::NOT_FOUND { AskError::NotFound(message) } else { AskError::Refused { status, message } })
    }

    /// GET, as JSON.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        let body = self.send(self.request(Method::GET, path).query(query)).await?;
        serde_json::from_str(&body).map_err(|error| anyhow!("the answer of {path} is not JSON: {error}"))
    }

    /// GET, as text of the wanted media type.
    pub async fn get_text(&self, path: &str, accept: &str) -> anyhow::Result<String> {
        Ok(self.send(self.request(Method::GET, path).header("accept", accept)).await?)
    }

    /// POST or DELETE with a JSON body.
    pub async fn post(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = self.send(self.request(method, path).json(body)).await?;
        Ok(serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// POST with a text body, as text.
    pub async fn post_text(&self, path: &str, query: &[(&str, String)], body: String) -> anyhow::Result<String> {
        Ok(self.send(self.request(Method::POST, path).query(query).body(body)).await?)
    }
}

fn root(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
