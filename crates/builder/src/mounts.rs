//! Makes the mounts of a RUN ready, and takes away what they leave in the layer.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dockerignore::Patterns;
use engine::container::{BindOptions, MountSpec, MountType, TmpfsOptions, UnnamedImage};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard};

use crate::caches::CacheMounts;
use crate::layer::{Dress, LayerArchive};
use crate::mount::{Kind, Mount, Sharing};
use crate::scratch::Scratch;
use crate::select::{self, Options};
use crate::tree::{FileTree, Found, cleaned, shown};
use crate::{Error, Result};

/// Mounts that are ready; what holds them is in here.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) mounts: Vec<MountSpec>,
    /// Layers that mounts name.
    pub(crate) unnamed: BTreeMap<String, UnnamedImage>,
    pub(crate) env: Vec<String>,
    /// Commands that the shell runs first.
    pub(crate) prelude: Vec<String>,
    pub(crate) targets: Vec<String>,
    shared: Vec<OwnedRwLockReadGuard<()>>,
    alone: Vec<OwnedRwLockWriteGuard<()>>,
    files: Vec<PrivateFile>,
    agents: Vec<AbortOnDrop>,
}

/// A secret's file, removed with the mount.
#[derive(Debug)]
struct PrivateFile(PathBuf);

impl Drop for PrivateFile {
    fn drop(&mut self) {
        // The build's directory goes later in any case.
        let _ = fs::remove_file(&self.0);
    }
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a bind or cache mount comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) tree: Arc<FileTree>,
    /// Its directory on the host.
    pub(crate) directory: Option<PathBuf>,
    /// Its layers, lowest first, held by the caller.
    pub(crate) layers: Vec<images::Digest>,
}

/// What makes mounts ready.
pub(crate) struct Maker<'a> {
    pub(crate) scratch: &'a Scratch,
    pub(crate) caches: &'a Arc<CacheMounts>,
    pub(crate) secrets: &'a BTreeMap<String, crate::request::Secret>,
    pub(crate) ssh: &'a BTreeMap<String, PathBuf>,
}

impl Maker<'_> {
    /// Adds one mount.
    pub(crate) async fn add(
        &self,
        prepared: &mut Prepared,
        mount: &Mount,
        origin: Option<Origin>,
    ) -> Result<()> {
        let mut is_mounted = true;
        match &mount.kind {
            Kind::Bind { source, .. } => {
                let origin = origin.ok_or(Error::Cancelled)?;
                self.bind(prepared, mount, source, origin).await?;
            }
            Kind::Cache { .. } => self.cache(prepared, mount, origin).await?,
            Kind::Tmpfs { size } => prepared.mounts.push(MountSpec {
                kind: MountType::Tmpfs,
                target: mount.target.clone(),
                tmpfs: Some(TmpfsOptions { size_bytes: *size, ..TmpfsOptions::default() }),
                ..MountSpec::default()
            }),
            Kind::Secret { .. } => is_mounted = self.secret(prepared, mount)?,
            Kind::Ssh { .. } => is_mounted = self.agent(prepared, mount)?,
        }
        if is_mounted {
            prepared.targets.push(mount.target.clone());
        }
        Ok(())
    }

    async fn bind(
        &self,
        prepared: &mut Prepared,
        mount: &Mount,
        source: &str,
        origin: Origin,
    ) -> Result<()> {
        let found = origin.tree.find(source.as_bytes());
        let node = match found.map_err(Error::io("resolve", source))? {
            Found::Node(node) => node,
            Found::Missing(_) => {
                return Err(Error::NotFound(format!(
                    "failed to compute cache key: {source:?}: not found: nothing to mount on {}",
                    mount.target
                )));
            }
        };
        if !mount.read_only {
            // What is written goes away with the copy.
            let copy = self.scratch.directory("bind")?;
            let target = copy.clone();
            let source = source.to_owned();
            let is_dir = node.is_dir();
            crate::blocking(move || materialize(&origin.tree, &source, &target)).await?;
            let name = shown(&node.path);
            let path = match (is_dir, name.file_name()) {
                (false, Some(name)) => copy.join(name),
                _ => copy,
            };
            prepared.mounts.push(bind(&path, &mount.target, false));
            return Ok(());
        }
        match &origin.directory {
            Some(directory) => {
                let tree = Arc::clone(&origin.tree);
                crate::blocking(move || tree.unpack()).await?;
                let inner = shown(&node.path);
                let path = directory.join(inner.strip_prefix("/").unwrap_or(&inner));
                prepared.mounts.push(bind(&path, &mount.target, true));
            }
            None if origin.layers.is_empty() => {
                prepared.mounts.push(bind(&self.scratch.empty(), &mount.target, true));
            }
            None => {
                let name = format!("mounted-{}", prepared.mounts.len());
                let image = UnnamedImage { layers: origin.layers, ..UnnamedImage::default() };
                let subpath = String::from_utf8_lossy(&node.path).into_owned();
                prepared.mounts.push(MountSpec {
                    kind: MountType::Image,
                    source: name.clone(),
                    target: mount.target.clone(),
                    image_subpath: Some(subpath).filter(|path| !path.is_empty()),
                    ..MountSpec::default()
                });
                prepared.unnamed.insert(name, image);
            }
        }
        Ok(())
    }

    async fn cache(
        &self,
        prepared: &mut Prepared,
        mount: &Mount,
        origin: Option<Origin>,
    ) -> Result<()> {
        let Kind::Cache { id, source, sharing, uid, gid, mode, .. } = &mount.kind else {
            return Ok(());
        };
        let directory = match sharing {
            Sharing::Shared => {
                let (guard, directory) = self.caches.shared(id).await?;
                prepared.shared.push(guard);
                directory
            }
            Sharing::Locked | Sharing::Private => {
                let waits = *sharing == Sharing::Locked;
                let (guard, directory) = self.caches.alone(id, waits).await?;
                prepared.alone.push(guard);
                directory
            }
        };
        let (uid, gid, mode) = (*uid, *gid, *mode);
        let (caches, data, source) = (Arc::clone(self.caches), directory.clone(), source.clone());
        crate::blocking(move || {
            caches.fill(&data, |fresh| {
                if let Some(origin) = origin {
                    materialize(&origin.tree, &source, fresh)?;
                }
                dress(fresh, uid, gid, mode)
            })
        })
        .await?;
        prepared.mounts.push(bind(&directory, &mount.target, mount.read_only));
        Ok(())
    }

    fn secret(&self, prepared: &mut Prepared, mount: &Mount) -> Result<bool> {
        let Kind::Secret { id, env, is_file, required, uid, gid, mode } = &mount.kind else {
            return Ok(false);
        };
        let Some(secret) = self.secrets.get(id) else {
            return match required {
                false => Ok(false),
                true => Err(Error::Invalid(format!(
                    "secret {id}: not found: give it with --secret id={id},src=FILE"
                ))),
            };
        };
        let path = self.scratch.private_path("secret");
        fs::write(&path, &secret.0).map_err(Error::io("write", path.display()))?;
        dress(&path, *uid, *gid, *mode)?;
        prepared.files.push(PrivateFile(path.clone()));
        let target = match is_file {
            true => mount.target.clone(),
            false => format!("/run/secrets/.{}", prepared.mounts.len()),
        };
        prepared.mounts.push(bind(&path, &target, true));
        if let Some(name) = env {
            let is_name = |name: &str| {
                name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if !is_name(name) {
                return Err(Error::Invalid(format!("secret {id}: {name:?} is no variable's name")));
            }
            // A shell reads it: in the container's configuration it would be stored. What follows
            // keeps the line feeds at the secret's end.
            let path = target.replace('\'', "'\\''");
            prepared.prelude.push(format!(
                "{name}=\"$(cat '{path}' && echo .)\" && {name}=\"${{{name}%.}}\" && export {name} || exit"
            ));
        }
        if !is_file {
            prepared.targets.push(target);
            return Ok(false);
        }
        Ok(true)
    }

    fn agent(&self, prepared: &mut Prepared, mount: &Mount) -> Result<bool> {
        let Kind::Ssh { id, required, uid, gid, mode } = &mount.kind else { return Ok(false) };
        let Some(agent) = self.ssh.get(id).cloned() else {
            return match required {
                false => Ok(false),
                true => Err(Error::Invalid(format!(
                    "ssh {id}: no agent was given: build with --ssh {id}"
                ))),
            };
        };
        let path = self.scratch.private_path("agent");
        let listener =
            tokio::net::UnixListener::bind(&path).map_err(Error::io("bind", path.display()))?;
        dress(&path, *uid, *gid, *mode)?;
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let agent = agent.clone();
                tokio::spawn(async move {
                    if let Ok(mut server) = tokio::net::UnixStream::connect(&agent).await {
                        // Either side hangs up when it has had enough.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        prepared.agents.push(AbortOnDrop(task));
        prepared.files.push(PrivateFile(path.clone()));
        prepared.mounts.push(bind(&path, &mount.target, false));
        prepared.env.push(format!("SSH_AUTH_SOCK={}", mount.target));
        Ok(true)
    }
}

fn bind(source: &Path, target: &str, read_only: bool) -> MountSpec {
    MountSpec {
        kind: MountType::Bind,
        source: source.display().to_string(),
        target: target.to_owned(),
        read_only,
        bind: Some(BindOptions::default()),
        ..MountSpec::default()
    }
}

fn dress(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<()> {
    std::os::unix::fs::chown(path, Some(uid), Some(gid))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(Error::io("set owner and mode of", path.display()))
}

/// Copies a path of a tree into a directory of the host's.
fn materialize(tree: &Arc<FileTree>, source: &str, directory: &Path) -> Result<()> {
    let none = Patterns::default();
    let options = Options { parents: false, exclude: &none, keep_owner: true };
    let mut archive = LayerArchive::new(None, Dress::default());
    archive.copy(&select::select(tree, source, options)?, "/.")?;
    engine::archive::unpack_into(archive.into_reader(), directory)?;
    Ok(())
}

/// Takes the places that mounts were on out of a writable layer, where nothing else is in them.
pub(crate) fn remove_stubs(upper: &Path, base: &FileTree, targets: &[String]) -> Result<()> {
    let mut paths: Vec<String> = Vec::new();
    for target in targets {
        let target = cleaned(target);
        let ends = target.match_indices('/').map(|(at, _)| at).chain([target.len()]);
        paths.extend(ends.map(|end| target[..end].to_owned()));
    }
    // What is inside goes first.
    paths.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
    paths.dedup();
    let root = linux::fs::Root::open(upper).map_err(Error::io("open", upper.display()))?;
    for path in paths {
        let below = base.node(path.as_bytes()).ok().flatten();
        // A link on the way means that the mount was elsewhere; that place stays.
        let _ = remove_stub(&root, &path, below.as_ref());
    }
    Ok(())
}

fn remove_stub(
    root: &linux::fs::Root,
    path: &str,
    below: Option<&crate::tree::Node>,
) -> std::io::Result<()> {
    use linux::fs::{Mode, OFlags};
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    let parent = root.open_no_symlinks(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let stat = rustix::fs::statat(&parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    let is_dir = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    match below {
        // A directory that was copied up only because something was mounted in it.
        Some(below) => {
            let same = below.stat.st_mode == stat.st_mode
                && (below.stat.st_uid, below.stat.st_gid) == (stat.st_uid, stat.st_gid);
            if is_dir && same && !is_opaque(&parent, name) {
                rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::REMOVEDIR)?;
            }
        }
        None if is_dir => {
            rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::REMOVEDIR)?;
        }
        None if stat.st_size == 0 => {
            rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::empty())?;
        }
        None => {}
    }
    Ok(())
}

fn is_opaque(parent: &OwnedFd, name: &str) -> bool {
    let path = format!("/proc/self/fd/{}/{name}", std::os::fd::AsRawFd::as_raw_fd(parent));
    let mut value = [0; 1];
    rustix::fs::lgetxattr(path.as_str(), "trusted.overlay.opaque", &mut value).is_ok()
}

/// Bytes in a directory.
pub(crate) fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.size(),
        Err(_) => 0,
    });
    sizes.sum()
}
