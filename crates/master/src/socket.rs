//! Reading from sockets without a buffer for each: there are thousands, and few have something to
//! say at any moment.

use std::cell::RefCell;
use std::io;

use bytes::BytesMut;

/// What is asked of the kernel at once.
const CHUNK: usize = 64 * 1024;

thread_local! {
    static CHUNK_READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// The halves of a socket that can be read.
pub(crate) trait Readable {
    /// Waits until there is something to read.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Reads what is there.
    fn try_read(&self, into: &mut [u8]) -> io::Result<usize>;
}

impl Readable for tokio::net::TcpStream {
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        Self::readable(self)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, into)
    }
}

impl Readable for tokio::net::tcp::ReadHalf<'_> {
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
        Self::readable(self)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        Self::try_read(self, into)
    }
}

/// Appends what the peer has sent; false if it sends no more.
pub(crate) async fn read(stream: &impl Readable, into: &mut BytesMut) -> io::Result<bool> {
    read_with(stream, |bytes| into.extend_from_slice(bytes)).await
}

/// Reads and forgets what the peer sends, until it sends no more.
pub(crate) async fn discard(stream: &impl Readable) -> io::Result<()> {
    while read_with(stream, |_| {}).await? {}
    Ok(())
}

async fn read_with(stream: &impl Readable, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
    loop {
        stream.readable().await?;
        let read = CHUNK_READ.with_borrow_mut(|chunk| {
            let length = stream.try_read(chunk)?;
            take(&chunk[..length]);
            Ok(length > 0)
        });
        match read {
            Err(error) if io::Error::kind(&error) == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}
