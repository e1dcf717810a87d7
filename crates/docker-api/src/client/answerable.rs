//! A stream on which the other side's answer can be read although it takes nothing more.
//!
//! A daemon that refuses a request answers before it has the whole body, and closes the connection. What
//! is still being sent then fails, and that failure would be told in the place of the answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Takes what cannot be sent any more as sent, so that reading goes on: to the answer, or to the end of the
/// stream, which is an error then.
#[derive(Debug)]
pub(super) struct Answerable<S> {
    stream: S,
    is_closed: bool,
}

impl<S> Answerable<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, is_closed: false }
    }

    /// Notes that the other side has closed its end; gives `lost` then.
    fn unless_closed<T>(&mut self, result: io::Result<T>, lost: T) -> io::Result<T> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        match result {
            Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => {
                self.is_closed = true;
                Ok(lost)
            }
            result => result,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Answerable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Answerable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_closed {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        written.map(|written| self.unless_closed(written, bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_closed {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        flushed.map(|flushed| self.unless_closed(flushed, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
