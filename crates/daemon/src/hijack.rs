//! Attachments: the connection becomes a pipe between the client and a container's streams.

use std::io;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use engine::container::AttachStream;
use futures_util::StreamExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::{ReaderStream, StreamReader};
use tokio_util::sync::CancellationToken;

/// Whether the client's bytes are the container's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// They are; their end closes the container's input.
    Attached,
    /// They are; their end ends the attachment, and the container's input stays open for others.
    Shared,
    Ignored,
}

/// Bytes moved at once, per direction: all the memory that a slow client can hold here.
const BUFFER_BYTES: usize = 16 << 10;

/// Answers an attach: 101 and raw bytes if the client asked for an upgrade, else 200 and a body
/// that goes on while the container writes, with input from the request's body.
///
/// With an upgrade the stream is made when the client has been sent its 101: some clients read
/// the answer's head through a buffer and lose what arrives together with it.
pub(crate) async fn answer(
    stream: impl Future<Output = Option<AttachStream>> + Send + 'static,
    input: Input,
    upgrade: Option<OnUpgrade>,
    request_body: Body,
    content_type: &'static str,
    stop: CancellationToken,
) -> Response<Body> {
    match upgrade {
        Some(upgrade) => {
            tokio::spawn(async move {
                let upgraded = match upgrade.await {
                    Ok(upgraded) => upgraded,
                    Err(error) => {
                        tracing::debug!(%error, "the client left before the upgrade");
                        return;
                    }
                };
                if let Some(stream) = stream.await {
                    pump(upgraded, stream, input, stop).await;
                }
            });
            upgrade_response(content_type)
        }
        None => match stream.await {
            Some(stream) => streamed(stream, input, request_body, content_type, stop),
            None => Response::new(Body::empty()),
        },
    }
}

fn upgrade_response(content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    response
}

/// Moves bytes until the output has ended. The client closing its half only ends the input: that
/// is how it says end of file.
async fn pump(upgraded: Upgraded, stream: AttachStream, input: Input, stop: CancellationToken) {
    let (mut client_reader, mut client_writer) = tokio::io::split(TokioIo::new(upgraded));
    // The writer lives as long as the output: dropped earlier it would end the attachment.
    let AttachStream { mut reader, mut writer, .. } = stream;
    let shared = input == Input::Shared;
    let input = async {
        match input {
            Input::Attached => copy_input(&mut client_reader, &mut writer).await,
            Input::Shared => {
                if let Err(error) = copy(&mut client_reader, &mut writer).await {
                    tracing::debug!(%error, "input ended");
                }
            }
            Input::Ignored => discard(&mut client_reader).await,
        }
    };
    let output = async {
        if let Err(error) = copy(&mut reader, &mut client_writer).await {
            tracing::debug!(%error, "output ended");
        }
        // The client may be gone; there is nobody to tell.
        let _ = client_writer.shutdown().await;
    };
    tokio::pin!(input, output);
    let mut input_open = true;
    loop {
        tokio::select! {
            () = &mut output => return,
            () = &mut input, if input_open => {
                if shared {
                    return;
                }
                input_open = false;
            }
            () = stop.cancelled() => return,
        }
    }
}

async fn copy_input(client: &mut (impl AsyncRead + Unpin), stdin: &mut (impl AsyncWrite + Unpin)) {
    if let Err(error) = copy(client, stdin).await {
        tracing::debug!(%error, "input ended");
    }
    // A process that has exited does not mind that its input closes.
    let _ = stdin.shutdown().await;
}

async fn discard(client: &mut (impl AsyncRead + Unpin)) {
    // An error means that the client is gone, which writing to it will show.
    let _ = tokio::io::copy(client, &mut tokio::io::sink()).await;
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut from = tokio::io::BufReader::with_capacity(BUFFER_BYTES, from);
    tokio::io::copy_buf(&mut from, to).await?;
    to.flush().await
}

fn streamed(
    stream: AttachStream,
    input: Input,
    request_body: Body,
    content_type: &'static str,
    stop: CancellationToken,
) -> Response<Body> {
    let AttachStream { reader, mut writer, .. } = stream;
    let has_input = input != Input::Ignored && !hyper::body::Body::is_end_stream(&request_body);
    let feeding = tokio::spawn(async move {
        if has_input {
            let body = request_body.into_data_stream().map(|part| part.map_err(io::Error::other));
            copy_input(&mut StreamReader::new(body), &mut writer).await;
        }
        // Held until the output's end, which aborts this task.
        std::future::pending::<()>().await;
        drop(writer);
    });
    let feeding = AbortOnDrop(feeding);
    let output = ReaderStream::with_capacity(reader, BUFFER_BYTES);
    let output = output.take_until(stop.cancelled_owned()).map(move |bytes| {
        let _held = &feeding;
        bytes
    });
    let mut response = Response::new(Body::from_stream(output));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A task that ends with whoever needs it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
