//! Tests under Debian's own kernel with cgroup v2, in a virtual machine without KVM.
//!
//! The kernel package is unpacked, not installed. The initramfs holds busybox, the product's
//! binaries, the chosen test executables with their libraries, and an init that runs them and says
//! how they ended on the serial console.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{output, root};

const MODULES: &[&str] = &[
    "overlay",
    "veth",
    "bridge",
    "nf_tables",
    "nft_chain_nat",
    "nft_ct",
    "nft_masq",
    "nft_nat",
    "nft_fib_ipv4",
    "nft_fib_inet",
    "nft_redir",
    "nf_conntrack",
    "br_netfilter",
    "loop",
    "ext4",
];

/// Test executables that run in the machine, and which of their tests.
const SUITES: &[(&str, &[&str])] = &[
    ("runtime", &[]),
    ("e2e", &["containers::teu", "lifecycle::teu", "streams::teu::exec", "files::teu::binds"]),
];

/// The line the init prints when everything ran, with the worst exit code.
const VERDICT: &str = "vm-test-exit:";

/// Boots and runs; `filters` replace the default choice of tests.
pub(crate) fn run(filters: &[&str]) -> Result<()> {
    let work = root().join("target/vm");
    std::fs::create_dir_all(&work)?;
    let kernel = Kernel::unpack(&work)?;
    let tree = work.join("root");
    if tree.exists() {
        std::fs::remove_dir_all(&tree)?;
    }
    lay_out(&tree)?;
    let inserts = kernel.copy_modules(&tree)?;
    let suites = copy_binaries(&tree)?;
    write_init(&tree, &inserts, &suites, filters)?;
    let image = work.join("initramfs");
    pack(&tree, &image)?;
    boot(&kernel.image, &image)
}

struct Kernel {
    image: PathBuf,
    version: String,
    dir: PathBuf,
}

impl Kernel {
    fn unpack(work: &Path) -> Result<Self> {
        let dir = work.join("kernel");
        if !dir.join("boot").is_dir() {
            let depends = output("apt-cache", &["depends", "linux-image-cloud-amd64"])?;
            let package = depends
                .lines()
                .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
                .context("linux-image-cloud-amd64 names no kernel")?;
            let package = format!("linux-image-{package}");
            let status = Command::new("apt-get")
                .args(["download", "-qq", &package])
                .current_dir(work)
                .status()?;
            if !status.success() {
                bail!("apt-get download {package} ended with {status}");
            }
            let file = find(work, |name| name.starts_with(&package) && name.ends_with(".deb"))?;
            run_in(work, "dpkg-deb", &["-x", &file.to_string_lossy(), "kernel"])?;
        }
        let image = find(&dir.join("boot"), |name| name.starts_with("vmlinuz-"))?;
        let version = image.file_name().and_then(|name| name.to_str()).context("a kernel image")?;
        let version = version.trim_start_matches("vmlinuz-").to_owned();
        crate::run("depmod", &["-b", &dir.to_string_lossy(), &version])?;
        Ok(Self { image, version, dir })
    }

    /// Copies the modules with what they need; returns the order to insert them in.
    fn copy_modules(&self, tree: &Path) -> Result<Vec<String>> {
        let mut order = Vec::new();
        for module in MODULES {
            let dir = self.dir.to_string_lossy();
            let arguments = ["-d", &dir, "-S", &self.version, "--show-depends", module];
            // What this kernel has built in, or not at all, has nothing to insert.
            let shown = output("modprobe", &arguments).unwrap_or_default();
            for path in shown.lines().filter_map(|line| line.strip_prefix("insmod ")) {
                let path = Path::new(path.trim());
                let name = path.file_name().and_then(|name| name.to_str()).context("a module")?;
                if !order.iter().any(|known| known == name) {
                    std::fs::copy(path, tree.join("modules").join(name))?;
                    order.push(name.to_owned());
                }
            }
        }
        Ok(order)
    }
}

fn lay_out(tree: &Path) -> Result<()> {
    for dir in [
        "bin", "dev", "etc", "lib64", "modules", "proc", "run", "sys", "tests", "tmp", "usr/bin",
        "usr/sbin", "var/lib", "root",
    ] {
        std::fs::create_dir_all(tree.join(dir))?;
    }
    std::fs::copy("/bin/busybox", tree.join("bin/busybox")).context("package busybox-static")?;
    let applets = output("/bin/busybox", &["--list"])?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", tree.join("bin").join(applet))?;
    }
    std::fs::write(tree.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    std::fs::write(tree.join("etc/group"), "root:x:0:\n")?;
    std::fs::write(tree.join("etc/resolv.conf"), "nameserver 127.0.0.1\n")?;
    std::fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    Ok(())
}

/// Copies binaries and the libraries they load; returns (suite, file name, filters).
fn copy_binaries(tree: &Path) -> Result<Vec<(&'static str, String)>> {
    crate::run(
        "cargo",
        &["build", "--release", "--locked", "--quiet", "--bin", "teu", "--bin", "teu-shim"],
    )?;
    let mut libraries = BTreeSet::new();
    for binary in ["teu", "teu-shim"] {
        place(
            &root().join("target/release").join(binary),
            &tree.join("usr/bin").join(binary),
            &mut libraries,
        )?;
    }
    for tool in ["ip", "nft", "setsid", "runc", "tar"] {
        let path = output("sh", &["-c", &format!("command -v {tool}")])?;
        let link = tree.join("bin").join(tool);
        if link.is_symlink() {
            std::fs::remove_file(&link)?;
        }
        place(Path::new(path.trim()), &link, &mut libraries)?;
    }
    let mut suites = Vec::new();
    for (package, _) in SUITES {
        for executable in test_executables(package)? {
            let name = format!("{package}-{}", suites.len());
            place(&executable, &tree.join("tests").join(&name), &mut libraries)?;
            suites.push((*package, name));
        }
    }
    for library in libraries {
        let target = tree.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().context("a library has a folder")?)?;
        std::fs::copy(&library, target)?;
    }
    Ok(suites)
}

fn place(from: &Path, to: &Path, libraries: &mut BTreeSet<String>) -> Result<()> {
    std::fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    // A static binary makes ldd fail: nothing to add.
    let shown = output("ldd", &[&from.to_string_lossy()]).unwrap_or_default();
    libraries
        .extend(shown.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
    Ok(())
}

fn test_executables(package: &str) -> Result<Vec<PathBuf>> {
    let arguments =
        ["test", "--package", package, "--no-run", "--locked", "--message-format=json", "--quiet"];
    let shown = output("cargo", &arguments)?;
    let executables = shown
        .lines()
        .filter(|line| line.contains("\"test\":true"))
        .filter_map(|line| line.split("\"executable\":\"").nth(1)?.split('"').next())
        .map(PathBuf::from)
        .collect();
    Ok(executables)
}

fn write_init(
    tree: &Path,
    inserts: &[String],
    suites: &[(&str, String)],
    filters: &[&str],
) -> Result<()> {
    let mut init = String::from(
        "#!/bin/sh\nmount -t proc proc /proc\nmount -t sysfs sysfs /sys\nmount -t devtmpfs dev /dev\n\
         mkdir -p /dev/pts /dev/shm\nmount -t devpts -o ptmxmode=666 devpts /dev/pts\n\
         mount -t tmpfs tmpfs /tmp\nmount -t tmpfs tmpfs /run\nmount -t tmpfs tmpfs /var/lib\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c > /sys/fs/cgroup/cgroup.subtree_control; done\n\
         ip link set lo up\n\
         export PATH=/bin:/usr/bin:/usr/sbin TEU_BIN_DIR=/usr/bin HOME=/root TMPDIR=/tmp\n",
    );
    for module in inserts {
        writeln!(init, "insmod /modules/{module} 2>/dev/null")?;
    }
    init.push_str(
        "echo kernel $(uname -r), controllers $(cat /sys/fs/cgroup/cgroup.controllers)\nworst=0\n",
    );
    for (package, name) in suites {
        let defaults =
            SUITES.iter().find(|(suite, _)| suite == package).map_or(&[][..], |(_, tests)| *tests);
        let chosen = if filters.is_empty() { defaults } else { filters };
        writeln!(
            init,
            "echo suite {name}; /tests/{name} --test-threads=2 {} || worst=1",
            chosen.join(" ")
        )?;
    }
    writeln!(init, "echo {VERDICT}$worst\npoweroff -f")?;
    let path = tree.join("init");
    std::fs::write(&path, init)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn pack(tree: &Path, image: &Path) -> Result<()> {
    let script = format!(
        "find . | /bin/busybox cpio -o -H newc 2>/dev/null | gzip -1 > '{}'",
        image.display()
    );
    run_in(tree, "sh", &["-c", &script])
}

fn boot(kernel: &Path, image: &Path) -> Result<()> {
    let mut machine = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "3072",
            "-nographic",
            "-no-reboot",
            "-nic",
            "none",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .args(["-append", "console=ttyS0 quiet panic=-1 cgroup_no_v1=all"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start qemu-system-x86_64 (package qemu-system-x86)")?;
    let console = machine.stdout.take().context("the console is piped")?;
    let mut verdict = None;
    for line in BufReader::new(console).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        println!("{line}");
        if let Some(code) = line.strip_prefix(VERDICT) {
            verdict = Some(code == "0");
        }
    }
    machine.wait()?;
    match verdict {
        Some(true) => Ok(()),
        Some(false) => bail!("a test failed in the virtual machine"),
        None => bail!("the virtual machine ended before its tests did"),
    }
}

fn find(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&wanted) {
            return Ok(entry.path());
        }
    }
    bail!("nothing fitting in {}", dir.display())
}

fn run_in(dir: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let status = Command::new(program).args(arguments).current_dir(dir).status()?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}
