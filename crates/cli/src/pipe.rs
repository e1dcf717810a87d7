//! Between blocking readers and writers on a thread and streams of the client.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf as _, Bytes};
use docker_api::Response;
use futures_util::Stream;
use tokio::sync::mpsc;

const CHUNK: usize = 256 * 1024;
const QUEUE: usize = 8;

/// Makes the writing end for a thread, and the stream that a request sends.
pub(crate) fn to_stream() -> (Writer, impl Stream<Item = io::Result<Bytes>> + Send) {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(QUEUE);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let item = receiver.recv().await?;
        Some((item, receiver))
    });
    (Writer { sender, buffer: Vec::with_capacity(CHUNK), written: Arc::default() }, stream)
}

/// The writing end of a request's body.
#[derive(Debug)]
pub(crate) struct Writer {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
    written: Arc<AtomicU64>,
}

impl Writer {
    /// Tells how much has gone through, while it goes.
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.written)
    }

    /// Breaks the stream off, so that a torn body is not taken for a whole one.
    pub(crate) fn fail(self, error: io::Error) {
        let _ = self.sender.blocking_send(Err(error)); // a reader that is gone knows already
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.written.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the daemon stopped reading");
        self.sender.blocking_send(Ok(chunk.into())).map_err(gone)
    }
}

/// The body of an answer, for a thread to read.
#[derive(Debug)]
pub(crate) struct Reader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current[..count]);
        self.current.advance(count);
        Ok(count)
    }
}

/// Reads an answer on a thread; returns what the thread does and how much there was.
pub(crate) async fn read_on_thread<T: Send + 'static>(
    mut response: Response,
    work: impl FnOnce(Reader) -> io::Result<T> + Send + 'static,
) -> io::Result<(T, u64)> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let worker =
        tokio::task::spawn_blocking(move || work(Reader { receiver, current: Bytes::new() }));
    let mut total = 0;
    loop {
        let item = match response.chunk().await {
            Ok(Some(chunk)) => {
                total += chunk.len() as u64;
                Ok(chunk)
            }
            Ok(None) => break,
            Err(error) => Err(io::Error::other(error)),
        };
        let last = item.is_err();
        if sender.send(item).await.is_err() || last {
            break; // the thread has ended and says why
        }
    }
    drop(sender);
    let done = worker.await.map_err(io::Error::other)??;
    Ok((done, total))
}
