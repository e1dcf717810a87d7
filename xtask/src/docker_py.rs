//! docker-py's own integration tests against a daemon of ours.
//!
//! The suite is the user's copy of docker-py's `tests` folder; nothing of it is kept here.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{output, root, run};

/// The modules that concern what this engine has.
const MODULES: &[&str] = &[
    "api_container_test.py",
    "api_exec_test.py",
    "api_image_test.py",
    "api_volume_test.py",
    "models_containers_test.py",
    "models_images_test.py",
    "models_volumes_test.py",
];

/// `--suite PATH`: docker-py's checkout.
pub(crate) fn run_suite(options: &[&str]) -> Result<()> {
    let ["--suite", suite, rest @ ..] = options else {
        bail!(
            "usage: cargo xtask e2e docker-py --suite PATH [PYTEST-OPTION…], PATH a checkout of docker-py"
        );
    };
    let suite = Path::new(suite);
    let tests = suite.join("tests/integration");
    if !tests.is_dir() {
        bail!("{} has no tests/integration", suite.display());
    }
    run(
        "cargo",
        &["build", "--release", "--locked", "--quiet", "--bin", "teu", "--bin", "teu-shim"],
    )?;
    let dir = root().join("target/docker-py");
    let venv = dir.join("venv");
    if !venv.is_dir() {
        std::fs::create_dir_all(&dir)?;
        run("python3", &["-m", "venv", &venv.to_string_lossy()])?;
        let pip = venv.join("bin/pip").to_string_lossy().into_owned();
        run(&pip, &["install", "--quiet", "pytest", "pytest-timeout", "docker", "paramiko"])?;
    }
    let teu = root().join("target/release/teu");
    let socket = format!("unix://{}", dir.join("sock").display());
    let mut daemon = Command::new(&teu)
        .args(["daemon", "--bridge", "teupy0", "-H", &socket, "--data-root"])
        .arg(dir.join("data"))
        .arg("--exec-root")
        .arg(dir.join("run"))
        .arg("--pidfile")
        .arg(dir.join("pid"))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(dir.join("log"))?)
        .stderr(Stdio::null())
        .spawn()?;
    let result = judge(&teu, &socket, &tests, &venv, rest);
    daemon.kill().context("end the daemon")?;
    daemon.wait()?;
    result
}

fn judge(teu: &Path, socket: &str, tests: &Path, venv: &Path, rest: &[&str]) -> Result<()> {
    let teu = teu.to_string_lossy().into_owned();
    let start = Instant::now();
    while output(&teu, &["-H", socket, "ps"]).is_err() {
        if start.elapsed() > Duration::from_secs(10) {
            bail!("the daemon does not answer on {socket}");
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let import = format!(
        "d=$(mktemp -d) && mkdir -p $d/bin $d/tmp $d/etc && cp /bin/busybox $d/bin/ && \
         for a in $(busybox --list | grep -vx busybox); do ln -s busybox $d/bin/$a; done && \
         printf 'root:x:0:0:root:/root:/bin/sh\\ndefault:x:1000:1000::/:/bin/sh\\n' > $d/etc/passwd && \
         printf 'root:x:0:\\ndefault:x:1000:\\n' > $d/etc/group && \
         tar -C $d -c . | '{teu}' -H {socket} import -c 'CMD [\"sh\"]' - busybox:latest && rm -rf $d"
    );
    run("sh", &["-c", &import])?;
    let status = Command::new(venv.join("bin/python"))
        .args(["-m", "pytest", "-q", "--timeout=60", "-p", "no:cacheprovider"])
        .args(MODULES.iter().map(|module| tests.join(module)))
        .args(rest)
        .env("DOCKER_HOST", socket)
        .status()?;
    if !status.success() {
        bail!("docker-py's tests ended with {status}; the known ones are in docs/deviations.md");
    }
    Ok(())
}
