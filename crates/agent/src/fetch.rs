//! The URIs of a command: fetched into its sandbox, archives extracted there and nowhere else.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use mesos_api::v1::command_info::Uri;
use tokio::io::AsyncWriteExt as _;

use crate::identity::User;
use crate::sandbox;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that says nothing for so long is given up (`--fetcher_stall_timeout` of Mesos).
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a URI is not in the sandbox.
#[derive(Debug, thiserror::Error)]
#[error("Failed to fetch '{uri}': {why}")]
pub(crate) struct FetchError {
    uri: String,
    why: String,
}

/// Fetches all URIs, one after the other.
///
/// # Errors
/// The first that cannot be fetched or extracted.
pub(crate) async fn all(
    uris: &[Uri],
    sandbox: &Path,
    user: Option<User>,
) -> Result<(), FetchError> {
    for uri in uris {
        let failed = |why: String| FetchError { uri: uri.value.clone(), why };
        one(uri, sandbox, user).await.map_err(failed)?;
    }
    Ok(())
}

async fn one(uri: &Uri, sandbox: &Path, user: Option<User>) -> Result<(), String> {
    let name = output_name(uri)?;
    let target = sandbox.join(&name);
    if let Some(directory) = target.parent() {
        fs::create_dir_all(directory).map_err(|e| format!("cannot create its directory: {e}"))?;
    }
    let value = uri.value.trim();
    match value.split_once("://") {
        Some(("http" | "https", _)) => download(value, &target).await?,
        Some(("file", path)) => copy(Path::new(path), &target).await?,
        Some((scheme, _)) => {
            return Err(format!("this agent fetches http, https and file, not {scheme}"));
        }
        None if value.starts_with('/') => copy(Path::new(value), &target).await?,
        None => return Err("a path has to be absolute".to_owned()),
    }
    let executable = uri.executable();
    let kind = Archive::of(&name).filter(|_| uri.extract() && !executable);
    let (directory, file) = (sandbox.to_owned(), target.clone());
    let work = move || -> Result<(), String> {
        if executable {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&file, mode)
                .map_err(|e| format!("cannot make it executable: {e}"))?;
        }
        sandbox::own(&file, user).map_err(|e| format!("cannot give it to its user: {e}"))?;
        match kind {
            Some(kind) => kind.extract(&file, &directory, user),
            None => Ok(()),
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?
}

/// The file's name in the sandbox.
fn output_name(uri: &Uri) -> Result<PathBuf, String> {
    let name = match &uri.output_file {
        Some(name) => name.clone(),
        None => {
            let path = uri.value.split(['?', '#']).next().unwrap_or_default();
            path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
        }
    };
    let path = PathBuf::from(&name);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !inside || name.contains(['\'', '\\', '\0']) {
        return Err(format!("'{name}' is no file name in a sandbox"));
    }
    Ok(path)
}

async fn download(url: &str, target: &Path) -> Result<(), String> {
    let chain = |error: reqwest::Error| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    };
    // Fails when another part of the process has chosen a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(STALL_TIMEOUT)
        .build()
        .map_err(chain)?;
    let response = client.get(url).send().await.map_err(chain)?;
    if !response.status().is_success() {
        return Err(format!("the server answered {}", response.status()));
    }
    let mut file =
        tokio::fs::File::create(target).await.map_err(|e| format!("cannot create it: {e}"))?;
    let mut body = response.bytes_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(chain)?;
        file.write_all(&piece).await.map_err(|e| format!("cannot write it: {e}"))?;
    }
    file.flush().await.map_err(|e| format!("cannot write it: {e}"))
}

async fn copy(from: &Path, to: &Path) -> Result<(), String> {
    tokio::fs::copy(from, to).await.map(drop).map_err(|e| format!("cannot copy it: {e}"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Archive {
    Tar,
    TarGzip,
    Gzip,
    /// One that Mesos extracts and this agent does not: told, not left unextracted.
    Other,
}

impl Archive {
    /// Told by the name alone, as frameworks expect.
    fn of(name: &Path) -> Option<Self> {
        let name = name.to_string_lossy();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        if ends(&[".tgz", ".tar.gz"]) {
            Some(Self::TarGzip)
        } else if ends(&[".tar"]) {
            Some(Self::Tar)
        } else if ends(&[".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip"]) {
            Some(Self::Other)
        } else if ends(&[".gz"]) {
            Some(Self::Gzip)
        } else {
            None
        }
    }

    fn extract(self, file: &Path, into: &Path, user: Option<User>) -> Result<(), String> {
        let failed = |e: io::Error| format!("cannot extract it: {e}");
        let opened = io::BufReader::new(File::open(file).map_err(failed)?);
        match self {
            Self::Tar => unpack(opened, into, user),
            Self::TarGzip => unpack(flate2::bufread::MultiGzDecoder::new(opened), into, user),
            Self::Gzip => {
                let target = file.with_extension("");
                let mut out = File::create(&target).map_err(failed)?;
                let mut decoder = flate2::bufread::MultiGzDecoder::new(opened);
                io::copy(&mut decoder, &mut out).map_err(failed)?;
                sandbox::own(&target, user).map_err(failed)
            }
            Self::Other => Err("this agent extracts .tar, .tar.gz, .tgz and .gz: \
                                set extract to false and unpack it in the task"
                .to_owned()),
        }
    }
}

/// Unpacks below `into`; an entry that would lead elsewhere is an error, not skipped.
fn unpack(reader: impl io::Read, into: &Path, user: Option<User>) -> Result<(), String> {
    let failed = |e: io::Error| format!("cannot extract it: {e}");
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_unpack_xattrs(false);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        if !entry.unpack_in(into).map_err(failed)? {
            return Err(format!(
                "the archive's entry '{}' leads out of the sandbox",
                path.display()
            ));
        }
        let target = into.join(&path);
        // A link's target is not the task's, wherever it leads.
        if fs::symlink_metadata(&target).is_ok_and(|meta| !meta.is_symlink()) {
            sandbox::own(&target, user).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
