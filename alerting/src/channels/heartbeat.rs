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
        Self::within(TIMEOUT, url, client)
    }

    fn within(timeout: Span, url: &Secret, client: &reqwest::Client) -> Self {
        Heartbeat { http: Http::new(client, timeout.0, [url.clone()]), url: url.clone() }
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
    use crate::channels::catcher::{client, fakes, no_tls};

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

    /// A beat remembers nothing, so a process that ends in one loses that beat only; whatever went wrong with one, the next is a new one.
    #[tokio::test]
    async fn whatever_goes_wrong_with_one_beat_the_next_is_a_new_one() {
        let faults = [
            (Fault::RetryAfter(429, "7"), false),
            (Fault::RetryAfter(429, "whenever"), false),
            (Fault::Answer(429, ""), false),
            (Fault::RetryAfter(503, "7"), false),
            (Fault::Answer(500, "oops TOPSECRET"), false),
            (Fault::Answer(504, ""), false),
            (Fault::RetryAfter(302, "1"), false),
            (Fault::Hang, false),
            (Fault::Reset, false),
            (Fault::LostAnswer, false),
            // The status says enough.
            (Fault::SlowBody, true),
            (Fault::Huge, true),
            (Fault::Answer(200, "{\"broken"), true),
            (Fault::Answer(200, "{\"ok\":false}"), true),
        ];
        for (fault, arrives) in faults {
            let catcher: Catcher = fakes::plain().await;
            catcher.fault("", fault.clone());
            let url = Secret::new(format!("{}/ping/TOPSECRET", catcher.url));
            let heartbeat = Heartbeat::within(Span::secs(2), &url, &client());
            let first = heartbeat.beat(Timestamp::EPOCH).await;
            assert_eq!(first.is_ok(), arrives, "{fault:?}: {first:?}");
            assert!(!format!("{first:?}").contains("TOPSECRET"), "{fault:?}: {first:?}");
            Heartbeat::new(&url, &client()).beat(Timestamp::EPOCH).await.unwrap();
            assert_eq!(catcher.requests().len(), 2, "{fault:?}: never by itself a second time");
        }
        let url = Secret::new(format!("https://{}/ping/TOPSECRET", no_tls().await));
        let error = Heartbeat::within(Span::secs(2), &url, &client()).beat(Timestamp::EPOCH).await.unwrap_err().to_string();
        assert!(error.contains("cannot connect") && !error.contains("TOPSECRET"), "{error}");
    }
}
