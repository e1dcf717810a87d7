//! Users and groups, looked up in the container's own /etc/passwd and /etc/group.
//!
//! The files belong to the image and can be anything: a symlink out of the root (openat2 keeps the
//! lookup inside), a pipe, a device or a file of any size. Only regular files are read, and only
//! their first [`MAX_FILE_BYTES`].

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linux::fs::{Mode, OFlags, Root};

use crate::{Error, Result};

/// How much of a file is looked at.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// How many images' databases are remembered, and how large one may be.
const REMEMBERED: usize = 64;
const REMEMBERED_BYTES: usize = 64 << 10;

/// A user as the kernel wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Begins with the primary group: a process that drops it would otherwise escape what is
    /// denied to that group, and a set-group-id program gives the chance.
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) home: String,
}

/// The user database of a container.
#[derive(Debug, Default)]
pub(crate) struct UserDatabase {
    passwd: String,
    group: String,
}

/// The databases of images, by their layers, whose content never changes.
#[derive(Debug, Default)]
pub(crate) struct UserCache {
    /// Held for a lookup or an insertion.
    databases: Mutex<HashMap<Vec<PathBuf>, Arc<UserDatabase>>>,
}

impl UserCache {
    /// Finds the database of an image, or reads it.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn get(
        &self,
        image: &[PathBuf],
        read: impl FnOnce() -> Result<Arc<UserDatabase>>,
    ) -> Result<Arc<UserDatabase>> {
        if let Some(users) = self.lock().get(image) {
            return Ok(Arc::clone(users));
        }
        let users = read()?;
        if users.passwd.len() + users.group.len() <= REMEMBERED_BYTES {
            let mut databases = self.lock();
            if databases.len() >= REMEMBERED {
                databases.clear();
            }
            databases.insert(image.to_vec(), Arc::clone(&users));
        }
        Ok(users)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<PathBuf>, Arc<UserDatabase>>> {
        self.databases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserDatabase {
    /// Reads the files below `root`. A file that is missing or not regular is empty.
    pub(crate) fn read(root: &Root) -> Self {
        Self {
            passwd: read_file(root, "/etc/passwd").unwrap_or_default(),
            group: read_file(root, "/etc/group").unwrap_or_default(),
        }
    }

    /// Resolves `user[:group]`, each by name or number; empty is root.
    ///
    /// # Errors
    /// InvalidParameter for a name that is not there.
    pub(crate) fn resolve(&self, text: &str) -> Result<ResolvedUser> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (text, None),
        };
        let number = if user.is_empty() { Some(0) } else { parse_id(user)? };
        let entry = self
            .passwd
            .lines()
            .filter_map(PasswdLine::parse)
            .find(|line| line.name == user || number.is_some_and(|number| line.uid == number));
        let uid = match (&entry, number) {
            (Some(entry), _) => entry.uid,
            (None, Some(number)) => number,
            (None, None) => {
                return Err(Error::InvalidParameter(format!(
                    "unable to find user {}: no matching entries in passwd file",
                    user.escape_default()
                )));
            }
        };
        let (gid, others) = match group {
            Some(group) => (self.group_id(group)?, Vec::new()),
            None => {
                let name = entry.as_ref().map_or("", |entry| entry.name);
                (entry.as_ref().map_or(0, |entry| entry.gid), self.groups_of(name))
            }
        };
        let mut additional_gids = vec![gid];
        additional_gids.extend(others.into_iter().filter(|other| *other != gid));
        let home = entry.map(|entry| entry.home).filter(|home| !home.is_empty());
        Ok(ResolvedUser { uid, gid, additional_gids, home: home.unwrap_or("/").to_owned() })
    }

    /// Resolves the words of `--group-add`.
    ///
    /// # Errors
    /// InvalidParameter for a name that is not there.
    pub(crate) fn additional(&self, groups: &[String]) -> Result<Vec<u32>> {
        groups.iter().map(|group| self.group_id(group)).collect()
    }

    fn group_id(&self, text: &str) -> Result<u32> {
        let named = self.group.lines().filter_map(GroupLine::parse).find(|line| line.name == text);
        if let Some(line) = named {
            return Ok(line.gid);
        }
        parse_id(text)?.ok_or_else(|| {
            Error::InvalidParameter(format!(
                "unable to find group {}: no matching entries in group file",
                text.escape_default()
            ))
        })
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        if user.is_empty() {
            return Vec::new();
        }
        let lines = self.group.lines().filter_map(GroupLine::parse);
        lines
            .filter(|line| line.members.split(',').any(|member| member == user))
            .map(|line| line.gid)
            .collect()
    }
}

/// A number is an id even where no line has it; one that no id can be is an error.
fn parse_id(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if i32::try_from(id).is_ok() => Ok(Some(id)),
        _ => Err(Error::InvalidParameter(format!("uids and gids must be in range 0-{}", i32::MAX))),
    }
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let _password = fields.next()?;
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let _comment = fields.next();
        let home = fields.next().unwrap_or_default();
        // A line break or other control character would end up in HOME.
        let home = if home.chars().any(char::is_control) { "" } else { home };
        Some(Self { name, uid, gid, home })
    }
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> GroupLine<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let _password = fields.next()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, gid, members: fields.next().unwrap_or_default() })
    }
}

fn read_file(root: &Root, path: &str) -> Option<String> {
    // Without O_NONBLOCK opening a pipe would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(root.open_in_root(path, flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> UserDatabase {
        UserDatabase {
            passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\nbroken\n"
                .to_owned(),
            group: "root:x:0:\nweb:x:33:\nadm:x:4:web,root\nlog:x:9:web\n".to_owned(),
        }
    }

    fn check(text: &str, uid: u32, gid: u32, additional: &[u32], home: &str) {
        let expected =
            ResolvedUser { uid, gid, additional_gids: additional.to_vec(), home: home.to_owned() };
        assert_eq!(database().resolve(text).unwrap(), expected, "{text}");
    }

    #[test]
    fn users_resolve_by_name_and_number() {
        check("", 0, 0, &[0, 4], "/root");
        check("web", 33, 33, &[33, 4, 9], "/var/www");
        check("33", 33, 33, &[33, 4, 9], "/var/www");
        check("web:adm", 33, 4, &[4], "/var/www");
        check("web:77", 33, 77, &[77], "/var/www");
        check("1234", 1234, 0, &[0], "/");
        check("1234:log", 1234, 9, &[9], "/");
        check(":adm", 0, 4, &[4], "/root");
    }

    #[test]
    fn an_image_is_read_once_unless_its_files_are_large() {
        let cache = UserCache::default();
        let (small, large) = ([PathBuf::from("small")], [PathBuf::from("large")]);
        let first = cache.get(&small, || Ok(Arc::new(database()))).unwrap();
        let second = cache.get(&small, || panic!("it is known")).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let passwd = "x".repeat(REMEMBERED_BYTES + 1);
        let read = || Ok(Arc::new(UserDatabase { passwd: passwd.clone(), ..Default::default() }));
        cache.get(&large, read).unwrap();
        assert_eq!(cache.lock().len(), 1);
    }

    #[test]
    fn unknown_names_are_refused_by_name() {
        let message = |text| database().resolve(text).unwrap_err().to_string();
        assert_eq!(
            message("nobody"),
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert_eq!(message("web:x"), "unable to find group x: no matching entries in group file");
        assert_eq!(message("4294967296"), "uids and gids must be in range 0-2147483647");
        assert_eq!(message("-1"), "uids and gids must be in range 0-2147483647");
    }
}
