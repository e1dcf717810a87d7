use super::*;

fn authority() -> Authority {
    let (pem, key) = Authority::generate(SystemTime::now()).unwrap();
    Authority::load(&pem, &key).unwrap()
}

fn identity() -> Identity {
    Identity { node_id: "node1".to_owned(), role: Role::Worker, cluster_id: "cluster1".to_owned() }
}

#[test]
fn a_certificate_says_who_its_bearer_is() {
    let authority = authority();
    let key = NodeKey::generate().unwrap();
    let now = SystemTime::now();
    let life = Duration::from_secs(90 * 24 * 3600);
    let signed = authority.sign(&key.request().unwrap(), &identity(), now, life).unwrap();
    let der = from_pem(&signed, "it").unwrap();
    assert_eq!(identity_of(&der).unwrap(), identity());
    let (made, to) = validity(&signed).unwrap();
    assert!(made <= now && to <= now + life && to > now + life / 2);
    let certificate = parse(&der, "it").unwrap();
    let begins = UNIX_EPOCH
        + Duration::from_secs(certificate.validity().not_before.timestamp().try_into().unwrap());
    assert!(begins <= now - BACKDATED);
    assert!(!certificate.is_ca());
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert!(format!("{:?}", names.value.general_names).contains("swarm-worker"));
    certificate.verify_signature_of(&authority);
}

trait Signed {
    fn verify_signature_of(&self, authority: &Authority);
}

impl Signed for X509Certificate<'_> {
    fn verify_signature_of(&self, authority: &Authority) {
        let root = parse(&authority.der, "root").unwrap();
        assert_eq!(self.issuer().as_raw(), root.subject().as_raw());
        assert!(root.is_ca());
        assert_eq!(root.subject().to_string(), "CN=swarm-ca");
    }
}

#[test]
fn what_a_request_says_of_its_sender_does_not_count() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["swarm-manager".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "somebody else");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let life = Duration::from_secs(3600);
    let signed = authority.sign(&request, &identity(), SystemTime::now(), life).unwrap();
    let der = from_pem(&signed, "it").unwrap();
    assert_eq!(identity_of(&der).unwrap(), identity());
    let certificate = parse(&der, "it").unwrap();
    assert!(!certificate.is_ca());
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert!(!format!("{:?}", names.value.general_names).contains("swarm-manager"));
}

#[test]
fn a_request_tells_its_key() {
    let (one, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    let again = NodeKey::from_pem(&one.pem()).unwrap();
    let key = |key: &NodeKey| key_of_request(&key.request().unwrap()).unwrap();
    assert_eq!(key(&one), key(&again));
    assert_ne!(key(&one), key(&other));
    assert!(key_of_request("nonsense").is_err());
}

#[test]
fn what_is_no_certificate_is_refused() {
    assert!(from_pem("", "x").is_err());
    assert!(identity_of(b"").is_err());
    assert!(identity_of(&[0x30; 100]).is_err());
    assert!(Authority::load("", "").is_err());
    let (pem, _) = Authority::generate(SystemTime::now()).unwrap();
    assert!(Authority::load(&pem, "no key").is_err());
}

#[test]
fn the_same_bytes_are_always_the_same_text() {
    let (pem, _) = Authority::generate(SystemTime::now()).unwrap();
    assert_eq!(to_pem(&from_pem(&pem, "root").unwrap()), pem);
}
