//! The HTTP client for one host: certificates, proxies, deadlines; and small tools on replies and errors.

use std::error::Error as _;
use std::path::Path;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Identity, NoProxy, Proxy, Response, Url};

use super::config::RegistryConfig;
use super::error::RegistryError;

/// Whether a server has to prove who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    Verified,
    Anyone,
}

/// How long a client waits for a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As long as bytes come, with no pause beyond the idle time.
    Idle,
    /// For ever: the reply to an upload comes when all of it was sent. The caller watches over it.
    Endless,
}

/// Builds a client for `host[:port]`. Certificates are read each time, so that changed ones count at once.
pub(crate) async fn client(
    config: &RegistryConfig,
    host: &str,
    trust: Trust,
    patience: Patience,
) -> Result<Client, RegistryError> {
    let (config, host) = (config.clone(), host.to_owned());
    tokio::task::spawn_blocking(move || build(&config, &host, trust, patience))
        .await
        .map_err(|error| invalid_config(format!("building the client: {error}")))?
}

fn build(
    config: &RegistryConfig,
    host: &str,
    trust: Trust,
    patience: Patience,
) -> Result<Client, RegistryError> {
    // Fails when another part of the process has chosen a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("teu/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.timeouts.connect)
        .redirect(Policy::custom(redirect))
        .retry(reqwest::retry::never())
        .no_proxy();
    let proxies = [
        proxy_url(config.proxy.http.as_deref()).map(Proxy::http),
        proxy_url(config.proxy.https.as_deref()).map(Proxy::https),
    ];
    for proxy in proxies.into_iter().flatten() {
        let proxy =
            proxy.map_err(|error| invalid_config(format!("proxy: {}", describe(&error))))?;
        builder = builder.proxy(proxy.no_proxy(direct(&config.proxy.no_proxy)));
    }
    if patience == Patience::Idle {
        builder = builder.read_timeout(config.timeouts.idle);
    }
    if trust == Trust::Anyone {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    for dir in &config.certs_dirs {
        let certs = HostCerts::read(&dir.join(host))?;
        if trust == Trust::Verified && !certs.roots.is_empty() {
            builder = builder.tls_certs_merge(certs.roots);
        }
        if let Some(identity) = certs.identity {
            builder = builder.identity(identity);
        }
    }
    builder.build().map_err(|error| {
        invalid_config(format!(
            "TLS for {host}: {}: is the package ca-certificates installed?",
            describe(&error)
        ))
    })
}

/// An empty variable means no proxy.
fn proxy_url(url: Option<&str>) -> Option<&str> {
    url.filter(|url| !url.is_empty())
}

/// A blob may live elsewhere, but never where the way there is less safe.
fn redirect(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    const MOST: usize = 10;
    if attempt.previous().len() > MOST {
        return attempt.error("too many redirects");
    }
    let was_https = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if was_https && attempt.url().scheme() != "https" {
        return attempt.error("redirect from https to plain http refused");
    }
    attempt.follow()
}

fn direct(no_proxy: &str) -> Option<NoProxy> {
    NoProxy::from_string(&format!("localhost,127.0.0.0/8,::1,{no_proxy}"))
}

/// What `certs.d/<host>` holds.
#[derive(Default)]
struct HostCerts {
    roots: Vec<Certificate>,
    identity: Option<Identity>,
}

impl HostCerts {
    fn read(dir: &Path) -> Result<Self, RegistryError> {
        let mut certs = Self::default();
        let Ok(entries) = std::fs::read_dir(dir) else { return Ok(certs) };
        let mut paths: Vec<_> =
            entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        paths.sort();
        for path in &paths {
            let extension = path.extension().and_then(|extension| extension.to_str());
            match extension {
                Some("crt") => {
                    let bundle =
                        Certificate::from_pem_bundle(&read_file(path)?).map_err(|error| {
                            invalid_config(format!("{}: {}", path.display(), describe(&error)))
                        })?;
                    certs.roots.extend(bundle);
                }
                Some("cert") => certs.identity = Some(identity(path)?),
                Some("key") if !path.with_extension("cert").exists() => {
                    return Err(invalid_config(format!(
                        "missing client certificate {} for key {}",
                        path.with_extension("cert").display(),
                        path.display()
                    )));
                }
                _ => {}
            }
        }
        Ok(certs)
    }
}

fn identity(cert: &Path) -> Result<Identity, RegistryError> {
    let key = cert.with_extension("key");
    if !key.exists() {
        return Err(invalid_config(format!(
            "missing key {} for client certificate {}: CA certificates must use the extension .crt",
            key.display(),
            cert.display()
        )));
    }
    let mut pem = read_file(cert)?;
    pem.push(b'\n');
    pem.extend(read_file(&key)?);
    Identity::from_pem(&pem)
        .map_err(|error| invalid_config(format!("{}: {}", cert.display(), describe(&error))))
}

fn read_file(path: &Path) -> Result<Vec<u8>, RegistryError> {
    std::fs::read(path).map_err(|error| invalid_config(format!("{}: {error}", path.display())))
}

fn invalid_config(message: String) -> RegistryError {
    RegistryError::InvalidConfig { message }
}

/// Returns the root cause of a transport error: the layers above only say that a request did not work.
pub(crate) fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "connecting timed out" } else { "no answer in time" }
            .to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.source().is_none() {
        // Without its cause the text would name the URL, which may hold a signature.
        return error.to_string().split(" for url").next().unwrap_or_default().to_owned();
    }
    super::error::printable(&cause.to_string())
}

/// Names a request in messages, without the query: signed URLs are secrets.
pub(crate) fn request_name(method: &str, url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    // Only URLs that cannot have a user refuse, and those have none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    format!("{method} {url}")
}

/// Reads a reply's body, at most `limit` bytes of it.
pub(crate) async fn read_capped(
    mut response: Response,
    limit: u64,
    what: &str,
) -> Result<Vec<u8>, RegistryError> {
    let too_large = || RegistryError::TooLarge { what: what.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    let registry = response.url().host_str().unwrap_or_default().to_owned();
    loop {
        let chunk = response.chunk().await.map_err(|error| RegistryError::Transport {
            action: "reading a reply",
            registry: registry.clone(),
            message: describe(&error),
        })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if (body.len() + chunk.len()) as u64 > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
}
