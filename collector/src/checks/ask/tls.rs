//! TLS: a handshake that is finished whatever the certificate is, so that one that has expired can be read too; and a trusted one.

use std::sync::{Arc, Mutex, PoisonError};

use model::time::{Span, Timestamp};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Said, connect, root};
use crate::checks::certificate::validity;
use crate::checks::config::{TlsCheck, address};

/// Asks the machine's trust, remembers its answer, and goes on.
#[derive(Debug)]
struct Remembering {
    trust: Verifier,
    seen: Mutex<Option<Seen>>,
}

/// A certificate, and what was thought of it.
type Seen = (Vec<u8>, Result<(), String>);

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.trust.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let seen = (end_entity.to_vec(), verdict.map(drop).map_err(|error| error.to_string()));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.verify_tls12_signature(message, cert, dss)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.trust.verify_tls13_signature(message, cert, dss)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.supported_verify_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

fn trust() -> Result<Verifier, String> {
    Verifier::new(provider()).map_err(|error| format!("the trusted certificates of this machine cannot be read: {error}"))
}

async fn handshake(stream: TcpStream, name: &str, verifier: Arc<dyn ServerCertVerifier>) -> Result<TlsStream<TcpStream>, String> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` is not a name that a certificate can be for"))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| format!("no TLS connection: {}", root(&error)))
}

/// A connection whose certificate is trusted.
pub(super) async fn trusted(stream: TcpStream, name: &str) -> Result<TlsStream<TcpStream>, String> {
    handshake(stream, name, Arc::new(trust()?)).await
}

/// The certificate that a server shows.
pub(super) async fn certificate(check: &TlsCheck, now: Timestamp) -> Result<Said, String> {
    let (host, port) = address(&check.address).ok_or("the address is not host:port")?;
    let name = check.server_name.as_deref().unwrap_or(host);
    let verifier = Arc::new(Remembering { trust: trust()?, seen: Mutex::default() });
    drop(handshake(connect(host, port).await?, name, verifier.clone()).await?);
    let seen = verifier.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (der, verdict) = seen.ok_or("the server showed no certificate")?;
    let (_, until) = validity(&der).ok_or("the certificate cannot be read")?;
    let said = Said { expires: Some(until), ..Said::default() };
    Ok(match verdict {
        Err(why) => Said { wrong: Some(format!("the certificate is not valid: {why}")), ..said },
        Ok(()) if until.since(now) < check.expires_within.0 => {
            let left = Span::secs(until.since(now).as_secs() / 60 * 60);
            Said { doubtful: Some(format!("the certificate expires in {left}, at {until}")), ..said }
        }
        Ok(()) => said,
    })
}
