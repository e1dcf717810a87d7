//! Certificates: whom we trust, what we say when we do not, and who we say we are.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use images::Reference;
use images::registry::{InsecureRegistries, RegistryConfig};

use crate::harness::{DockerRegistry, Fixture, config};
use crate::server::{Answer, Server};

/// An address of this machine that is not loopback, which needs no certificates.
fn outer_address() -> Option<IpAddr> {
    // Connecting a datagram socket only chooses the route, nothing is sent.
    let chosen = UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect("192.0.2.1:9").map(|()| socket))
        .and_then(|socket| socket.local_addr());
    match chosen {
        Ok(address) if !address.ip().is_loopback() => Some(address.ip()),
        _ => {
            eprintln!("skipped: this machine has no address but loopback");
            None
        }
    }
}

pub fn openssl(dir: &Path, args: &str) {
    let output = Command::new("openssl").current_dir(dir).args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes `ca.crt`, and `server` and `client` certificates signed by it.
fn certificates(dir: &Path, ip: IpAddr) {
    openssl(
        dir,
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt",
    );
    std::fs::write(dir.join("ext"), format!("basicConstraints=CA:FALSE\nsubjectAltName=IP:{ip}\n"))
        .unwrap();
    for name in ["server", "client"] {
        openssl(
            dir,
            &format!(
                "req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
            ),
        );
        openssl(
            dir,
            &format!(
                "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.pem"
            ),
        );
    }
}

async fn attempt(config: RegistryConfig, registry: &DockerRegistry) -> String {
    let fixture = Fixture::with(config);
    let reference = Reference::parse(&format!("{}/app:1", registry.host())).unwrap();
    fixture.registry.inspect(&reference, &Default::default()).await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked_and_can_be_added() {
    let Some(ip) = outer_address() else { return };
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path(), ip);
    let path = dir.path().to_path_buf();
    let at = |name: &str| path.join(name).display().to_string();
    let http = format!(
        "  tls: {{certificate: {}, key: {}, clientcas: [{}]}}\n",
        at("server.pem"),
        at("server.key"),
        at("ca.crt")
    );
    let Some(registry) = DockerRegistry::on(dir, ip, &http) else { return };

    let text = attempt(config(), &registry).await;
    assert!(text.contains("certificate") && text.contains("ca.crt"), "{text}");
    assert!(!text.contains(&format!("http://{}", registry.host())), "plain HTTP was tried: {text}");

    let certs = tempfile::tempdir().unwrap();
    let host = certs.path().join(registry.host());
    std::fs::create_dir(&host).unwrap();
    let trusting = || RegistryConfig { certs_dirs: vec![certs.path().to_path_buf()], ..config() };
    std::fs::copy(path.join("ca.crt"), host.join("ca.crt")).unwrap();
    // In TLS 1.3 the server judges after the handshake: its alert and the end of the connection race,
    // so one attempt may hear only of the end. None gets through, and some attempt hears the alert.
    let mut heard = String::new();
    for _ in 0..100 {
        heard = attempt(trusting(), &registry).await;
        assert!(!heard.contains("manifest unknown"), "no client certificate: {heard}");
        if heard.contains("ertificate") {
            break;
        }
    }
    assert!(heard.contains("ertificate"), "no client certificate: {heard}");

    std::fs::copy(path.join("client.pem"), host.join("client.cert")).unwrap();
    let text = attempt(trusting(), &registry).await;
    assert!(text.contains("missing key") && text.contains("client.key"), "{text}");

    std::fs::copy(path.join("client.key"), host.join("client.key")).unwrap();
    let text = attempt(trusting(), &registry).await;
    assert!(text.contains("manifest unknown"), "{text}");

    std::fs::remove_file(host.join("ca.crt")).unwrap();
    let insecure = InsecureRegistries::parse([format!("{ip}/32")]).unwrap();
    let text = attempt(RegistryConfig { insecure, ..trusting() }, &registry).await;
    assert!(text.contains("manifest unknown"), "{text}");

    std::fs::remove_file(host.join("client.cert")).unwrap();
    let text = attempt(trusting(), &registry).await;
    assert!(text.contains("missing client certificate"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_needs_to_be_allowed() {
    let Some(ip) = outer_address() else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some(registry) = DockerRegistry::on(dir, ip, "") else { return };
    let text = attempt(config(), &registry).await;
    assert!(text.contains(&format!("--insecure-registry {}", registry.host())), "{text}");
    let insecure = InsecureRegistries::parse([registry.host()]).unwrap();
    let text = attempt(RegistryConfig { insecure, ..config() }, &registry).await;
    assert!(text.contains("manifest unknown"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_are_used_but_not_for_loopback() {
    let proxy = Server::start(|_| Answer::new(502, "by proxy").into()).await;
    let proxy_config = images::registry::ProxyConfig {
        http: Some(format!("http://{}", proxy.host())),
        https: Some(String::new()),
        no_proxy: "direct.invalid".to_owned(),
    };
    let insecure = InsecureRegistries::parse(["reg.invalid", "direct.invalid"]).unwrap();
    let fixture = Fixture::with(RegistryConfig {
        proxy: proxy_config,
        insecure,
        max_attempts: 1,
        ..config()
    });
    let failure = fixture.pull("reg.invalid/app:1").await.unwrap_err().to_string();
    assert!(failure.contains("by proxy"), "{failure}");
    assert_eq!(proxy.seen("GET http://reg.invalid/v2/app/manifests/1").len(), 1);
    for host in ["direct.invalid", "127.0.0.1:9"] {
        let failure = fixture.pull(&format!("{host}/app:1")).await.unwrap_err().to_string();
        assert!(failure.contains("cannot be reached"), "{failure}");
    }
}
