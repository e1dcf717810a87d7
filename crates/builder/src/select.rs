//! What the sources of COPY and ADD stand for: the files, where each goes below the destination, and
//! one digest over all that counts. Times do not count.

use std::sync::Arc;

use dockerignore::Patterns;
use images::{Digest, Hasher};
use rustix::fs::FileType;

use crate::tree::{FileTree, Found, Node, cleaned, joined};
use crate::{Error, Result};

/// A file to copy.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) node: Node,
    /// Its path below the destination; empty for a directory that is copied as a whole.
    pub(crate) under: Vec<u8>,
}

/// What one source stands for.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) tree: Arc<FileTree>,
    pub(crate) items: Vec<Item>,
    /// The content of a directory, rather than one file.
    pub(crate) is_directory: bool,
    /// Whether owners are those of the source.
    pub(crate) keep_owner: bool,
}

/// How to select.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// Keep the directories in front of each file.
    pub(crate) parents: bool,
    /// What to leave out.
    pub(crate) exclude: &'a Patterns,
    /// Whether owners are those of the source.
    pub(crate) keep_owner: bool,
}

/// Finds what a source stands for.
///
/// # Errors
/// NotFound when nothing is there. A pattern may find nothing, since another source may stand beside
/// it: see [`nothing_found`].
pub(crate) fn select(
    tree: &Arc<FileTree>,
    source: &str,
    options: Options<'_>,
) -> Result<Vec<Selection>> {
    let (pivot, path) = match source.split_once("/./").filter(|_| options.parents) {
        Some((before, after)) => (cleaned(before), cleaned(&format!("{before}/{after}"))),
        None => (String::new(), cleaned(source)),
    };
    let matches = match path.contains(['*', '?', '[', '\\']) {
        true => expand(tree, &path)?,
        false => vec![path.clone().into_bytes()],
    };
    let mut selections = Vec::new();
    for path in matches {
        selections.push(one(tree, &path, pivot.as_bytes(), source, options)?);
    }
    Ok(selections)
}

/// Takes one path as it is, without patterns in it.
///
/// # Errors
/// NotFound when nothing is there.
pub(crate) fn exactly(tree: &Arc<FileTree>, path: &str, options: Options<'_>) -> Result<Selection> {
    one(tree, cleaned(path).as_bytes(), b"", path, options)
}

/// What is told when no source of an instruction stands for anything.
pub(crate) fn nothing_found(source: &str) -> Error {
    Error::NotFound(format!(
        "COPY failed: no source files were specified: nothing in the build context matches {source:?}"
    ))
}

fn one(
    tree: &Arc<FileTree>,
    path: &[u8],
    pivot: &[u8],
    source: &str,
    options: Options<'_>,
) -> Result<Selection> {
    let fail = |error| Error::Io { operation: "read", path: source.to_owned(), source: error };
    let node = match tree.find(path).map_err(fail)? {
        Found::Node(node) => node,
        Found::Missing(_) => {
            return Err(Error::NotFound(format!(
                "COPY failed: file not found in build context or excluded by .dockerignore: stat \
                 {}: file does not exist",
                cleaned(source)
            )));
        }
    };
    let base_name = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
    let mut under = match (options.parents, node.is_dir()) {
        (true, _) => {
            let below = path.strip_prefix(pivot).unwrap_or(path);
            below.strip_prefix(b"/").unwrap_or(below).to_vec()
        }
        (false, true) => Vec::new(),
        (false, false) => base_name(path).unwrap_or_default(),
    };
    let is_directory = node.is_dir();
    let mut items = Vec::new();
    if options.parents {
        parents(tree, path, pivot, &under, &mut items).map_err(fail)?;
    }
    let excluded = |name: &[u8]| options.exclude.excludes(&String::from_utf8_lossy(name));
    if is_directory {
        let top = std::mem::take(&mut under);
        let start = node.path.len();
        items.push(Item { node: node.clone(), under: top.clone() });
        let mut pending = vec![node.path];
        while let Some(dir) = pending.pop() {
            let mut below = Vec::new();
            for node in tree.list(&dir).map_err(fail)? {
                let relative = &node.path[start..];
                let relative = relative.strip_prefix(b"/").unwrap_or(relative);
                if excluded(relative) {
                    let name = String::from_utf8_lossy(relative).into_owned();
                    if !node.is_dir() || !options.exclude.may_contain(&name) {
                        continue;
                    }
                }
                if node.is_dir() {
                    below.push(node.path.clone());
                }
                let under = joined(&top, relative);
                items.push(Item { node, under });
            }
            pending.extend(below.into_iter().rev());
        }
    } else if !excluded(&base_name(path).unwrap_or_default()) {
        items.push(Item { node, under });
    }
    Ok(Selection {
        tree: Arc::clone(tree),
        items,
        is_directory: is_directory || options.parents,
        keep_owner: options.keep_owner,
    })
}

/// The directories in front of a path, with their attributes.
fn parents(
    tree: &FileTree,
    path: &[u8],
    pivot: &[u8],
    under: &[u8],
    items: &mut Vec<Item>,
) -> std::io::Result<()> {
    let skipped = path.len() - under.len();
    for (at, _) in path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at > skipped) {
        if at > pivot.len()
            && let Found::Node(node) = tree.find(&path[..at])?
        {
            items.push(Item { node, under: path[skipped..at].to_vec() });
        }
    }
    Ok(())
}

/// Finds the paths that a pattern matches, sorted.
fn expand(tree: &FileTree, pattern: &str) -> Result<Vec<Vec<u8>>> {
    let bad = |error: dockerignore::BadPattern| Error::Invalid(error.to_string());
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    let components: Vec<&str> = pattern.split('/').collect();
    for (index, component) in components.iter().enumerate() {
        let mut next = Vec::new();
        for dir in found {
            if *component == "**" {
                next.push(dir.clone());
                descend(tree, &dir, &mut next)?;
                continue;
            }
            let Ok(Found::Node(node)) = tree.find(&dir) else { continue };
            if !node.is_dir() {
                continue;
            }
            for child in tree.list(&node.path).map_err(Error::io("read", pattern))? {
                let name = child.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                let text = String::from_utf8_lossy(name);
                if dockerignore::matches_path(component, &text).map_err(bad)? {
                    next.push(joined(&dir, name));
                }
            }
        }
        next.dedup();
        found = next;
        if index + 1 == components.len() && *component == "**" {
            found.retain(|path| !path.is_empty());
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn descend(tree: &FileTree, dir: &[u8], found: &mut Vec<Vec<u8>>) -> Result<()> {
    let mut pending = vec![dir.to_vec()];
    while let Some(dir) = pending.pop() {
        let Ok(nodes) = tree.list(&dir) else { continue };
        for node in nodes {
            if node.is_dir() {
                pending.push(node.path.clone());
            }
            found.push(node.path);
        }
    }
    Ok(())
}

/// Computes the digest over everything that a copy of these depends on.
pub(crate) fn digest(selections: &[Selection]) -> Result<Digest> {
    let mut hasher = Hasher::default();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for selection in selections {
        field(if selection.is_directory { b"directory" } else { b"file" });
        let is_file = |item: &&Item| item.node.kind() == FileType::RegularFile;
        let files: Vec<&Node> =
            selection.items.iter().filter(is_file).map(|item| &item.node).collect();
        let mut digests = selection.tree.digests(&files)?.into_iter();
        for item in &selection.items {
            let stat = &item.node.stat;
            field(&item.under);
            field(&stat.st_mode.to_le_bytes());
            if selection.keep_owner {
                field(&stat.st_uid.to_le_bytes());
                field(&stat.st_gid.to_le_bytes());
            }
            match item.node.kind() {
                FileType::RegularFile => {
                    field(digests.next().map(|digest| digest.hex()).unwrap_or_default().as_bytes());
                }
                FileType::Symlink => field(&item.node.link),
                FileType::CharacterDevice | FileType::BlockDevice => {
                    field(&stat.st_rdev.to_le_bytes());
                }
                _ => {}
            }
            let shown = crate::tree::shown(&item.node.path);
            let xattrs = selection.tree.xattrs(&item.node);
            for (name, value) in xattrs.map_err(Error::io("read attributes of", shown.display()))? {
                field(&name);
                field(&value);
            }
        }
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn tree() -> (tempfile::TempDir, Arc<FileTree>) {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/x.txt", "a/b/y.txt", "a/b/z.md", "c.txt"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, path.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        let tree = Arc::new(FileTree::open(dir.path()).unwrap());
        (dir, tree)
    }

    fn found(tree: &Arc<FileTree>, source: &str, parents: bool, exclude: &[&str]) -> Vec<String> {
        let exclude = Patterns::from_patterns(exclude).unwrap();
        let options = Options { parents, exclude: &exclude, keep_owner: false };
        let selections = select(tree, source, options).unwrap();
        let items = selections.into_iter().flat_map(|selection| selection.items);
        items.map(|item| String::from_utf8(item.under).unwrap()).collect()
    }

    #[test]
    fn sources_are_files_directories_and_patterns() {
        let (_dir, tree) = tree();
        assert_eq!(found(&tree, "a", false, &[]), ["", "b", "x.txt", "b/y.txt", "b/z.md"]);
        assert_eq!(found(&tree, "./a/../c.txt", false, &[]), ["c.txt"]);
        assert_eq!(found(&tree, "*.txt", false, &[]), ["c.txt"]);
        assert_eq!(found(&tree, "a/*/*.txt", false, &[]), ["y.txt"]);
        assert_eq!(found(&tree, "a", false, &["b/*.md", "x.*"]), ["", "b", "b/y.txt"]);
        assert_eq!(found(&tree, "a/b/y.txt", true, &[]), ["a", "a/b", "a/b/y.txt"]);
        assert_eq!(found(&tree, "a/./b/y.txt", true, &[]), ["b", "b/y.txt"]);
        assert_eq!(found(&tree, "**/y.txt", true, &[]), ["a", "a/b", "a/b/y.txt"]);
        let none = Patterns::default();
        let options = Options { parents: false, exclude: &none, keep_owner: false };
        assert!(select(&tree, "nope", options).is_err());
        assert!(select(&tree, "nope*", options).unwrap().is_empty());
    }

    #[test]
    fn the_digest_counts_names_content_and_modes_but_no_times() {
        let digest_of = |change: &dyn Fn(&std::path::Path)| {
            let (dir, tree) = tree();
            change(dir.path());
            let none = Patterns::default();
            let options = Options { parents: false, exclude: &none, keep_owner: false };
            digest(&select(&tree, "a", options).unwrap()).unwrap()
        };
        let same = digest_of(&|_| {});
        assert_eq!(same, digest_of(&|_| {}));
        let touch = |dir: &std::path::Path| {
            let file = std::fs::File::open(dir.join("a/x.txt")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        assert_eq!(same, digest_of(&touch));
        assert_ne!(same, digest_of(&|dir| std::fs::write(dir.join("a/x.txt"), "other").unwrap()));
        assert_ne!(
            same,
            digest_of(&|dir| std::fs::rename(dir.join("a/x.txt"), dir.join("a/q")).unwrap())
        );
        let mode = std::fs::Permissions::from_mode(0o600);
        assert_ne!(
            same,
            digest_of(&|dir| std::fs::set_permissions(dir.join("a/x.txt"), mode.clone()).unwrap())
        );
    }
}
