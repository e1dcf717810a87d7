//! Committing what a real overlay mount left behind.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::store::tests::{import, root_only, sh, store, tar};
use crate::*;

/// Runs a script in a mounted container, in a mount namespace of its own.
#[track_caller]
fn in_container(rw: &RwLayer, script: &str) -> String {
    // The first is the layer of mount points, which belongs to no image.
    let lowers: Vec<_> = rw.lowers[1..].iter().map(|lower| lower.to_str().unwrap()).collect();
    let mount = format!(
        "mount --make-rprivate /; m=$(mktemp -d); trap 'cd /; umount $m; rmdir $m' EXIT
         mount -t overlay overlay -o lowerdir={},upperdir={},workdir={} $m; cd $m; {script}",
        lowers.join(":"),
        rw.upper.display(),
        rw.work.display()
    );
    let output = Command::new("unshare").args(["-m", "sh", "-ec", &mount]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const LISTING: &str = "find . -mindepth 1 -printf '%p %y %m %U:%G %s %n %T@ %l\\n' | grep -v ' d .* [0-9]* [0-9]* ' | sort;
     find . -type d -mindepth 1 -printf '%p %m %T@\\n' | sort; find . -type f -exec sha256sum {} + | sort";

fn request(container_id: &str, base: ImageId) -> CommitRequest {
    CommitRequest {
        container_id: container_id.to_owned(),
        base,
        config: RunConfig { cmd: Some(vec!["sh".into()]), ..RunConfig::default() },
        author: "me".into(),
        comment: "message".into(),
        created_by: "sh -c x".into(),
        docker_version: "28".into(),
        tag: Some(Reference::parse("committed:v1").unwrap()),
    }
}

const BASE: &str = "mkdir -p etc d/sub opt tmp; echo a > etc/a; echo b > etc/b; echo x > d/x
     echo y > d/sub/y; echo f > f; ln f hard; echo o > opt/o; chmod 1777 tmp; ln -s f link";

const CHANGES: &str = "rm etc/a; echo new > etc/c; rm -r d; mkdir d; echo z > d/z; chmod 4711 f
     ln etc/c etc/c2; rm link; mkdir link; echo in > link/in; mknod dev c 5 6; mkfifo p
     truncate -s 100M sparse; printf x | dd of=sparse bs=1 seek=50000000 conv=notrunc status=none
     rm -r opt; chown 7:8 tmp; setfattr -n user.k -v v etc/b || true; touch -d '2002-02-02 02:02:02.123456789' etc/b
     mkdir -p long/$(printf 'n%.0s' $(seq 150))/$(printf 'm%.0s' $(seq 150)); ln -s /nowhere sym
     python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'; rm sock";

#[test]
fn committed_image_is_the_container() {
    root_only!();
    let (_dir, store) = store();
    let base = import(&store, &tar(BASE, ""), "base").unwrap();
    let rw = store.create_rw("c", &base).unwrap();
    let before = in_container(&rw, &format!("{CHANGES}; {LISTING}"));
    let id = store.commit(&request("c", base)).unwrap();
    assert_eq!(store.resolve("committed:v1").unwrap(), id);
    let after = in_container(&store.create_rw("c2", &id).unwrap(), LISTING);
    assert_eq!(before, after);
    assert_eq!(store.verify().unwrap(), []);

    let detail = store.inspect(&id).unwrap();
    assert_eq!(detail.parent, Some(base));
    assert_eq!(detail.layers.len(), 2);
    let step = detail.config.history.last().unwrap();
    assert_eq!((step.comment.as_str(), step.empty_layer), ("message", false));
    let history = store.history(&id).unwrap();
    assert_eq!(history[0].id, Some(id));
    assert_eq!(history[1].id, Some(base));

    // The archive is the same as the whiteouts of the format want it, for any other engine.
    let mut archive = Vec::new();
    store.layer_archive(&detail.layers[1]).unwrap().read_to_end(&mut archive).unwrap();
    assert_eq!(Digest::of(&archive), detail.layers[1]);
    assert!(archive.len() < 200 << 10, "holes are not archived: {}", archive.len());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.tar"), archive).unwrap();
    sh(
        dir.path(),
        "tar tf a.tar > list; mkdir x; tar xf a.tar -C x; grep -qx etc/.wh.a list
        grep -qx d/.wh..wh..opq list; grep -qx .wh.opt list; grep -qx link/ list; ! grep sock list
        test $(stat -c %s x/sparse) = 104857600",
    );
}

#[test]
fn changes_are_told_as_docker_does() {
    root_only!();
    let (_dir, store) = store();
    let base = import(&store, &tar(BASE, ""), "base").unwrap();
    let rw = store.create_rw("c", &base).unwrap();
    in_container(
        &rw,
        "rm etc/a; echo more >> etc/b; mkdir -p new/dir; rm -r d; mkdir d; echo > d/x; touch f",
    );
    let id = store.commit(&request("c", base)).unwrap();
    let shown = |container: &str| {
        let changes = store.rw_changes(container).unwrap().into_iter();
        let lines = changes.map(|change| {
            let kind = match change.kind {
                ChangeKind::Modified => "C",
                ChangeKind::Added => "A",
                ChangeKind::Deleted => "D",
            };
            format!("{kind} {}", change.path.display())
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(shown("c"), "C /d\nA /d/x\nC /etc\nD /etc/a\nC /etc/b\nC /f\nA /new\nA /new/dir");
    // Over two layers: what the middle one hides is new when it comes back.
    let rw = store.create_rw("c2", &id).unwrap();
    in_container(&rw, "echo > etc/a; mkdir d/sub; rm new/dir -r");
    assert_eq!(shown("c2"), "C /d\nA /d/sub\nC /etc\nA /etc/a\nC /new\nD /new/dir");
    assert_eq!(store.rw_size("c2").unwrap(), 1);
}

#[test]
fn nothing_changed_is_no_layer() {
    root_only!();
    let (_dir, store) = store();
    let base = import(&store, &tar(BASE, ""), "base").unwrap();
    let rw = store.create_rw("c", &base).unwrap();
    assert_eq!(std::fs::metadata(&rw.upper).unwrap().mode() & 0o7777, 0o755);
    let id = store.commit(&request("c", base)).unwrap();
    let detail = store.inspect(&id).unwrap();
    assert_eq!(detail.layers.len(), 1);
    assert!(detail.config.history.last().unwrap().empty_layer);
    assert_eq!(std::fs::read_dir(Path::new(&rw.upper)).unwrap().count(), 0);
}
