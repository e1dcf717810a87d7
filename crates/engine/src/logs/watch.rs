//! Waits for changes of a log file by inotify.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Watches the directory of a log, so that rotation is seen as well.
#[derive(Debug)]
pub(super) struct LogWatch {
    inotify: AsyncFd<OwnedFd>,
}

impl LogWatch {
    pub(super) fn new(log: &Path) -> io::Result<Self> {
        let directory = log.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events =
            WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, directory, events)?;
        #[expect(deprecated, reason = "an OwnedFd is one descriptor all its life; that is sound")]
        let inotify = AsyncFd::new(inotify)?;
        Ok(Self { inotify })
    }

    /// Resolves after something changed since the last call.
    pub(super) async fn changed(&mut self) {
        let Ok(mut ready) = self.inotify.readable().await else {
            return std::future::pending().await;
        };
        // What changed does not matter, the reader looks itself.
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        while rustix::io::read(self.inotify.get_ref(), &mut buffer)
            .is_ok_and(|(read, _)| !read.is_empty())
        {}
        ready.clear_ready();
    }
}
