//! Mount options of the OCI config (runtime-spec config.md#linux-mount-options), taken apart.

use linux::mount::{
    ATIME_MASK, MountAttr, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY,
    STRICTATIME, Tree,
};

use crate::shim::protocol::Failure;

const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

/// What the options of one mount ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// `bind` or `rbind`.
    pub(crate) bind: Option<Tree>,
    /// Attributes of this mount.
    pub(crate) attr: MountAttr,
    /// Attributes of this mount and all below (`rro` and its like).
    pub(crate) recursive: MountAttr,
    /// `MS_SHARED` … with its reach.
    pub(crate) propagation: Option<(u64, Tree)>,
    /// Shows the ids of the container's user namespace, on this mount or on all below it.
    pub(crate) idmap: Option<Tree>,
    /// Copies what the mountpoint held into a new tmpfs.
    pub(crate) copy_up: bool,
    /// What the file system itself understands: `size=64m`, `sync`.
    pub(crate) data: Vec<String>,
}

impl MountOptions {
    pub(crate) fn parse(options: &[String]) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        for option in options {
            parsed.add(option)?;
        }
        Ok(parsed)
    }

    pub(crate) fn is_read_only(&self) -> bool {
        (self.attr.set | self.recursive.set) & RDONLY != 0
    }

    fn add(&mut self, option: &str) -> Result<(), Failure> {
        if let Some((set, clear)) = attribute(option) {
            change(&mut self.attr, set, clear);
            return Ok(());
        }
        if let Some((set, clear)) = option.strip_prefix('r').and_then(attribute) {
            change(&mut self.recursive, set, clear);
            return Ok(());
        }
        match option {
            "bind" => self.bind = Some(Tree::Single),
            "rbind" => self.bind = Some(Tree::Recursive),
            "private" => self.propagation = Some((MS_PRIVATE, Tree::Single)),
            "rprivate" => self.propagation = Some((MS_PRIVATE, Tree::Recursive)),
            "slave" => self.propagation = Some((MS_SLAVE, Tree::Single)),
            "rslave" => self.propagation = Some((MS_SLAVE, Tree::Recursive)),
            "shared" => self.propagation = Some((MS_SHARED, Tree::Single)),
            "rshared" => self.propagation = Some((MS_SHARED, Tree::Recursive)),
            "unbindable" => self.propagation = Some((MS_UNBINDABLE, Tree::Single)),
            "runbindable" => self.propagation = Some((MS_UNBINDABLE, Tree::Recursive)),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(Tree::Single),
            "ridmap" => self.idmap = Some(Tree::Recursive),
            // They say what is so anyway, or what only mount(8) cares about.
            "defaults" | "remount" | "async" | "silent" | "loud" | "nomand" | "noiversion" | "" => {
            }
            _ => self.data.push(option.to_owned()),
        }
        Ok(())
    }
}

/// Propagation by its OCI name, `MS_*` and reach.
pub(crate) fn propagation(name: &str) -> Option<(u64, Tree)> {
    let options = MountOptions::parse(&[name.to_owned()]).ok()?;
    options.propagation
}

/// The bits set and cleared by an attribute option.
fn attribute(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        // The atime mode is a field, not a bit: setting one clears the others.
        "noatime" => (NOATIME, ATIME_MASK),
        "strictatime" => (STRICTATIME, ATIME_MASK),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (0, ATIME_MASK),
        _ => return None,
    })
}

/// Later options win over earlier ones.
fn change(attr: &mut MountAttr, set: u64, clear: u64) {
    attr.set = (attr.set & !clear) | set;
    attr.clear = (attr.clear & !set) | clear;
    if clear & ATIME_MASK != 0 {
        attr.clear |= ATIME_MASK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str) -> MountOptions {
        let options: Vec<_> = options.split(',').map(str::to_owned).collect();
        MountOptions::parse(&options).unwrap()
    }

    #[test]
    fn later_options_win() {
        assert_eq!(parse("ro,rw").attr, MountAttr { set: 0, clear: RDONLY, propagation: 0 });
        assert_eq!(parse("rw,ro").attr, MountAttr { set: RDONLY, clear: 0, propagation: 0 });
        let noatime = parse("relatime,noatime").attr;
        assert_eq!((noatime.set, noatime.clear), (NOATIME, ATIME_MASK));
    }

    #[test]
    fn recursive_forms_and_propagation_do_not_collide() {
        let options = parse("rbind,rro,rslave,size=64m,mode=1777");
        assert_eq!(options.bind, Some(Tree::Recursive));
        assert_eq!(options.recursive.set, RDONLY);
        assert_eq!(options.attr, MountAttr::default());
        assert_eq!(options.propagation, Some((MS_SLAVE, Tree::Recursive)));
        assert_eq!(options.data, ["size=64m", "mode=1777"]);
        assert!(options.is_read_only());
        // `rw` is an option of its own, not a recursive `w`.
        assert_eq!(parse("rw").recursive, MountAttr::default());
        assert_eq!(propagation("rshared"), Some((MS_SHARED, Tree::Recursive)));
        assert_eq!(propagation("ro"), None);
    }
}
