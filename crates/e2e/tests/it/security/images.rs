//! Images made to harm whoever imports or loads them.

use anyhow::{Context, Result, ensure};
use e2e::{Host, Ran};
use serde_json::json;

use super::archive::{
    Archive, DEVICE, DIRECTORY, FIFO, HARD_LINK, SYMLINK, config, gzip, saved, saved_layer, sha256,
};
use super::{memory_is_bounded, stored, with_host};

/// What must be true after an archive was refused: nothing is left, the daemon goes on.
fn refused(host: &Host, args: &[&str], archive: &[u8], name: &str) -> Result<Ran> {
    let before = (host.teu().run(&["images", "-aq"])?, stored(&host.data_root())?);
    let ran = host.teu().try_run_with_input(args, archive)?;
    ensure!(ran.code != 0, "{name} was taken by {args:?}: {ran:?}");
    ensure!(!ran.stderr.trim().is_empty() && ran.stderr.len() < 2000, "{name}: {ran:?}");
    ensure!(
        !ran.stderr.trim_end().contains(|c: char| c.is_control() && c != '\n'),
        "{name}: {ran:?}"
    );
    e2e::eventually("nothing is left", || {
        let after = (host.teu().run(&["images", "-aq"])?, stored(&host.data_root())?);
        ensure!(after == before, "{name}: {after:?}, before {before:?}");
        Ok(())
    })?;
    Ok(ran)
}

#[test]
fn hostile_layers_stay_inside_and_leave_nothing() -> Result<()> {
    with_host(|host| {
        let outside = host.scratch().join("outside");
        std::fs::create_dir(&outside)?;
        let target = outside.to_str().context("a text")?;
        let up = "../".repeat(15);
        let archive = Archive::default;
        let deep = "d/".repeat(3000);
        for (name, layer) in [
            ("name with dots", archive().file(&format!("{up}{target}/f"), b"x").end()),
            ("name through dots", archive().file(&format!("a/../{up}{target}/f"), b"x").end()),
            (
                "hard link with dots",
                archive().link(HARD_LINK, "f", &format!("{up}etc/passwd")).end(),
            ),
            ("hard link outside", archive().link(HARD_LINK, "f", "/etc/shadow").end()),
            (
                "cycle of links",
                archive().link(SYMLINK, "a", "b").link(SYMLINK, "b", "a").file("a/f", b"x").end(),
            ),
            ("below a pipe", archive().link(FIFO, "p", "").file("p/f", b"x").end()),
            ("below a device", archive().link(DEVICE, "d", "").file("d/f", b"x").end()),
            ("whiteout of dots", archive().file(".wh...", b"").end()),
            ("whiteout of nothing", archive().file("d/.wh.", b"").end()),
            ("deep tree", archive().link(DIRECTORY, &deep, "").end()),
            ("promise of more", archive().lie("f", 1 << 30)),
            ("promise of far too much", archive().lie("f", 0o77_777_777_777)),
        ] {
            refused(host, &["import", "-", "hostile:1"], &layer, name)?;
            refused(host, &["import", "-", "hostile:1"], &gzip(&layer)?, name)?;
            refused(host, &["load"], &saved_layer(&layer), name)?;
        }
        ensure!(std::fs::read_dir(&outside)?.next().is_none(), "something was made outside");
        memory_is_bounded(host)?;
        host.teu().run(&["run", "--rm", "busybox", "true"])?;
        Ok(())
    })
}

/// What is odd but can be had: it is unpacked where it belongs.
#[test]
fn odd_layers_are_contained() -> Result<()> {
    with_host(|host| {
        let outside = host.scratch().join("outside");
        std::fs::create_dir(&outside)?;
        let target = outside.to_str().context("a text")?;
        let layer = Archive::default()
            .file(&format!("{target}/absolute"), b"x")
            .link(SYMLINK, "link", target)
            .file("link/through", b"x")
            .link(SYMLINK, "up", &format!("{}{target}", "../".repeat(15)))
            .file("up/higher", b"x")
            .link(DEVICE, "memory", "")
            .link(FIFO, "pipe", "")
            .file("bin/sh", &std::fs::read("/bin/busybox")?)
            .end();
        let teu = host.teu();
        teu.try_run_with_input(&["import", "-", "odd:import"], &layer)?.ok()?;
        teu.try_run_with_input(&["load"], &saved_layer(&layer))?.ok()?;
        for image in ["odd:import", "hostile:1"] {
            let script = format!("cd {target} && echo *; : </memory");
            let ran = teu.try_run(&["run", "--rm", image, "sh", "-c", &script])?;
            ensure!(ran.stdout == "absolute higher through\n" && ran.code != 0, "{ran:?}");
            ensure!(ran.stderr.contains("not permitted"), "{ran:?}");
        }
        ensure!(std::fs::read_dir(&outside)?.next().is_none(), "something was made outside");
        Ok(())
    })
}

#[test]
fn bombs_cost_no_memory() -> Result<()> {
    with_host(|host| {
        let bomb = Archive::default().file("zeros", &vec![0; 100 << 20]).end();
        let mut lying = gzip(&bomb)?;
        let size = lying.len() - 4;
        lying[size..].copy_from_slice(&1000u32.to_le_bytes());
        refused(host, &["import", "-", "hostile:1"], &lying, "lying size")?;
        let diff_id = format!("sha256:{}", sha256(&bomb));
        let config = config(&[diff_id]).to_string();
        refused(host, &["load"], &saved(config.as_bytes(), &lying), "lying size")?;
        // An honest one is just a big file; bombs in bombs are not opened.
        let honest = gzip(&bomb)?;
        host.teu().try_run_with_input(&["import", "-", "big:1"], &honest)?.ok()?;
        refused(host, &["import", "-", "hostile:1"], &gzip(&honest)?, "twice compressed")?;
        memory_is_bounded(host)
    })
}

#[test]
fn lies_about_images_are_refused() -> Result<()> {
    with_host(|host| {
        let layer = Archive::default().file("f", b"x").end();
        let diff_id = format!("sha256:{}", sha256(&layer));
        let truth = config(std::slice::from_ref(&diff_id));
        let other = config(&[format!("sha256:{}", sha256(b"other"))]);
        let count = config(&[diff_id.clone(), diff_id.clone()]);
        let mut huge = truth.clone();
        huge["comment"] = "x".repeat(50 << 20).into();
        let nested = format!("{{\"config\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        for (name, config) in [
            ("digest of another layer", other.to_string()),
            ("more layers than there are", count.to_string()),
            ("50 MB of configuration", huge.to_string()),
            ("deeply nested configuration", nested),
            ("layers that are no digests", config(&["../../x".into()]).to_string()),
            ("no configuration", "[]".into()),
            ("not even JSON", "\u{1b}[31m{".into()),
        ] {
            refused(host, &["load"], &saved(config.as_bytes(), &layer), name)?;
        }
        let truth = truth.to_string();
        for (name, manifest) in [
            (
                "layer outside",
                json!([{"Config": "config.json", "Layers": ["../../../etc/passwd"]}]),
            ),
            ("absolute layer", json!([{"Config": "config.json", "Layers": ["/etc/passwd"]}])),
            ("configuration outside", json!([{"Config": "../../etc/passwd", "Layers": ["l.tar"]}])),
            ("linked layer", json!([{"Config": "config.json", "Layers": ["link"]}])),
            ("layer that is a pipe", json!([{"Config": "config.json", "Layers": ["pipe"]}])),
            (
                "name that is none",
                json!([{"Config": "config.json", "RepoTags": ["A\u{1b}:x y"], "Layers": ["l.tar"]}]),
            ),
            ("manifest of another shape", json!({"Config": 7})),
            ("nothing", json!([{}])),
        ] {
            let archive = Archive::default()
                .file("manifest.json", manifest.to_string().as_bytes())
                .file("config.json", truth.as_bytes())
                .link(SYMLINK, "link", "/etc/passwd")
                .link(FIFO, "pipe", "")
                .file("l.tar", &layer)
                .end();
            refused(host, &["load"], &archive, name)?;
        }
        memory_is_bounded(host)
    })
}

/// Indexes that contain themselves, or claim to.
#[test]
fn cycles_of_indexes_end() -> Result<()> {
    with_host(|host| {
        let index = |digest: &str, size: usize| {
            json!({"schemaVersion": 2, "manifests": [{
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "digest": format!("sha256:{digest}"), "size": size}]})
            .to_string()
        };
        let layout = r#"{"imageLayoutVersion":"1.0.0"}"#;
        // No content can name its own digest, so the content lies about it.
        let liar = "1".repeat(64);
        let content = index(&liar, 200);
        let archive = Archive::default()
            .file("oci-layout", layout.as_bytes())
            .file("index.json", index(&liar, content.len()).as_bytes())
            .file(&format!("blobs/sha256/{liar}"), content.as_bytes())
            .end();
        refused(host, &["load"], &archive, "cycle")?;
        // An honest chain, longer than anybody needs.
        let mut archive = Archive::default().file("oci-layout", layout.as_bytes());
        let mut content = json!({"schemaVersion": 2, "manifests": []}).to_string();
        for _ in 0..2000 {
            let digest = sha256(content.as_bytes());
            archive = archive.file(&format!("blobs/sha256/{digest}"), content.as_bytes());
            content = index(&digest, content.len());
        }
        let archive = archive.file("index.json", content.as_bytes()).end();
        refused(host, &["load"], &archive, "chain")?;
        memory_is_bounded(host)
    })
}
