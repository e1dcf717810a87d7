//! What a build's files are, and how they get to the daemon.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use docker_api::Request;
use dockerignore::Patterns;
use tar::{Builder, EntryType, Header};

use crate::failure::Failure;
use crate::pipe;

/// Writes an archive.
type Archiver = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// How the files are sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shape {
    /// The Dockerfile and what says which files are left out, no others.
    pub(super) dockerfile_only: bool,
    /// With gzip, for slow ways to the daemon.
    pub(super) compressed: bool,
}

/// Files are read in pieces of this size.
const BUFFER: usize = 256 << 10;

/// Name of a Dockerfile that is not among the files.
const OUTSIDE: &str = ".dockerfile.outside";

/// The files.
#[derive(Debug)]
pub(super) enum Source {
    /// A directory.
    Directory {
        path: PathBuf,
        /// The Dockerfile's name in it.
        dockerfile: Option<String>,
        /// A Dockerfile that is not in it.
        outside: Option<Vec<u8>>,
        ignored: Patterns,
    },
    /// An archive on stdin: what was read of it already.
    Archive { start: Vec<u8>, dockerfile: Option<String> },
    /// A Dockerfile alone.
    Dockerfile(Vec<u8>),
    /// The daemon fetches it.
    Remote { url: String, dockerfile: Option<String> },
}

/// Tells whether a word is a URL or a Git repository.
pub(super) fn is_remote(text: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    schemes.iter().any(|scheme| text.starts_with(scheme))
}

impl Source {
    /// Reads the argument and `--file`.
    pub(super) fn parse(argument: &str, file: Option<&str>) -> Result<Self, Failure> {
        let dockerfile = file.map(str::to_owned);
        match (argument, file) {
            ("-", Some("-")) => {
                Err("invalid argument: can't use stdin for both build context and dockerfile"
                    .into())
            }
            ("-", _) => Ok(Self::stdin(dockerfile)?),
            (url, _) if is_remote(url) => Ok(Self::Remote { url: url.to_owned(), dockerfile }),
            (path, Some("-")) => {
                let mut text = Vec::new();
                io::stdin().read_to_end(&mut text)?;
                let mut source = Self::directory(path)?;
                if let Self::Directory { outside, .. } = &mut source {
                    *outside = Some(text);
                }
                Ok(source)
            }
            (path, file) => {
                Ok(Self::of_directory(path, file.unwrap_or("Dockerfile"), file.is_some())?)
            }
        }
    }

    fn stdin(dockerfile: Option<String>) -> io::Result<Self> {
        let mut start = Vec::new();
        io::stdin().take(512).read_to_end(&mut start)?;
        let compressed =
            [&[0x1f, 0x8b][..], b"BZh", &[0xfd, b'7', b'z'], &[0x28, 0xb5, 0x2f, 0xfd]];
        let is_archive = start.get(257..262) == Some(b"ustar")
            || compressed.iter().any(|magic| start.starts_with(magic));
        if is_archive {
            return Ok(Self::Archive { start, dockerfile });
        }
        io::stdin().read_to_end(&mut start)?;
        Ok(Self::Dockerfile(start))
    }

    /// A directory without a Dockerfile.
    pub(super) fn directory(path: &str) -> Result<Self, Failure> {
        let path = checked(path)?;
        let ignored = ignored(&path, None)?;
        Ok(Self::Directory { path, dockerfile: None, outside: None, ignored })
    }

    fn of_directory(path: &str, file: &str, explicit: bool) -> Result<Self, Failure> {
        let path = checked(path)?;
        // As given, from where we are; the default is in the directory.
        let full = if explicit { PathBuf::from(file) } else { path.join(file) };
        let real = std::fs::canonicalize(&full).map_err(|error| {
            let lower = path.join("dockerfile");
            let hint = if lower.exists() { ", but there is a dockerfile: give it with -f" } else { "" };
            format!("unable to prepare context: unable to evaluate symlinks in Dockerfile path: {}: {error}{hint}", full.display())
        })?;
        let own = PathBuf::from(format!("{}.dockerignore", full.display()));
        let ignored = ignored(&path, Some(&own))?;
        match real.strip_prefix(&path) {
            Ok(inner) => {
                let dockerfile = Some(inner.display().to_string());
                Ok(Self::Directory { path, dockerfile, outside: None, ignored })
            }
            Err(_) => {
                let text = std::fs::read(&real).map_err(|e| format!("{}: {e}", real.display()))?;
                Ok(Self::Directory { path, dockerfile: None, outside: Some(text), ignored })
            }
        }
    }

    /// Completes a request; what is answered must be finished once the daemon has answered.
    pub(super) async fn into_request(
        self,
        request: Request,
        shape: Shape,
    ) -> Result<(Request, Option<Sending>), Failure> {
        let named = |request: Request, name: &Option<String>| {
            request.query_some("dockerfile", name.as_ref())
        };
        let (request, write): (Request, Archiver) = match self {
            Self::Remote { url, dockerfile } => {
                return Ok((named(request, &dockerfile).query("remote", url), None));
            }
            Self::Directory { path, dockerfile, outside, ignored } => {
                let name = match &outside {
                    Some(_) => Some(OUTSIDE.to_owned()),
                    None => dockerfile,
                };
                let request = named(request, &name);
                let write = move |writer: &mut dyn Write| {
                    let only = shape.dockerfile_only;
                    directory(writer, &path, name.as_deref(), outside, &ignored, only)
                };
                (request, Box::new(write))
            }
            Self::Archive { start, dockerfile } => {
                let write = move |writer: &mut dyn Write| {
                    writer.write_all(&start)?;
                    io::copy(&mut io::stdin(), writer).map(drop)
                };
                (named(request, &dockerfile), Box::new(write))
            }
            Self::Dockerfile(text) => {
                let write = move |writer: &mut dyn Write| {
                    let mut builder = Builder::new(writer);
                    file(&mut builder, "Dockerfile", &text)?;
                    builder.finish()
                };
                (request, Box::new(write))
            }
        };
        let (mut writer, stream) = pipe::to_stream();
        let thread = tokio::task::spawn_blocking(move || {
            let written = match shape.compressed {
                true => compressed(&mut writer, write),
                false => write(&mut writer),
            };
            match written.and_then(|()| writer.flush()) {
                Ok(()) => Ok(()),
                Err(error) => {
                    let told = io::Error::new(error.kind(), error.to_string());
                    writer.fail(error);
                    Err(told)
                }
            }
        });
        Ok((request.stream("application/x-tar", stream), Some(Sending(thread))))
    }
}

/// The thread that sends.
#[derive(Debug)]
pub(super) struct Sending(tokio::task::JoinHandle<io::Result<()>>);

impl Sending {
    /// Ends the sending. When the daemon did not take everything, its own answer says why.
    pub(super) async fn finish(self, answered: bool) -> Result<(), Failure> {
        if answered {
            return Ok(());
        }
        match self.0.await {
            Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(format!("error checking context: {error}").into())
            }
            _ => Ok(()),
        }
    }
}

fn compressed(writer: &mut pipe::Writer, write: Archiver) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(writer, flate2::Compression::fast());
    write(&mut encoder)?;
    encoder.finish().map(drop)
}

fn checked(path: &str) -> Result<PathBuf, Failure> {
    let real = std::fs::canonicalize(path)
        .map_err(|error| format!("unable to prepare context: path {path:?} not found: {error}"))?;
    if !real.is_dir() {
        return Err(format!("unable to prepare context: {path:?} is not a directory").into());
    }
    Ok(real)
}

fn ignored(directory: &Path, own: Option<&Path>) -> Result<Patterns, Failure> {
    let files = own.into_iter().map(Path::to_owned).chain([directory.join(".dockerignore")]);
    for path in files {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                return Patterns::parse(&text)
                    .map_err(|error| format!("{}: {error}", path.display()).into());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        }
    }
    Ok(Patterns::default())
}

fn file<W: Write>(builder: &mut Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    header.set_entry_type(EntryType::Regular);
    builder.append_data(&mut header, name, bytes)
}

fn directory(
    writer: &mut dyn Write,
    root: &Path,
    dockerfile: Option<&str>,
    outside: Option<Vec<u8>>,
    ignored: &Patterns,
    dockerfile_only: bool,
) -> io::Result<()> {
    let builder = Builder::new(io::BufWriter::with_capacity(BUFFER, writer));
    let mut tree = Tree { root, dockerfile, ignored, builder, links: HashMap::new() };
    if let Some(text) = outside {
        file(&mut tree.builder, OUTSIDE, &text)?;
    } else if let (Some(name), true) = (dockerfile, dockerfile_only) {
        file(&mut tree.builder, name, &std::fs::read(root.join(name))?)?;
    }
    if dockerfile_only {
        // What is left out is a matter of the check, too.
        let own = dockerfile.map(|name| format!("{name}.dockerignore"));
        for name in own.iter().map(String::as_str).chain([".dockerignore"]) {
            match std::fs::read(root.join(name)) {
                Ok(text) => file(&mut tree.builder, name, &text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    if !dockerfile_only {
        tree.walk(Path::new(""))?;
    }
    tree.builder.into_inner()?.flush()
}

/// Writes a directory. Owners are left out: the files become root's in the image.
struct Tree<'a, W: Write> {
    root: &'a Path,
    dockerfile: Option<&'a str>,
    ignored: &'a Patterns,
    builder: Builder<W>,
    /// The first name of each file with several, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Tree<'_, W> {
    fn walk(&mut self, directory: &Path) -> io::Result<()> {
        let fail = |path: &Path, error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        let full = self.root.join(directory);
        let mut names: Vec<_> = std::fs::read_dir(&full)
            .map_err(|error| fail(&full, error))?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<_>>()?;
        names.sort();
        for name in names {
            let path = directory.join(name);
            let text = path.to_string_lossy();
            let metadata = match std::fs::symlink_metadata(self.root.join(&path)) {
                // It has just gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found.map_err(|error| fail(&path, error))?,
            };
            let is_needed = Some(&*text) == self.dockerfile || text == ".dockerignore";
            let is_ignored = !is_needed && self.ignored.excludes(&text);
            if is_ignored && !(metadata.is_dir() && self.may_contain(&text)) {
                continue;
            }
            self.entry(&path, &metadata).map_err(|error| fail(&path, error))?;
            if metadata.is_dir() {
                self.walk(&path)?;
            }
        }
        Ok(())
    }

    fn may_contain(&self, directory: &str) -> bool {
        let below = |name: &str| name.strip_prefix(directory).is_some_and(|n| n.starts_with('/'));
        self.ignored.may_contain(directory) || self.dockerfile.is_some_and(below)
    }

    fn entry(&mut self, path: &Path, metadata: &Metadata) -> io::Result<()> {
        let kind = metadata.file_type();
        let mut header = Header::new_gnu();
        header.set_mode(metadata.mode() & 0o7777);
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
        header.set_size(0);
        let full = self.root.join(path);
        if kind.is_file() && metadata.nlink() > 1 {
            let file = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&file) {
                header.set_entry_type(EntryType::Link);
                return self.builder.append_link(&mut header, path, first);
            }
            self.links.insert(file, path.to_owned());
        }
        if kind.is_file() {
            header.set_entry_type(EntryType::Regular);
            header.set_size(metadata.len());
            // No more than the header says, should it grow meanwhile.
            let content = File::open(&full)?.take(metadata.len());
            return self.builder.append_data(&mut header, path, content);
        }
        if kind.is_symlink() {
            let target = std::fs::read_link(&full)?;
            return crate::tarball::symlink(&mut self.builder, &mut header, path, &target);
        }
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            let mut name = path.as_os_str().to_owned();
            name.push("/");
            return self.builder.append_data(&mut header, name, io::empty());
        }
        if kind.is_fifo() {
            header.set_entry_type(EntryType::Fifo);
            return self.builder.append_data(&mut header, path, io::empty());
        }
        // Sockets and devices are no files to build with.
        Ok(())
    }
}
