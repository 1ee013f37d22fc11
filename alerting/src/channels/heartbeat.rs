//! The external heartbeat: a URL that is asked for while Watchfire is well, so that somebody outside notices when it no longer is (a dead
//! man's switch such as healthchecks.io). In: a URL. Out: whether it answered. No error shows the URL: who knows it can keep it quiet.

use model::secret::Secret;
use model::time::{Span, Timestamp};

use super::SendError;
use super::http::Http;

/// The longest one request may take.
const TIMEOUT: Span = Span::secs(10);

/// The way to it.
#[derive(Debug)]
pub struct Heartbeat {
    http: Http,
    url: Secret,
}

impl Heartbeat {
    /// To this URL, over the client that all receivers share ([`super::client`]).
    pub fn new(url: &Secret, client: &reqwest::Client) -> Self {
        Heartbeat { http: Http::new(client, TIMEOUT.0, [url.clone()]), url: url.clone() }
    }

    /// One beat.
    pub async fn beat(&self, now: Timestamp) -> Result<(), SendError> {
        self.http.send(self.http.client.get(self.url.reveal()), now).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::catcher::http::{Catcher, Fault};
    use crate::channels::catcher::{client, fakes};

    #[tokio::test]
    async fn a_beat_is_a_request_and_its_failure_shows_no_url() {
        let catcher: Catcher = fakes::plain().await;
        let heartbeat = Heartbeat::new(&Secret::new(format!("{}/ping/TOPSECRET", catcher.url)), &client());
        heartbeat.beat(Timestamp::EPOCH).await.unwrap();
        assert_eq!((catcher.requests()[0].method.as_str(), catcher.requests()[0].path.as_str()), ("GET", "/ping/TOPSECRET"));
        catcher.fault("", Fault::Answer(404, "no TOPSECRET here"));
        let error = heartbeat.beat(Timestamp::EPOCH).await.unwrap_err().to_string();
        assert!(error.contains("404") && !error.contains("TOPSECRET"), "{error}");
    }
}
