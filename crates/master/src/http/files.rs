//! The files endpoints and LIST_FILES and READ_FILE. A master has one file to show, under the name
//! that Mesos gives it: its log, if `--external_log_file` says where others keep it. Sandboxes are
//! the agents'.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use endpoints::files::{Asked, DOWNLOAD, LONGEST, Piece, USUAL, info as info_of, listing};
use hyper::StatusCode;
use mesos_api::json::Writer;
use mesos_api::v1::FileInfo;
use mesos_api::v1::master::{Response as Answer, call, response};

use super::forms::Fields;
use super::media::Media;
use super::reply::{self, Response, bad_request, error};
use super::route::Get;
use super::{Server, Whole};

/// What the log is called.
const LOG: &str = "/master/log";

/// Answers `/files/*`.
pub(super) async fn answer(server: &Server, get: Get, request: &Whole) -> Response {
    let query = Fields::parse(request.query());
    let jsonp = query.get("jsonp");
    let log = server.facts.log_file.clone();
    if get == Get::FilesDebug {
        return reply::jsonp(debug(log.as_deref()), jsonp);
    }
    let Some(path) = query.get("path") else {
        return bad_request("Expecting 'path=value' in query.\n");
    };
    let Some(log) = attached(log, path, get == Get::FilesBrowse) else {
        return reply::text_with(StatusCode::NOT_FOUND, "");
    };
    match get {
        Get::FilesBrowse => match info(log).await {
            Ok(info) => reply::jsonp(listing(&[info]), jsonp),
            Err(error) => refusal(&error),
        },
        Get::FilesRead => match Asked::parse(query.get("offset"), query.get("length")) {
            Ok(asked) => shown(log, asked, jsonp).await,
            Err(text) => bad_request(text),
        },
        _ => match piece(log, 0, DOWNLOAD).await {
            Ok(piece) => reply::text("application/octet-stream", piece.bytes),
            Err(error) => refusal(&error),
        },
    }
}

/// LIST_FILES
pub(super) async fn list(server: &Server, call: &call::ListFiles, media: Media) -> Response {
    let Some(log) = attached(server.facts.log_file.clone(), &call.path, true) else {
        return reply::empty(StatusCode::NOT_FOUND);
    };
    match info(log).await {
        Ok(info) => {
            let list_files = Some(response::ListFiles { file_infos: vec![info] });
            let mut answer = Answer { list_files, ..Answer::default() };
            answer.set_type(response::Type::ListFiles);
            reply::message(media, media.write(&answer))
        }
        Err(error) => refusal(&error),
    }
}

/// READ_FILE
pub(super) async fn read(server: &Server, call: &call::ReadFile, media: Media) -> Response {
    let Some(log) = attached(server.facts.log_file.clone(), &call.path, false) else {
        return reply::empty(StatusCode::NOT_FOUND);
    };
    let length = call.length.unwrap_or(USUAL).min(LONGEST);
    match piece(log, call.offset, length).await {
        Ok(Piece { bytes, size }) => {
            let read_file = Some(response::ReadFile { size, data: bytes.into() });
            let mut answer = Answer { read_file, ..Answer::default() };
            answer.set_type(response::Type::ReadFile);
            reply::message(media, media.write(&answer))
        }
        Err(error) => refusal(&error),
    }
}

/// The file that a path means, or, when browsing, the file that is in it.
fn attached(log: Option<PathBuf>, path: &str, browse: bool) -> Option<PathBuf> {
    let path = path.trim_end_matches('/');
    let meant = path == LOG || browse && (path.is_empty() || path == "/master");
    log.filter(|_| meant)
}

fn debug(log: Option<&Path>) -> String {
    let mut to = Writer::new();
    to.begin_object();
    if let Some(log) = log {
        to.name(LOG);
        to.string(&log.display().to_string());
    }
    to.end_object();
    to.into_string()
}

async fn shown(log: PathBuf, asked: Asked, jsonp: Option<&str>) -> Response {
    match piece(log, asked.offset.unwrap_or_default(), asked.length).await {
        Ok(piece) => reply::jsonp(piece.json(asked.offset), jsonp),
        Err(error) => refusal(&error),
    }
}

async fn info(log: PathBuf) -> io::Result<FileInfo> {
    blocking(move || Ok(info_of(LOG, &std::fs::metadata(log)?))).await
}

async fn piece(log: PathBuf, offset: u64, length: u64) -> io::Result<Piece> {
    blocking(move || Piece::read(&File::open(log)?, offset, length)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|cause| Err(io::Error::other(cause)))
}

fn refusal(cause: &io::Error) -> Response {
    match cause.kind() {
        io::ErrorKind::NotFound => reply::text_with(StatusCode::NOT_FOUND, ""),
        io::ErrorKind::InvalidInput => bad_request(format!("{cause}\n")),
        _ => error(StatusCode::INTERNAL_SERVER_ERROR, format!("read the log: {cause}")),
    }
}
