//! Reading one repository: manifests, small blobs, tags.

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, LINK};
use serde::Deserialize;

use super::config::RegistryConfig;
use super::error::RegistryError;
use super::http::read_capped;
use super::manifest::{ACCEPTED, MAX_MANIFEST};
use super::session::{Access, Host, Session};
use super::{AuthConfig, Descriptor};
use crate::{Digest, Manifest, Reference};

/// The most tags that `--all-tags` follows.
const MAX_TAGS: usize = 10_000;
const DIGEST_HEADER: &str = "docker-content-digest";

/// A repository of a registry that has answered.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) session: Session,
    /// The name without tag and digest.
    pub(crate) name: Reference,
    pub(crate) scope: String,
    program: String,
    anonymous: bool,
}

/// A manifest whose digest was verified.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    pub(crate) manifest: Manifest,
    pub(crate) digest: Digest,
}

#[derive(Deserialize)]
struct Tags {
    /// `null` from some registries.
    tags: Option<Vec<String>>,
}

impl Repository {
    pub(crate) async fn connect(
        config: &RegistryConfig,
        host: &Host,
        reference: &Reference,
        credentials: &AuthConfig,
        access: Access,
    ) -> Result<Self, RegistryError> {
        // What was given for Docker Hub is none of a mirror's business.
        let credentials = if host.mirror { &AuthConfig::default() } else { credentials };
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        Ok(Self {
            session: Session::connect(config, host, credentials, access).await?,
            name: reference.without_tag(),
            scope: format!("repository:{}:{actions}", reference.path()),
            program: config.program.clone(),
            anonymous: credentials.is_anonymous(),
        })
    }

    /// Returns the address of `path` in this repository.
    pub(crate) fn url(&self, path: &str) -> reqwest::Url {
        self.session.url(&format!("{}/{path}", self.name.path()))
    }

    /// Fetches the manifest that a tag or digest names.
    pub(crate) async fn manifest(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        let what = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let url = self.url(&format!("manifests/{what}"));
        let (headers, bytes) = self
            .bytes(&url, &ACCEPTED, MAX_MANIFEST, &format!("the manifest of {reference}"))
            .await
            .map_err(|error| self.pull_error(error, reference))?;
        let digest = Digest::of(&bytes);
        let promised = reference.digest().or_else(|| promised_digest(&headers));
        if let Some(expected) = promised.filter(|expected| *expected != digest) {
            return Err(RegistryError::DigestMismatch {
                what: format!("the manifest of {reference} from {}", self.session.registry),
                expected,
                actual: digest,
            });
        }
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type =
            media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        Ok(Fetched { manifest: Manifest { media_type: media_type.to_owned(), bytes }, digest })
    }

    /// Asks for the digest of what a tag names. `None` when the registry does not say, or refuses.
    pub(crate) async fn digest(&self, reference: &Reference) -> Option<Digest> {
        let url = self.url(&format!("manifests/{}", reference.tag().unwrap_or("latest")));
        let reply = self.session.send(Method::HEAD, &url, &self.scope, |request| {
            ACCEPTED.iter().fold(request, |request, kind| request.header(ACCEPT, *kind))
        });
        let reply = reply.await.ok().filter(|reply| reply.status().is_success())?;
        promised_digest(reply.headers())
    }

    /// Fetches a small blob into memory and verifies it.
    pub(crate) async fn small_blob(
        &self,
        descriptor: &Descriptor,
        what: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        let url = self.url(&format!("blobs/{}", descriptor.digest));
        let what = format!("the {what} of {}", self.name.familiar_name());
        let (_, bytes) = self.bytes(&url, &[], descriptor.size, &what).await?;
        let actual = Digest::of(&bytes);
        if actual != descriptor.digest {
            return Err(RegistryError::DigestMismatch {
                what,
                expected: descriptor.digest,
                actual,
            });
        }
        Ok(bytes)
    }

    /// Lists the repository's tags, over as many pages as it takes.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let mut tags = Vec::new();
        let mut url = self.url("tags/list");
        let what = format!("the tag list of {}", self.name.familiar_name());
        loop {
            let (headers, bytes) = self
                .bytes(&url, &[], MAX_MANIFEST, &what)
                .await
                .map_err(|error| self.pull_error(error, &self.name))?;
            let page: Tags =
                serde_json::from_slice(&bytes).map_err(|error| RegistryError::Invalid {
                    what: "tag list",
                    reference: self.name.familiar_name(),
                    message: error.to_string(),
                })?;
            let page = page.tags.unwrap_or_default();
            let next = next_page(&headers).and_then(|link| url.join(&link).ok());
            let more = !page.is_empty();
            tags.extend(page);
            if tags.len() > MAX_TAGS {
                return Err(RegistryError::TooLarge { what, limit: MAX_TAGS as u64 });
            }
            match next {
                Some(next) if more && next.origin() == url.origin() => url = next,
                _ => return Ok(tags),
            }
        }
    }

    async fn bytes(
        &self,
        url: &reqwest::Url,
        accept: &[&str],
        limit: u64,
        what: &str,
    ) -> Result<(HeaderMap, Vec<u8>), RegistryError> {
        let mut backoff = self.session.backoff();
        loop {
            let response = self.session.get(Method::GET, url, &self.scope, accept).await?;
            let headers = response.headers().clone();
            match read_capped(response, limit, what).await {
                Ok(bytes) => return Ok((headers, bytes)),
                Err(error) => match backoff.next(None).filter(|_| error.is_temporary()) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(error),
                },
            }
        }
    }

    /// Puts a refusal into Docker's words: which image, and what may help.
    pub(crate) fn pull_error(&self, error: RegistryError, reference: &Reference) -> RegistryError {
        let RegistryError::Api(reply) = error else { return error };
        let name = self.name.familiar_name();
        if reply.has_code("NAME_UNKNOWN") {
            return RegistryError::RepositoryNotFound { name, reply };
        }
        if reply.is_not_found() || reply.has_code("MANIFEST_UNKNOWN") {
            return RegistryError::ManifestNotFound { reference: reference.to_string(), reply };
        }
        if reply.is_unauthorized() && (self.anonymous || reply.status != 401) {
            return RegistryError::PullDenied { name, program: self.program.clone(), reply };
        }
        RegistryError::Api(reply)
    }

    pub(crate) fn push_error(&self, error: RegistryError) -> RegistryError {
        match error {
            RegistryError::Api(reply) if reply.is_unauthorized() => RegistryError::PushDenied {
                name: self.name.familiar_name(),
                registry: self.session.registry.clone(),
                program: self.program.clone(),
                reply,
            },
            error => error,
        }
    }
}

/// The digest a registry says its reply has, if it is of a kind we can check.
pub(crate) fn promised_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

/// Reads `Link: <…>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, params) = link.trim().strip_prefix('<')?.split_once('>')?;
    params.contains("next").then(|| target.to_owned())
}
