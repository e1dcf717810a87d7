//! The store as a whole: import, names, writable layers, what an open cleans up.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::*;
use crate::*;

/// Device files and trusted attributes need root.
macro_rules! root_only {
    () => {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
    };
}

pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

#[track_caller]
pub(crate) fn sh(dir: &Path, script: &str) {
    let status = Command::new("sh").arg("-ec").arg(script).current_dir(dir).status().unwrap();
    assert!(status.success(), "{script}");
}

pub(crate) use root_only;

/// Archives what a script makes in an empty directory.
#[track_caller]
pub(crate) fn tar(script: &str, options: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), &format!("mkdir root; cd root; {script}"));
    sh(dir.path(), &format!("tar {options} -cf out.tar -C root ."));
    fs::read(dir.path().join("out.tar")).unwrap()
}

pub(crate) fn import(store: &Store, archive: &[u8], tag: &str) -> Result<ImageId> {
    let tag = Some(Reference::parse(tag).unwrap());
    store.import(archive, &ImportRequest { tag, ..ImportRequest::default() })
}

#[test]
fn import_unpacks_and_can_rebuild_the_archive() {
    root_only!();
    let (_dir, store) = store();
    let archive = tar(
        "mkdir -p etc usr/bin tmp; chmod 1777 tmp; echo hi > etc/f; ln etc/f etc/hard; ln -s /etc/f l
         cp /bin/true usr/bin/t; chmod 4755 usr/bin/t; mkfifo fifo; mknod null c 1 3
         truncate -s 10M sparse; printf x | dd of=sparse seek=5000000 bs=1 conv=notrunc status=none
         setfattr -n user.note -v val etc/f 2>/dev/null || true
         chown 12345:54321 etc/f; touch -d '2001-02-03 04:05:06.789' etc; touch -h -d 1999-01-01 l",
        "--sparse --format=posix --xattrs",
    );
    let id = import(&store, &archive, "base:1").unwrap();
    let chain = store.layer_chain(&id).unwrap();
    let root = &chain[0];
    assert_eq!(fs::read(root.join("etc/f")).unwrap(), b"hi\n");
    let f = fs::metadata(root.join("etc/f")).unwrap();
    assert_eq!((f.uid(), f.gid(), f.nlink()), (12345, 54321, 2));
    assert_eq!(fs::metadata(root.join("etc")).unwrap().mtime_nsec(), 789_000_000);
    assert_eq!(fs::metadata(root.join("tmp")).unwrap().permissions().mode() & 0o7777, 0o1777);
    assert_eq!(fs::metadata(root.join("usr/bin/t")).unwrap().permissions().mode() & 0o7777, 0o4755);
    assert_eq!(fs::read_link(root.join("l")).unwrap(), Path::new("/etc/f"));
    assert!(fs::metadata(root.join("fifo")).unwrap().file_type().is_fifo());
    let null = fs::metadata(root.join("null")).unwrap();
    assert!(null.file_type().is_char_device() && null.rdev() == 0x103);
    let sparse = fs::metadata(root.join("sparse")).unwrap();
    assert!(sparse.len() == 10 << 20 && sparse.blocks() < 100, "{}", sparse.blocks());
    assert_eq!(store.inspect(&id).unwrap().layers, [Digest::of(&archive)]);
    assert_eq!(store.verify().unwrap(), []);
    assert_eq!(store.inspect(&id).unwrap().repo_tags, ["base:1"]);
}

#[test]
fn files_that_are_given_are_not_written_again() {
    root_only!();
    let (dir, store) = store();
    let given = dir.path().join("given");
    fs::create_dir(&given).unwrap();
    sh(&given, "mkdir d; printf 12345 > d/f; printf other > g; chmod 640 d/f");
    let archive = tar(&format!("cp -a {}/. .", given.display()), "--format=posix");
    let plain = store.layer_from_archive(|| archive.as_slice()).unwrap().diff_id();
    let opened = |path: &[u8]| {
        let path = given.join(String::from_utf8_lossy(path).as_ref());
        path.ends_with("d/f").then(|| fs::File::open(path).unwrap().into())
    };
    let layer = store.layer_of_files(|| archive.as_slice(), &opened).unwrap();
    assert_eq!(layer.diff_id(), plain);
    let layer = store.keep_layer(layer).unwrap();
    let root = &store.layer_dirs(&[plain]).unwrap()[0];
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&root.join("d/f")), inode(&given.join("d/f")));
    assert_ne!(inode(&root.join("g")), inode(&given.join("g")));
    // The layer needs the given names no longer.
    fs::remove_dir_all(&given).unwrap();
    let (_, mut bytes) = store.read_layer(&layer).unwrap();
    let mut rebuilt = Vec::new();
    bytes.read_to_end(&mut rebuilt).unwrap();
    assert!(rebuilt == archive);
}

#[test]
fn compressed_archives_have_the_same_layer() {
    root_only!();
    let (dir, store) = store();
    let archive = tar("seq 1 100000 > f", "");
    fs::write(dir.path().join("a.tar"), &archive).unwrap();
    sh(dir.path(), "gzip -k a.tar; zstd -q a.tar 2>/dev/null || true; xz -k a.tar; bzip2 -k a.tar");
    for name in ["a.tar", "a.tar.gz", "a.tar.zst", "a.tar.xz", "a.tar.bz2"] {
        let Ok(bytes) = fs::read(dir.path().join(name)) else { continue };
        let id = import(&store, &bytes, "x").unwrap();
        assert_eq!(store.inspect(&id).unwrap().layers, [Digest::of(&archive)], "{name}");
    }
    assert_eq!(fs::read_dir(dir.path().join("layers")).unwrap().count(), 1);
    for name in ["a.tar.gz", "a.tar.xz", "a.tar.bz2"] {
        let bytes = fs::read(dir.path().join(name)).unwrap();
        let error = import(&store, &bytes[..bytes.len() / 2], "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{name}: {error}");
    }
    assert_eq!(fs::read_dir(dir.path().join("layers")).unwrap().count(), 1);
}

#[test]
fn names_move_and_ids_resolve() {
    root_only!();
    let (_dir, store) = store();
    let first = import(&store, &tar("echo 1 > f", ""), "a:1").unwrap();
    let second = import(&store, &tar("echo 2 > f", ""), "a").unwrap();
    for name in ["a:1", "docker.io/library/a:1", &first.to_string(), &first.hex(), &first.short()] {
        assert_eq!(store.resolve(name).unwrap(), first, "{name}");
    }
    assert_eq!(store.resolve("a").unwrap(), second);
    store.tag(&second, &Reference::parse("a:1").unwrap()).unwrap();
    assert_eq!(store.resolve("a:1").unwrap(), second);
    for (name, expected) in [
        ("nope", "No such image: nope:latest"),
        ("a:2", "No such image: a:2"),
        ("UP", "invalid reference format: repository name (library/UP) must be lowercase"),
    ] {
        assert_eq!(store.resolve(name).unwrap_err().to_string(), expected);
    }
    let ids: Vec<_> =
        store.list(&ListFilter::default()).unwrap().into_iter().map(|i| i.id).collect();
    assert_eq!(ids.len(), 2);
    let dangling = ListFilter { dangling: Some(true), ..ListFilter::default() };
    assert_eq!(store.list(&dangling).unwrap()[0].id, first);
    let named = ListFilter { references: vec!["a:l*".into()], ..ListFilter::default() };
    assert_eq!(store.list(&named).unwrap()[0].repo_tags, ["a:latest"]);
}

#[test]
fn writable_layers_survive_and_leftovers_do_not() {
    root_only!();
    let (dir, store) = store();
    let id = import(&store, &tar("echo 1 > f", ""), "a").unwrap();
    let rw = store.create_rw("c1", &id).unwrap();
    assert!(rw.upper.is_dir() && rw.work.is_dir());
    // Over the image's layers is that of the mount points.
    assert!(rw.lowers[0].ends_with("rw/c1/init"));
    assert_eq!(rw.lowers[1..], store.layer_chain(&id).unwrap());
    assert_eq!(store.create_rw("c1", &id).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(store.create_rw("../x", &id).unwrap_err().kind(), ErrorKind::InvalidParameter);
    drop(store);
    for leftover in
        ["layers/.staging-1/diff", "layers/0123/diff", "rw/half/upper", "rw/.removing-c9/upper/d"]
    {
        fs::create_dir_all(dir.path().join(leftover)).unwrap();
    }
    fs::write(dir.path().join("content/ingest/young"), "x").unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.wait_swept();
    assert_eq!(store.rw_layer("c1").unwrap(), rw);
    assert_eq!(fs::read_dir(dir.path().join("layers")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(dir.path().join("rw")).unwrap().count(), 1);
    assert!(dir.path().join("content/ingest/young").exists());
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(4 * 24 * 3600);
    store.give_up_downloads(later).unwrap();
    assert!(!dir.path().join("content/ingest/young").exists());
    store.remove_rw("c1").unwrap();
    store.remove_rw("c1").unwrap();
    assert!(!rw.upper.exists());
    assert_eq!(store.rw_layer("c1").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn ingest_resumes_and_verifies() {
    let (_dir, store) = store();
    let digest = Digest::of(b"hello world");
    let mut ingest = store.ingest(&digest, 11).unwrap();
    assert!(matches!(store.ingest(&digest, 11), Err(Error::IngestBusy(_))));
    ingest.append(b"hello").unwrap();
    drop(ingest);
    let mut ingest = store.ingest(&digest, 11).unwrap();
    assert_eq!(ingest.offset(), 5);
    assert!(!store.blob_exists(&digest));
    ingest.append(b" world").unwrap();
    assert!(matches!(ingest.append(b"!"), Err(Error::SizeMismatch { .. })));
    ingest.commit().unwrap();
    assert!(store.blob_exists(&digest));
    let other = Digest::of(b"other");
    let mut ingest = store.ingest(&other, 5).unwrap();
    ingest.append(b"lying").unwrap();
    let error = ingest.commit().unwrap_err().to_string();
    assert!(
        error.contains(&other.to_string()) && error.contains(&Digest::of(b"lying").to_string())
    );
    assert_eq!(store.ingest(&other, 5).unwrap().offset(), 0);
}

#[test]
fn deep_trees_are_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("deep");
    fs::create_dir(&top).unwrap();
    let open = |path: &Path| fs::File::open(path).unwrap();
    let mut at: std::os::fd::OwnedFd = open(&top).into();
    for _ in 0..3000 {
        let mode = rustix::fs::Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&at, "directory", mode).unwrap();
        rustix::fs::mkdirat(&at, "other", mode).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        at = rustix::fs::openat(&at, "directory", flags, mode).unwrap();
    }
    drop(at);
    delete::delete(&top).unwrap();
    assert!(!top.exists());
}

#[test]
fn two_may_delete_the_same_tree() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        sh(dir.path(), "for d in 1 2 3 4; do mkdir -p top/$d/e/f; touch top/$d/e/f/g; done");
        let top = dir.path().join("top");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| delete::delete(&top).unwrap());
            }
        });
        assert!(!top.exists());
    }
}

fn remove(
    store: &Store,
    name: &str,
    force: bool,
    used: Option<bool>,
) -> Result<Vec<String>, String> {
    let in_use =
        |_: &ImageId| used.map(|running| ImageUse { container_id: "c0ffee".repeat(10), running });
    let options = RemoveOptions { force, no_prune: false, in_use: &in_use };
    let removed = store.remove(name, &options).map_err(|error| error.to_string())?;
    Ok(removed
        .into_iter()
        .map(|removed| match removed {
            Removed::Untagged(name) => format!("untagged {name}"),
            Removed::Deleted(id) => format!("deleted {id}"),
        })
        .collect())
}

#[test]
fn names_go_before_images() {
    root_only!();
    let (dir, store) = store();
    let archive = tar("echo 1 > f", "");
    let id = import(&store, &archive, "a:1").unwrap();
    store.tag(&id, &Reference::parse("b").unwrap()).unwrap();
    let short = id.short();
    assert_eq!(remove(&store, "a:1", false, Some(false)).unwrap(), ["untagged a:1"]);
    store.tag(&id, &Reference::parse("c").unwrap()).unwrap();
    assert_eq!(
        remove(&store, &short, false, None).unwrap_err(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    remove(&store, "c", false, None).unwrap();
    assert_eq!(
        remove(&store, "b", false, Some(false)).unwrap_err(),
        format!(
            "conflict: unable to remove repository reference \"b\" (must force) - container c0ffeec0ffee is using its referenced image {short}"
        )
    );
    assert_eq!(
        remove(&store, &short, false, Some(false)).unwrap_err(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container c0ffeec0ffee"
        )
    );
    assert_eq!(
        remove(&store, &short, true, Some(true)).unwrap_err(),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container c0ffeec0ffee"
        )
    );
    // By name and force the name goes and the image stays for its container.
    assert_eq!(remove(&store, "b", true, Some(true)).unwrap(), ["untagged b:latest"]);
    let layer = Digest::of(&archive);
    assert_eq!(
        remove(&store, &short, false, None).unwrap(),
        [format!("deleted {id}"), format!("deleted {layer}")]
    );
    assert_eq!(fs::read_dir(dir.path().join("layers")).unwrap().count(), 0);
    assert_eq!(remove(&store, "b", false, None).unwrap_err(), "No such image: b:latest");
}

#[test]
fn parents_go_with_their_last_child() {
    root_only!();
    let (dir, store) = store();
    let base = import(&store, &tar("echo 1 > f", ""), "base").unwrap();
    let rw = store.create_rw("c", &base).unwrap();
    fs::write(rw.upper.join("new"), "x").unwrap();
    let request = |base, tag| CommitRequest {
        container_id: "c".into(),
        base,
        config: RunConfig::default(),
        author: String::new(),
        comment: String::new(),
        created_by: String::new(),
        docker_version: String::new(),
        tag: Reference::parse(tag).ok(),
    };
    let child = store.commit(&request(base, "child")).unwrap();
    assert_eq!(
        remove(&store, &base.short(), true, None).unwrap_err(),
        format!(
            "conflict: unable to delete {} (cannot be forced) - image has dependent child images",
            base.short()
        )
    );
    // Untagged, the parent is only an intermediate image.
    assert_eq!(remove(&store, "base", false, None).unwrap(), ["untagged base:latest"]);
    assert_eq!(store.list(&ListFilter::default()).unwrap().len(), 1);
    assert_eq!(store.list(&ListFilter { all: true, ..ListFilter::default() }).unwrap().len(), 2);
    let removed = remove(&store, "child", false, None).unwrap();
    assert_eq!(
        removed[..3],
        ["untagged child:latest".into(), format!("deleted {child}"), format!("deleted {base}")]
    );
    // The container's own layers outlive the image.
    assert!(rw.lowers[0].exists());
    store.remove_rw("c").unwrap();
    assert_eq!(fs::read_dir(dir.path().join("layers")).unwrap().count(), 0);
}

#[test]
fn prune_takes_what_nobody_uses() {
    root_only!();
    let (_dir, store) = store();
    let old = import(&store, &tar("echo 1 > f", ""), "a").unwrap();
    let new = import(&store, &tar("echo 22 > f", ""), "a").unwrap();
    let prune = |dangling_only, used: Option<ImageId>| {
        let in_use = |id: &ImageId| {
            (used == Some(*id)).then(|| ImageUse { container_id: "c".into(), running: false })
        };
        store
            .prune(&PruneOptions {
                dangling_only,
                labels: vec![],
                not_labels: vec![],
                until: None,
                in_use: &in_use,
            })
            .unwrap()
    };
    assert_eq!(prune(true, Some(old)), Pruned::default());
    let pruned = prune(true, None);
    assert_eq!((pruned.removed.len(), pruned.space_reclaimed), (2, 2));
    assert_eq!(store.disk_usage().unwrap().layers_size, 3);
    assert_eq!(prune(false, Some(new)), Pruned::default());
    assert_eq!(prune(false, None).space_reclaimed, 3);
    assert_eq!(store.list(&ListFilter::default()).unwrap(), []);
}

#[test]
fn a_layer_is_compressed_once() {
    root_only!();
    let (_dir, store) = store();
    let archive = tar("seq 1 1000000 > f", "");
    let id = import(&store, &archive, "a").unwrap();
    let diff_id = store.inspect(&id).unwrap().layers[0];
    let blob = store.layer_blob(&diff_id).unwrap();
    assert_eq!(store.layer_blob(&diff_id).unwrap(), blob);
    assert!(blob.size < archive.len() as u64 / 2);
    assert_eq!(store.verify().unwrap(), []);
    remove(&store, "a", false, None).unwrap();
    assert!(!store.blob_exists(&blob.digest));
}
