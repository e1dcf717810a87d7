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
    "8021q",
    "macvlan",
    "loop",
    "ext4",
    "quota_v2",
];

/// Inserted after [`SUITES_WITHOUT_BRIDGE_FILTER`].
const BRIDGE_FILTER: &[&str] = &["br_netfilter"];

/// Those that see a kernel whose rules get nothing of what passes between the ports of a bridge.
const SUITES_WITHOUT_BRIDGE_FILTER: &[SuiteOf] = &[
    ("network", &["--test", "it"], &["linked_neighbours_meet_where_the_bridge_keeps_them_apart"]),
    ("e2e", &["--test", "it"], &["links::a_link_opens_ports_where_neighbours_do_not_meet"]),
];

/// A test executable: package, cargo's target, and which of its tests.
type SuiteOf = (&'static str, &'static [&'static str], &'static [&'static str]);

const SUITES: &[SuiteOf] = &[
    ("runtime", &["--lib"], &["cgroup"]),
    ("runtime", &["--test", "it"], &[]),
    ("network", &["--test", "it"], &["macvlan::"]),
    (
        "e2e",
        &["--test", "it"],
        &[
            "containers::teu::exit_codes_name_the_failure",
            "containers::teu::limits_reach_the_cgroup",
            "containers::teu::process_is_confined",
            "containers::teu::init_reaps_and_forwards",
            "lifecycle::teu::pause_freezes",
            "lifecycle::teu::stop_is_graceful_then_forced",
            "lifecycle::teu::top_and_stats",
            "streams::teu::exec_in_all_its_options",
            "files::teu::binds_read_only_and_writable",
            "files::teu::diff_shows_what_changed",
            "options::options_of_cgroups_act",
            "security::apparmor::",
            "layer_quotas::",
            "network::teu::published_port_answers_everywhere",
            "recovery::containers_outlive_the_daemon",
        ],
    ),
];

/// How long the machine may take; beyond it hangs, and says nothing of it.
const PATIENCE: &str = "1200s";

/// By what the end-to-end tests stretch their waits: emulation is an order of magnitude slower.
const STRETCH: u32 = 4;

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
    let inserts = kernel.copy_modules(&tree, MODULES)?;
    let mut bridge_filter = kernel.copy_modules(&tree, BRIDGE_FILTER)?;
    bridge_filter.retain(|module| !inserts.contains(module));
    let mut libraries = copy_product(&tree)?;
    copy_parser(&work, &tree, &mut libraries)?;
    let first = copy_suites(&tree, SUITES_WITHOUT_BRIDGE_FILTER, "plain", &mut libraries)?;
    let suites = copy_suites(&tree, SUITES, "full", &mut libraries)?;
    copy_libraries(&tree, &libraries)?;
    write_init(&tree, &[(inserts, first), (bridge_filter, suites)], filters)?;
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
            unpack_package(work, &format!("linux-image-{package}"), "kernel")?;
        }
        let image = find(&dir.join("boot"), |name| name.starts_with("vmlinuz-"))?;
        let version = image.file_name().and_then(|name| name.to_str()).context("a kernel image")?;
        let version = version.trim_start_matches("vmlinuz-").to_owned();
        crate::run("depmod", &["-b", &dir.to_string_lossy(), &version])?;
        Ok(Self { image, version, dir })
    }

    /// Copies the modules with what they need; returns the order to insert them in.
    fn copy_modules(&self, tree: &Path, modules: &[&str]) -> Result<Vec<String>> {
        let mut order = Vec::new();
        for module in modules {
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

/// Unpacks a package of the distribution into `folder` below `work`, without installing it.
fn unpack_package(work: &Path, package: &str, folder: &str) -> Result<()> {
    run_in(work, "apt-get", &["download", "-qq", package])?;
    let is_it = |name: &str| name.starts_with(&format!("{package}_")) && name.ends_with(".deb");
    let file = find(work, is_it)?;
    run_in(work, "dpkg-deb", &["-x", &file.to_string_lossy(), folder])
}

fn lay_out(tree: &Path) -> Result<()> {
    for dir in [
        "bin", "dev", "etc", "lib64", "modules", "proc", "run", "sbin", "sys", "tests", "tmp",
        "usr/bin", "usr/sbin", "var/lib", "root",
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

/// A test executable in the machine, and which of its tests run.
struct Suite {
    name: String,
    tests: &'static [&'static str],
    /// Tests of a package with binaries have these binaries' paths compiled in.
    shim: PathBuf,
}

/// Where the product's binaries are: `TEU_BIN_DIR`, else built here.
fn product() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("TEU_BIN_DIR") {
        return Ok(PathBuf::from(dir));
    }
    crate::run(
        "cargo",
        &["build", "--release", "--locked", "--quiet", "--bin", "teu", "--bin", "teu-shim"],
    )?;
    Ok(root().join("target/release"))
}

/// Copies the product and what its tests call; answers the libraries these load.
fn copy_product(tree: &Path) -> Result<BTreeSet<String>> {
    let product = product()?;
    let mut libraries = BTreeSet::new();
    for binary in ["teu", "teu-shim"] {
        place(&product.join(binary), &tree.join("usr/bin").join(binary), &mut libraries)?;
    }
    // Dash, because busybox's shell takes its own tar and ip whatever PATH says.
    std::fs::remove_file(tree.join("bin/sh"))?;
    place(Path::new("/bin/dash"), &tree.join("bin/sh"), &mut libraries)?;
    for tool in ["ip", "nft", "setsid", "runc", "tar", "mkfs.ext4", "lsattr"] {
        let path = output("sh", &["-c", &format!("command -v {tool}")])?;
        let target = tree.join(path.trim().trim_start_matches('/'));
        place(Path::new(path.trim()), &target, &mut libraries)?;
        // Busybox has some of them too, and less of each.
        let link = tree.join("bin").join(tool);
        if link.is_symlink() {
            std::fs::remove_file(&link)?;
        }
    }
    Ok(libraries)
}

/// Copies the compiler of AppArmor's profiles, which makes containers have the default one.
fn copy_parser(work: &Path, tree: &Path, libraries: &mut BTreeSet<String>) -> Result<()> {
    let parser = work.join("apparmor/sbin/apparmor_parser");
    if !parser.exists() {
        unpack_package(work, "apparmor", "apparmor")?;
    }
    place(&parser, &tree.join("sbin/apparmor_parser"), libraries)
}

fn copy_suites(
    tree: &Path,
    chosen: &[SuiteOf],
    stage: &str,
    libraries: &mut BTreeSet<String>,
) -> Result<Vec<Suite>> {
    let mut suites = Vec::new();
    for (package, target, tests) in chosen {
        let executable = test_executable(package, target)?;
        let name = format!("{stage}-{package}-{}", suites.len());
        place(&executable, &tree.join("tests").join(&name), libraries)?;
        let built = executable.ancestors().nth(2).context("a test is built in a folder")?;
        suites.push(Suite { name, tests, shim: built.join("teu-shim") });
    }
    Ok(suites)
}

fn copy_libraries(tree: &Path, libraries: &BTreeSet<String>) -> Result<()> {
    for library in libraries {
        let target = tree.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().context("a library has a folder")?)?;
        std::fs::copy(library, target)?;
    }
    Ok(())
}

fn place(from: &Path, to: &Path, libraries: &mut BTreeSet<String>) -> Result<()> {
    std::fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    // A static binary makes ldd fail: nothing to add.
    let shown = output("ldd", &[&from.to_string_lossy()]).unwrap_or_default();
    libraries
        .extend(shown.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
    crate::run("strip", &[&to.to_string_lossy()])
}

fn test_executable(package: &str, target: &[&str]) -> Result<PathBuf> {
    let mut arguments =
        vec!["test", "--package", package, "--no-run", "--locked", "--message-format=json"];
    arguments.extend(target);
    let shown = output("cargo", &arguments)?;
    let executable = shown
        .lines()
        .filter_map(|line| line.split("\"executable\":\"").nth(1)?.split('"').next())
        // Beside it are the package's programs, which lie one folder higher.
        .find(|path| path.contains("/deps/"));
    executable.map(PathBuf::from).with_context(|| format!("{package} has no such tests"))
}

/// The first program: it leaves the initial file system, which no container can pivot away from.
const INIT: &str = "#!/bin/sh
mkdir -p /new
mount --bind / /new
cd /new
mount --move . /
exec chroot . /bin/sh /tests/run
";

const PREPARE: &str = "mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o ptmxmode=666 devpts /dev/pts
for dir in /dev/shm /tmp /run /var/lib; do mount -t tmpfs -o mode=1777 tmpfs $dir; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t securityfs security /sys/kernel/security
export PATH=/bin:/sbin:/usr/bin:/usr/sbin TEU_BIN_DIR=/usr/bin HOME=/root TMPDIR=/tmp RUST_BACKTRACE=0
ip link set lo up
";

/// Modules, and the suites that run once they are inserted.
type Stage = (Vec<String>, Vec<Suite>);

fn write_init(tree: &Path, stages: &[Stage], filters: &[&str]) -> Result<()> {
    let mut script = PREPARE.to_owned();
    writeln!(script, "export TEU_E2E_STRETCH={STRETCH}\nworst=0")?;
    for (inserts, suites) in stages {
        for module in inserts {
            writeln!(script, "insmod /modules/{module} 2>/dev/null")?;
        }
        writeln!(
            script,
            "echo kernel $(uname -r), controllers $(cat /sys/fs/cgroup/cgroup.controllers), \
             bridge filter $(ls -d /proc/sys/net/bridge || echo none)"
        )?;
        for Suite { name, tests, shim } in suites {
            let chosen = if filters.is_empty() { tests } else { filters }.join(" ");
            // Now, as the tree may have been built below what is mounted over.
            let (folder, shim) = (shim.parent().unwrap_or(shim).display(), shim.display());
            writeln!(script, "mkdir -p '{folder}'; ln -sf /usr/bin/teu-shim '{shim}'")?;
            writeln!(
                script,
                "echo suite $(cut -d' ' -f1 /proc/uptime) {name}; \
                 /tests/{name} --test-threads=2 {chosen} || worst=1"
            )?;
        }
    }
    writeln!(script, "echo {VERDICT}$worst\npoweroff -f")?;
    std::fs::write(tree.join("tests/run"), script)?;
    let path = tree.join("init");
    std::fs::write(&path, INIT)?;
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
    let mut machine = Command::new("timeout")
        .args([
            // In our process group, so that an interrupt reaches the machine as well.
            "--foreground",
            PATIENCE,
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "4096",
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
        // A message of the kernel may have begun the line.
        if let Some((_, code)) = line.split_once(VERDICT) {
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
