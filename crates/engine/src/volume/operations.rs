//! The operations on volumes that a container's life and the API need.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::mount::MountPlan;
use super::{Volume, VolumeRequest, VolumeStore, copy_up};
use crate::container::{ListFilter, MountPoint, MountType};
use crate::event::{Event, EventType};
use crate::filter::Filters;
use crate::{Engine, Error, ErrorKind, Result};

/// What a prune removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names or ids.
    pub deleted: Vec<String>,
    /// Bytes that are free now.
    pub space_reclaimed: u64,
}

/// The mounts of a new container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreatedMounts {
    /// All of them, volumes resolved.
    pub mounts: Vec<MountPoint>,
    /// Volumes that were made for them; to be removed if the container is not made after all.
    pub created_volumes: Vec<String>,
}

impl VolumeStore {
    /// Makes the volumes a plan needs. Nothing stays behind on an error.
    ///
    /// # Errors
    /// Those of [`VolumeStore::create`].
    pub fn create_mounts(&self, plans: Vec<MountPlan>) -> Result<CreatedMounts> {
        let mut created = CreatedMounts::default();
        for plan in plans {
            match self.create_mount(plan, &mut created.created_volumes) {
                Ok(point) => created.mounts.push(point),
                Err(error) => {
                    self.remove_all(&created.created_volumes);
                    return Err(error);
                }
            }
        }
        Ok(created)
    }

    fn create_mount(&self, plan: MountPlan, made: &mut Vec<String>) -> Result<MountPoint> {
        let mut point = plan.point;
        if let Some(request) = plan.volume {
            let (volume, new) = self.create(&request)?;
            if new {
                made.push(volume.name.clone());
            }
            point.name = volume.name;
            point.source = volume.mountpoint;
        }
        Ok(point)
    }

    /// Removes volumes of a container that was not made; failures are logged.
    pub fn remove_all(&self, names: &[String]) {
        for name in names {
            if let Err(error) = self.remove(name) {
                tracing::warn!(volume = name, %error, "volume not removed");
            }
        }
    }

    /// Fills the empty volumes among `mounts` from the image with these layers, topmost first.
    ///
    /// # Errors
    /// Those of [`copy_up()`] and of mounting a volume.
    pub fn populate(&self, mounts: &[MountPoint], layers: &[PathBuf]) -> Result<()> {
        let wanted = |mount: &&MountPoint| {
            mount.kind == MountType::Volume && !mount.no_copy && mount.subpath.is_empty()
        };
        for mount in mounts.iter().filter(wanted) {
            let content = self.mount(&mount.name)?;
            let marker = self.get(&mount.name)?.mountpoint.with_file_name("populating");
            copy_up(layers, &mount.destination, &content, &marker)?;
        }
        Ok(())
    }
}

/// How to remove a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeRemoveOptions {
    /// No error when there is none.
    pub force: bool,
}

impl Engine {
    /// Makes a volume, or gives the one that has the name already.
    ///
    /// # Errors
    /// InvalidParameter for a bad name or option, NotFound for another driver.
    pub async fn volume_create(&self, request: VolumeRequest) -> Result<Volume> {
        let engine = self.clone();
        crate::blocking(move || {
            let (volume, made) = engine.inner.volumes.create(&request)?;
            if made {
                engine.volume_event("create", &volume.name);
            }
            Ok(volume)
        })
        .await
    }

    pub(crate) fn volume_event(&self, action: &str, name: &str) {
        let event = Event::new(EventType::Volume, action, name).with("driver", Volume::DRIVER);
        self.inner.events.publish(event);
    }

    /// Finds a volume by its name.
    ///
    /// # Errors
    /// NotFound.
    pub async fn volume_inspect(&self, name: &str) -> Result<Volume> {
        self.inner.volumes.get(name)
    }

    /// Lists volumes. Filters: `name`, `label`, `label!`, `driver`, `dangling`.
    ///
    /// # Errors
    /// InvalidParameter for other filters.
    pub async fn volume_list(&self, filters: Filters) -> Result<Vec<Volume>> {
        let used = self.used_volumes().await?.into_keys().collect();
        self.inner.volumes.list(&filters, &used)
    }

    /// Removes a volume that no container mounts.
    ///
    /// # Errors
    /// NotFound; Conflict when it is in use.
    pub async fn volume_remove(&self, name: &str, options: VolumeRemoveOptions) -> Result<()> {
        let users = self.used_volumes().await?.remove(name).unwrap_or_default();
        if !users.is_empty() {
            return Err(Error::Conflict(format!(
                "remove {name}: volume is in use - [{}]",
                users.join(", ")
            )));
        }
        let (engine, name) = (self.clone(), name.to_owned());
        crate::blocking(move || match engine.inner.volumes.remove(&name) {
            Ok(()) => {
                engine.volume_event("destroy", &name);
                Ok(())
            }
            Err(error) if options.force && error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }

    /// Which containers mount which volume, running or not.
    pub(crate) async fn used_volumes(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let list = ListFilter { all: true, ..ListFilter::default() };
        let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for snapshot in self.container_list(list).await? {
            let record = &snapshot.record;
            for mount in record.mounts.iter().filter(|mount| mount.kind == MountType::Volume) {
                let users = used.entry(mount.name.clone()).or_default();
                if users.last().map(String::as_str) != Some(record.id.as_str()) {
                    users.push(record.id.to_string());
                }
            }
        }
        Ok(used)
    }
}
