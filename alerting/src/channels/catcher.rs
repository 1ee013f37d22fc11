//! Catchers for tests: small servers on port 0 that keep what they were sent and misbehave on request. `http` speaks HTTP/1.1 by hand, so
//! that it can break off anywhere; `smtp` speaks just enough SMTP; `fakes` behave like the providers.

pub mod fakes;
pub mod http;
pub mod smtp;

/// Installs rustls's provider, once per test process.
pub fn crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The shared client, for tests.
pub fn client() -> reqwest::Client {
    crypto();
    super::client().unwrap()
}
