//! The volumes on disk, and an index of them in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::mount::VolumeRequest;
use super::{ANONYMOUS_LABEL, Volume, driver};
use crate::filter::Filters;
use crate::ids::random_hex;
use crate::{Error, Result};

const RECORD_VERSION: u32 = 1;

/// What `volume.json` holds.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    version: u32,
    created_at: Timestamp,
    anonymous: bool,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
}

/// All volumes of a data root. Clones are handles on the same store. Calls block.
#[derive(Clone, Debug)]
pub struct VolumeStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    /// Held while a volume is made or removed, so that the index is what the disk says.
    volumes: Mutex<BTreeMap<String, Volume>>,
}

impl VolumeStore {
    /// Opens `<data-root>/volumes`, finishing what a crash cut off.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(data_root: &Path) -> Result<Self> {
        let directory = data_root.join("volumes");
        DirBuilder::new()
            .recursive(true)
            .mode(0o701)
            .create(&directory)
            .map_err(Error::io("create", &directory))?;
        let mut volumes = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(Error::io("read", &directory))? {
            let path = entry.map_err(Error::io("read", &directory))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with(".new-") || name.starts_with(".gone-") {
                remove_tree(&path);
            } else if let Some(volume) = load(name, &path) {
                volumes.insert(name.to_owned(), volume);
            }
        }
        Ok(Self { inner: Arc::new(Inner { directory, volumes: Mutex::new(volumes) }) })
    }

    /// Makes a volume, or gives the one that has the name already; true if it was made.
    ///
    /// # Errors
    /// InvalidParameter for a bad name or option, NotFound for another driver.
    pub fn create(&self, request: &VolumeRequest) -> Result<(Volume, bool)> {
        let unnamed = request.name.is_empty();
        let anonymous = unnamed || request.labels.contains_key(ANONYMOUS_LABEL);
        let name = if unnamed { random_hex() } else { request.name.clone() };
        check_driver(&name, &request.driver)?;
        check_name(&name)?;
        let mut volumes = self.lock();
        if let Some(volume) = volumes.get(&name) {
            return Ok((volume.clone(), false));
        }
        driver::check_options(&name, &request.driver_options)?;
        let mut labels = request.labels.clone();
        if anonymous {
            labels.entry(ANONYMOUS_LABEL.to_owned()).or_default();
        }
        let record = Record {
            version: RECORD_VERSION,
            created_at: Timestamp::now(),
            anonymous,
            labels,
            options: request.driver_options.clone(),
        };
        self.write(&name, &record)?;
        let volume = volume_of(&name, &self.inner.directory.join(&name), record);
        volumes.insert(name, volume.clone());
        Ok((volume, true))
    }

    fn write(&self, name: &str, record: &Record) -> Result<()> {
        let directory = &self.inner.directory;
        let new = directory.join(format!(".new-{}", random_hex()));
        let write = || -> io::Result<()> {
            DirBuilder::new().mode(0o701).create(&new)?;
            DirBuilder::new().mode(0o755).create(new.join("_data"))?;
            // The process's mask may have taken bits away.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(new.join("_data"), mode)?;
            linux::fs::write_durable(new.join("volume.json"), &serde_json::to_vec(record)?)?;
            fs::rename(&new, directory.join(name))?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|source| {
            remove_tree(&new);
            Error::Io { operation: "create", path: directory.join(name), source }
        })
    }

    /// Finds a volume by its name.
    ///
    /// # Errors
    /// NotFound.
    pub fn get(&self, name: &str) -> Result<Volume> {
        self.lock().get(name).cloned().ok_or_else(|| no_such_volume(name))
    }

    /// Lists volumes by name, filtered by `name`, `label`, `label!`, `driver` and `dangling`.
    /// `used` are the volumes that containers name.
    ///
    /// # Errors
    /// InvalidParameter for other filters or bad values.
    pub fn list(&self, filters: &Filters, used: &BTreeSet<String>) -> Result<Vec<Volume>> {
        filters.check_names(&["dangling", "driver", "label", "label!", "name"])?;
        let dangling = match filters.contains("dangling") {
            true => Some(filters.bool_or("dangling", true)?),
            false => None,
        };
        let wanted = |volume: &&Volume| {
            filters.matches("name", &volume.name)
                && filters.exact("driver", Volume::DRIVER)
                && filters.labels(&volume.labels)
                && dangling.is_none_or(|dangling| dangling != used.contains(&volume.name))
        };
        Ok(self.lock().values().filter(wanted).cloned().collect())
    }

    /// Removes a volume that no container names.
    ///
    /// # Errors
    /// NotFound; Conflict when it is mounted by something that is not ours to unmount.
    pub fn remove(&self, name: &str) -> Result<()> {
        let mut volumes = self.lock();
        let volume = volumes.get(name).ok_or_else(|| no_such_volume(name))?;
        driver::unmount(volume)?;
        let path = self.inner.directory.join(name);
        let gone = self.inner.directory.join(format!(".gone-{}", random_hex()));
        fs::rename(&path, &gone).map_err(Error::io("remove", &path))?;
        volumes.remove(name);
        drop(volumes);
        // Gone for everyone; deleting the bytes may take long and needs no lock.
        remove_tree(&gone);
        Ok(())
    }

    /// Mounts what the volume's options name, if they name something to mount, and gives the
    /// directory that holds the content.
    ///
    /// # Errors
    /// NotFound, or the kernel's refusal.
    pub fn mount(&self, name: &str) -> Result<PathBuf> {
        // Under the lock, so that two starts do not mount twice.
        let volumes = self.lock();
        let volume = volumes.get(name).ok_or_else(|| no_such_volume(name))?;
        driver::mount(volume)
    }

    /// Whether options say where a volume's files are.
    pub(crate) fn has_options(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|volume| !volume.options.is_empty())
    }

    /// Unmounts volumes with options that are not in `used`: after the end of a container, and
    /// at start for what a crash left.
    pub fn unmount_unused(&self, used: &BTreeSet<String>) {
        for volume in self.lock().values().filter(|volume| !volume.options.is_empty()) {
            if !used.contains(&volume.name)
                && let Err(error) = driver::unmount(volume)
            {
                tracing::warn!(volume = volume.name, %error, "volume not unmounted");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Volume>> {
        self.inner.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_such_volume(name: &str) -> Error {
    Error::NotFound(format!("get {name}: no such volume"))
}

fn check_driver(name: &str, driver: &str) -> Result<()> {
    if driver.is_empty() || driver == Volume::DRIVER {
        return Ok(());
    }
    Err(Error::NotFound(format!(
        "create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"
    )))
}

/// Checks a name as Docker does, so that it is one path component that starts harmlessly.
fn check_name(name: &str) -> Result<()> {
    if name.len() < 2 {
        return Err(Error::InvalidParameter(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric \
             characters"
        )));
    }
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if !(first && rest) || name.len() > 255 {
        return Err(Error::InvalidParameter(format!(
            "create {name}: {name:?} includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
             use absolute path"
        )));
    }
    Ok(())
}

/// Reads a volume's record. A directory without one is adopted when it has content where ours
/// would be, as one copied by hand has.
fn load(name: &str, path: &Path) -> Option<Volume> {
    if check_name(name).is_err() || !path.join("_data").is_dir() {
        return None;
    }
    let file = path.join("volume.json");
    let record = match fs::read(&file) {
        Ok(bytes) => match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) if record.version <= RECORD_VERSION => record,
            Ok(record) => {
                tracing::error!(volume = name, version = record.version, "volume is too new");
                return None;
            }
            Err(error) => {
                tracing::error!(volume = name, %error, "volume record is damaged");
                return None;
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Record {
            version: RECORD_VERSION,
            created_at: modified(path),
            anonymous: false,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        },
        Err(error) => {
            tracing::error!(volume = name, %error, "volume record is unreadable");
            return None;
        }
    };
    Some(volume_of(name, path, record))
}

fn volume_of(name: &str, path: &Path, record: Record) -> Volume {
    Volume {
        name: name.to_owned(),
        mountpoint: path.join("_data"),
        labels: record.labels,
        options: record.options,
        created_at: record.created_at,
        anonymous: record.anonymous,
    }
}

fn modified(path: &Path) -> Timestamp {
    let time = fs::metadata(path).and_then(|metadata| metadata.modified());
    time.ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or_else(Timestamp::now)
}

fn remove_tree(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "left-over volume not deleted");
    }
}
