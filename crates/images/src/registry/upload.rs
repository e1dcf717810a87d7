//! Bringing one blob to a registry: is it there, can it be mounted, else upload it, going on where a broken upload stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{TryFutureExt, TryStreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::io::AsyncSeekExt;
use tokio_util::io::ReaderStream;

use super::download::{LayerReport, retrying};
use super::error::RegistryError;
use super::repository::Repository;
use super::session::retry_after;
use crate::{Digest, LayerState, Store};

const CHUNK: usize = 256 << 10;
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Where the bytes of a blob are.
#[derive(Debug)]
pub(crate) enum Content {
    /// In the store, under the blob's digest.
    Stored(Store),
    Bytes(Vec<u8>),
}

/// One blob to be brought to a registry.
pub(crate) struct Upload<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) report: LayerReport<'a>,
    /// Bytes handed to the connection so far.
    sent: Arc<AtomicU64>,
}

/// What a mount request led to.
pub(crate) enum Mount {
    Mounted,
    /// The registry began an upload in its place.
    Upload(Url),
    Refused,
}

impl<'a> Upload<'a> {
    pub(crate) fn new(
        repository: &'a Repository,
        digest: Digest,
        size: u64,
        report: LayerReport<'a>,
    ) -> Self {
        Self { repository, digest, size, report, sent: Arc::default() }
    }

    /// Whether the registry has the blob.
    pub(crate) async fn exists(&self) -> Result<bool, RegistryError> {
        let url = self.repository.url(&format!("blobs/{}", self.digest));
        match self.repository.session.get(Method::HEAD, &url, &self.repository.scope, &[]).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Api(error)) if error.is_not_found() => Ok(false),
            Err(error) => Err(self.repository.push_error(error)),
        }
    }

    /// Asks the registry to take the blob from another of its repositories. A refusal is no error: the blob is uploaded.
    pub(crate) async fn mount(&self, from: &str) -> Mount {
        let mut url = self.repository.url("blobs/uploads/");
        url.query_pairs_mut()
            .append_pair("mount", &self.digest.to_string())
            .append_pair("from", from);
        let scope = format!("{} repository:{from}:pull", self.repository.scope);
        let session = &self.repository.session;
        let response = match session.send(Method::POST, &url, &scope, empty).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(digest = %self.digest, from, error = %error, "blob cannot be mounted");
                return Mount::Refused;
            }
        };
        match response.status() {
            StatusCode::CREATED => Mount::Mounted,
            StatusCode::ACCEPTED => {
                session.location(&response).map_or(Mount::Refused, Mount::Upload)
            }
            _ => Mount::Refused,
        }
    }

    /// Uploads the blob; `started` is an upload that a mount request has begun.
    pub(crate) async fn run(
        &self,
        content: &Content,
        started: Option<Url>,
    ) -> Result<(), RegistryError> {
        let work = self.try_until_done(content, started);
        tokio::pin!(work);
        let mut every = tokio::time::interval(REPORT_EVERY);
        loop {
            tokio::select! {
                biased;
                result = &mut work => return result,
                _ = every.tick() => {
                    let current = self.sent.load(Ordering::Relaxed).min(self.size);
                    (self.report)(LayerState::Pushing { current, total: Some(self.size) });
                }
            }
        }
    }

    async fn try_until_done(
        &self,
        content: &Content,
        started: Option<Url>,
    ) -> Result<(), RegistryError> {
        let mut backoff = self.repository.session.backoff();
        let mut place = started.map(|url| (url, 0));
        loop {
            let begun = match place.take() {
                Some(place) => Ok(place),
                None => self.begin().await.map(|url| (url, 0)),
            };
            let (url, (error, after)) = match begun {
                Err(failure) => (None, failure),
                Ok((url, offset)) => match self.send_rest(content, &url, offset).await {
                    Ok(()) => return Ok(()),
                    Err(failure) => (Some(url), failure),
                },
            };
            let error = self.repository.push_error(error);
            // A range that does not fit says that our idea of what has arrived is wrong: ask, or begin again.
            let odd_range =
                matches!(&error, RegistryError::Api(api) if matches!(api.status, 404 | 416));
            if !error.is_temporary() && !odd_range {
                return Err(error);
            }
            let Some(wait) = backoff.next(after) else { return Err(error) };
            tracing::info!(digest = %self.digest, error = %error, "upload is tried again");
            (self.report)(retrying(wait));
            tokio::time::sleep(wait).await;
            place = match url {
                Some(url) if !odd_range => self.arrived(&url).await,
                _ => None,
            };
        }
    }

    async fn begin(&self) -> Result<Url, (RegistryError, Option<Duration>)> {
        let url = self.repository.url("blobs/uploads/");
        let session = &self.repository.session;
        let response =
            session.send(Method::POST, &url, &self.repository.scope, empty).await.map_err(now)?;
        let response = self.expect(response, "POST", &[StatusCode::ACCEPTED]).await?;
        session.location(&response).map_err(now)
    }

    /// Asks how much of a broken upload has arrived; `None` if it has to begin anew.
    async fn arrived(&self, url: &Url) -> Option<(Url, u64)> {
        let session = &self.repository.session;
        let response =
            session.send(Method::GET, url, &self.repository.scope, |request| request).await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let range = response.headers().get(RANGE)?.to_str().ok()?;
        let last: u64 = range.trim_start_matches("bytes=").split_once('-')?.1.parse().ok()?;
        // `0-0` is what an empty upload has, too.
        let offset = if last == 0 { 0 } else { last + 1 };
        (offset <= self.size)
            .then_some((session.location(&response).unwrap_or_else(|_| url.clone()), offset))
    }

    async fn send_rest(
        &self,
        content: &Content,
        url: &Url,
        offset: u64,
    ) -> Result<(), (RegistryError, Option<Duration>)> {
        let session = &self.repository.session;
        let mut url = url.clone();
        if offset < self.size {
            let response = self.send_body(Method::PATCH, content, &url, offset).await?;
            let status = response.status();
            if matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
                && offset == 0
            {
                let whole = self.finished(url);
                let response = self.send_body(Method::PUT, content, &whole, 0).await?;
                return self
                    .expect(response, "PUT", &[StatusCode::CREATED, StatusCode::NO_CONTENT])
                    .await
                    .map(drop);
            }
            let taken = [StatusCode::ACCEPTED, StatusCode::CREATED, StatusCode::NO_CONTENT];
            let response = self.expect(response, "PATCH", &taken).await?;
            url = session.location(&response).map_err(now)?;
        }
        let url = self.finished(url);
        let sending = session.send_patiently(Method::PUT, &url, &self.repository.scope, empty);
        let response = self.watched(sending).await.map_err(now)?;
        self.expect(response, "PUT", &[StatusCode::CREATED, StatusCode::NO_CONTENT]).await.map(drop)
    }

    fn finished(&self, mut url: Url) -> Url {
        url.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        url
    }

    async fn send_body(
        &self,
        method: Method,
        content: &Content,
        url: &Url,
        offset: u64,
    ) -> Result<Response, (RegistryError, Option<Duration>)> {
        let length = self.size - offset;
        let session = &self.repository.session;
        let sending = session.send_patiently(method, url, &self.repository.scope, |request| {
            let request = request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, length)
                .body(self.body(content, offset));
            if offset == 0 {
                request
            } else {
                request.header(CONTENT_RANGE, format!("{offset}-{}", self.size - 1))
            }
        });
        self.watched(sending).await.map_err(now)
    }

    /// Waits for a reply as long as bytes go out, then some more: registries check and move what they got.
    async fn watched(
        &self,
        sending: impl Future<Output = Result<Response, RegistryError>>,
    ) -> Result<Response, RegistryError> {
        let session = &self.repository.session;
        let idle = session.timeouts.idle;
        let mut every = tokio::time::interval((idle / 4).max(Duration::from_millis(10)));
        let (mut before, mut since) = (self.sent.load(Ordering::Relaxed), Instant::now());
        tokio::pin!(sending);
        loop {
            tokio::select! {
                biased;
                result = &mut sending => return result,
                _ = every.tick() => {}
            }
            let sent = self.sent.load(Ordering::Relaxed);
            if sent != before {
                (before, since) = (sent, Instant::now());
            }
            let patience = if sent < self.size { idle } else { idle * 5 };
            if since.elapsed() > patience {
                return Err(RegistryError::Transport {
                    action: "uploading",
                    registry: session.registry.clone(),
                    message: format!("no progress for {} s", patience.as_secs()),
                });
            }
        }
    }

    /// Makes a body of the blob's bytes from `offset` on. The file is opened when the first byte is wanted.
    fn body(&self, content: &Content, offset: u64) -> Body {
        self.sent.store(offset, Ordering::Relaxed);
        let store = match content {
            Content::Bytes(bytes) => {
                self.sent.store(self.size, Ordering::Relaxed);
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                return Body::from(bytes[from..].to_vec());
            }
            Content::Stored(store) => store.clone(),
        };
        let (digest, sent) = (self.digest, Arc::clone(&self.sent));
        let opened = async move {
            let file = tokio::task::spawn_blocking(move || store.open_blob(&digest))
                .await
                .map_err(std::io::Error::other)?
                .map_err(std::io::Error::other)?;
            let mut file = tokio::fs::File::from_std(file);
            file.seek(std::io::SeekFrom::Start(offset)).await?;
            Ok::<_, std::io::Error>(ReaderStream::with_capacity(file, CHUNK))
        };
        let pieces = opened.try_flatten_stream().inspect_ok(move |piece: &Bytes| {
            sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        });
        Body::wrap_stream(pieces)
    }

    async fn expect(
        &self,
        response: Response,
        method: &str,
        wanted: &[StatusCode],
    ) -> Result<Response, (RegistryError, Option<Duration>)> {
        if wanted.contains(&response.status()) {
            return Ok(response);
        }
        let after = retry_after(response.headers());
        Err((self.repository.session.refusal(method, response).await, after))
    }
}

/// An error with no wish about when to try again.
fn now(error: RegistryError) -> (RegistryError, Option<Duration>) {
    (error, None)
}

fn empty(request: RequestBuilder) -> RequestBuilder {
    request.header(CONTENT_LENGTH, 0)
}
