//! `--chown`: names and numbers, looked up in the files of the image.

use crate::tree::{FileTree, Found};
use crate::{Error, Result};

/// More than any user database.
const MAX_BYTES: u64 = 8 << 20;

/// Reads `user[:group]`. A user alone brings its group along; a number its own as the group.
///
/// # Errors
/// Invalid for a name that the image does not know.
pub(crate) fn parse(text: &str, tree: Option<&FileTree>) -> Result<(u32, u32)> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let database = |path: &str| -> String {
        let found = tree.and_then(|tree| match tree.find(path.as_bytes()) {
            Ok(Found::Node(node)) => tree.read(&node.path, MAX_BYTES).ok(),
            _ => None,
        });
        found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    let unknown = |kind: &str, name: &str| {
        Error::Invalid(format!(
            "unable to convert uid/gid chown string to host mapping: can't find {kind} for {kind} \
             {name}: the image's files do not have it, a number always works"
        ))
    };
    let (uid, own_gid) = match user.parse::<u32>() {
        Ok(uid) => (uid, uid),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => {
            let passwd = database("/etc/passwd");
            let fields = line_of(&passwd, user).ok_or_else(|| unknown("uid", user))?;
            let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok());
            (number(2).ok_or_else(|| unknown("uid", user))?, number(3).unwrap_or(0))
        }
    };
    let gid = match group.map(|group| (group, group.parse::<u32>())) {
        None => own_gid,
        Some((_, Ok(gid))) => gid,
        Some((name, Err(_))) => {
            let groups = database("/etc/group");
            let fields = line_of(&groups, name).ok_or_else(|| unknown("gid", name))?;
            let gid = fields.get(2).and_then(|field| field.parse().ok());
            gid.ok_or_else(|| unknown("gid", name))?
        }
    };
    Ok((uid, gid))
}

fn line_of<'a>(database: &'a str, name: &str) -> Option<Vec<&'a str>> {
    database
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_names_and_numbers() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:\nweb:x:33:34::/:\n").unwrap();
        std::fs::write(dir.path().join("etc/group"), "data:x:99:\n").unwrap();
        let tree = FileTree::open(dir.path()).unwrap();
        let owner = |text| parse(text, Some(&tree)).ok();
        assert_eq!(owner("web"), Some((33, 34)));
        assert_eq!(owner("web:data"), Some((33, 99)));
        assert_eq!(owner("1000"), Some((1000, 1000)));
        assert_eq!(owner("1:2"), Some((1, 2)));
        assert_eq!(owner(":data"), Some((0, 99)));
        assert_eq!(owner("nobody"), None);
        assert_eq!(owner("web:nobody"), None);
        assert_eq!(parse("5", None).unwrap(), (5, 5));
    }
}
