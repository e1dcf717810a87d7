//! The operations themselves: find the container's files, then read or write them on a thread that
//! may block.

use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::FileType;
use tokio::sync::oneshot;

use super::path::ContainerPath;
use super::stream::{StreamReader, on_own_thread, written_by};
use super::unpack::{UnpackOptions, unpack};
use super::view::View;
use super::{ByteStream, Change, PathStat, PutOptions, pack};
use crate::container::{ContainerRecord, ContainerSnapshot, IdMap, publish};
use crate::spec::user::UserDatabase;
use crate::volume::{PreparedMount, prepare_mounts};
use crate::{Engine, Error, Result};

/// A container's files, and what must live as long as they are used.
struct Files {
    view: View,
    record: Arc<ContainerRecord>,
    _guards: Vec<PreparedMount>,
}

impl Engine {
    /// Looks at a path in a container, running or not.
    ///
    /// # Errors
    /// NotFound for the container or the path.
    pub async fn container_archive_stat(&self, name: &str, path: &str) -> Result<PathStat> {
        let (files, path) = (self.files(name).await?, path.to_owned());
        crate::blocking(move || {
            let container = files.record.id.to_string();
            files.view.with(|root| {
                let parsed = ContainerPath::new(&path);
                let stat = parsed.open(root).and_then(|file| parsed.stat(root, &file));
                stat.map_err(|error| path_error(&path, &container, error))
            })
        })
        .await
    }

    /// Reads a path in a container as a tar archive whose only top-level entry is the path's last
    /// component.
    ///
    /// # Errors
    /// NotFound for the container or the path.
    pub async fn container_archive_get(
        &self,
        name: &str,
        path: &str,
    ) -> Result<(PathStat, ByteStream)> {
        let (files, path) = (self.files(name).await?, path.to_owned());
        let (told, stat) = oneshot::channel();
        let stream = written_by(move |writer| {
            let container = files.record.id.to_string();
            let map = files.view.map();
            let packed = files.view.with(|root| {
                let parsed = ContainerPath::new(&path);
                let opened = parsed.open(root).and_then(|file| {
                    let stat = parsed.stat(root, &file)?;
                    Ok((file, stat))
                });
                let (file, stat) = match opened {
                    Ok(opened) => opened,
                    Err(error) => {
                        // Told to the caller; the stream is never seen.
                        let _ = told.send(Err(path_error(&path, &container, error)));
                        return Ok(());
                    }
                };
                if told.send(Ok(stat)).is_err() {
                    return Ok(());
                }
                pack::pack(&file, parsed.archive_name().as_bytes(), map.as_ref(), writer)
                    .map_err(Error::io("archive", &path))
            });
            packed.map_err(io::Error::other)
        });
        let stat = stat.await;
        let stat =
            stat.map_err(|_| Error::Internal("the container's files are not there".into()))?;
        Ok((stat?, stream))
    }

    /// Unpacks a tar archive, compressed or not, into a directory of a container.
    ///
    /// # Errors
    /// NotFound for container or directory, InvalidParameter for a bad archive, Forbidden where
    /// the place is read-only.
    pub async fn container_archive_put(
        &self,
        name: &str,
        path: &str,
        options: PutOptions,
        archive: ByteStream,
    ) -> Result<()> {
        let (files, path) = (self.files(name).await?, path.to_owned());
        let reader = StreamReader::new(archive);
        let record = Arc::clone(&files.record);
        check_writable(&record, &ContainerPath::new(&path))?;
        on_own_thread(move || {
            let map = files.view.map();
            files.view.with(|root| {
                // A link to a directory is as good as the directory.
                let mut parsed = ContainerPath::new(&path);
                parsed.follow = true;
                let container = record.id.as_str();
                let place =
                    parsed.open(root).map_err(|error| path_error(&path, container, error))?;
                let stat = rustix::fs::fstat(&place).map_err(io::Error::from);
                let mode = stat.map_err(Error::io("stat", &path))?.st_mode;
                if FileType::from_raw_mode(mode) != FileType::Directory {
                    return Err(Error::InvalidParameter(
                        "extraction point is not a directory".to_owned(),
                    ));
                }
                let owner = match options.copy_uid_gid {
                    true if !record.config.user.is_empty() => {
                        let user = UserDatabase::read(root).resolve(&record.config.user)?;
                        Some((user.uid, user.gid))
                    }
                    _ => None,
                };
                let keep_kinds = options.no_overwrite_dir_non_dir;
                let options = UnpackOptions { keep_kinds, owner, map: map.as_ref(), learn: false };
                unpack(reader, root, &parsed.clean, options).map(drop)
            })
        })
        .await?;
        let event =
            publish::container(&self.container_inspect(name).await?.record, "extract-to-dir");
        self.inner.events.publish(event);
        Ok(())
    }

    /// Gives a container's whole file tree as a tar archive, without volumes.
    ///
    /// # Errors
    /// NotFound.
    pub async fn container_export(&self, name: &str) -> Result<ByteStream> {
        let record = self.container_inspect(name).await?.record;
        let (images, id) = (self.inner.images.clone(), record.id.to_string());
        let layer = crate::blocking(move || Ok(images.rw_layer(&id)?)).await?;
        self.inner.events.publish(publish::container(&record, "export"));
        Ok(written_by(move |writer| {
            let packed = View::Layers(layer).with(|root| {
                let root = ContainerPath::new("/").open(root);
                root.and_then(|root| pack::pack_content(&root, writer))
                    .and_then(|()| writer.flush())
                    .map_err(Error::io("export", "/"))
            });
            packed.map_err(io::Error::other)
        }))
    }

    /// Lists what differs from the image, by path.
    ///
    /// # Errors
    /// NotFound.
    pub async fn container_changes(&self, name: &str) -> Result<Vec<Change>> {
        let id = self.container_inspect(name).await?.record.id.to_string();
        let images = self.inner.images.clone();
        let changes = crate::blocking(move || Ok(images.rw_changes(&id)?)).await?;
        let change = |change: images::Change| Change { kind: change.kind, path: change.path };
        Ok(changes.into_iter().map(change).collect())
    }

    async fn files(&self, name: &str) -> Result<Files> {
        let ContainerSnapshot { record, paths, .. } = self.container_inspect(name).await?;
        let state = &record.state;
        if state.status.has_process()
            && let Ok(pid) = u32::try_from(state.pid)
        {
            let map = record.id_map.as_ref().map(IdMap::to_linux);
            let view = View::Running { pid, start_ticks: state.pid_start_ticks, map };
            return Ok(Files { view, record, _guards: Vec::new() });
        }
        let engine = self.clone();
        crate::blocking(move || {
            let layer = engine.inner.images.rw_layer(record.id.as_str())?;
            let guards = prepare_mounts(&engine.inner.volumes, &record.mounts)?;
            let sources = guards.iter().map(|guard| guard.source.clone());
            let mounts = record.mounts.iter().cloned().zip(sources).collect();
            let view = View::Stopped { layer, mounts, anchor: paths.directory };
            Ok(Files { view, record, _guards: guards })
        })
        .await
    }
}

fn path_error(path: &str, container: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::NotFound(format!(
            "Could not find the file {} in container {container}",
            path.escape_debug()
        )),
        _ => Error::InvalidParameter(format!("open {}: {error}", path.escape_debug())),
    }
}

/// Refuses early what the kernel would refuse in the middle of the archive.
fn check_writable(record: &ContainerRecord, path: &ContainerPath) -> Result<()> {
    let mounts = record.mounts.iter();
    let above = mounts.filter(|mount| path.clean.starts_with(&mount.destination));
    match above.max_by_key(|mount| mount.destination.len()) {
        Some(mount) if !mount.writable => {
            Err(Error::Forbidden("mounted volume is marked read-only".to_owned()))
        }
        None if record.host_config.readonly_rootfs => {
            Err(Error::Forbidden("container rootfs is marked read-only".to_owned()))
        }
        _ => Ok(()),
    }
}
