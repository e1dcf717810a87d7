//! The swarm's certificate authority, and the certificates it gives to nodes.
//!
//! A node's certificate says who it is: the node's id (CN), what it is (OU `swarm-manager` or
//! `swarm-worker`) and of which swarm (O). The root lives 20 years, a node's certificate as long as
//! the swarm is told to (90 days), beginning an hour in the past for hosts whose clocks are behind.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

const ROOT_NAME: &str = "swarm-ca";
const ROOT_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// How long before it is made a certificate is valid.
const BACKDATED: Duration = Duration::from_secs(3600);
/// The organizational unit of a manager, and the name that managers answer by in TLS.
pub(crate) const MANAGER_UNIT: &str = "swarm-manager";
const WORKER_UNIT: &str = "swarm-worker";

/// What a node is to its swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Keeps the swarm's state.
    Manager,
    /// Runs containers.
    Worker,
}

impl Role {
    /// The word of the Engine API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manager => "manager",
            Self::Worker => "worker",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Manager => MANAGER_UNIT,
            Self::Worker => WORKER_UNIT,
        }
    }
}

/// Why something about certificates cannot be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaError {
    #[error("{action}")]
    Make { action: &'static str, source: rcgen::Error },
    #[error("read {what}: it is no certificate")]
    Read { what: &'static str },
    #[error("read {what}: {field} is missing")]
    Field { what: &'static str, field: &'static str },
}

/// Who the bearer of a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) node_id: String,
    pub(crate) role: Role,
    pub(crate) cluster_id: String,
}

/// The authority of one swarm.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority: its certificate and its key, both in PEM form.
    pub(crate) fn generate(now: SystemTime) -> Result<(String, String), CaError> {
        let failed = |source| CaError::Make { action: "make the swarm's root certificate", source };
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, ROOT_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_life(&mut params, now, ROOT_LIFE);
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok((to_pem(certificate.der()), key.serialize_pem()))
    }

    /// Takes up an authority.
    pub(crate) fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, CaError> {
        let failed = |source| CaError::Make { action: "use the swarm's root certificate", source };
        let der = from_pem(certificate_pem, "the swarm's root certificate")?;
        let key = KeyPair::from_pem(key_pem).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(failed)?;
        Ok(Self { issuer, pem: certificate_pem.to_owned(), der })
    }

    /// The root certificate in PEM form.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs what a node asked for. Of the request only the key counts, and that the node has it:
    /// who the node is, is not for it to say.
    pub(crate) fn sign(
        &self,
        request_pem: &str,
        identity: &Identity,
        now: SystemTime,
        life: Duration,
    ) -> Result<String, CaError> {
        let failed = |source| CaError::Make { action: "sign a node's certificate", source };
        let mut request = CertificateSigningRequestParams::from_pem(request_pem).map_err(failed)?;
        let names = vec![identity.node_id.clone(), identity.role.unit().to_owned()];
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in [
            (DnType::OrganizationName, identity.cluster_id.as_str()),
            (DnType::OrganizationalUnitName, identity.role.unit()),
            (DnType::CommonName, identity.node_id.as_str()),
        ] {
            params.distinguished_name.push(kind, value);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_life(&mut params, now, life);
        request.params = params;
        Ok(to_pem(request.signed_by(&self.issuer).map_err(failed)?.der()))
    }

    /// What clients are told of the root: the subject and the public key, both as DER.
    pub(crate) fn issuer_parts(&self) -> Result<(Vec<u8>, Vec<u8>), CaError> {
        let root = parse(&self.der, "the swarm's root certificate")?;
        Ok((root.subject().as_raw().to_vec(), root.public_key().raw.to_vec()))
    }
}

/// A node's own key, which never leaves it.
pub(crate) struct NodeKey(KeyPair);

impl NodeKey {
    /// Makes a new key.
    pub(crate) fn generate() -> Result<Self, CaError> {
        let failed = |source| CaError::Make { action: "make this node's key", source };
        Ok(Self(KeyPair::generate().map_err(failed)?))
    }

    /// Reads a key.
    pub(crate) fn from_pem(pem: &str) -> Result<Self, CaError> {
        let failed = |source| CaError::Make { action: "read this node's key", source };
        Ok(Self(KeyPair::from_pem(pem).map_err(failed)?))
    }

    /// The key in PEM form.
    pub(crate) fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// Asks for a certificate for this key.
    pub(crate) fn request(&self) -> Result<String, CaError> {
        let failed = |source| CaError::Make { action: "ask for this node's certificate", source };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(&self.0).and_then(|request| request.pem()).map_err(failed)
    }
}

/// What tells one key from another in a request for a certificate, in base 36.
pub(crate) fn key_of_request(request_pem: &str) -> Result<String, CaError> {
    let failed = |source| CaError::Make { action: "read a node's request", source };
    let request = CertificateSigningRequestParams::from_pem(request_pem).map_err(failed)?;
    Ok(crate::id::base36(&Sha256::digest(rcgen::PublicKeyData::der_bytes(&request.public_key)), 50))
}

/// Reads who the bearer of a certificate is. That it is genuine was checked before.
pub(crate) fn identity_of(der: &[u8]) -> Result<Identity, CaError> {
    let what = "a node's certificate";
    let certificate = parse(der, what)?;
    let subject = certificate.subject();
    let text = |mut values: Box<dyn Iterator<Item = &str> + '_>, field| {
        values.next().map(str::to_owned).ok_or(CaError::Field { what, field })
    };
    let names = subject.iter_common_name().filter_map(|value| value.as_str().ok());
    let units = subject.iter_organizational_unit().filter_map(|value| value.as_str().ok());
    let clusters = subject.iter_organization().filter_map(|value| value.as_str().ok());
    let role = match text(Box::new(units), "the role")?.as_str() {
        MANAGER_UNIT => Role::Manager,
        WORKER_UNIT => Role::Worker,
        _ => return Err(CaError::Field { what, field: "a known role" }),
    };
    Ok(Identity {
        node_id: text(Box::new(names), "the node's id")?,
        role,
        cluster_id: text(Box::new(clusters), "the swarm's id")?,
    })
}

/// When a certificate was made, and when it ends to be valid.
pub(crate) fn validity(certificate_pem: &str) -> Result<(SystemTime, SystemTime), CaError> {
    let what = "this node's certificate";
    let der = from_pem(certificate_pem, what)?;
    let certificate = parse(&der, what)?;
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = certificate.validity();
    let made = time(validity.not_before.timestamp()) + BACKDATED;
    Ok((made, time(validity.not_after.timestamp())))
}

/// Writes a certificate as PEM, always in the same way: tokens hold the digest of the text.
pub(crate) fn to_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

/// Reads the first certificate of a PEM text.
pub(crate) fn from_pem(pem: &str, what: &'static str) -> Result<CertificateDer<'static>, CaError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| CaError::Read { what })
}

fn parse<'a>(der: &'a [u8], what: &'static str) -> Result<X509Certificate<'a>, CaError> {
    X509Certificate::from_der(der).map(|(_, parsed)| parsed).map_err(|_| CaError::Read { what })
}

fn set_life(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + (now + life);
}

#[cfg(test)]
mod tests;
