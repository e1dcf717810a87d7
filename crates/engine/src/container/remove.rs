//! Removal: metadata first, bytes later.
//!
//! ```text
//! (anonymous volumes go too: record says so) -> volumes -> record gone -> name free -> answer
//! -> writable layer, directory, bundle
//! ```
//! A crash before the record is gone is completed by recovery, one after it leaves directories
//! that no record names, which recovery deletes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::driver;
use super::host_config::MountType;
use super::owner::Owner;
use super::record::{ContainerId, ContainerRecord, Intent};
use super::request::{ContainerPaths, RemoveOptions};
use crate::{Engine, Result};

/// Forgets a container that does not run.
pub(super) async fn forget(owner: &mut Owner, options: RemoveOptions) -> Result<()> {
    let engine = owner.engine.clone();
    if options.volumes {
        let volumes = anonymous_volumes(&owner.record);
        if !volumes.is_empty() {
            owner.record.intent = Some(Intent::Remove);
            owner.persist().await?;
            let used = owner.volumes_in_use_elsewhere();
            let own = engine.clone();
            crate::blocking(move || {
                remove_volumes(&own, &volumes, &used);
                Ok(())
            })
            .await?;
        }
    }
    engine.inner.store.remove(&owner.record.id).await?;
    engine.step("remove:record");
    engine.inner.registry.remove(&owner.record.id, &owner.record.name);
    engine.inner.execs.drop_container(&owner.record.id);
    let record = owner.record.clone();
    let paths = ContainerPaths::clone(&owner.paths);
    // Owned by the engine, which waits for it at shutdown; a crash leaves it to recovery.
    engine.clone().inner.tasks.spawn_blocking(move || {
        driver::tear_down(&engine, &record, &paths);
        delete_files(&engine, &record.id, &paths.directory);
    });
    Ok(())
}

fn anonymous_volumes(record: &ContainerRecord) -> Vec<String> {
    let anonymous = record.mounts.iter().filter(|mount| {
        mount.kind == MountType::Volume && mount.anonymous && !mount.name.is_empty()
    });
    anonymous.map(|mount| mount.name.clone()).collect()
}

fn remove_volumes(engine: &Engine, volumes: &[String], used: &BTreeSet<String>) {
    let volume_store = &engine.inner.volumes;
    // One that a create had not come to make is not there.
    let ours = |name: &&String| !used.contains(*name) && volume_store.get(name).is_ok();
    let free: Vec<_> = volumes.iter().filter(ours).cloned().collect();
    volume_store.remove_all(&free);
}

/// Deletes the writable layer and the durable directory of a container that no record names.
pub(crate) fn delete_files(engine: &Engine, id: &ContainerId, directory: &Path) {
    if let Err(error) = engine.inner.images.remove_rw(id.as_str()) {
        tracing::warn!(container_id = %id, %error, "writable layer not removed");
    }
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(container_id = %id, %error, "container directory not removed");
        }
        _ => {}
    }
}

impl Engine {
    /// Names of the volumes that containers other than `except` name.
    pub(crate) fn volumes_in_use(&self, except: Option<&ContainerId>) -> BTreeSet<String> {
        let containers = self.inner.registry.all();
        containers
            .iter()
            .filter(|container| Some(&container.id) != except)
            .flat_map(|container| container.record().mounts.as_ref().clone())
            .filter(|mount| mount.kind == MountType::Volume)
            .map(|mount| mount.name)
            .collect()
    }

    /// Unmounts the volumes with options that no other running container has.
    pub(super) fn unmount_unused_volumes(&self, record: &ContainerRecord) {
        if !record.mounts.iter().any(|mount| mount.kind == MountType::Volume) {
            return;
        }
        let containers = self.inner.registry.all();
        let used = containers
            .iter()
            .map(super::handle::Container::record)
            .filter(|other| other.id != record.id && other.state.status.has_process())
            .flat_map(|other| other.mounts.as_ref().clone())
            .map(|mount| mount.name)
            .collect();
        self.inner.volumes.unmount_unused(&used);
    }
}
