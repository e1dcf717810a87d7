//! `/files/*`: what is in the sandboxes, and nothing else.
//!
//! A path names a file by its place on the host, or as `/frameworks/F/executors/E/runs/C/…`
//! (`latest` for the last run). The kernel resolves it beneath the sandboxes, so that no link that
//! a task leaves there leads out.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use hyper::StatusCode;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::{Value as Json, json};

use super::{Query, jsonp, look};
use crate::server::{Answer, Server, text, whole};

/// No answer of `/files/read` is longer.
const LONGEST: usize = 1 << 20;
/// The length of an answer that asks for none.
const USUAL: usize = 64 << 10;
/// `/files/download` gives the whole file, up to this.
const DOWNLOAD: usize = 1 << 30;

/// Where the sandboxes are, and which agent's.
#[derive(Debug, Clone)]
pub(super) struct Sandboxes {
    root: PathBuf,
    agent: PathBuf,
}

/// What a listing says of an entry.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) meta: std::fs::Metadata,
}

pub(super) async fn sandboxes(server: &Server) -> Result<Sandboxes, Answer> {
    look(server, |view| {
        let root = view.layout.sandboxes();
        Sandboxes { agent: root.join(crate::layout::component(view.agent_id)), root }
    })
    .await
}

pub(super) async fn answer(server: &Server, endpoint: &str, query: &Query) -> Answer {
    let sandboxes = match sandboxes(server).await {
        Ok(sandboxes) => sandboxes,
        Err(answer) => return answer,
    };
    if endpoint == "/files/debug" {
        return jsonp(query, &json!({"/frameworks": sandboxes.agent.join("frameworks")}));
    }
    let Some(path) = query.get("path").map(str::to_owned) else {
        return text(StatusCode::BAD_REQUEST, "Expecting 'path=value' in query.");
    };
    let (offset, length) = (query.get("offset"), query.get("length"));
    let number = |text: Option<&str>, name: &str| match text {
        None => Ok(None),
        Some(text) => text.parse::<i64>().map(Some).map_err(|_| {
            let message = format!("Failed to parse {name}: Failed to convert '{text}' to number");
            crate::server::text(StatusCode::BAD_REQUEST, &message)
        }),
    };
    let (offset, length) = match (number(offset, "offset"), number(length, "length")) {
        (Ok(offset), Ok(length)) => (offset, length),
        (Err(answer), _) | (_, Err(answer)) => return answer,
    };
    let endpoint = endpoint.to_owned();
    let work = move || match endpoint.as_str() {
        "/files/browse" => sandboxes.list(&path).map(|all| Shown::Json(listing(&all))),
        "/files/read" => sandboxes.shown(&path, offset, length).map(Shown::Json),
        _ => sandboxes.read(&path, 0, DOWNLOAD).map(|(bytes, _)| Shown::Bytes(bytes)),
    };
    let done = tokio::task::spawn_blocking(work).await;
    match done.unwrap_or_else(|e| Err(io::Error::other(e))) {
        Ok(Shown::Json(value)) => jsonp(query, &value),
        Ok(Shown::Bytes(bytes)) => whole(StatusCode::OK, "application/octet-stream", bytes),
        Err(error) => refusal(&error),
    }
}

enum Shown {
    Json(Json),
    Bytes(Vec<u8>),
}

pub(super) fn refusal(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::NotFound => text(StatusCode::NOT_FOUND, ""),
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
            text(StatusCode::BAD_REQUEST, &error.to_string())
        }
        // A link that leads out of the sandboxes.
        _ if error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) => {
            text(StatusCode::FORBIDDEN, "the path leads out of the sandboxes")
        }
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn listing(all: &[Entry]) -> Json {
    all.iter()
        .map(|entry| {
            json!({
                "gid": entry.meta.gid().to_string(),
                "mode": mode_text(entry.meta.mode()),
                "mtime": entry.meta.mtime(),
                "nlink": entry.meta.nlink(),
                "path": entry.path,
                "size": entry.meta.size(),
                "uid": entry.meta.uid().to_string(),
            })
        })
        .collect()
}

/// A mode as `ls -l` writes it.
fn mode_text(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        _ => '-',
    };
    let bits = (0..9).rev().map(|bit| {
        let letter = ['x', 'w', 'r'][bit % 3];
        if mode & (1 << bit) == 0 { '-' } else { letter }
    });
    std::iter::once(kind).chain(bits).collect()
}

impl Sandboxes {
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

    pub(super) fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
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
            all.push(Entry { path: format!("{}/{name}", path.trim_end_matches('/')), meta });
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    /// Reads a piece of a file; also tells its size.
    pub(super) fn read(
        &self,
        path: &str,
        offset: u64,
        length: usize,
    ) -> io::Result<(Vec<u8>, u64)> {
        let file = self.open(path, OFlags::RDONLY)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "Cannot read a directory."));
        }
        if !meta.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "Cannot read what is no file.",
            ));
        }
        let left = usize::try_from(meta.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok((bytes, meta.len()))
    }

    fn shown(&self, path: &str, offset: Option<i64>, length: Option<i64>) -> io::Result<Json> {
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text);
        let (offset, size_only) = match offset {
            None | Some(-1) => (0, true),
            Some(offset) => {
                (u64::try_from(offset).map_err(|_| invalid("Negative offset provided"))?, false)
            }
        };
        let length = match length {
            None | Some(-1) => USUAL,
            Some(length) => {
                usize::try_from(length).map_err(|_| invalid("Negative length provided"))?
            }
        };
        let length = if size_only { 0 } else { length.min(LONGEST) };
        let (bytes, size) = self.read(path, offset, length)?;
        let offset = if size_only { size } else { offset };
        Ok(json!({"data": String::from_utf8_lossy(&bytes), "offset": offset}))
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
        let sandboxes = Sandboxes { agent: root.join("S0"), root: root.clone() };
        let host = format!("{}/S0/frameworks/F/executors/E/runs/c1/stdout", root.display());
        for path in [host.as_str(), "/frameworks/F/executors/E/runs/latest/stdout"] {
            assert_eq!(sandboxes.read(path, 1, 3).expect(path), (b"ell".to_vec(), 5));
        }
        let shown = sandboxes.shown(&host, Some(-1), None).expect("a size");
        assert_eq!(shown, json!({"data": "", "offset": 5}));
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

    #[test]
    fn modes_read_like_a_listing() {
        assert_eq!(mode_text(0o100_644), "-rw-r--r--");
        assert_eq!(mode_text(0o040_755), "drwxr-xr-x");
    }
}
