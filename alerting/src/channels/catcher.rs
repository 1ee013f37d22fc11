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

/// A server that answers a TLS greeting with plain text.
pub async fn no_tls() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 This is no TLS\r\n\r\n").await;
        }
    });
    address
}
