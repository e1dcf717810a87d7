use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use images::archive::read::{ArchiveReader, NoRecorder};
use images::archive::write::{END, header, padding};
use images::archive::{Entry, EntryKind, Extent};
use linux::fs::Root;

use super::pack::{pack, pack_content};
use super::path::ContainerPath;
use super::unpack::{UnpackOptions, unpack};
use super::view::View;
use crate::container::{MountPoint, MountType};
use crate::{Error, ErrorKind, Result};

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// A container root with something outside of it.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(scene.inside("srv")).unwrap();
        fs::create_dir(scene.dir.path().join("outside")).unwrap();
        fs::write(scene.dir.path().join("outside/secret"), "secret").unwrap();
        scene
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn root(&self) -> Root {
        Root::open(self.inside("")).unwrap()
    }

    fn put(&self, archive: &[u8], options: UnpackOptions<'_>) -> Result<()> {
        unpack(archive, &self.root(), Path::new("/srv"), options).map(drop)
    }

    /// What is outside must be as it was, whatever is put.
    fn assert_outside_untouched(&self) {
        let outside = self.dir.path().join("outside");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
        assert_eq!(fs::metadata(outside.join("secret")).unwrap().nlink(), 1);
    }
}

struct Tar(Vec<u8>);

impl Tar {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn add(mut self, entry: Entry, content: &[u8]) -> Self {
        self.0.extend(header(&entry));
        self.0.extend(content);
        self.0.extend(padding(content.len() as u64));
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        let mut entry = Entry::new(name, EntryKind::File);
        entry.mode = 0o644;
        entry.size = content.len() as u64;
        entry.payload = entry.size;
        self.add(entry, content.as_bytes())
    }

    fn other(self, name: &str, kind: EntryKind, link: &str) -> Self {
        let mut entry = Entry::new(name, kind);
        entry.mode = 0o755;
        entry.link = link.into();
        self.add(entry, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend(END);
        self.0
    }
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut reader = ArchiveReader::new(archive, NoRecorder);
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8(entry.name).unwrap());
    }
    names.sort();
    names
}

fn get(scene: &Scene, path: &str) -> Vec<u8> {
    let path = ContainerPath::new(path);
    let file = path.open(&scene.root()).unwrap();
    let mut archive = Vec::new();
    pack(&file, std::os::unix::ffi::OsStrExt::as_bytes(path.archive_name()), None, &mut archive)
        .unwrap();
    archive
}

#[test]
fn what_was_packed_unpacks_the_same() {
    let scene = Scene::new();
    fs::create_dir(scene.inside("srv/sub")).unwrap();
    fs::write(scene.inside("srv/sub/a"), "content").unwrap();
    fs::set_permissions(scene.inside("srv/sub/a"), PermissionsExt::from_mode(0o4711)).unwrap();
    fs::hard_link(scene.inside("srv/sub/a"), scene.inside("srv/sub/b")).unwrap();
    symlink("../nowhere", scene.inside("srv/sub/link")).unwrap();
    let long = "x".repeat(200);
    fs::write(scene.inside("srv/sub").join(&long), "").unwrap();
    xattr::set(scene.inside("srv/sub/a"), "user.teu", b"1").unwrap();
    let archive = get(&scene, "/srv/sub");
    let mut expected = vec!["sub/".to_owned()];
    expected.extend(["a", "b", "link", &long].map(|name| format!("sub/{name}")));
    assert_eq!(names(&archive), expected);

    let other = Scene::new();
    other.put(&archive, UnpackOptions::default()).unwrap();
    let a = fs::metadata(other.inside("srv/sub/a")).unwrap();
    assert_eq!((a.mode() & 0o7777, a.nlink()), (0o4711, 2));
    assert_eq!(
        a.modified().unwrap(),
        fs::metadata(scene.inside("srv/sub/a")).unwrap().modified().unwrap()
    );
    assert_eq!(xattr::get(other.inside("srv/sub/a"), "user.teu").unwrap().unwrap(), b"1");
    assert_eq!(fs::read_link(other.inside("srv/sub/link")).unwrap(), Path::new("../nowhere"));
    assert_eq!(names(&get(&other, "/srv/sub")), names(&archive));
}

#[test]
fn archives_are_named_as_docker_names_them() {
    let scene = Scene::new();
    fs::write(scene.inside("srv/f"), "").unwrap();
    symlink("srv", scene.inside("link")).unwrap();
    assert_eq!(names(&get(&scene, "/srv")), ["srv/", "srv/f"]);
    assert_eq!(names(&get(&scene, "srv/.")), ["./", "./f"]);
    assert_eq!(names(&get(&scene, "/srv/f")), ["f"]);
    assert_eq!(names(&get(&scene, "/link/")), ["link/", "link/f"]);
    assert_eq!(names(&get(&scene, "/link")), ["link"]);
    assert_eq!(names(&get(&scene, "/")), ["/", "/link", "/srv/", "/srv/f"]);
    let root = ContainerPath::new("/").open(&scene.root()).unwrap();
    let mut export = Vec::new();
    pack_content(&root, &mut export).unwrap();
    assert_eq!(names(&export), ["link", "srv/", "srv/f"]);
}

#[test]
fn stat_follows_links_inside_only() {
    let scene = Scene::new();
    fs::write(scene.inside("srv/f"), "abc").unwrap();
    symlink("../../outside/secret", scene.inside("srv/escape")).unwrap();
    symlink("/srv/../srv/f", scene.inside("link")).unwrap();
    let stat = |path: &str| {
        let path = ContainerPath::new(path);
        let file = path.open(&scene.root())?;
        path.stat(&scene.root(), &file)
    };
    assert_eq!((stat("/srv/f").unwrap().size, stat("/srv/f").unwrap().name), (3, "f".to_owned()));
    assert_eq!(stat("/link").unwrap().link_target, "/srv/f");
    assert_eq!(stat("/srv/escape").unwrap().link_target, "/outside/secret");
    assert_eq!(stat("../../srv").unwrap().name, "srv");
    assert_eq!(stat("/").unwrap().name, "/");
    assert!(stat("/srv/escape/").is_err() && stat("/nothing").is_err());
}

#[test]
fn hostile_archives_stay_inside() {
    let scene = Scene::new();
    let outside = scene.dir.path().join("outside");
    let outside = outside.to_str().unwrap();
    symlink("/../../outside", scene.inside("srv/there")).unwrap();
    symlink("../../../outside", scene.inside("srv/up")).unwrap();
    let rows = [
        Tar::new().file("../../outside/new", "x").end(),
        Tar::new().file("/../../../outside/new", "x").end(),
        Tar::new().file("there/new", "x").end(),
        Tar::new().file("up/new", "x").end(),
        Tar::new().other("l", EntryKind::Symlink, outside).file("l/new", "x").end(),
        Tar::new().other("l", EntryKind::Symlink, "../../../outside").file("l/secret", "x").end(),
        Tar::new().other("h", EntryKind::HardLink, "../../outside/secret").end(),
        Tar::new().other("h", EntryKind::HardLink, "up/secret").file("h", "x").end(),
        Tar::new()
            .other("l", EntryKind::Symlink, "/x")
            .other("l", EntryKind::Symlink, "l")
            .file("l/l", "")
            .end(),
    ];
    for archive in rows {
        // Refused or kept inside; either is fine.
        let _ = scene.put(&archive, UnpackOptions::default());
        scene.assert_outside_untouched();
    }
    let error = scene.put(&Tar::new().file("../x", "").end(), UnpackOptions::default());
    assert_eq!(error.unwrap_err().to_string(), "\"../x\" is outside of \"/srv\"");
}

#[test]
fn lying_and_broken_archives_are_refused() {
    let scene = Scene::new();
    let mut lying = Entry::new("f", EntryKind::File);
    lying.size = 1 << 50;
    lying.payload = lying.size;
    let truncated = Tar::new().add(lying, b"short").0;
    let mut sparse = Entry::new("s", EntryKind::File);
    (sparse.size, sparse.payload) = (10, 4);
    sparse.sparse = Some(vec![Extent { offset: 1 << 40, length: 4 }]);
    let sparse = Tar::new().add(sparse, b"data").end();
    for archive in [truncated, sparse, b"not an archive at all".to_vec(), vec![0xff; 4096]] {
        let error = scene.put(&archive, UnpackOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error}");
    }
    scene.put(&[], UnpackOptions::default()).unwrap();
}

#[test]
fn directories_and_files_replace_each_other_unless_refused() {
    let scene = Scene::new();
    fs::create_dir_all(scene.inside("srv/d/deep")).unwrap();
    fs::write(scene.inside("srv/f"), "old").unwrap();
    let keep = UnpackOptions { keep_kinds: true, ..UnpackOptions::default() };
    let file_over_directory = Tar::new().file("d", "x").end();
    let directory_over_file = Tar::new().other("f/", EntryKind::Directory, "").end();
    let message = |result: Result<()>| result.unwrap_err().to_string();
    assert_eq!(
        message(scene.put(&file_over_directory, keep)),
        "cannot overwrite directory \"/srv/d\" with non-directory \"d\""
    );
    assert_eq!(
        message(scene.put(&directory_over_file, keep)),
        "cannot overwrite non-directory \"/srv/f\" with directory \"f/\""
    );
    scene.put(&file_over_directory, UnpackOptions::default()).unwrap();
    scene.put(&directory_over_file, UnpackOptions::default()).unwrap();
    assert!(scene.inside("srv/d").is_file() && scene.inside("srv/f").is_dir());
    // A link is replaced, not written through.
    fs::write(scene.inside("target"), "old").unwrap();
    symlink("/target", scene.inside("srv/link")).unwrap();
    scene.put(&Tar::new().file("link", "new").end(), UnpackOptions::default()).unwrap();
    assert_eq!(fs::read(scene.inside("target")).unwrap(), b"old");
    assert_eq!(fs::read(scene.inside("srv/link")).unwrap(), b"new");
}

#[test]
fn owners_devices_sparse_files_and_compression() {
    if !is_root() {
        return;
    }
    let scene = Scene::new();
    let mut sparse = Entry::new("sparse", EntryKind::File);
    (sparse.size, sparse.payload) = (64 << 20, 4);
    sparse.sparse = Some(vec![Extent { offset: 32 << 20, length: 4 }]);
    let mut device = Entry::new("null", EntryKind::CharDevice);
    (device.device, device.uid) = ((1, 3), 5);
    let tar =
        Tar::new().add(sparse, b"data").add(device, b"").other("p", EntryKind::Fifo, "").end();
    let owned = UnpackOptions { owner: Some((1000, 1001)), ..UnpackOptions::default() };
    for archive in [tar.clone(), zstd::encode_all(&tar[..], 1).unwrap(), {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    }] {
        scene.put(&archive, owned).unwrap();
        let sparse = fs::metadata(scene.inside("srv/sparse")).unwrap();
        assert_eq!((sparse.len(), sparse.uid(), sparse.gid()), (64 << 20, 1000, 1001));
        assert!(sparse.blocks() * 512 < 1 << 20);
        let null = fs::metadata(scene.inside("srv/null")).unwrap();
        assert_eq!((null.rdev(), null.uid()), (rustix::fs::makedev(1, 3), 1000));
    }
    assert_eq!(names(&get(&scene, "/srv/null")), ["null"]);
    assert_eq!(names(&get(&scene, "/srv/p")), ["p"]);
}

fn read(root: &Root, path: &str) -> Result<String> {
    let file = root.open_in_root(path, linux::fs::OFlags::RDONLY, linux::fs::Mode::empty());
    let mut text = String::new();
    let mut file = fs::File::from(file.map_err(Error::io("open", path))?);
    file.read_to_string(&mut text).map_err(Error::io("read", path))?;
    Ok(text)
}

#[test]
fn a_stopped_container_has_its_volumes_in_place_and_leaves_no_mount() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let layer = images::RwLayer {
        upper: make("upper"),
        work: make("work"),
        lowers: vec![make("top"), make("bottom")],
    };
    fs::write(dir.path().join("bottom/base"), "base").unwrap();
    fs::write(dir.path().join("upper/own"), "own").unwrap();
    fs::write(make("volume").join("v"), "volume").unwrap();
    fs::write(make("fixed").join("x"), "fixed").unwrap();
    let mount = |name: &str, destination: &str, writable| {
        let point = MountPoint {
            kind: MountType::Volume,
            destination: destination.to_owned(),
            writable,
            ..MountPoint::default()
        };
        (point, dir.path().join(name))
    };
    let mounts = vec![mount("fixed", "/data/fixed", false), mount("volume", "/data", true)];
    let view = View::Stopped { layer: layer.clone(), mounts, anchor: make("anchor") };
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let options = UnpackOptions::default();
    view.with(|root| {
        assert_eq!(read(root, "/base")?, "base");
        assert_eq!(read(root, "/data/v")?, "volume");
        assert_eq!(read(root, "/data/fixed/x")?, "fixed");
        unpack(&Tar::new().file("new", "1").end()[..], root, Path::new("/data"), options)?;
        unpack(&Tar::new().file("etc/new", "2").end()[..], root, Path::new("/"), options)?;
        let fixed = Tar::new().file("new", "3").end();
        let refused = unpack(&fixed[..], root, Path::new("/data/fixed"), options);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Forbidden);
        Ok(())
    })
    .unwrap();
    assert_eq!(fs::read(dir.path().join("volume/new")).unwrap(), b"1");
    assert_eq!(fs::read(dir.path().join("upper/etc/new")).unwrap(), b"2");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count(), before);
    View::Layers(layer)
        .with(|root| {
            assert_eq!(read(root, "/etc/new")?, "2");
            assert!(read(root, "/data/v").is_err());
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_process_of_the_same_number_is_not_taken_for_the_container() {
    if !is_root() {
        return;
    }
    let pid = std::process::id();
    let ticks = linux::process::start_ticks(pid).unwrap();
    let view = |start_ticks| View::Running { pid, start_ticks, map: None };
    view(ticks).with(|_| Ok(())).unwrap();
    let error = view(ticks + 1).with(|_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}
