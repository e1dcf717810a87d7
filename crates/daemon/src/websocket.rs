//! Attachments over a websocket: what the container writes comes as messages, what the client
//! sends is its input. Output and errors share the messages, without Docker's frames.

use std::io;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use bytes::{Bytes, BytesMut};
use engine::container::AttachStream;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::error::{ApiError, ApiResult};
use crate::extract::header_text;
use crate::hijack::Input;

/// What the messages to the client are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    Binary,
    Text,
}

/// The most that one message to the container may hold: it is gathered before it is passed on.
const MESSAGE_BYTES: usize = 4 << 20;

/// The most that one message to the client holds.
const CHUNK_BYTES: usize = 16 << 10;

/// How long a client may take to answer the closing handshake.
const CLOSING: Duration = Duration::from_secs(2);

/// Refuses a browser that shows somebody else's page. Browsers let any page open websockets to
/// any address, so that without this a page could reach a daemon on the reader's own machine.
pub(crate) fn refuse_other_origins(headers: &HeaderMap) -> ApiResult<()> {
    let origin = header_text(headers, "origin");
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let host = header_text(headers, "host");
    let from = origin.parse::<Uri>().ok();
    let authority = from.as_ref().and_then(Uri::authority);
    if authority.is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    let message = format!("a page of {origin:?} may not open a websocket to {host:?}");
    Err(ApiError::new(StatusCode::FORBIDDEN, message))
}

/// The handshake with bounds on what a client can make the daemon hold.
pub(crate) fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MESSAGE_BYTES)
        .max_frame_size(MESSAGE_BYTES)
        .read_buffer_size(CHUNK_BYTES)
        .write_buffer_size(CHUNK_BYTES)
}

/// Moves messages until the output has ended or the client has closed the websocket.
pub(crate) async fn pump(
    socket: WebSocket,
    stream: AttachStream,
    input: Input,
    payload: Payload,
    stop: CancellationToken,
) {
    let (mut sink, mut source) = socket.split();
    // The writer lives as long as the output: dropped earlier it would end the attachment.
    let AttachStream { reader, mut writer, tty } = stream;
    let output = Output { reader, framed: !tty, left: 0 };
    tokio::select! {
        sent = send(&mut sink, output, payload) => {
            if let Err(error) = sent {
                tracing::debug!(%error, "output ended");
            }
        }
        () = receive(&mut source, &mut writer, input) => {}
        () = stop.cancelled() => {}
    }
    close(sink, source).await;
}

async fn send(
    sink: &mut SplitSink<WebSocket, Message>,
    mut output: Output<impl AsyncRead + Unpin>,
    payload: Payload,
) -> io::Result<()> {
    let mut text = Text::default();
    while let Some(bytes) = output.next().await? {
        let message = match payload {
            Payload::Binary => Message::Binary(bytes),
            Payload::Text => Message::text(text.push(&bytes)),
        };
        // Flushes, so that what the client does not take is not read from the container either.
        sink.send(message).await.map_err(io::Error::other)?;
    }
    Ok(())
}

/// Passes messages on to the container until the client closes.
async fn receive(
    source: &mut SplitStream<WebSocket>,
    stdin: &mut (impl AsyncWrite + Unpin),
    input: Input,
) {
    while let Some(message) = source.next().await {
        let bytes = match message {
            Ok(Message::Binary(bytes)) => bytes,
            Ok(Message::Text(text)) => text.into(),
            Ok(Message::Close(_)) => break,
            // Answered by the library.
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Err(error) => {
                tracing::debug!(%error, "input ended");
                break;
            }
        };
        if input == Input::Ignored {
            continue;
        }
        let written = async {
            stdin.write_all(&bytes).await?;
            stdin.flush().await
        };
        if let Err(error) = written.await {
            // The process has closed its input; what it writes still counts.
            tracing::debug!(%error, "input is not taken any more");
            std::future::pending::<()>().await;
        }
    }
    if input == Input::Attached {
        // A process that has exited does not mind that its input closes.
        let _ = stdin.shutdown().await;
    }
}

/// Says goodbye and waits for the client's: closed with bytes of the client still unread, the
/// connection could lose what is on its way to it.
async fn close(mut sink: SplitSink<WebSocket, Message>, mut source: SplitStream<WebSocket>) {
    let goodbye = async {
        if sink.close().await.is_ok() {
            while source.next().await.is_some_and(|message| message.is_ok()) {}
        }
    };
    if tokio::time::timeout(CLOSING, goodbye).await.is_err() {
        tracing::debug!("the client did not close its websocket");
    }
}

/// A container's output without the frames that tell its streams apart.
struct Output<R> {
    reader: R,
    framed: bool,
    /// Bytes left of the current frame.
    left: usize,
}

impl<R: AsyncRead + Unpin> Output<R> {
    /// The next bytes; `None` at the end. To be dropped only together with the output.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.framed {
            return self.read(CHUNK_BYTES).await;
        }
        while self.left == 0 {
            let mut header = [0; 8];
            if self.reader.read(&mut header[..1]).await? == 0 {
                return Ok(None);
            }
            self.reader.read_exact(&mut header[1..]).await?;
            let [_, _, _, _, length @ ..] = header;
            self.left = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
        }
        let bytes = self.read(self.left.min(CHUNK_BYTES)).await?;
        self.left -= bytes.as_ref().map_or(self.left, Bytes::len);
        Ok(bytes)
    }

    async fn read(&mut self, limit: usize) -> io::Result<Option<Bytes>> {
        let mut bytes = BytesMut::with_capacity(limit);
        let count = (&mut self.reader).take(limit as u64).read_buf(&mut bytes).await?;
        Ok((count > 0).then(|| bytes.freeze()))
    }
}

/// Bytes as texts, which have to be UTF-8: a character that comes in two parts waits for its
/// second, what is no character shows as U+FFFD.
#[derive(Default)]
struct Text {
    /// The beginning of a character, three bytes at most.
    begun: Vec<u8>,
}

impl Text {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let begun = match self.begun.utf8_chunks().last() {
            Some(last)
                if std::str::from_utf8(last.invalid()).is_err_and(|e| e.error_len().is_none()) =>
            {
                last.invalid().len()
            }
            _ => 0,
        };
        let rest = self.begun.split_off(self.begun.len() - begun);
        let whole = std::mem::replace(&mut self.begun, rest);
        String::from_utf8_lossy(&whole).into_owned()
    }
}

#[cfg(test)]
mod tests;
