//! Attachments: the connection becomes a pipe between the client and a container's streams.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use engine::container::AttachStream;
use http_body_util::BodyExt;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

/// Bytes moved at once, per direction: all the memory that a slow client can hold here.
const BUFFER_BYTES: usize = 16 << 10;

/// Answers an attach: 101 and raw bytes if the client asked for an upgrade, else 200 and a body
/// that goes on while the container writes, with input from the request's body.
pub(crate) fn answer(
    stream: AttachStream,
    upgrade: Option<OnUpgrade>,
    request_body: Body,
    content_type: &'static str,
    stop: CancellationToken,
) -> Response<Body> {
    match upgrade {
        Some(upgrade) => {
            tokio::spawn(async move {
                match upgrade.await {
                    Ok(upgraded) => pump(upgraded, stream, stop).await,
                    Err(error) => tracing::debug!(%error, "the client left before the upgrade"),
                }
            });
            upgrade_response(content_type)
        }
        None => streamed(stream, request_body, content_type, stop),
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
async fn pump(upgraded: Upgraded, stream: AttachStream, stop: CancellationToken) {
    let (client_reader, mut client_writer) = tokio::io::split(TokioIo::new(upgraded));
    let AttachStream { mut reader, writer, .. } = stream;
    let input = copy_input(client_reader, writer);
    let output = async {
        let copied = copy(&mut reader, &mut client_writer).await;
        // The client may be gone; there is nobody to tell.
        let _ = client_writer.shutdown().await;
        copied
    };
    tokio::pin!(input, output);
    let mut input_open = true;
    loop {
        tokio::select! {
            _ = &mut output => return,
            () = &mut input, if input_open => input_open = false,
            () = stop.cancelled() => return,
        }
    }
}

async fn copy_input(mut client: impl AsyncRead + Unpin, mut stdin: impl AsyncWrite + Unpin) {
    if let Err(error) = copy(&mut client, &mut stdin).await {
        tracing::debug!(%error, "input ended");
    }
    // A process that has exited does not mind that its input closes.
    let _ = stdin.shutdown().await;
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
    request_body: Body,
    content_type: &'static str,
    stop: CancellationToken,
) -> Response<Body> {
    let AttachStream { reader, mut writer, .. } = stream;
    if !hyper::body::Body::is_end_stream(&request_body) {
        tokio::spawn(async move {
            let mut body = request_body;
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(data) = frame.into_data() else { continue };
                if writer.write_all(&data).await.is_err() {
                    return;
                }
            }
            // As above: a process that has exited does not mind.
            let _ = writer.shutdown().await;
        });
    }
    let output = ReaderStream::with_capacity(reader, BUFFER_BYTES);
    let output = futures_util::StreamExt::take_until(output, stop.cancelled_owned());
    let mut response = Response::new(Body::from_stream(output));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
