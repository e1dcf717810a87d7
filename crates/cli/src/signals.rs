//! Signals of this process: forwarded to a container, or ending this program tidily.

use std::sync::Arc;

use docker_api::{Client, Request};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::terminal;

/// Everything that can be caught and means something to a container; child,
/// pipe and urgent-data signals are this process' own.
const FORWARDED: [(i32, &str); 16] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (6, "ABRT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (29, "IO"),
    (30, "PWR"),
];

/// Signals that end this program when they are not forwarded.
const ENDING: [i32; 4] = [1, 2, 3, 15];

/// A background task that ends with its owner.
#[derive(Debug)]
pub(crate) struct Background(JoinHandle<()>);

impl Background {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Signals that were caught and wait to be forwarded.
#[derive(Debug)]
pub(crate) struct Caught {
    names: mpsc::Receiver<&'static str>,
    _watchers: Vec<Background>,
}

/// Starts to catch signals; from here on none is lost and none ends this program.
pub(crate) fn catch() -> Caught {
    let (sender, names) = mpsc::channel(64);
    let watchers = FORWARDED
        .iter()
        .filter_map(|&(number, name)| {
            let mut stream = signal(SignalKind::from_raw(number)).ok()?;
            let sender = sender.clone();
            Some(Background::spawn(async move {
                while stream.recv().await.is_some() {
                    if sender.send(name).await.is_err() {
                        return;
                    }
                }
            }))
        })
        .collect();
    Caught { names, _watchers: watchers }
}

/// Forwards caught signals to a container.
pub(crate) fn forward(caught: Caught, client: Arc<Client>, id: String) -> Background {
    Background::spawn(async move {
        // The watchers must live as long as this task, so the whole is taken in.
        let Caught { mut names, _watchers: watchers } = caught;
        while let Some(name) = names.recv().await {
            let path = format!("/containers/{id}/kill");
            // The container may be gone; whoever waits for it will see.
            let _ = client.call(Request::post(path).query("signal", name)).await;
        }
        drop(watchers);
    })
}

/// Ends the program on a signal with the terminal restored.
pub(crate) fn restore_terminal_on_end() -> Background {
    Background::spawn(async {
        let mut streams: Vec<_> = ENDING
            .iter()
            .filter_map(|&n| Some((n, signal(SignalKind::from_raw(n)).ok()?)))
            .collect();
        let number = std::future::poll_fn(|cx| {
            for (number, stream) in &mut streams {
                if stream.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await;
        terminal::restore();
        std::process::exit(128 + number);
    })
}

/// Keeps the size of a container's or an exec's terminal equal to this one's.
///
/// `path` is the resize route. The first size is sent at once and again until
/// it is taken, because the process may not have its terminal yet.
pub(crate) fn follow_size(client: Arc<Client>, path: String) -> Background {
    Background::spawn(async move {
        let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
        for attempt in 1..=10 {
            if resize(&client, &path).await {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(attempt * 10)).await;
        }
        while changes.recv().await.is_some() {
            resize(&client, &path).await;
        }
    })
}

async fn resize(client: &Client, path: &str) -> bool {
    let Some((rows, columns)) = terminal::size() else {
        return true;
    };
    let request = Request::post(path).query("h", rows.to_string()).query("w", columns.to_string());
    client.call(request).await.is_ok()
}
