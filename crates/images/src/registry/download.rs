//! Bringing one blob into the store over a connection that may break.
//!
//! The bytes that have come are kept in the store's ingest, so a later try (also after a restart) goes on from there
//! with a `Range` request. Hashing and writing happen on a thread, fed by a short queue, while the network goes on.
//! The store verifies size and digest before the blob can be seen.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::blocking;
use super::error::RegistryError;
use super::repository::Repository;
use super::session::retry_after;
use super::slots::{Slots, Turn};
use crate::{BlobDescriptor, Error, Ingest, LayerState, Store};

/// Pieces between network and disk; each is at most what one read of the socket gives.
const QUEUE: usize = 32;
/// A download that came this much further counts its tries anew.
const PROGRESS: u64 = 1 << 20;
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// Where the states of one layer go.
pub(crate) type LayerReport<'a> = &'a (dyn Fn(LayerState) + Send + Sync);

/// One blob to be fetched.
pub(crate) struct Download<'a> {
    pub(crate) store: &'a Store,
    pub(crate) slots: &'a Slots,
    pub(crate) repository: &'a Repository,
    pub(crate) blob: &'a BlobDescriptor,
    pub(crate) report: LayerReport<'a>,
}

/// The blob being written, with the right to do so. Ends together, on whatever thread holds it.
#[derive(Debug)]
struct Partial {
    ingest: Ingest,
    turn: Turn,
}

/// How one request ended.
enum Tried {
    /// All bytes are here.
    Complete,
    /// Not all bytes came; what came is kept.
    Broken { error: RegistryError, retry_after: Option<Duration> },
    /// The registry does not go on from where we are.
    CannotResume,
}

impl Download<'_> {
    /// Fetches the blob unless it is in the store.
    pub(crate) async fn run(&self) -> Result<(), RegistryError> {
        let seen = |current| {
            (self.report)(LayerState::Downloading { current, total: Some(self.blob.size) })
        };
        let turn = self.slots.turn(&self.blob.digest, seen).await;
        let (store, blob) = (self.store.clone(), self.blob.clone());
        let partial = blocking(move || {
            if store.blob_exists(&blob.digest) {
                return Ok(None);
            }
            // Reads what an earlier try has left, to continue its hash.
            store.ingest(&blob.digest, blob.size).map(|ingest| Some(Partial { ingest, turn }))
        })
        .await?;
        let Some(mut partial) = partial else { return Ok(()) };
        let mut resumed = partial.ingest.offset() > 0;
        loop {
            partial = self.fetch(partial, &mut resumed).await?;
            (self.report)(LayerState::VerifyingChecksum);
            let verified = blocking(move || {
                let Partial { ingest, turn } = partial;
                Ok((ingest.commit(), turn))
            })
            .await?;
            match verified {
                (Ok(()), _) => return Ok(()),
                // The part from an earlier try may be what is wrong. It is gone now: once more from the start.
                (Err(Error::DigestMismatch { .. }), turn) if resumed => {
                    resumed = false;
                    let (store, blob) = (self.store.clone(), self.blob.clone());
                    partial = blocking(move || {
                        store.ingest(&blob.digest, blob.size).map(|ingest| Partial { ingest, turn })
                    })
                    .await?;
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
    }

    /// Requests the rest until there is none, with pauses between tries.
    async fn fetch(
        &self,
        mut partial: Partial,
        resumed: &mut bool,
    ) -> Result<Partial, RegistryError> {
        let mut backoff = self.repository.session.backoff();
        let mut furthest = partial.ingest.offset();
        while partial.ingest.offset() < self.blob.size {
            *resumed |= partial.ingest.offset() > 0;
            let tried;
            (partial, tried) = self.try_once(partial).await?;
            let offset = partial.ingest.offset();
            if offset >= furthest.saturating_add(PROGRESS) {
                furthest = offset;
                backoff.reset();
            }
            let (error, after) = match tried {
                Tried::Complete => return Ok(partial),
                Tried::Broken { error, retry_after } => (error, retry_after),
                Tried::CannotResume => {
                    partial = restarted(partial).await?;
                    (self.invalid(format!("bytes from {offset} on are refused")), None)
                }
            };
            let Some(wait) = backoff.next(after) else { return Err(error) };
            tracing::info!(digest = %self.blob.digest, offset, error = %error, "download is tried again");
            (self.report)(retrying(wait));
            tokio::time::sleep(wait).await;
        }
        Ok(partial)
    }

    async fn try_once(&self, mut partial: Partial) -> Result<(Partial, Tried), RegistryError> {
        let offset = partial.ingest.offset();
        let url = self.repository.url(&format!("blobs/{}", self.blob.digest));
        let result = self
            .repository
            .session
            .send(Method::GET, &url, &self.repository.scope, |request| {
                let request = request.header(ACCEPT_ENCODING, "identity");
                if offset == 0 {
                    request
                } else {
                    request.header(RANGE, format!("bytes={offset}-"))
                }
            })
            .await;
        let response = match result {
            Ok(response) => response,
            Err(error) if error.is_temporary() => {
                return Ok((partial, Tried::Broken { error, retry_after: None }));
            }
            Err(error) => return Err(error),
        };
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => {
                return Ok((partial, Tried::CannotResume));
            }
            StatusCode::PARTIAL_CONTENT if starts_at(response.headers(), offset) => {}
            StatusCode::PARTIAL_CONTENT => return Ok((partial, Tried::CannotResume)),
            // The range was ignored: everything comes again.
            StatusCode::OK if offset > 0 => partial = restarted(partial).await?,
            StatusCode::OK => {}
            _ => {
                let retry_after = retry_after(response.headers());
                let error = self.repository.session.refusal("GET", response).await;
                return if error.is_temporary() {
                    Ok((partial, Tried::Broken { error, retry_after }))
                } else {
                    Err(self
                        .repository
                        .pull_error(error, &self.repository.name.with_digest(self.blob.digest)))
                };
            }
        }
        self.check_length(&response, partial.ingest.offset())?;
        self.receive(response, partial).await
    }

    /// Refuses a reply that announces another size than the manifest.
    fn check_length(&self, response: &Response, offset: u64) -> Result<(), RegistryError> {
        match response.content_length() {
            Some(length) if length != self.blob.size - offset => Err(self.invalid(format!(
                "the registry offers {} bytes, the manifest says {}",
                length.saturating_add(offset),
                self.blob.size
            ))),
            _ => Ok(()),
        }
    }

    /// Hands the body to the writing thread, piece by piece.
    async fn receive(
        &self,
        mut response: Response,
        partial: Partial,
    ) -> Result<(Partial, Tried), RegistryError> {
        let mut current = partial.ingest.offset();
        let (pieces, writer) = write(partial);
        let mut reported = None::<Instant>;
        let broken = loop {
            let piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break None,
                Err(error) => break Some(self.repository.session.transport("downloading", &error)),
            };
            current += piece.len() as u64;
            if current > self.blob.size {
                drop(pieces);
                // What such a registry has sent is of no use.
                let (partial, _) = written(writer).await?;
                restarted(partial).await?;
                return Err(self.invalid(format!(
                    "more than the {} bytes of the manifest came",
                    self.blob.size
                )));
            }
            if pieces.send(piece).await.is_err() {
                // The thread ends early only by an error, which `written` returns.
                break None;
            }
            if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                reported = Some(Instant::now());
                (self.report)(LayerState::Downloading { current, total: Some(self.blob.size) });
            }
        };
        drop(pieces);
        let (partial, result) = written(writer).await?;
        if let Err(error) = result {
            // Half a blob on a full disk is in everybody's way.
            if matches!(error, Error::DiskFull { .. }) {
                blocking(move || partial.ingest.discard()).await?;
            }
            return Err(error.into());
        }
        partial.turn.report(partial.ingest.offset());
        let tried = match broken {
            _ if partial.ingest.offset() == self.blob.size => Tried::Complete,
            Some(error) => Tried::Broken { error, retry_after: None },
            None => {
                let error =
                    self.invalid(format!("only {current} of {} bytes came", self.blob.size));
                Tried::Broken { error, retry_after: None }
            }
        };
        Ok((partial, tried))
    }

    fn invalid(&self, message: String) -> RegistryError {
        RegistryError::Invalid {
            what: "layer",
            reference: format!("{} ({})", self.repository.name.familiar_name(), self.blob.digest),
            message,
        }
    }
}

type Written = (Partial, Result<(), Error>);

/// Starts the thread that appends what comes. It ends when the queue's sender is dropped, or by an error.
fn write(mut partial: Partial) -> (mpsc::Sender<Bytes>, JoinHandle<Written>) {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(QUEUE);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(piece) = pieces.blocking_recv() {
            if let Err(error) = partial.ingest.append(&piece) {
                return (partial, Err(error));
            }
            partial.turn.report(partial.ingest.offset());
        }
        (partial, Ok(()))
    });
    (sender, writer)
}

async fn written(writer: JoinHandle<Written>) -> Result<Written, RegistryError> {
    writer.await.map_err(|error| Error::Internal(format!("download thread: {error}")).into())
}

async fn restarted(mut partial: Partial) -> Result<Partial, RegistryError> {
    blocking(move || partial.ingest.restart().map(|()| partial)).await
}

/// Whether a partial reply begins where we asked for. One without `Content-Range` cannot be trusted to.
fn starts_at(headers: &HeaderMap, offset: u64) -> bool {
    let start = || {
        let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes")?;
        range.trim_start().split_once('-')?.0.trim().parse::<u64>().ok()
    };
    start() == Some(offset)
}

/// Tells of a pause, in whole seconds that never are zero.
pub(crate) fn retrying(wait: Duration) -> LayerState {
    LayerState::Retrying {
        seconds: wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)),
    }
}
