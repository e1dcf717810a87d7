//! Docker Hub as it behaves, at its own names: a token service, the `library/` prefix, blobs on
//! another host that takes no credentials, and a count of the manifests handed out.
//!
//! The names are reached through a proxy, which is how the client's own addresses stay as they are.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use images::ErrorKind;
use images::registry::{AuthConfig, ProxyConfig, PullOptions, RegistryConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::pem::PemObject};

use crate::content::{Format, Memory, TestImage, error};
use crate::harness::{DockerRegistry, Fixture, config, credentials, is_root};
use crate::server::{Answer, Reply, Request, Server};
use crate::tls::openssl;

const REGISTRY: &str = "registry-1.docker.io";
const TOKENS: &str = "auth.docker.io";
const BLOBS: &str = "production.cloudflare.docker.com";
const SEARCH: &str = "index.docker.io";
const ALICE: &str = "Basic YWxpY2U6c2VjcmV0";

/// How many manifests an address gets, as Docker Hub has it, made small.
const LIMIT: usize = 3;

struct Hub {
    registry: Server,
    tokens: Server,
    blobs: Server,
    search: Server,
    proxy: tokio::task::JoinHandle<()>,
    proxy_address: SocketAddr,
    certs: tempfile::TempDir,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

impl Hub {
    /// Serves `library/app:1` to everybody; what alice pushes goes to `upstream`.
    async fn start(image: &TestImage, upstream: Option<SocketAddr>) -> Self {
        let registry = Server::before(upstream, registry(Memory::of("1", image))).await;
        let tokens = Server::start(tokens).await;
        let memory = Memory::of("1", image);
        let blobs = Server::start(move |request| blobs(&memory, request)).await;
        let search = Server::start(search).await;
        let certs = tempfile::tempdir().unwrap();
        let hosts = [
            (REGISTRY, registry.address),
            (TOKENS, tokens.address),
            (BLOBS, blobs.address),
            (SEARCH, search.address),
        ];
        let acceptor = certificates(certs.path(), &hosts.map(|(name, _)| name));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy_address = listener.local_addr().unwrap();
        let hosts = Arc::new(hosts.map(|(name, address)| (format!("{name}:443"), address)));
        let proxy = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let (acceptor, hosts) = (acceptor.clone(), Arc::clone(&hosts));
                connections.spawn(async move {
                    // A client that goes away is not the hub's business.
                    let _ = tunnel(connection, &acceptor, &*hosts).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { registry, tokens, blobs, search, proxy, proxy_address, certs }
    }

    fn config(&self) -> RegistryConfig {
        RegistryConfig {
            certs_dirs: vec![self.certs.path().to_path_buf()],
            proxy: ProxyConfig {
                http: None,
                https: Some(format!("http://{}", self.proxy_address)),
                no_proxy: String::new(),
            },
            ..config()
        }
    }
}

/// Answers CONNECT, ends the TLS behind it and passes on what was inside.
async fn tunnel(
    mut client: TcpStream,
    acceptor: &TlsAcceptor,
    hosts: &[(String, SocketAddr)],
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let found = hosts.iter().find(|(name, _)| Some(name.as_str()) == target);
    let Some((_, address)) = found else {
        return client.write_all(b"HTTP/1.1 502 no such host\r\n\r\n").await;
    };
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(address).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Makes an authority that the client trusts for the registry, and a certificate for all names.
fn certificates(dir: &Path, names: &[&str]) -> TlsAcceptor {
    let trusted = dir.join(REGISTRY);
    std::fs::create_dir(&trusted).unwrap();
    openssl(
        dir,
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
    );
    openssl(dir, "req -newkey rsa:2048 -nodes -subj /CN=hub -keyout hub.key -out hub.csr");
    let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let extensions = format!("basicConstraints=CA:FALSE\nsubjectAltName={}\n", names.join(","));
    std::fs::write(dir.join("ext"), extensions).unwrap();
    openssl(
        dir,
        "x509 -req -in hub.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out hub.pem",
    );
    std::fs::copy(dir.join("ca.pem"), trusted.join("ca.crt")).unwrap();
    // Searches ask another host, whose authority is looked up under its own name.
    std::fs::create_dir(dir.join(SEARCH)).unwrap();
    std::fs::copy(dir.join("ca.pem"), dir.join(SEARCH).join("ca.crt")).unwrap();
    let chain = rustls::pki_types::CertificateDer::pem_file_iter(dir.join("hub.pem")).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(dir.join("hub.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A token is the scopes it is for: anonymous ones only pull, alice also pushes what is hers.
fn tokens(request: &Request) -> Reply {
    let alice = match request.header("authorization") {
        None => false,
        Some(ALICE) => true,
        Some(_) => {
            return Answer::new(401, r#"{"details":"incorrect username or password"}"#).into();
        }
    };
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    if !query.contains("service=registry.docker.io") {
        return Answer::new(400, r#"{"details":"no service"}"#).into();
    }
    let granted: Vec<String> = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("scope="))
        .map(|scope| scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ","))
        .map(|scope| match alice && scope.starts_with("repository:alice/") {
            true => scope,
            false => scope.replace("pull,push", "pull"),
        })
        .collect();
    let token = format!("for+{}", granted.join("+"));
    let mut reply = json!({"token": token, "expires_in": 300});
    if query.contains("offline_token=true") && alice {
        reply["refresh_token"] = json!("refresh-1");
    }
    Answer::new(200, reply.to_string()).into()
}

fn registry(memory: Memory) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let handed_out = AtomicUsize::new(0);
    move |request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let named: Vec<&str> = path.trim_start_matches("/v2/").split('/').take(2).collect();
        let repository = named.join("/");
        let reads = matches!(request.method.as_str(), "GET" | "HEAD");
        let wanted = if reads { "pull" } else { "pull,push" };
        let scope = format!("repository:{repository}:{wanted}");
        let granted = token.is_some_and(|token| {
            path == "/v2/" || token.split('+').any(|granted| granted.starts_with(&scope))
        });
        if !granted {
            let scope = if path == "/v2/" { String::new() } else { format!(r#",scope="{scope}""#) };
            let realm = format!(
                r#"Bearer realm="https://{TOKENS}/token",service="registry.docker.io"{scope}"#
            );
            let Reply::Answer(answer) = error(401, "UNAUTHORIZED", "authentication required")
            else {
                unreachable!()
            };
            return answer.with("WWW-Authenticate", realm).into();
        }
        if repository.starts_with("alice/") {
            return Reply::Forward;
        }
        let Reply::Answer(answer) = memory.reply(request) else { unreachable!() };
        if path.contains("/blobs/") && answer.status < 300 {
            let place = format!("https://{BLOBS}{path}?verify=1234");
            return Answer::new(307, "").with("Location", place).into();
        }
        if !path.contains("/manifests/") || answer.status != 200 {
            return answer.into();
        }
        if request.method == "GET" && handed_out.fetch_add(1, Ordering::Relaxed) >= LIMIT {
            let message = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit";
            let Reply::Answer(refusal) = error(429, "TOOMANYREQUESTS", message) else {
                unreachable!()
            };
            return refusal.with("Retry-After", 21600).into();
        }
        let digest = images::Digest::of(&answer.body);
        answer.with("Docker-Content-Digest", digest).into()
    }
}

/// Refuses who sends credentials, or comes without the signature that the registry gave.
fn blobs(memory: &Memory, request: &Request) -> Reply {
    if request.header("authorization").is_some() {
        return Answer::new(400, "only one authorization mechanism is allowed").into();
    }
    match request.path.ends_with("?verify=1234") {
        true => memory.reply(request),
        false => Answer::new(403, "no signature").into(),
    }
}

fn search(request: &Request) -> Reply {
    if request.path == "/v1/search?q=app&n=25" {
        let found = json!({"name": "app", "star_count": 7, "is_official": true});
        return Answer::new(200, json!({"results": [found]}).to_string()).into();
    }
    Answer::new(200, "{}").into()
}

fn image() -> TestImage {
    TestImage::new(Format::OciGzip, "amd64", 70, &[3000, 500])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_name_is_pulled_from_the_hub() {
    if !is_root() {
        return;
    }
    let image = image();
    let hub = Hub::start(&image, None).await;
    let fixture = Fixture::with(hub.config());
    let pulled = fixture.pull("app:1").await.unwrap();
    assert_eq!(pulled[0].id, image.id());
    assert_eq!(pulled[0].reference.to_string(), "app:1");
    assert!(fixture.lines().contains(&"1: Pulling from library/app".to_owned()));
    let asked = hub.tokens.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(
        asked[0].line(),
        "GET /token?service=registry.docker.io&scope=repository%3Alibrary%2Fapp%3Apull"
    );
    assert_eq!(hub.registry.seen("GET /v2/library/app/manifests/1").len(), 1);
    assert_eq!(hub.blobs.requests().len(), 3, "two layers and a config");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_changed_is_not_counted_and_the_limit_is_told() {
    if !is_root() {
        return;
    }
    let image = image();
    let hub = Hub::start(&image, None).await;
    let fixture = Fixture::with(hub.config());
    for _ in 0..LIMIT + 2 {
        fixture.lines();
        let pulled = fixture.pull("app:1").await.unwrap();
        assert_eq!((pulled[0].id, pulled[0].digest), (image.id(), image.digest()));
    }
    assert_eq!(
        fixture.lines(),
        [
            "1: Pulling from library/app".to_owned(),
            format!("Digest: {}", image.digest()),
            "Status: Image is up to date for app:1".to_owned(),
        ]
    );
    assert_eq!(hub.registry.seen("GET /v2/library/app/manifests/").len(), 1);
    // Others at the same address have used the rest up; waiting six hours is the user's decision.
    for _ in 1..LIMIT {
        Fixture::with(hub.config()).pull("app:1").await.unwrap();
    }
    let failure = Fixture::with(hub.config()).pull("app:1").await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Unavailable);
    let text = failure.to_string();
    assert!(text.starts_with("toomanyrequests: You have reached your"), "{text}");
    assert_eq!(hub.registry.seen("GET /v2/library/app/manifests/").len(), LIMIT + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn alice_logs_in_and_pushes_and_nobody_does_not() {
    if !is_root() {
        return;
    }
    let Some(upstream) = DockerRegistry::start(None) else { return };
    let image = image();
    let hub = Hub::start(&image, Some(upstream.address)).await;
    let fixture = Fixture::with(hub.config());
    let alice = credentials("alice", "secret");
    let logged_in = fixture.registry.login("https://index.docker.io/v1/", &alice).await.unwrap();
    assert_eq!(logged_in.identity_token, "refresh-1");
    let failure =
        fixture.registry.login("", &credentials("alice", "wrong")).await.unwrap_err().to_string();
    assert_eq!(failure, "unauthorized: incorrect username or password");

    fixture.pull("app:1").await.unwrap();
    fixture.tag(&image.id(), "alice/app:2");
    let failure = fixture.push("alice/app:2", AuthConfig::default()).await.unwrap_err();
    assert!(failure.to_string().contains("denied"), "{failure}");
    let pushed = fixture.push("alice/app:2", alice.clone()).await.unwrap();
    assert_eq!(pushed[0].digest, image.digest());
    let scope = "scope=repository%3Aalice%2Fapp%3Apull%2Cpush";
    assert!(hub.tokens.seen(scope).iter().any(|request| request.header("authorization").is_some()));

    let other = Fixture::with(hub.config());
    let options = PullOptions { auth: alice, ..Default::default() };
    assert_eq!(other.pull_with("alice/app:2", &options).await.unwrap()[0].id, image.id());
    let found = other.registry.search("app", 25, &AuthConfig::default()).await.unwrap();
    assert_eq!((found[0].name.as_str(), found[0].is_official), ("app", true));
    assert_eq!(hub.search.seen("/v1/search").len(), 1);
}
