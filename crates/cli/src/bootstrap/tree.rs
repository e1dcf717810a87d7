//! What debootstrap's tree needs to become an image.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::sources::Sources;

/// Package files and indexes are of no use in a layer: they are fetched again when needed.
const APT: &str = r#"// This image keeps no package files and no index caches.
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };
APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true"; };

// Indexes stay compressed, and come in no other language.
Acquire::GzipIndexes "true";
Acquire::Languages "none";

// A package that is only suggested keeps no other one installed.
APT::AutoRemove::SuggestsImportant "false";
"#;
const DPKG: &str = "# A build that is interrupted starts again, so nothing is gained by syncing each file.\nforce-unsafe-io\n";
const POLICY: &str = "#!/bin/sh\n# Installing a package starts no service in a container: its command decides what runs.\nexit 101\n";

/// Directories whose content is left behind.
const EMPTIED: [&str; 7] =
    ["var/lib/apt/lists", "var/cache/apt/archives", "var/log/apt", "tmp", "var/tmp", "run", "dev"];
const REMOVED: [&str; 11] = [
    "debootstrap",
    "etc/apt/sources.list",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/cache/ldconfig/aux-cache",
    "var/lib/dbus/machine-id",
    "var/log/alternatives.log",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
    "var/log/faillog",
    "var/log/lastlog",
];
/// Written anew for every container.
const BLANK: [&str; 3] = ["etc/machine-id", "etc/hostname", "etc/resolv.conf"];

/// Tells when the suite was released, in Unix seconds; the newest time that files get.
pub(crate) fn release_date(root: &Path) -> Option<u64> {
    let lists = fs::read_dir(root.join("var/lib/apt/lists")).ok()?;
    let mut dates: Vec<u64> = lists
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with("Release"))
        .filter_map(|path| parse_release_date(&fs::read_to_string(path).ok()?))
        .collect();
    dates.sort_unstable();
    dates.pop()
}

fn parse_release_date(release: &str) -> Option<u64> {
    let line = release.lines().find_map(|line| line.strip_prefix("Date:"))?;
    let text = line.trim().replace("UTC", "+0000");
    let date = jiff::fmt::rfc2822::parse(&text).ok()?;
    u64::try_from(date.timestamp().as_second()).ok()
}

/// Cleans the tree and writes the image's own configuration.
pub(crate) fn finish(root: &Path, sources: &Sources) -> io::Result<()> {
    for directory in EMPTIED {
        empty(&root.join(directory))?;
    }
    fs::create_dir_all(root.join("var/lib/apt/lists/partial"))?;
    fs::create_dir_all(root.join("var/cache/apt/archives/partial"))?;
    for path in REMOVED {
        remove(&root.join(path))?;
    }
    for path in BLANK {
        let path = root.join(path);
        // A link here points out of the tree.
        remove(&path)?;
        fs::write(path, "")?;
    }
    let write = |path: &str, text: &str, mode: u32| {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
    };
    let name = if sources.to_deb822().contains("ubuntu") { "ubuntu" } else { "debian" };
    write(&format!("etc/apt/sources.list.d/{name}.sources"), &sources.to_deb822(), 0o644)?;
    write("etc/apt/apt.conf.d/90container", APT, 0o644)?;
    write("etc/dpkg/dpkg.cfg.d/90container", DPKG, 0o644)?;
    write("usr/sbin/policy-rc.d", POLICY, 0o755)
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn empty(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        remove(&entry?.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_dates_parse() {
        let release = "Origin: Debian\nDate: Sat, 11 Jan 2025 09:12:11 UTC\nComponents: main\n";
        assert_eq!(parse_release_date(release), Some(1_736_586_731));
    }
}
