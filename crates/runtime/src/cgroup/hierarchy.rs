//! Which cgroup hierarchies the host has, and where.

use std::io;
use std::path::PathBuf;

use super::CgroupError;

/// The host's hierarchies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// v1 hierarchies, in mount order.
    pub v1: Vec<V1>,
    /// Where v2 is mounted.
    pub unified: Option<PathBuf>,
}

/// One v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1 {
    /// Its controllers, such as `cpu` and `cpuacct`; none for a named one.
    pub controllers: Vec<String>,
    /// Its name, such as `systemd`.
    pub name: Option<String>,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
}

impl V1 {
    /// Tells whether it has `controller`.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|own| own == controller)
    }

    /// The name of its directory under /sys/fs/cgroup: `memory`, `cpu,cpuacct`, `systemd`.
    pub fn directory_name(&self) -> PathBuf {
        match self.mountpoint.file_name() {
            Some(name) => PathBuf::from(name),
            None => PathBuf::from(self.controllers.join(",")),
        }
    }

    /// The options that mount it once more.
    pub fn mount_options(&self) -> Vec<String> {
        match &self.name {
            Some(name) => vec!["none".to_owned(), format!("name={name}")],
            None => self.controllers.clone(),
        }
    }
}

impl Hierarchies {
    /// Finds them among this process' mounts.
    ///
    /// # Errors
    /// When /proc/self/mountinfo cannot be read or shows no hierarchy at all.
    pub fn detect() -> Result<Self, CgroupError> {
        let mountinfo =
            std::fs::read_to_string("/proc/self/mountinfo").map_err(CgroupError::Detect)?;
        let found = Self::parse(&mountinfo);
        if found.v1.is_empty() && found.unified.is_none() {
            let source =
                io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted");
            return Err(CgroupError::Detect(source));
        }
        Ok(found)
    }

    /// Tells whether v2 is all there is, with the controllers.
    pub fn is_unified(&self) -> bool {
        self.v1.is_empty() && self.unified.is_some()
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mountpoint) = left.split(' ').nth(4).map(unescape) else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
            match kind {
                Some("cgroup2") if found.unified.is_none() => found.unified = Some(mountpoint),
                Some("cgroup") => found.add_v1(mountpoint, options),
                _ => {}
            }
        }
        found
    }

    fn add_v1(&mut self, mountpoint: PathBuf, options: &str) {
        let mut v1 = V1 { controllers: Vec::new(), name: None, mountpoint };
        for option in options.split(',') {
            match option.split_once('=') {
                Some(("name", name)) => v1.name = Some(name.to_owned()),
                Some(_) => {}
                None if NOT_CONTROLLERS.contains(&option) => {}
                None => v1.controllers.push(option.to_owned()),
            }
        }
        let known = self
            .v1
            .iter()
            .any(|other| other.name == v1.name && other.controllers == v1.controllers);
        if !known && (v1.name.is_some() || !v1.controllers.is_empty()) {
            self.v1.push(v1);
        }
    }
}

const NOT_CONTROLLERS: [&str; 7] =
    ["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode", "favordynmods"];

/// Undoes the octal escapes of mountinfo.
fn unescape(field: &str) -> PathBuf {
    let mut text = field.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escape, character);
    }
    PathBuf::from(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_mounts_are_understood() {
        let mountinfo = "\
30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
35 30 0:30 / /somewhere/memory rw,relatime shared:9 - cgroup cgroup rw,memory
";
        let found = Hierarchies::parse(mountinfo);
        assert!(!found.is_unified());
        assert_eq!(found.unified, Some(PathBuf::from("/sys/fs/cgroup/unified")));
        let names: Vec<_> = found.v1.iter().map(V1::directory_name).collect();
        assert_eq!(names, ["systemd", "cpu,cpuacct", "memory"].map(PathBuf::from));
        assert_eq!(found.v1[0].mount_options(), ["none", "name=systemd"]);
        assert!(found.v1[1].has("cpuacct"));
    }

    #[test]
    fn pure_v2_is_unified() {
        let found = Hierarchies::parse("31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert!(found.is_unified());
    }
}
