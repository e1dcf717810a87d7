//! Archives that were fetched: which there are, and what is in them put into the sandbox.

use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use crate::identity::User;
use crate::sandbox;

/// How a file was packed. Told by its name alone, as frameworks expect of Mesos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Archive {
    Tar(Compression),
    /// One file, compressed.
    Gzip,
    Zip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
}

impl Archive {
    pub(super) fn of(name: &Path) -> Option<Self> {
        let name = name.to_string_lossy();
        let endings = [
            (".tgz", Self::Tar(Compression::Gzip)),
            (".tar.gz", Self::Tar(Compression::Gzip)),
            (".tbz2", Self::Tar(Compression::Bzip2)),
            (".tar.bz2", Self::Tar(Compression::Bzip2)),
            (".txz", Self::Tar(Compression::Xz)),
            (".tar.xz", Self::Tar(Compression::Xz)),
            (".tar", Self::Tar(Compression::None)),
            (".zip", Self::Zip),
            (".gz", Self::Gzip),
        ];
        endings.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, kind)| kind)
    }

    /// Extracts `file`, which is called `named` in the sandbox, into the sandbox.
    pub(super) fn extract(
        self,
        file: &Path,
        named: &Path,
        into: &Path,
        user: Option<User>,
    ) -> Result<(), String> {
        let failed = |e: io::Error| format!("cannot extract it: {e}");
        let opened = File::open(file).map_err(failed)?;
        match self {
            Self::Tar(compression) => {
                untar(decompressed(io::BufReader::new(opened), compression), into, user)
            }
            Self::Zip => unzip(opened, into, user),
            Self::Gzip => {
                let target = named.with_extension("");
                let mut out = File::create(&target).map_err(failed)?;
                let mut decoder = flate2::bufread::MultiGzDecoder::new(io::BufReader::new(opened));
                io::copy(&mut decoder, &mut out).map_err(failed)?;
                sandbox::own(&target, user).map_err(failed)
            }
        }
    }
}

fn decompressed(from: impl BufRead + 'static, compression: Compression) -> Box<dyn Read> {
    match compression {
        Compression::None => Box::new(from),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(from)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new(from, true)),
    }
}

/// Unpacks below `into`; an entry that would lead elsewhere is an error, not skipped.
fn untar(reader: impl Read, into: &Path, user: Option<User>) -> Result<(), String> {
    let failed = |e: io::Error| format!("cannot extract it: {e}");
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_unpack_xattrs(false);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        if !entry.unpack_in(into).map_err(failed)? {
            return Err(outside(&path));
        }
        let target = into.join(&path);
        // A link's target is not the task's, wherever it leads.
        if fs::symlink_metadata(&target).is_ok_and(|meta| !meta.is_symlink()) {
            sandbox::own(&target, user).map_err(failed)?;
        }
    }
    Ok(())
}

fn outside(path: &Path) -> String {
    format!("the archive's entry '{}' leads out of the sandbox", path.display())
}

/// The same for a zip file. Nothing is written through a link that the archive has brought along.
fn unzip(file: File, into: &Path, user: Option<User>) -> Result<(), String> {
    let failed = |e: &dyn std::fmt::Display| format!("cannot extract it: {e}");
    let mut archive = zip::ZipArchive::new(io::BufReader::new(file)).map_err(|e| failed(&e))?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|e| failed(&e))?;
        let named = entry.name().map_err(|e| failed(&e))?.into_owned();
        let path = entry.enclosed_name().ok_or_else(|| outside(Path::new(&named)))?;
        let (directory, name) = match (entry.is_dir(), path.file_name()) {
            (false, Some(name)) => (path.parent().unwrap_or(Path::new("")), name),
            _ => (path.as_path(), "".as_ref()),
        };
        let directory = sandbox::shared(into, &directory.to_string_lossy(), user)
            .map_err(|e| failed(&format!("{}: {e}", named)))?;
        if name.is_empty() {
            continue;
        }
        let target = directory.join(name);
        let mode = entry.unix_mode().unwrap_or(0o644) & 0o777;
        let is_link = entry.is_symlink();
        let mut write = || -> io::Result<()> {
            match fs::remove_file(&target) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {} // a later entry of the same name counts
            }
            if is_link {
                let mut to = String::new();
                entry.read_to_string(&mut to)?;
                return std::os::unix::fs::symlink(to, &target);
            }
            let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
            let mut options = File::options();
            let mut out = options.write(true).create_new(true).custom_flags(flags).open(&target)?;
            io::copy(&mut entry, &mut out)?;
            out.set_permissions(fs::Permissions::from_mode(mode))?;
            drop(out);
            sandbox::own(&target, user)
        };
        write().map_err(|e| failed(&format!("{}: {e}", named)))?;
    }
    Ok(())
}
