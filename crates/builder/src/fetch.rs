//! What comes from elsewhere: files and repositories of ADD, contexts given by URL.
//!
//! Git repositories are read by the host's `git`, which knows every transport and its credentials.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::archive::ByteStream;
use futures_util::TryStreamExt as _;
use images::registry::Registry;
use images::{Digest, Hasher, LayerState, Progress};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use crate::context::Opener;
use crate::request::{Event, Events, Options, Secret};
use crate::tree::{FileTree, Found, shown};
use crate::{Error, Result};

/// A repository, what of it to take, and where in it to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitSource {
    pub(crate) repository: String,
    /// A branch, tag or commit; empty is the default branch.
    pub(crate) reference: String,
    /// A directory in it.
    pub(crate) subdirectory: String,
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Tells whether ADD fetches a source, rather than finding it in the context.
pub(crate) fn is_remote(text: &str) -> bool {
    is_url(text) || GitSource::parse(text).is_some()
}

impl GitSource {
    /// Reads `repository.git#reference:subdirectory`; `None` for what is no repository.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (repository, fragment) = text.split_once('#').unwrap_or((text, ""));
        let is_git = repository.starts_with("git://")
            || repository.starts_with("ssh://")
            || repository.starts_with("git@")
            || (is_url(repository) && repository.ends_with(".git"));
        if !is_git {
            return None;
        }
        let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
        Some(Self {
            repository: repository.to_owned(),
            reference: reference.to_owned(),
            subdirectory: subdirectory.to_owned(),
        })
    }

    /// As [`GitSource::parse`]; a context may leave the scheme of GitHub's repositories out.
    fn parse_context(text: &str) -> Option<Self> {
        match text.strip_prefix("github.com/") {
            Some(rest) => {
                let (path, fragment) = rest.split_once('#').unwrap_or((rest, ""));
                let path = path.trim_end_matches(".git");
                Self::parse(&format!("https://github.com/{path}.git#{fragment}"))
            }
            None => Self::parse(text),
        }
    }

    /// Checks out into a directory that is there and empty; returns the commit.
    ///
    /// # Errors
    /// In the words of git.
    pub(crate) async fn check_out(
        &self,
        directory: &Path,
        keep_git_dir: bool,
        keys: &Keys<'_>,
        cancel: &CancellationToken,
    ) -> Result<String> {
        let wanted = if self.reference.is_empty() { "HEAD" } else { &self.reference };
        if self.repository.starts_with('-') || wanted.starts_with('-') {
            let text = format!("{}#{wanted} is no Git repository and reference", self.repository);
            return Err(Error::Invalid(text));
        }
        let environment = keys.environment(&self.repository)?;
        let git = Git { directory, source: self, environment, cancel };
        git.run(&["init", "-q", "."]).await?;
        git.run(&["remote", "add", "origin", &self.repository]).await?;
        let fetched = git.fetch(wanted).await?;
        git.run(&["checkout", "-q", "--detach", fetched]).await?;
        git.run(&["submodule", "update", "-q", "--init", "--recursive", "--depth=1"]).await?;
        let commit = git.run(&["rev-parse", "HEAD"]).await?;
        if !keep_git_dir {
            let dir = directory.join(".git");
            fs::remove_dir_all(&dir).map_err(Error::io("remove", dir.display()))?;
        }
        Ok(commit.trim().to_owned())
    }
}

/// The program, in a repository.
struct Git<'a> {
    directory: &'a Path,
    source: &'a GitSource,
    environment: Vec<(&'static str, OsString)>,
    cancel: &'a CancellationToken,
}

/// What a build has been given that opens repositories.
#[derive(Debug)]
pub(crate) struct Keys<'a> {
    pub(crate) secrets: &'a BTreeMap<String, Secret>,
    pub(crate) ssh: &'a BTreeMap<String, PathBuf>,
}

impl<'a> Keys<'a> {
    /// Those of a build.
    pub(crate) fn of(options: &'a Options) -> Self {
        Self { secrets: &options.secrets, ssh: &options.ssh }
    }

    /// The variables by which git learns of them, so that no other user of the host reads them from a
    /// command line.
    fn environment(&self, repository: &str) -> Result<Vec<(&'static str, OsString)>> {
        let mut environment = Vec::new();
        if let Some(agent) = self.ssh.get("default") {
            environment.push(("SSH_AUTH_SOCK", agent.clone().into_os_string()));
        }
        if let Some((scheme, host)) = scheme_and_host(repository)
            && let Some(value) = self.authorization(host)?
        {
            let key = format!("http.{scheme}://{host}/.extraHeader");
            environment.push(("GIT_CONFIG_COUNT", "1".into()));
            environment.push(("GIT_CONFIG_KEY_0", key.into()));
            environment.push(("GIT_CONFIG_VALUE_0", format!("Authorization: {value}").into()));
        }
        Ok(environment)
    }

    /// The header for a host: its own secret goes before that for all hosts, a header before a token.
    fn authorization(&self, host: &str) -> Result<Option<String>> {
        for suffix in [format!(".{host}"), String::new()] {
            for name in ["GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"] {
                let id = format!("{name}{suffix}");
                let Some(secret) = self.secrets.get(&id) else { continue };
                // Files end with a line feed.
                let text = std::str::from_utf8(&secret.0).ok().map(str::trim_end);
                let text = text.filter(|text| !text.is_empty() && !text.contains(char::is_control));
                let text = text.ok_or_else(|| {
                    Error::Invalid(format!(
                        "secret {id} is not one line of text: no header can be made of it"
                    ))
                })?;
                return Ok(Some(match name {
                    "GIT_AUTH_HEADER" => text.to_owned(),
                    _ => format!("basic {}", STANDARD.encode(format!("x-access-token:{text}"))),
                }));
            }
        }
        Ok(None)
    }
}

/// Of an address that is fetched by HTTP, without a user's name in it.
fn scheme_and_host(repository: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = repository.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit('@').next()?;
    matches!(scheme, "http" | "https").then_some((scheme, host))
}

impl Git<'_> {
    /// Fetches as little as the server gives; returns what to check out.
    async fn fetch<'w>(&self, wanted: &'w str) -> Result<&'w str> {
        let one = ["fetch", "-q", "--no-tags", "origin", wanted];
        let shallow = [&one[..2], &["--depth", "1"], &one[2..]].concat();
        let first = match self.run(&shallow).await {
            Ok(_) => return Ok("FETCH_HEAD"),
            Err(error @ (Error::Cancelled | Error::Unavailable(_))) => return Err(error),
            Err(error) => error,
        };
        // A server of plain files, which knows no depth.
        if self.run(&one).await.is_ok() {
            return Ok("FETCH_HEAD");
        }
        // An abbreviated commit, or a server that gives no single ones.
        let all = ["fetch", "-q", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"];
        self.run(&all).await.map_err(|_| first)?;
        Ok(wanted)
    }

    async fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new("git");
        command
            .args(args)
            .current_dir(self.directory)
            // Nobody is there to answer.
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::select! {
            output = command.output() => output.map_err(|error| {
                Error::Unavailable(format!(
                    "{}: run git: {error}: install git on the daemon's host, or send the files",
                    self.source.repository
                ))
            })?,
            () = self.cancel.cancelled() => return Err(Error::Cancelled),
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let mut said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if said.contains("Host key verification failed") {
            said.push_str(
                "\nThe daemon's user does not know this host: add its key to the daemon's \
                 /etc/ssh/ssh_known_hosts, as ssh-keyscan HOST prints it",
            );
        }
        let GitSource { repository, reference, .. } = self.source;
        let verb = args.first().unwrap_or(&"");
        Err(Error::Invalid(format!("{repository}#{reference}: git {verb}: {said}")))
    }
}

/// A file to download.
pub(crate) struct Download<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) url: &'a str,
    /// Where it goes; its mode is that of ADD, its time the server's.
    pub(crate) path: &'a Path,
    /// The digest of its content.
    pub(crate) wanted: Option<&'a str>,
}

impl Download<'_> {
    /// Downloads, and tells how far it is as `step`.
    ///
    /// # Errors
    /// When the server refuses, or the content has another digest than wanted.
    pub(crate) async fn run(
        &self,
        events: &Events,
        step: usize,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let url = self.url;
        if let Some(wanted) = self.wanted
            && !wanted.strip_prefix("sha256:").is_some_and(|hex| {
                hex.len() == 64
                    && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            })
        {
            return Err(Error::Invalid(format!(
                "invalid checksum {wanted:?}: want sha256: and 64 hexadecimal digits"
            )));
        }
        let fetched = tokio::select! {
            fetched = self.registry.fetch(url) => fetched?,
            () = cancel.cancelled() => return Err(Error::Cancelled),
        };
        let modified_at = fetched.modified_at;
        let report = |bytes: u64| {
            let state = LayerState::Downloading { current: bytes, total: fetched.length };
            let progress = Progress::Layer { id: fetched.name.clone(), state };
            // A client that lags misses counts, no more.
            let _ = events.try_send(Event::Transfer { step, progress });
        };
        let digest = tokio::select! {
            digest = write(fetched.bytes, self.path, report) => digest?,
            () = cancel.cancelled() => return Err(Error::Cancelled),
        };
        if let Some(wanted) = self.wanted.filter(|wanted| *wanted != digest.to_string()) {
            return Err(Error::Invalid(format!(
                "digest mismatch for {url}: got {digest}, expected {wanted}"
            )));
        }
        self.dress(modified_at).map_err(Error::io("set mode and time of", self.path.display()))
    }

    fn dress(&self, modified_at: Option<i64>) -> std::io::Result<()> {
        let file = File::options().write(true).open(self.path)?;
        if let Some(seconds) = modified_at.and_then(|seconds| u64::try_from(seconds).ok()) {
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))?;
        }
        file.set_permissions(fs::Permissions::from_mode(0o600))
    }
}

async fn write(mut bytes: ByteStream, path: &Path, report: impl Fn(u64)) -> Result<Digest> {
    let fail = |source| Error::Io { operation: "write", path: path.display().to_string(), source };
    let mut file = tokio::fs::File::create(path).await.map_err(fail)?;
    let mut hasher = Hasher::default();
    let mut total = 0;
    while let Some(chunk) = bytes.try_next().await.map_err(Error::io("receive", path.display()))? {
        hasher.update(&chunk);
        file.write_all(&chunk).await.map_err(fail)?;
        total += chunk.len() as u64;
        report(total);
    }
    file.flush().await.map_err(fail)?;
    Ok(hasher.finish())
}

/// A context that was fetched.
pub(crate) struct Fetched {
    /// Where its files begin.
    pub(crate) directory: PathBuf,
    /// Whether it is a Dockerfile and nothing else.
    pub(crate) is_dockerfile: bool,
}

/// Fetches a context into a directory that is there and empty.
///
/// # Errors
/// When nothing usable is there.
pub(crate) async fn context(opener: &Opener<'_>, url: &str, directory: &Path) -> Result<Fetched> {
    let Opener { builder, scratch, keys, cancel } = opener;
    if let Some(source) = GitSource::parse_context(url) {
        source.check_out(directory, false, keys, cancel).await?;
        // The repository's links are not to be followed out of it.
        let tree = FileTree::open(directory)?;
        let found = tree.find(source.subdirectory.as_bytes());
        return match found.map_err(Error::io("resolve", &source.subdirectory))? {
            Found::Node(node) if node.is_dir() => {
                let inner = shown(&node.path);
                let inner = inner.strip_prefix("/").unwrap_or(&inner);
                Ok(Fetched { directory: directory.join(inner), is_dockerfile: false })
            }
            _ => Err(Error::Invalid(format!(
                "{url}: there is no directory {:?} in the repository",
                source.subdirectory
            ))),
        };
    }
    if !is_url(url) {
        return Err(Error::Invalid(format!(
            "context {url:?} cannot be fetched: want an http, https or git address"
        )));
    }
    let file = scratch.directory("download")?.join("file");
    let registry = &builder.inner.registry;
    let download = Download { registry, url, path: &file, wanted: None };
    // There is no step yet to tell of.
    let (events, _) = tokio::sync::mpsc::channel(1);
    download.run(&events, 0, cancel).await?;
    let target = directory.to_owned();
    crate::blocking(move || {
        let mut opened = File::open(&file).map_err(Error::io("open", file.display()))?;
        let is_archive = crate::archive::is_archive(&mut opened);
        if is_archive {
            crate::archive::unpack(opened, &target)?;
        } else {
            fs::rename(&file, target.join("Dockerfile"))
                .map_err(Error::io("rename", file.display()))?;
        }
        Ok(Fetched { directory: target, is_dockerfile: !is_archive })
    })
    .await
}

/// The name that a downloaded file gets.
pub(crate) fn file_name(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?.split_once("://")?.1;
    let (_, path) = path.split_once('/')?;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty())?;
    (!matches!(name, "." | "..")).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_have_references_and_directories() {
        let parsed = |text: &str| {
            GitSource::parse_context(text).map(|s| (s.repository, s.reference, s.subdirectory))
        };
        let source = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(
            parsed("https://x.org/a.git#v1:sub/dir"),
            source("https://x.org/a.git", "v1", "sub/dir")
        );
        assert_eq!(parsed("git@x.org:a/b"), source("git@x.org:a/b", "", ""));
        assert_eq!(parsed("git://x/b#:c"), source("git://x/b", "", "c"));
        assert_eq!(parsed("github.com/a/b"), source("https://github.com/a/b.git", "", ""));
        assert_eq!(parsed("https://x.org/a.tar"), None);
        assert_eq!(parsed("path/to.git"), None);
        assert_eq!(GitSource::parse("github.com/a/b"), None, "ADD has paths like that");
    }

    #[test]
    fn secrets_become_headers_of_their_host() {
        let secret = |text: &str| Secret(text.as_bytes().into());
        let (ssh, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        secrets.insert("GIT_AUTH_TOKEN".to_owned(), secret("all\n"));
        secrets.insert("GIT_AUTH_TOKEN.x.org:8443".to_owned(), secret("own"));
        secrets.insert("GIT_AUTH_HEADER.y.org".to_owned(), secret("bearer b"));
        let keys = Keys { secrets: &secrets, ssh: &ssh };
        let told = |repository: &str| {
            let found = keys.environment(repository).unwrap();
            let texts = found.into_iter().map(|(_, value)| value.into_string().unwrap());
            texts.skip(1).collect::<Vec<_>>().join(" ")
        };
        let own =
            "http.https://x.org:8443/.extraHeader Authorization: basic eC1hY2Nlc3MtdG9rZW46b3du";
        assert_eq!(told("https://me@x.org:8443/a.git"), own);
        assert_eq!(
            told("http://y.org/a.git"),
            "http.http://y.org/.extraHeader Authorization: bearer b"
        );
        assert!(told("https://z.org/a.git").ends_with("eC1hY2Nlc3MtdG9rZW46YWxs"));
        assert_eq!(told("git@x.org:a/b"), "");
        let bad = BTreeMap::from([("GIT_AUTH_HEADER".to_owned(), secret("a\r\nb: c"))]);
        assert!(Keys { secrets: &bad, ssh: &ssh }.environment("https://z.org/a.git").is_err());
    }

    #[test]
    fn files_are_named_by_their_address() {
        assert_eq!(file_name("https://x.org/a/b.tgz?c=d/e"), Some("b.tgz".to_owned()));
        assert_eq!(file_name("https://x.org/"), None);
        assert_eq!(file_name("https://x.org"), None);
        assert_eq!(file_name("https://x.org/a/.."), None);
    }
}
