//! `/files/*`: what is in the sandboxes, the agent's log if others keep it, and nothing else.
//!
//! A path names a file by its place on the host, or as `/frameworks/F/executors/E/runs/C/…`
//! (`latest` for the last run). The kernel resolves it beneath the sandboxes, so that no link that
//! a task leaves there leads out.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use endpoints::files::{Asked, DOWNLOAD, Piece, info, listing};
use hyper::StatusCode;
use mesos_api::v1::FileInfo;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::json;

use super::{Query, jsonp, look, written};
use crate::server::{Answer, Server, text, whole};

/// What the log is called.
const LOG: &str = "/slave/log";

/// What is shown: the sandboxes, which of them are this agent's, and the log.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    root: PathBuf,
    agent: PathBuf,
    log: Option<PathBuf>,
}

pub(super) async fn shown_by(server: &Server) -> Result<Shown, Answer> {
    look(server, |view| {
        let root = view.layout.sandboxes();
        let agent = root.join(crate::layout::component(view.agent_id));
        Shown { root, agent, log: view.config.log_file.clone() }
    })
    .await
}

pub(super) async fn answer(server: &Server, endpoint: &str, query: &Query) -> Answer {
    let shown = match shown_by(server).await {
        Ok(shown) => shown,
        Err(answer) => return answer,
    };
    if endpoint == "/files/debug" {
        let mut all = json!({"/frameworks": shown.agent.join("frameworks")});
        if let Some(log) = &shown.log {
            all[LOG] = json!(log);
        }
        return jsonp(query, &all);
    }
    let Some(path) = query.get("path").map(str::to_owned) else {
        return text(StatusCode::BAD_REQUEST, "Expecting 'path=value' in query.\n");
    };
    let asked = match Asked::parse(query.get("offset"), query.get("length")) {
        Ok(asked) => asked,
        Err(refusal) => return text(StatusCode::BAD_REQUEST, &refusal),
    };
    let endpoint = endpoint.to_owned();
    let work = move || match endpoint.as_str() {
        "/files/browse" => shown.list(&path).map(|all| Content::Json(listing(&all))),
        "/files/read" => shown
            .read(&path, asked.offset.unwrap_or_default(), asked.length)
            .map(|piece| Content::Json(piece.json(asked.offset))),
        _ => shown.read(&path, 0, DOWNLOAD).map(|piece| Content::Bytes(piece.bytes)),
    };
    let done = tokio::task::spawn_blocking(work).await;
    match done.unwrap_or_else(|e| Err(io::Error::other(e))) {
        Ok(Content::Json(json)) => written(query, json),
        Ok(Content::Bytes(bytes)) => whole(StatusCode::OK, "application/octet-stream", bytes),
        Err(error) => refusal(&error),
    }
}

enum Content {
    Json(String),
    Bytes(Vec<u8>),
}

pub(super) fn refusal(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::NotFound => text(StatusCode::NOT_FOUND, ""),
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
            text(StatusCode::BAD_REQUEST, &format!("{error}\n"))
        }
        // A link that leads out of the sandboxes.
        _ if error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) => {
            text(StatusCode::FORBIDDEN, "the path leads out of the sandboxes")
        }
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

impl Shown {
    /// The path below the sandboxes that a virtual or a host's path means.
    fn relative(&self, path: &str) -> io::Result<PathBuf> {
        let not_found = || io::Error::from(io::ErrorKind::NotFound);
        let whole = Path::new(path);
        let below = match whole.strip_prefix(&self.root) {
            Ok(below) => below.to_owned(),
            Err(_) => {
                let virtual_path = whole.strip_prefix("/").map_err(|_| not_found())?;
                if !matches!(virtual_path.components().next(), Some(Component::Normal(first)) if first == "frameworks")
                {
                    return Err(not_found());
                }
                let agent = self.agent.strip_prefix(&self.root).map_err(|_| not_found())?;
                agent.join(virtual_path)
            }
        };
        if below.as_os_str().is_empty() {
            return Err(not_found());
        }
        Ok(below)
    }

    fn open(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let below = self.relative(path)?;
        let root: OwnedFd = File::open(&self.root)?.into();
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let fd = rustix::fs::openat2(root, &below, flags, Mode::empty(), resolve)?;
        Ok(File::from(fd))
    }

    pub(super) fn list(&self, path: &str) -> io::Result<Vec<FileInfo>> {
        let directory = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut all = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if matches!(name.as_str(), "." | "..") {
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(fd) = rustix::fs::openat(&directory, entry.file_name(), flags, Mode::empty())
            else {
                continue; // gone since
            };
            let meta = File::from(fd).metadata()?;
            all.push(info(format!("{}/{name}", path.trim_end_matches('/')), &meta));
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    /// Reads a piece of a file.
    pub(super) fn read(&self, path: &str, offset: u64, length: u64) -> io::Result<Piece> {
        let log = self.log.as_ref().filter(|_| path.trim_end_matches('/') == LOG);
        let file = match log {
            Some(log) => File::open(log)?,
            None => self.open(path, OFlags::RDONLY)?,
        };
        Piece::read(&file, offset, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_both_names_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("slaves");
        let runs = root.join("S0/frameworks/F/executors/E/runs");
        std::fs::create_dir_all(runs.join("c1")).expect("a sandbox");
        std::fs::write(runs.join("c1/stdout"), "hello").expect("output");
        std::os::unix::fs::symlink("c1", runs.join("latest")).expect("a link");
        std::os::unix::fs::symlink("/etc/passwd", runs.join("c1/evil")).expect("a link");
        let log = dir.path().join("agent.log");
        std::fs::write(&log, "logged").expect("a log");
        let sandboxes =
            Shown { agent: root.join("S0"), root: root.clone(), log: Some(log.clone()) };
        let host = format!("{}/S0/frameworks/F/executors/E/runs/c1/stdout", root.display());
        for path in [host.as_str(), "/frameworks/F/executors/E/runs/latest/stdout"] {
            let piece = sandboxes.read(path, 1, 3).expect(path);
            assert_eq!((piece.bytes, piece.size), (b"ell".to_vec(), 5));
        }
        assert_eq!(sandboxes.read(LOG, 0, 3).expect("the log").bytes, b"log");
        assert!(sandboxes.read(&log.display().to_string(), 0, 3).is_err(), "by its name only");
        let evil = sandboxes.read("/frameworks/F/executors/E/runs/c1/evil", 0, 9);
        assert_eq!(
            evil.expect_err("out").raw_os_error(),
            Some(rustix::io::Errno::XDEV.raw_os_error())
        );
        let names: Vec<String> = sandboxes
            .list("/frameworks/F/executors/E/runs/c1")
            .expect("a listing")
            .into_iter()
            .map(|entry| entry.path)
            .collect();
        assert_eq!(names.len(), 2);
        for outside in ["/etc/passwd", "/frameworks/../../../etc/passwd", "/", ""] {
            assert!(sandboxes.read(outside, 0, 9).is_err(), "{outside}");
        }
    }
}
