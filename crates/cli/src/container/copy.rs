//! `cp`, in both directions.
//!
//! Where a copy ends up depends on what stands at the destination, in the way
//! of `cp -a`: into a directory that exists, over a file that exists, or under
//! a new name in a directory that exists. [`place`] decides that.

use std::io;
use std::path::{Component, Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_api::{Client, Request, encode_path};
use serde::Deserialize;

use super::unpack;
use crate::failure::Failure;
use crate::grammar::{Call, Outcome};
use crate::image::import::{body_from, body_to};
use crate::pipe;
use crate::tarball;
use crate::units::human_size;

/// Bits of Go's FileMode, in which the API tells modes.
const MODE_DIR: u32 = 1 << 31;
const MODE_SYMLINK: u32 = 1 << 27;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PathStat {
    mode: u32,
    #[serde(default)]
    link_target: String,
}

/// One side of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side<'a> {
    Local(&'a str),
    Container(&'a str, &'a str),
}

impl<'a> Side<'a> {
    /// A path that is absolute or begins with a dot is local, whatever colons it has.
    fn parse(text: &'a str) -> Self {
        match text.split_once(':') {
            Some((container, path)) if !text.starts_with('/') && !container.starts_with('.') => {
                Self::Container(container, path)
            }
            _ => Self::Local(text),
        }
    }
}

/// `cp [OPTIONS] SOURCE DESTINATION`
pub(crate) async fn copy(call: Call<'_>) -> Outcome {
    use std::io::IsTerminal as _;
    let (source, destination) = (call.args[0].as_str(), call.args[1].as_str());
    let (copied, told) = match (Side::parse(source), Side::parse(destination)) {
        (Side::Container(container, path), Side::Local(local)) => {
            (from_container(&call, container, path, local).await?, local.to_owned())
        }
        (Side::Local(local), Side::Container(container, path)) => {
            (to_container(&call, local, container, path).await?, format!("{container}:{path}"))
        }
        (Side::Container(..), Side::Container(..)) => {
            return Err("copying between containers is not supported".into());
        }
        (Side::Local(_), Side::Local(_)) => {
            return Err("must specify at least one container source".into());
        }
    };
    let quiet = if call.flags.given("quiet") {
        call.flags.on("quiet")
    } else {
        !std::io::stderr().is_terminal()
    };
    if let Some(bytes) = copied.filter(|_| !quiet) {
        eprintln!(
            "Successfully copied {} to {told}",
            human_size(i64::try_from(bytes).unwrap_or(i64::MAX))
        );
    }
    Ok(0)
}

fn archive_path(container: &str) -> String {
    format!("/containers/{}/archive", encode_path(container))
}

async fn stat(
    client: &Client,
    container: &str,
    path: &str,
) -> docker_api::Result<Option<PathStat>> {
    let response = client.call(Request::head(archive_path(container)).query("path", path)).await?;
    Ok(response.header("X-Docker-Container-Path-Stat").and_then(decode_stat))
}

fn decode_stat(header: &str) -> Option<PathStat> {
    serde_json::from_slice(&STANDARD.decode(header).ok()?).ok()
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Directory,
    Other,
}

/// Where the copied tree goes: a directory, and its name in there if it gets a new one.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    directory: String,
    name: Option<String>,
}

/// Decides where a copy goes.
fn place(source_is_dir: bool, destination: &str, found: Found) -> Result<Place, String> {
    let (directory, name) = split(destination);
    let renamed = Place { directory, name: Some(name) };
    match found {
        Found::Directory => Ok(Place { directory: destination.to_owned(), name: None }),
        Found::Other if source_is_dir => Err("cannot copy directory".to_owned()),
        Found::Other if asserts_directory(destination) => Err("not a directory".to_owned()),
        Found::Other => Ok(renamed),
        Found::Nothing if !source_is_dir && asserts_directory(destination) => {
            Err("no such directory".to_owned())
        }
        Found::Nothing => Ok(renamed),
    }
}

fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path == "."
}

/// Splits a path into its directory and its last name; `.` counts as a name.
fn split(path: &str) -> (String, String) {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((directory, name)) => (directory.to_owned(), name.to_owned()),
        None if trimmed.is_empty() => ("/".to_owned(), ".".to_owned()),
        None => (".".to_owned(), trimmed.to_owned()),
    }
}

async fn from_container(
    call: &Call<'_>,
    container: &str,
    path: &str,
    local: &str,
) -> Result<Option<u64>, Failure> {
    if local != "-" {
        crate::image::import::check_output_directory(local)?;
    }
    let client = call.cli.client().await?;
    let mut path = path.to_owned();
    let mut wanted_name = None;
    if call.flags.on("follow-link")
        && let Some(stat) = stat(client, container, &path).await?
        && stat.mode & MODE_SYMLINK != 0
    {
        // The copy keeps the link's name.
        wanted_name = Some(split(&path).1);
        path = join_link(&path, &stat.link_target);
    }
    let response = client.call(Request::get(archive_path(container)).query("path", &path)).await?;
    if local == "-" {
        body_to(response, None).await?;
        return Ok(None);
    }
    let stat = response.header("X-Docker-Container-Path-Stat").and_then(decode_stat);
    let is_dir = stat.is_some_and(|stat| stat.mode & MODE_DIR != 0);
    if !is_dir && asserts_directory(&path) {
        return Err("not a directory".into());
    }
    let found = match std::fs::metadata(local) {
        Ok(metadata) if metadata.is_dir() => Found::Directory,
        Ok(_) => Found::Other,
        Err(_) => Found::Nothing,
    };
    let place = place(is_dir, local, found)?;
    let rename = place.name.or(wanted_name).map(|new| (split(&path).1, new));
    let options = unpack::Options {
        directory: PathBuf::from(place.directory),
        rename,
        owners: call.flags.on("archive") && rustix::process::geteuid().is_root(),
    };
    let unpacked =
        pipe::read_on_thread(response, move |reader| unpack::unpack(reader, &options)).await;
    Ok(Some(unpacked?.1))
}

/// Resolves a link's target against the place of the link.
fn join_link(path: &str, target: &str) -> String {
    if target.starts_with('/') { target.to_owned() } else { format!("{}/{target}", split(path).0) }
}

async fn to_container(
    call: &Call<'_>,
    local: &str,
    container: &str,
    path: &str,
) -> Result<Option<u64>, Failure> {
    let source =
        (local != "-").then(|| Source::find(local, call.flags.on("follow-link"))).transpose()?;
    let client = call.cli.client().await?;
    let mut path = path.to_owned();
    let mut found = Found::Nothing;
    // A failure here means that nothing is there yet, or shows again in the copy itself.
    if let Ok(Some(mut at)) = stat(client, container, &path).await {
        if at.mode & MODE_SYMLINK != 0 {
            path = join_link(&path, &at.link_target);
            if let Ok(Some(target)) = stat(client, container, &path).await {
                at = target;
            }
        }
        found = if at.mode & MODE_DIR != 0 { Found::Directory } else { Found::Other };
    }
    let put = |directory: &str| {
        Request::put(archive_path(container))
            .query("path", directory)
            .query("noOverwriteDirNonDir", "true")
            .query_some("copyUIDGID", call.flags.on("archive").then_some("true"))
    };
    let Some(source) = source else {
        if found != Found::Directory {
            return Err(format!("destination \"{container}:{path}\" must be a directory").into());
        }
        client.call(body_from(put(&path), None)?).await?.bytes().await?;
        return Ok(None);
    };
    let place = place(source.is_dir, &path, found)?;
    let name = PathBuf::from(place.name.unwrap_or(source.name));
    let (mut writer, stream) = pipe::to_stream();
    let counter = writer.counter();
    let file = source.path;
    let worker = tokio::task::spawn_blocking(move || -> Option<io::Error> {
        let error = tarball::write_named(&file, &name, &mut writer).err()?;
        let again = io::Error::new(error.kind(), error.to_string());
        writer.fail(error);
        Some(again)
    });
    let sent = client.call(put(&place.directory).stream("application/x-tar", stream)).await;
    let broken = worker.await.map_err(|e| e.to_string())?;
    match (sent, broken) {
        (Ok(response), None) => drop(response.bytes().await?),
        // The daemon's refusal explains why it stopped reading.
        (Err(error @ docker_api::Error::Status { .. }), _) => return Err(error.into()),
        (_, Some(error)) => return Err(format!("{local}: {error}").into()),
        (Err(error), None) => return Err(error.into()),
    }
    Ok(Some(counter.load(std::sync::atomic::Ordering::Relaxed)))
}

/// A local file or tree to copy.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    is_dir: bool,
    /// The name of its root in the archive; `.` stands for its content alone.
    name: String,
}

impl Source {
    fn find(local: &str, follow: bool) -> Result<Self, Failure> {
        let missing = |error: io::Error| {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => error.to_string(),
            };
            format!("lstat {local}: {why}")
        };
        let trimmed = local.trim_end_matches('/');
        let path = PathBuf::from(if trimmed.is_empty() { "/" } else { trimmed });
        let linked = std::fs::symlink_metadata(&path).map_err(missing)?;
        let through = follow || asserts_directory(local);
        let (path, metadata, name) = if through && linked.is_symlink() {
            let target = std::fs::canonicalize(&path).map_err(missing)?;
            let metadata = std::fs::metadata(&target).map_err(missing)?;
            (target, metadata, split(local).1)
        } else {
            (path, linked, split(local).1)
        };
        if !metadata.is_dir() && asserts_directory(local) {
            return Err("not a directory".into());
        }
        let name = match name.as_str() {
            ".." => path_name(&path),
            _ => name,
        };
        Ok(Self { path, is_dir: metadata.is_dir(), name })
    }
}

/// The real name of a path that ends in dots.
fn path_name(path: &Path) -> String {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match real.components().next_back() {
        Some(Component::Normal(name)) => name.to_string_lossy().into_owned(),
        _ => ".".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart() {
        assert_eq!(Side::parse("web:/etc"), Side::Container("web", "/etc"));
        assert_eq!(Side::parse("/a:b"), Side::Local("/a:b"));
        assert_eq!(Side::parse("./a:b"), Side::Local("./a:b"));
        assert_eq!(Side::parse("plain"), Side::Local("plain"));
    }

    #[test]
    fn copies_land_as_cp_would_put_them() {
        let at = |directory: &str, name: Option<&str>| {
            Ok(Place { directory: directory.into(), name: name.map(Into::into) })
        };
        let refused = |why: &str| Err(why.to_owned());
        let cases = [
            (false, "/d", Found::Directory, at("/d", None)),
            (true, "/d", Found::Directory, at("/d", None)),
            (false, "/d/f", Found::Other, at("/d", Some("f"))),
            (true, "/d/f", Found::Other, refused("cannot copy directory")),
            (true, "/d/new", Found::Nothing, at("/d", Some("new"))),
            (true, "/d/new/", Found::Nothing, at("/d", Some("new"))),
            (false, "/d/new", Found::Nothing, at("/d", Some("new"))),
            (false, "/d/new/", Found::Nothing, refused("no such directory")),
            (false, "new", Found::Nothing, at(".", Some("new"))),
            (false, "/f", Found::Other, at("/", Some("f"))),
        ];
        for (is_dir, destination, found, expected) in cases {
            assert_eq!(place(is_dir, destination, found), expected, "{destination} {found:?}");
        }
    }
}
