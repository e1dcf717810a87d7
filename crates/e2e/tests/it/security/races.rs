//! Links that lead out, swapped while somebody walks over them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use e2e::Host;

use super::archive::{Archive, SYMLINK};
use super::with_host;

const ROUNDS: usize = 20;
const SECRET: &str = "the host's secret";

/// A directory of the host that must neither change nor be seen.
struct Outside(PathBuf);

impl Outside {
    fn new(host: &Host) -> Result<Self> {
        let path = host.scratch().join("outside");
        fs::create_dir(&path)?;
        fs::write(path.join("secret"), SECRET)?;
        Ok(Self(path))
    }

    fn is_untouched(&self) -> Result<()> {
        let names: Vec<_> =
            fs::read_dir(&self.0)?.map(|e| e.map(|e| e.file_name())).collect::<Result<_, _>>()?;
        ensure!(names == ["secret"], "{names:?}");
        ensure!(fs::read_to_string(self.0.join("secret"))? == SECRET);
        Ok(())
    }

    /// A shell loop that makes `path` a directory and a link here by turns.
    fn swapping(&self, path: &str) -> String {
        let target = self.0.display();
        format!(
            "mkdir -p {path}.dir; echo inside >{path}.dir/secret; ln -s {target} {path}.link; \
             while :; do mv {path}.dir {path}; mv {path} {path}.dir; \
             mv {path}.link {path}; mv {path} {path}.link; done"
        )
    }
}

/// CVE-2018-15664.
#[test]
fn copies_stay_inside_while_links_are_swapped() -> Result<()> {
    with_host(|host| {
        let teu = host.teu();
        let outside = Outside::new(host)?;
        teu.run(&[
            "run",
            "-d",
            "--name",
            "box",
            "busybox",
            "sh",
            "-c",
            &outside.swapping("/swap"),
        ])?;
        let file = host.scratch().join("file");
        fs::write(&file, "payload")?;
        let back = host.scratch().join("back");
        for _ in 0..ROUNDS {
            // Whether it finds the directory is luck; where it writes and reads is not.
            teu.try_run(&["cp", &text(&file), "box:/swap/file"])?;
            outside.is_untouched()?;
            let ran = teu.try_run(&["cp", "box:/swap/secret", &text(&back)])?;
            if ran.code == 0 && back.exists() {
                ensure!(fs::read_to_string(&back)? != SECRET, "cp read outside");
                fs::remove_file(&back)?;
            }
        }
        let exported = teu.try_run(&["export", "box"])?;
        ensure!(!exported.stdout.contains(SECRET), "export read outside");
        Ok(())
    })
}

/// CVE-2019-16884, CVE-2021-30465 and CVE-2023-27561: a volume shared with a hostile container.
#[test]
fn mounts_stay_inside_while_links_are_swapped() -> Result<()> {
    with_host(|host| {
        let teu = host.teu();
        let outside = Outside::new(host)?;
        let attack = outside.swapping("/shared/swap");
        teu.run(&[
            "run",
            "-d",
            "--name",
            "box",
            "-v",
            "shared:/shared",
            "busybox",
            "sh",
            "-c",
            &attack,
        ])?;
        for _ in 0..ROUNDS {
            // It starts or it does not; nothing of the host is seen or made.
            let ran = teu.try_run(&[
                "run",
                "--rm",
                "-v",
                "shared:/shared",
                "-v",
                "other:/shared/swap/below",
                "busybox",
                "sh",
                "-c",
                "cat /shared/swap/secret; grep outside /proc/self/mountinfo",
            ])?;
            ensure!(!ran.stdout.contains(SECRET), "{ran:?}");
            outside.is_untouched()?;
        }
        Ok(())
    })
}

/// Links of the image decide neither what fills a volume nor where things are mounted.
#[test]
fn links_in_the_image_lead_nowhere() -> Result<()> {
    with_host(|host| {
        let teu = host.teu();
        let outside = Outside::new(host)?;
        let target = outside.0.display();
        let script = format!(
            "ln -s {target} /data; mkdir /inner; ln -s {target}/secret /inner/file; \
             ln -s {target} /inner/directory; ln -s /../../../../../../{target} /up"
        );
        teu.run(&["run", "--name", "maker", "busybox", "sh", "-c", &script])?;
        teu.run(&["commit", "maker", "hostile"])?;
        for destination in ["/data", "/inner", "/up", "/data/new", "/inner/directory"] {
            let mount = format!("{}:{destination}", host.scratch().join("bind").display());
            let volume = format!("v{}:{destination}", destination.replace('/', "_"));
            for mount in [&mount, &volume] {
                let script = format!(
                    "ls -R {destination}; cat {destination}/* {destination}/*/*; echo x >{destination}/made"
                );
                let ran =
                    teu.try_run(&["run", "--rm", "-v", mount, "hostile", "sh", "-c", &script])?;
                ensure!(!ran.stdout.contains(SECRET), "{mount}: {ran:?}");
                outside.is_untouched()?;
            }
        }
        // The files that are made for every container.
        let archive = Archive::default()
            .link(SYMLINK, "etc", &text(&outside.0))
            .file("bin/sh", &fs::read("/bin/busybox")?)
            .end();
        teu.try_run_with_input(&["import", "-", "linked"], &archive)?.ok()?;
        teu.run(&["run", "--rm", "linked", "sh", "-c", "exit"])?;
        outside.is_untouched()
    })
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
