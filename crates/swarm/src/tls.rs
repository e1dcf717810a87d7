//! TLS between nodes and managers. A manager shows its certificate and the root's. A node that joins
//! knows the root by the digest in its token, one that has joined by the certificate it was given;
//! either way it says nothing before it is sure, and speaks to managers only.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

use crate::ca;
use crate::error::{Code, Error, Result};
use crate::token;

/// The certificate that a manager shows, exchanged when it is renewed.
#[derive(Debug)]
pub(crate) struct Shown(Mutex<Arc<CertifiedKey>>);

impl Shown {
    /// Shows a node's certificate, and behind it the root's.
    pub(crate) fn new(certificate: &str, key: &str, root: &str) -> Result<Arc<Self>> {
        Ok(Arc::new(Self(Mutex::new(certified(certificate, key, root)?))))
    }

    /// Shows another certificate from now on.
    pub(crate) fn replace(&self, certificate: &str, key: &str, root: &str) -> Result<()> {
        let certified = certified(certificate, key, root)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// What a manager listens with. Who shows a certificate must show one of this swarm; who has none may
/// only ask to join.
pub(crate) fn server(shown: Arc<Shown>, root: &str) -> Result<Arc<ServerConfig>> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(root)?, provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| Error::internal("use the swarm's root certificate", &error))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    Ok(Arc::new(config))
}

/// What a member speaks to managers with.
pub(crate) fn member(certificate: &str, key: &str, root: &str) -> Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_root_certificates(roots(root)?)
        .with_client_auth_cert(vec![der(certificate)?], private_key(key)?)
        .map_err(unusable)?;
    Ok(Arc::new(config))
}

/// What a node joins with; the root that the manager has shown is found in `root` afterwards.
pub(crate) fn joiner(digest: &str) -> Result<(Arc<ClientConfig>, Arc<Pinned>)> {
    let pinned = Arc::new(Pinned {
        digest: digest.to_owned(),
        root: Mutex::new(None),
        provider: provider(),
    });
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(pinned.clone())
        .with_no_client_auth();
    Ok((Arc::new(config), pinned))
}

/// The name that managers answer by.
pub(crate) fn manager_name() -> ServerName<'static> {
    ServerName::try_from(ca::MANAGER_UNIT).expect("the unit of managers is a name of DNS")
}

/// Takes a manager for genuine if it shows the root certificate with a digest, and one that this root
/// has given to a manager.
#[derive(Debug)]
pub(crate) struct Pinned {
    digest: String,
    root: Mutex<Option<String>>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    /// The genuine root certificate, once a manager has shown it.
    pub(crate) fn root(&self) -> Option<String> {
        self.root.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What to say of a manager with another root.
    pub(crate) fn mismatch(&self) -> Error {
        Error::new(
            Code::InvalidArgument,
            format!("remote CA does not match fingerprint. Expected: {}", self.digest),
        )
    }

    fn refuse() -> rustls::Error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pem = intermediates
            .iter()
            .map(|certificate| ca::to_pem(certificate))
            .find(|pem| token::digest(pem) == self.digest)
            .ok_or_else(Self::refuse)?;
        let roots = roots(&pem).map_err(|_| Self::refuse())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|_| Self::refuse())?;
        let verified = verifier.verify_server_cert(end_entity, &[], name, ocsp, now)?;
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(pem);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certified(certificate: &str, key: &str, root: &str) -> Result<Arc<CertifiedKey>> {
    let chain = vec![der(certificate)?, der(root)?];
    CertifiedKey::from_der(chain, private_key(key)?, &provider()).map(Arc::new).map_err(unusable)
}

fn roots(root: &str) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    roots.add(der(root)?).map_err(unusable)?;
    Ok(Arc::new(roots))
}

fn der(pem: &str) -> Result<CertificateDer<'static>> {
    Ok(ca::from_pem(pem, "a certificate of the swarm")?)
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| Error::internal("read this node's key", &error))
}

fn unusable(error: rustls::Error) -> Error {
    Error::internal("use this node's certificate", &error)
}
