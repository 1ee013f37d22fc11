//! Catchers for tests: small servers on port 0 that keep what they were sent and misbehave on request. `http` speaks HTTP/1.1 by hand, so
//! that it can break off anywhere; `smtp` speaks just enough SMTP; `fakes` behave like the providers.

pub mod fakes;
pub mod http;
pub mod smtp;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// A server whose certificate nobody vouches for. Also: how many connections came to a request.
pub async fn untrusted_tls() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    crypto();
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = requests.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut first = [0];
            if tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    (address, requests)
}
