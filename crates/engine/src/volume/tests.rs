use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::ErrorKind;
use crate::container::{MountPoint, MountType};
use crate::filter::Filters;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

fn store() -> (tempfile::TempDir, VolumeStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = VolumeStore::open(dir.path()).unwrap();
    (dir, store)
}

fn named(name: &str) -> VolumeRequest {
    VolumeRequest { name: name.to_owned(), ..VolumeRequest::default() }
}

fn names(store: &VolumeStore, filters: &[(&str, &str)], used: &[&str]) -> Vec<String> {
    let filters: Filters = filters.iter().copied().collect();
    let used = used.iter().map(|name| (*name).to_owned()).collect();
    store.list(&filters, &used).unwrap().into_iter().map(|volume| volume.name).collect()
}

#[test]
fn volumes_survive_a_restart_and_half_done_work_does_not() {
    let (dir, store) = store();
    let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
    let (volume, made) = store.create(&VolumeRequest { labels, ..named("data") }).unwrap();
    assert!(made && volume.mountpoint.is_dir());
    assert!(!store.create(&named("data")).unwrap().1);
    let (anonymous, _) = store.create(&named("")).unwrap();
    assert_eq!(anonymous.name.len(), 64);
    fs::create_dir(dir.path().join("volumes/.new-1")).unwrap();
    fs::create_dir_all(dir.path().join("volumes/.gone-1/_data/x")).unwrap();
    fs::create_dir_all(dir.path().join("volumes/adopted/_data")).unwrap();
    let store = VolumeStore::open(dir.path()).unwrap();
    assert_eq!(store.get("data").unwrap(), volume);
    assert_eq!(store.get(&anonymous.name).unwrap(), anonymous);
    assert!(store.get("adopted").is_ok());
    let left = fs::read_dir(dir.path().join("volumes")).unwrap().count();
    assert_eq!(left, 3);
    store.remove("data").unwrap();
    assert_eq!(store.remove("data").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!dir.path().join("volumes/data").exists());
}

#[test]
fn bad_names_and_options_are_refused() {
    let (_dir, store) = store();
    for name in ["a", "../x", ".hidden", "a/b", "a b", "ü1", &"x".repeat(256)] {
        let error = store.create(&named(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{name}");
    }
    assert!(store.create(&named("./x")).unwrap_err().to_string().starts_with(
        "create ./x: \"./x\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed."
    ));
    let other = VolumeRequest { driver: "nfs".to_owned(), ..named("vol") };
    assert_eq!(store.create(&other).unwrap_err().kind(), ErrorKind::NotFound);
    let options = |pairs: &[(&str, &str)]| VolumeRequest {
        driver_options: pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        ..named("vol")
    };
    let error = |pairs| store.create(&options(pairs)).unwrap_err().to_string();
    assert_eq!(error(&[("foo", "1")]), "create vol: invalid option: \"foo\"");
    assert_eq!(error(&[("o", "bind")]), "create vol: missing required option: \"device\"");
}

#[test]
fn lists_filter() {
    let (_dir, store) = store();
    let labels = BTreeMap::from([("tier".to_owned(), "db".to_owned())]);
    store.create(&VolumeRequest { labels, ..named("data") }).unwrap();
    store.create(&named("cache")).unwrap();
    assert_eq!(names(&store, &[], &[]), ["cache", "data"]);
    assert_eq!(names(&store, &[("name", "^da")], &[]), ["data"]);
    assert_eq!(names(&store, &[("label", "tier=db")], &[]), ["data"]);
    assert_eq!(names(&store, &[("label!", "tier")], &[]), ["cache"]);
    assert_eq!(names(&store, &[("dangling", "true")], &["data"]), ["cache"]);
    assert_eq!(names(&store, &[("dangling", "false")], &["data"]), ["data"]);
    assert_eq!(names(&store, &[("driver", "nfs")], &[]), Vec::<String>::new());
    let unknown: Filters = [("colour", "red")].into_iter().collect();
    assert!(store.list(&unknown, &BTreeSet::new()).is_err());
}

#[test]
fn failed_creations_leave_no_volume() {
    let (_dir, store) = store();
    let plan = |name: &str| MountPlan {
        point: MountPoint { kind: MountType::Volume, ..MountPoint::default() },
        volume: Some(named(name)),
    };
    store.create(&named("old")).unwrap();
    assert!(store.create_mounts(vec![plan("old"), plan("new"), plan("b@d")]).is_err());
    assert_eq!(names(&store, &[], &[]), ["old"]);
    let made = store.create_mounts(vec![plan("old"), plan("new")]).unwrap();
    assert_eq!(made.created_volumes, ["new"]);
    assert_eq!(made.mounts[1].name, "new");
}

fn volume_mount(name: &str, destination: &str) -> MountPoint {
    MountPoint {
        kind: MountType::Volume,
        name: name.to_owned(),
        destination: destination.to_owned(),
        ..MountPoint::default()
    }
}

#[test]
fn image_content_fills_an_empty_volume_once() {
    if !is_root() {
        return;
    }
    let (dir, store) = store();
    let layer = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.join("srv/sub")).unwrap();
        path
    };
    let (top, bottom) = (layer("top"), layer("bottom"));
    fs::write(bottom.join("srv/one"), "one").unwrap();
    fs::hard_link(bottom.join("srv/one"), bottom.join("srv/two")).unwrap();
    fs::write(top.join("srv/sub/three"), "three").unwrap();
    std::os::unix::fs::chown(top.join("srv/sub/three"), Some(33), Some(44)).unwrap();
    fs::set_permissions(top.join("srv/sub/three"), PermissionsExt::from_mode(0o4750)).unwrap();
    xattr::set(top.join("srv/sub/three"), "user.teu", b"x").unwrap();
    symlink("/etc/passwd", top.join("srv/link")).unwrap();
    fs::set_permissions(top.join("srv"), PermissionsExt::from_mode(0o1777)).unwrap();
    symlink("srv", top.join("alias")).unwrap();
    store.create(&named("data")).unwrap();

    let mounts = [volume_mount("data", "/alias")];
    store.populate(&mounts, &[top.clone(), bottom.clone()]).unwrap();
    let data = store.get("data").unwrap().mountpoint;
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, 0o1777);
    let one = fs::metadata(data.join("one")).unwrap();
    assert_eq!(one.ino(), fs::metadata(data.join("two")).unwrap().ino());
    let three = fs::metadata(data.join("sub/three")).unwrap();
    assert_eq!((three.uid(), three.gid(), three.mode() & 0o7777), (33, 44, 0o4750));
    assert_eq!(xattr::get(data.join("sub/three"), "user.teu").unwrap().unwrap(), b"x");
    assert_eq!(fs::read_link(data.join("link")).unwrap(), PathBuf::from("/etc/passwd"));

    // Filled: not again. Cut off: again, over what is there.
    fs::remove_file(data.join("one")).unwrap();
    store.populate(&mounts, &[top.clone(), bottom.clone()]).unwrap();
    assert!(!data.join("one").exists());
    fs::write(data.with_file_name("populating"), "").unwrap();
    store.populate(&mounts, &[top.clone(), bottom]).unwrap();
    assert_eq!(fs::read(data.join("one")).unwrap(), b"one");
    assert!(!data.with_file_name("populating").exists());

    store.create(&named("file")).unwrap();
    let error = store.populate(&[volume_mount("file", "/srv/sub/three")], &[top]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot mount volume over existing file, file exists /srv/sub/three"
    );
}

#[test]
fn subpaths_stay_in_the_volume() {
    let (dir, store) = store();
    let data = store.create(&named("data")).unwrap().0.mountpoint;
    fs::create_dir(data.join("inside")).unwrap();
    fs::create_dir(dir.path().join("inside")).unwrap();
    symlink("../../../inside", data.join("escape")).unwrap();
    let mount =
        |subpath: &str| MountPoint { subpath: subpath.to_owned(), ..volume_mount("data", "/data") };
    let prepared = prepare_mounts(&store, &[mount("escape")]).unwrap();
    let opened = fs::read_link(&prepared[0].source).unwrap();
    assert_eq!(opened, data.join("inside").canonicalize().unwrap());
    let missing = prepare_mounts(&store, &[mount("nothing")]).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::InvalidParameter);
}

#[test]
fn bind_sources_are_made_for_the_short_form_only() {
    let (dir, store) = store();
    let source = dir.path().join("a/b");
    let mount = MountPoint { source: source.clone(), ..MountPoint::default() };
    let error = prepare_mounts(&store, std::slice::from_ref(&mount)).unwrap_err();
    assert!(error.to_string().contains("bind source path does not exist: "));
    prepare_mounts(&store, &[MountPoint { create_source: true, ..mount }]).unwrap();
    assert!(source.is_dir());
}

#[test]
fn options_bind_and_mount() {
    let (dir, store) = store();
    let target = dir.path().join("elsewhere");
    fs::create_dir(&target).unwrap();
    let options = |kind: &str, device: &str, o: &str| {
        BTreeMap::from([
            ("type".to_owned(), kind.to_owned()),
            ("device".to_owned(), device.to_owned()),
            ("o".to_owned(), o.to_owned()),
        ])
    };
    let driver_options = options("none", target.to_str().unwrap(), "bind");
    store.create(&VolumeRequest { driver_options, ..named("bound") }).unwrap();
    assert_eq!(store.mount("bound").unwrap(), target);
    if !is_root() {
        return;
    }
    let driver_options = options("tmpfs", "tmpfs", "size=1m,uid=7,nosuid");
    store.create(&VolumeRequest { driver_options, ..named("memory") }).unwrap();
    let path = store.mount("memory").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().uid(), 7);
    fs::write(path.join("x"), "x").unwrap();
    assert_eq!(store.mount("memory").unwrap(), path);
    assert!(path.join("x").exists(), "mounted once");
    // A crash leaves it mounted; the next daemon knows.
    let store = VolumeStore::open(dir.path()).unwrap();
    store.unmount_unused(&BTreeSet::from(["memory".to_owned()]));
    assert!(path.join("x").exists());
    store.unmount_unused(&BTreeSet::new());
    assert!(!path.join("x").exists());
    store.mount("memory").unwrap();
    store.remove("memory").unwrap();
    let driver_options = options("nonsense", "x", "");
    store.create(&VolumeRequest { driver_options, ..named("bad") }).unwrap();
    let error = store.mount("bad").unwrap_err().to_string();
    assert!(error.starts_with("failed to mount local volume: mount x:"), "{error}");
}
