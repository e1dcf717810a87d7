//! Every option of `run`: what it does, seen from outside, twice, and the page that says so.
//!
//! [`table::rows`] has a row per option. A row with arguments is a container: what inspect shows
//! and what the process sees is looked at, then the daemon is restarted, and both must be the same
//! at the next start. `docs/options.md` is the same table for people; a stale one fails here.

mod acts;
mod acts_of_cgroups;
mod acts_of_engine;
mod hooks;
mod kept;
mod log_services;
mod logs;
mod page;
mod table;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use e2e::{Host, HostOptions, Program};
use serde_json::Value;

use crate::World;
use table::{Check, Row, rows};

/// What this machine puts in place of words in braces.
struct Place {
    /// A block device.
    disk: String,
    /// Its numbers, `major:minor`.
    numbers: String,
    /// A directory of files that options name.
    scratch: String,
    /// A port that nobody has.
    port: u16,
}

impl Place {
    fn find(host: &Host, devices: &Path) -> Result<Self> {
        let disk = std::fs::read_dir("/sys/block")?.flatten().find(|entry| {
            let name = entry.file_name();
            Path::new("/dev").join(&name).exists() && !name.display().to_string().starts_with("ram")
        });
        let disk = disk.context("no block device")?;
        let numbers = std::fs::read_to_string(disk.path().join("dev"))?.trim().to_owned();
        let scratch = host.scratch().join("files");
        std::fs::create_dir(&scratch)?;
        std::fs::write(scratch.join("env"), "# a comment\nFROM_FILE=yes\n")?;
        std::fs::write(scratch.join("labels"), "from.file=yes\n")?;
        std::fs::write(scratch.join("spaced"), "a b=c\n")?;
        std::fs::write(scratch.join("note"), "ahoy\n")?;
        std::fs::write(devices.join("sail.json"), table::DEVICES)?;
        std::fs::write(scratch.join("seccomp.json"), table::PROFILE)?;
        Ok(Self {
            disk: format!("/dev/{}", disk.file_name().display()),
            numbers,
            scratch: scratch.display().to_string(),
            port: std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
        })
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{disk}", &self.disk)
            .replace("{numbers}", &self.numbers)
            .replace("{scratch}", &self.scratch)
            .replace("{port}", &self.port.to_string())
    }
}

#[test]
fn every_option_acts_and_is_kept_with_teu() -> Result<()> {
    options_act(Program::Teu, Part::Everything)
}

#[test]
fn every_option_acts_and_is_kept_with_docker() -> Result<()> {
    options_act(Program::Docker, Part::Everything)
}

/// The options whose work is done by cgroups, of which there are two kinds.
const OF_CGROUPS: &str = "blkio-weight blkio-weight-device cgroup-parent cgroupns cpu-period cpu-quota \
    cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems device device-cgroup-rule \
    device-read-bps device-read-iops device-write-bps device-write-iops memory memory-reservation \
    memory-swap memory-swappiness oom-kill-disable pids-limit privileged";

/// Part of the test above, for `cargo xtask vm-test`: there the cgroups are of the other kind.
#[test]
fn options_of_cgroups_act() -> Result<()> {
    options_act(Program::Teu, Part::EffectsOfCgroups)
}

/// What of the table is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Everything,
    /// What the rows of [`OF_CGROUPS`] do, once. What they refuse is the same with cgroups of any
    /// kind, and so is what is kept.
    EffectsOfCgroups,
}

impl Part {
    fn has(self, row: &Row) -> bool {
        let is_named = |name| row.option.trim_start_matches("--") == name;
        self == Self::Everything || OF_CGROUPS.split_whitespace().any(is_named)
    }
}

fn options_act(program: Program, part: Part) -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let devices = tempfile::tempdir()?;
    let flags = vec!["--cdi-spec-dir".to_owned(), devices.path().display().to_string()];
    let host = Host::start_with(HostOptions { flags, ..HostOptions::default() })?;
    host.load_busybox()?;
    let mut world = World { client: host.client(program), host };
    let place = Place::find(&world.host, devices.path())?;
    donor(&world)?;
    let mut failed = Vec::new();
    let mut kept = Vec::new();
    for (number, row) in rows().filter(|row| part.has(row)).enumerate() {
        let name = format!("row{number}");
        match first_run(&world, &place, row, &name, part) {
            Ok(Some(shown)) => kept.push((row, name, shown)),
            Ok(None) => {}
            Err(error) => {
                failed.push(format!("{}: {error:#}", row.option));
                // What the row's own look left would fail those after it.
                let _ = world.client.try_run(&["rm", "-f", "cc"]);
            }
        }
    }
    world.host.stop_daemon()?;
    world.host.start_daemon()?;
    for (row, name, shown) in kept {
        if let Err(error) = second_run(&world, &place, row, &name, &shown) {
            failed.push(format!("{} after a restart of the daemon: {error:#}", row.option));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{} fail\n{}", failed.len(), failed.join("\n")) }
}

/// The container that others share something with.
fn donor(world: &World) -> Result<()> {
    let args = ["run", "-d", "--name", "donor", "--ipc", "shareable", "-v", "/shared"];
    world.client.run(&[&args[..], &["busybox", "sleep", "6000"]].concat()).map(drop)
}

/// Makes the row's container, if it has one, and looks; returns what inspect shows.
fn first_run(
    world: &World,
    place: &Place,
    row: &Row,
    name: &str,
    part: Part,
) -> Result<Option<Value>> {
    for check in row.checks {
        match check {
            Check::Refuses(args, message) if part == Part::Everything => {
                refuses(world, place, args, message)?;
            }
            Check::Does(act) => act(world)?,
            _ => {}
        }
    }
    if row.args.is_empty() || part == Part::EffectsOfCgroups && row.says().is_none() {
        return Ok(None);
    }
    let args: Vec<String> = row.args.iter().map(|word| place.fill(word)).collect();
    let script = place.fill(row.script());
    if part == Part::EffectsOfCgroups {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        return says(place, row, &acts::once(world, &words, &script)?).map(|()| None);
    }
    let mut words = vec!["create", "--name", name];
    words.extend(args.iter().map(String::as_str));
    words.extend(["busybox", "sh", "-c", &script]);
    let made = world.client.try_run(&words)?;
    ensure!(made.code == 0, "{made:?}");
    looks(world, place, row, name)?;
    Ok(Some(configuration(world, name)?))
}

fn second_run(world: &World, place: &Place, row: &Row, name: &str, before: &Value) -> Result<()> {
    let after = configuration(world, name)?;
    ensure!(after == *before, "inspect shows {after}, before {before}");
    runs(world, place, row, name)
}

fn looks(world: &World, place: &Place, row: &Row, name: &str) -> Result<()> {
    for check in row.checks {
        if let Check::Shows(template, wanted) = check {
            let shown = world.client.run(&["inspect", "-f", template, name])?;
            let wanted = place.fill(wanted);
            ensure!(shown.trim() == wanted, "{template} is {shown:?}, not {wanted:?}");
        }
    }
    runs(world, place, row, name)
}

/// Starts the container and compares what its process says.
fn runs(world: &World, place: &Place, row: &Row, name: &str) -> Result<()> {
    if row.says().is_none() {
        return Ok(());
    }
    let ran = world.client.try_run(&["start", "-a", name])?;
    says(place, row, &ran.stdout).with_context(|| format!("{ran:?}"))
}

fn says(place: &Place, row: &Row, said: &str) -> Result<()> {
    let Some(wanted) = row.says() else { return Ok(()) };
    let said = said.trim().replace("\r\n", "\n");
    let fits = wanted.iter().any(|wanted| place.fill(wanted) == said);
    ensure!(fits, "it says {said:?}, not {wanted:?}");
    Ok(())
}

fn refuses(world: &World, place: &Place, args: &[&str], message: &str) -> Result<()> {
    let args: Vec<String> = args.iter().map(|word| place.fill(word)).collect();
    // The two do not go together, which would be told first.
    let mut words = vec!["run"];
    words.extend((!args.iter().any(|word| word == "--restart")).then_some("--rm"));
    words.extend(args.iter().map(String::as_str));
    words.extend(["busybox", "true"]);
    let ran = world.client.try_run(&words)?;
    let message = place.fill(message);
    let told = message.split(" | ").any(|message| ran.stderr.contains(message));
    ensure!(ran.code != 0 && told, "not {message:?}: {ran:?}");
    Ok(())
}

/// All of inspect that the user decided.
fn configuration(world: &World, name: &str) -> Result<Value> {
    let shown: Value = serde_json::from_str(&world.client.run(&["inspect", name])?)?;
    Ok(serde_json::json!([shown[0]["Config"], shown[0]["HostConfig"], shown[0]["Mounts"]]))
}

/// The reference list, with those that came later.
const REFERENCE: &str = "add-host annotation attach blkio-weight blkio-weight-device cap-add \
    cap-drop cgroup-parent cgroupns cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period \
    cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems detach detach-keys device \
    device-cgroup-rule device-read-bps device-read-iops device-write-bps device-write-iops \
    disable-content-trust dns dns-opt dns-option dns-search domainname entrypoint env env-file expose \
    gpus group-add health-cmd health-interval health-retries health-start-interval \
    health-start-period health-timeout help hostname init interactive io-maxbandwidth io-maxiops ip \
    ip6 ipc isolation kernel-memory label label-file link link-local-ip log-driver log-opt \
    mac-address memory memory-reservation memory-swap memory-swappiness mount name net net-alias \
    network network-alias no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform \
    privileged publish publish-all pull quiet read-only restart rm runtime security-opt shm-size \
    sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty ulimit use-api-socket user userns \
    uts volume volume-driver volumes-from workdir";

#[test]
fn no_option_is_forgotten() -> Result<()> {
    let rows: BTreeSet<&str> = rows().map(|row| row.option.trim_start_matches("--")).collect();
    let mut known: BTreeSet<String> = REFERENCE.split_whitespace().map(str::to_owned).collect();
    let docker = std::process::Command::new("docker").args(["run", "--help"]).output();
    let teu =
        std::process::Command::new(e2e::bin_dir().join("teu")).args(["run", "--help"]).output();
    for help in docker.into_iter().chain(teu) {
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let words = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
        let is_name = |word: &str| {
            word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        known.extend(words.filter(|word| is_name(word) && !word.is_empty()).map(str::to_owned));
    }
    let missing: Vec<&String> = known.iter().filter(|name| !rows.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "no row for {missing:?}");
    Ok(())
}
