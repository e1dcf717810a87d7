//! Speaking with one repository of one registry: addresses to try, authorization, and retries.
//!
//! A session lives as long as one pull, push or login. Each request carries the scope it needs; a 401 is answered once
//! with fresh authorization.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};

use super::auth::{AuthConfig, Authorizer};
use super::backoff::Backoff;
use super::challenge::challenges;
use super::config::{RegistryConfig, Timeouts};
use super::error::{ApiError, RegistryError};
use super::http::{self, Patience, Trust, describe, read_capped, request_name};

/// Longest error reply that is read.
const MAX_ERROR_BODY: u64 = 64 * 1024;

/// What a session is to be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// One address under which a registry may answer.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Ends with a slash; `v2/…` follows.
    base: Url,
    trust: Trust,
}

/// The addresses of one registry or mirror, to be tried in this order.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// As in references, or the mirror's host.
    pub(crate) name: String,
    pub(crate) mirror: bool,
    endpoints: Vec<Endpoint>,
}

/// Whether mirrors may answer: they hold what can be pulled, nothing is pushed to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mirrors {
    First,
    Never,
}

/// Returns where the registry `domain` of a reference can be reached: mirrors first, then itself.
pub(crate) async fn hosts(
    config: &RegistryConfig,
    domain: &str,
    mirrors: Mirrors,
) -> Result<Vec<Host>, RegistryError> {
    let mut hosts = Vec::new();
    if mirrors == Mirrors::First && domain == "docker.io" {
        for mirror in &config.mirrors {
            let name = authority(&mirror.url);
            let trust = trust(config, &name).await;
            let endpoints = vec![Endpoint { base: mirror.url.clone(), trust }];
            hosts.push(Host { name, mirror: true, endpoints });
        }
    }
    let address = if domain == "docker.io" { "registry-1.docker.io" } else { domain };
    let base = |scheme: &str| {
        Url::parse(&format!("{scheme}://{address}/")).map_err(|error| {
            RegistryError::InvalidRequest {
                message: format!("{domain:?} is no registry address: {error}"),
            }
        })
    };
    let trust = trust(config, address).await;
    let mut endpoints = vec![Endpoint { base: base("https")?, trust }];
    if trust == Trust::Anyone {
        endpoints.push(Endpoint { base: base("http")?, trust });
    }
    hosts.push(Host { name: domain.to_owned(), mirror: false, endpoints });
    Ok(hosts)
}

async fn trust(config: &RegistryConfig, host: &str) -> Trust {
    if config.insecure.contains(host).await { Trust::Anyone } else { Trust::Verified }
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A registry that has answered, with the way to authorize requests.
#[derive(Debug)]
pub(crate) struct Session {
    http: Client,
    /// For uploads; see [`Patience::Endless`].
    patient: Option<Client>,
    base: Url,
    pub(crate) registry: String,
    pub(crate) authorizer: Authorizer,
    pub(crate) timeouts: Timeouts,
    max_attempts: u32,
}

impl Session {
    /// Finds the first address of the host that answers to `GET /v2/`, and learns how it wants to be authorized to.
    ///
    /// # Errors
    /// `Unreachable`, naming each address tried and why it did not do.
    pub(crate) async fn connect(
        config: &RegistryConfig,
        host: &Host,
        credentials: &AuthConfig,
        access: Access,
    ) -> Result<Self, RegistryError> {
        let mut tried = Vec::new();
        let mut hint = String::new();
        for endpoint in &host.endpoints {
            let (address, trust) = (authority(&endpoint.base), endpoint.trust);
            let http = http::client(config, &address, trust, Patience::Idle).await?;
            let ping = endpoint.base.join("v2/").expect("a relative path joins");
            match http.get(ping).send().await {
                Ok(reply) => {
                    let secure =
                        endpoint.base.scheme() == "https" && endpoint.trust == Trust::Verified;
                    let authorizer = Authorizer::new(http.clone(), credentials.clone(), secure);
                    authorizer.challenged(challenges(reply.headers()));
                    let patient = match access {
                        Access::Pull => None,
                        Access::Push => {
                            Some(http::client(config, &address, trust, Patience::Endless).await?)
                        }
                    };
                    return Ok(Self {
                        http,
                        patient,
                        base: endpoint.base.clone(),
                        registry: host.name.clone(),
                        authorizer,
                        timeouts: config.timeouts,
                        max_attempts: config.max_attempts.max(1),
                    });
                }
                Err(error) => {
                    let why = describe(&error);
                    hint = advice(&why, host, endpoint);
                    tried.push(format!("{}: {why}", request_name("GET", &endpoint.base)));
                }
            }
        }
        Err(RegistryError::Unreachable { registry: host.name.clone(), tried, hint })
    }

    /// Returns the address of `path` below `v2/`.
    pub(crate) fn url(&self, path: &str) -> Url {
        self.base.join(&format!("v2/{path}")).expect("a repository path joins")
    }

    /// Returns the address of `path` below `v1/`.
    pub(crate) fn v1_url(&self, path: &str) -> Url {
        self.base.join(&format!("v1/{path}")).expect("a fixed path joins")
    }

    /// Returns the address a `Location` header names.
    pub(crate) fn location(&self, response: &Response) -> Result<Url, RegistryError> {
        let invalid = |message: &str| RegistryError::Invalid {
            what: "Location",
            reference: self.registry.clone(),
            message: message.to_owned(),
        };
        let text =
            response.headers().get(LOCATION).ok_or_else(|| invalid("the header is missing"))?;
        let text = text.to_str().map_err(|_| invalid("the header is no text"))?;
        let mut url = response.url().join(text).map_err(|error| invalid(&error.to_string()))?;
        if self.base.scheme() == "https" && url.scheme() == "http" {
            // A registry behind a TLS proxy often does not know its own scheme.
            if url.host_str() != self.base.host_str() || url.set_scheme("https").is_err() {
                return Err(invalid("it leads from https to plain http"));
            }
        }
        Ok(url)
    }

    /// Sends a request once, twice if the registry wants (new) authorization. Any other status is the caller's.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &Url,
        scope: &str,
        fill: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        self.send_by(&self.http, method, url, scope, fill).await
    }

    /// Sends a request like [`Session::send`], but waits for the reply without end. The caller has to watch.
    pub(crate) async fn send_patiently(
        &self,
        method: Method,
        url: &Url,
        scope: &str,
        fill: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let client = self.patient.as_ref().unwrap_or(&self.http);
        self.send_by(client, method, url, scope, fill).await
    }

    async fn send_by(
        &self,
        client: &Client,
        method: Method,
        url: &Url,
        scope: &str,
        fill: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let mut second = false;
        loop {
            let mut request = fill(client.request(method.clone(), url.clone()));
            let ours = url.origin() == self.base.origin();
            if ours && let Some(value) = self.authorizer.authorization(scope).await? {
                request = request.header(AUTHORIZATION, value);
            }
            let response =
                request.send().await.map_err(|error| self.transport("asking", &error))?;
            if response.status() != StatusCode::UNAUTHORIZED || second || !ours {
                return Ok(response);
            }
            let challenges = challenges(response.headers());
            if challenges.is_empty() {
                return Ok(response);
            }
            self.authorizer.challenged(challenges);
            self.authorizer.forget(scope);
            second = true;
        }
    }

    /// Sends a request that may be repeated until it succeeds; anything but a 2xx is an error in the end.
    pub(crate) async fn get(
        &self,
        method: Method,
        url: &Url,
        scope: &str,
        accept: &[&str],
    ) -> Result<Response, RegistryError> {
        let mut backoff = self.backoff();
        loop {
            let result = self
                .send(method.clone(), url, scope, |request| {
                    accept.iter().fold(request, |request, kind| request.header(ACCEPT, *kind))
                })
                .await;
            let (error, retry_after) = match result {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let retry_after = retry_after(response.headers());
                    (self.refusal(method.as_str(), response).await, retry_after)
                }
                Err(error) => (error, None),
            };
            let wait = if error.is_temporary() { backoff.next(retry_after) } else { None };
            let Some(wait) = wait else { return Err(error) };
            tracing::debug!(registry = %self.registry, error = %error, "registry request is tried again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Reads a reply that is no success as the error it is.
    pub(crate) async fn refusal(&self, method: &str, response: Response) -> RegistryError {
        let status = response.status();
        let name = request_name(method, response.url());
        // The status alone says enough if the body cannot be had.
        let body =
            read_capped(response, MAX_ERROR_BODY, "the error reply").await.unwrap_or_default();
        let mut error = ApiError::from_body(status, name, &body);
        if error.errors.is_empty() && status == StatusCode::UNAUTHORIZED {
            error.errors.push(("UNAUTHORIZED".to_owned(), "authentication required".to_owned()));
        }
        error.into()
    }

    pub(crate) fn transport(&self, action: &'static str, error: &reqwest::Error) -> RegistryError {
        RegistryError::Transport {
            action,
            registry: self.registry.clone(),
            message: describe(error),
        }
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.max_attempts, self.timeouts)
    }
}

/// Reads `Retry-After`, seconds or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Duration::try_from(date.timestamp().duration_since(jiff::Timestamp::now())).ok()
}

fn advice(why: &str, host: &Host, endpoint: &Endpoint) -> String {
    let name = &host.name;
    if why.contains("InvalidContentType") {
        return format!(
            "the registry speaks plain HTTP, if that is meant start the daemon with --insecure-registry {name}"
        );
    }
    if why.contains("certificate") && endpoint.trust == Trust::Verified {
        return format!(
            "put the certificate of its authority into /etc/docker/certs.d/{name}/ca.crt, or allow it with --insecure-registry {name}"
        );
    }
    "check the name, the network, the proxy settings and that the registry runs".to_owned()
}
