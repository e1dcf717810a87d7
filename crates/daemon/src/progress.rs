//! Operations that tell how far they are, as a stream of JSON lines.
//!
//! One that fails before its first line is answered with a proper status; after that the failure is
//! a line itself. One whose client goes away is cancelled, as Docker does.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use engine::image_ops::ProgressSink;
use futures_util::StreamExt;
use images::Progress;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::convert::image::progress as to_wire;
use crate::error::{ApiError, ApiResult};
use crate::stream::{self, StreamError};

/// Lines that may wait for the client. Beyond [`LAGGING`] only those that change a layer's state
/// are still queued, of which there are few: a client that does not read costs this much at most.
const QUEUE: usize = 4096;

/// Waiting lines from which on mere counts are left out.
const LAGGING: usize = 32;

/// Where an operation tells how far it is.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    queue: mpsc::Sender<Bytes>,
    begun: Arc<AtomicBool>,
}

impl Lines {
    /// Sends a line, waiting for the client.
    pub(crate) async fn send(&self, value: &impl Serialize) {
        self.begun.store(true, Ordering::Release);
        // A client that has gone cancels the operation; the line has nobody to read it.
        let _ = self.queue.send(stream::line(value)).await;
    }

    /// Tells a progress message without waiting.
    pub(crate) fn report(&self, progress: &Progress) {
        let counts = matches!(progress, Progress::Layer { state, .. } if state.counts().is_some());
        if counts && self.queue.max_capacity() - self.queue.capacity() > LAGGING {
            return;
        }
        self.begun.store(true, Ordering::Release);
        // Full: the client has not read thousands of lines and will not miss this one.
        let _ = self.queue.try_send(stream::line(&to_wire(progress)));
    }

    /// The same as a callback; `quiet` lets only plain text through.
    pub(crate) fn sink(&self, quiet: bool) -> ProgressSink {
        let lines = self.clone();
        Arc::new(move |progress| {
            if !quiet || matches!(progress, Progress::Stream(_)) {
                lines.report(&progress);
            }
        })
    }
}

/// Runs an operation and answers with its lines.
pub(crate) async fn answer<F, Fut>(operation: F) -> ApiResult<Response>
where
    F: FnOnce(Lines) -> Fut + Send + 'static,
    Fut: Future<Output = ApiResult<()>> + Send + 'static,
{
    begin(Arc::default(), operation).await
}

/// The same, for operations whose failure is always a line: clients look for it there.
pub(crate) async fn answer_in_lines<F, Fut>(operation: F) -> ApiResult<Response>
where
    F: FnOnce(Lines) -> Fut + Send + 'static,
    Fut: Future<Output = ApiResult<()>> + Send + 'static,
{
    begin(Arc::new(AtomicBool::new(true)), operation).await
}

async fn begin<F, Fut>(begun: Arc<AtomicBool>, operation: F) -> ApiResult<Response>
where
    F: FnOnce(Lines) -> Fut + Send + 'static,
    Fut: Future<Output = ApiResult<()>> + Send + 'static,
{
    let (queue, mut receiver) = mpsc::channel(QUEUE);
    let lines = Lines { queue, begun };
    let task = tokio::spawn(run(lines, operation));
    let Some(first) = receiver.recv().await else {
        task.await.map_err(|error| ApiError::internal(error.to_string()))??;
        return Ok(stream::json_lines(futures_util::stream::empty()));
    };
    let rest = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|line| (line, receiver))
    });
    let all = futures_util::stream::once(async move { first }).chain(rest);
    let body = Body::from_stream(all.map(Ok::<_, std::io::Error>));
    Ok(stream::with_type(body, "application/json"))
}

async fn run<F, Fut>(lines: Lines, operation: F) -> ApiResult<()>
where
    F: FnOnce(Lines) -> Fut,
    Fut: Future<Output = ApiResult<()>>,
{
    let result = tokio::select! {
        result = operation(lines.clone()) => result,
        () = lines.queue.closed() => {
            tracing::debug!("the client left, its operation is cancelled");
            return Ok(());
        }
    };
    match result {
        Err(error) if lines.begun.load(Ordering::Acquire) => {
            lines.send(&StreamError::from(error)).await;
            Ok(())
        }
        result => result,
    }
}
