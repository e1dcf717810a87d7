//! What options did is the same after every kind of end: stop and start, a killed daemon, restart.
//!
//! [`GROUPS`] puts the table's rows together in few containers. Their scripts run as the container's
//! own process, which then waits, and once more by `exec`; what both say must not change, and
//! neither may what inspect shows.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use e2e::{Host, HostOptions, Program, eventually};
use serde_json::Value;

use super::acts::shows;
use super::table::{self, rows};
use super::{Place, configuration, donor};
use crate::World;

/// A container with several options.
struct Group {
    name: &'static str,
    /// Rows of the table, without dashes, whose arguments and scripts it has.
    rows: &'static str,
    /// Options beside those of the rows: name of the option, its words and a script.
    more: &'static [More],
    /// What else is looked at, from outside.
    look: Option<fn(&World, &str) -> Result<String>>,
}

/// An option with arguments that the table does not have, or not so that it can be repeated.
struct More {
    option: &'static str,
    args: &'static [&'static str],
    script: &'static str,
    /// What the script says; empty: whatever it said first.
    says: &'static str,
}

const fn more(
    option: &'static str,
    args: &'static [&'static str],
    script: &'static str,
    says: &'static str,
) -> More {
    More { option, args, script, says }
}

const fn group(name: &'static str, rows: &'static str, more: &'static [More]) -> Group {
    Group { name, rows, more, look: None }
}

static GROUPS: &[Group] = &[
    group(
        "limits",
        "blkio-weight cpu-period cpu-quota cpu-shares cpuset-cpus cpuset-mems \
         device device-cgroup-rule device-read-bps device-read-iops device-write-bps \
         device-write-iops memory-reservation memory-swap memory-swappiness oom-kill-disable \
         oom-score-adj pids-limit shm-size ulimit",
        &[],
    ),
    group(
        "words",
        "annotation cpus dns dns-option dns-search domainname env env-file expose group-add \
         health-interval health-retries health-start-interval health-start-period health-timeout \
         hostname init isolation label label-file link link-local-ip log-driver log-opt mac-address \
         memory stop-signal stop-timeout sysctl tmpfs",
        &[],
    ),
    group("rights", "cap-drop no-healthcheck read-only security-opt", &[]),
    group("user", "add-host cgroupns dns-opt entrypoint user workdir", &[]),
    group(
        "places",
        "cap-add mount volume-driver volumes-from",
        &[
            more(
                "volume",
                &["-v", "kept:/kept", "-v", "/anonymous"],
                // The container's own layer is the third witness.
                "for log in /log /kept/log /anonymous/log; do echo x >>$log; done; \
                 cmp /log /kept/log && cmp /log /anonymous/log && echo alike",
                "alike",
            ),
            more(
                "use-api-socket",
                &["--use-api-socket"],
                "ls -l /var/run/docker.sock | cut -c1",
                "s",
            ),
        ],
    ),
    group("joined", "ipc network pid userns uts", &[]),
    group("alone", "net privileged", &[]),
    group("terminal", "tty", &[more("interactive", &["-i"], "", "")]),
    Group {
        name: "elsewhere",
        rows: "",
        more: &[
            more("cgroup-parent", &["--cgroup-parent", "/harbour"], "", ""),
            more("runtime", &["--runtime", "runc"], "", ""),
            more("health-cmd", &["--health-cmd", "true", "--health-interval", "100ms"], "", ""),
            more("publish-all", &["--expose", "8080", "-P"], "", ""),
            more("health-on-failure", &["--health-on-failure", "kill"], "", ""),
            more("restart", &["--restart", "on-failure:3"], "", ""),
        ],
        look: Some(elsewhere),
    },
    Group {
        name: "member",
        rows: "",
        more: &[
            more("ip", &["--net", "kept", "--ip", "10.230.77.9"], ADDRESSES, ""),
            more("ip6", &["--ip6", "fd00:230:77::9"], "", ""),
            more("network-alias", &["--network-alias", "db"], "", ""),
            more("net-alias", &["--net-alias", "store"], "", ""),
            more("publish", &["-p", "127.0.0.1:{port}:8080"], "", ""),
        ],
        look: Some(member),
    },
];

/// Without the number of the interface, which is the host's to choose.
const ADDRESSES: &str = "ip -o addr show eth0 | grep -v ' fe80' | tr -s ' ' | cut -d' ' -f2-4";

/// Options that leave nothing in a container that could be kept, or are looked at elsewhere.
const ELSEWHERE: &[(&str, &str)] = &[
    ("attach cidfile detach detach-keys help name pull quiet sig-proxy platform", "the client's"),
    ("disable-content-trust kernel-memory", "do nothing any more"),
    ("cpu-count cpu-percent gpus io-maxbandwidth io-maxiops", "refused"),
    ("cpu-rt-period cpu-rt-runtime", "refused where the kernel has no such scheduler"),
    ("blkio-weight-device", "its own look restarts it: it needs a disk of its own"),
    ("rm", "a container that ends is gone"),
    ("storage-opt", "`layer_quotas` restarts both"),
];

#[test]
fn every_option_is_kept_or_has_a_reason() -> Result<()> {
    let grouped = GROUPS.iter().flat_map(|group| {
        let more = group.more.iter().map(|more| more.option);
        group.rows.split_whitespace().chain(more)
    });
    let elsewhere = ELSEWHERE.iter().flat_map(|(options, _)| options.split_whitespace());
    let mut told: Vec<&str> = grouped.chain(elsewhere).collect();
    let mut all: Vec<&str> = rows().map(|row| row.option.trim_start_matches("--")).collect();
    told.sort_unstable();
    all.sort_unstable();
    ensure!(told == all, "{told:?} are not {all:?}");
    Ok(())
}

#[test]
fn options_act_alike_after_every_kind_of_end() -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let devices = tempfile::tempdir()?;
    let flags = vec!["--cdi-spec-dir".to_owned(), devices.path().display().to_string()];
    let host = Host::start_with(HostOptions { flags, ..HostOptions::default() })?;
    host.load_busybox()?;
    let mut world = World { client: host.client(Program::Teu), host };
    let place = Place::find(&world.host, devices.path())?;
    donor(&world)?;
    let client = world.client.clone();
    let subnets = ["--ipv6", "--subnet", "10.230.77.0/24", "--subnet", "fd00:230:77::/64"];
    client.run(&[&["network", "create"][..], &subnets, &["kept"]].concat())?;

    let groups: Vec<&Group> = GROUPS.iter().filter(|group| group.can_run()).collect();
    let mut first = BTreeMap::new();
    for group in &groups {
        group.start(&world, &place)?;
        let seen = group.observe(&world, &place, 1)?;
        group.check(&place, &seen)?;
        first.insert(group.name, seen);
    }
    let same = |world: &World, what: &str, runs: usize| -> Result<()> {
        let mut failed = Vec::new();
        for group in &groups {
            let seen = group.observe(world, &place, runs).with_context(|| what.to_owned())?;
            let before = &first[group.name];
            let other = before.iter().filter(|(key, value)| seen.get(*key) != Some(*value));
            failed.extend(other.map(|(key, value)| {
                format!("{} {key}: {:?} was {value:?}", group.name, seen.get(key))
            }));
        }
        if failed.is_empty() { Ok(()) } else { bail!("after {what}:\n{}", failed.join("\n")) }
    };
    for group in &groups {
        client.run(&["stop", "-t", "0", group.name])?;
        client.run(&["start", group.name])?;
    }
    same(&world, "stop and start", 2)?;
    world.host.kill_daemon()?;
    world.host.start_daemon()?;
    same(&world, "the daemon's end", 2)?;
    for group in &groups {
        client.run(&["restart", "-t", "0", group.name])?;
    }
    same(&world, "restart", 3)
}

/// Between two options' words in what a script says.
const MARK: &str = "@@ ";
/// After all that a script says.
const END: &str = "@@ end";

impl Group {
    fn can_run(&self) -> bool {
        let needs_runc = self.more.iter().any(|more| more.args.contains(&"runc"));
        if needs_runc && !std::path::Path::new("/usr/sbin/runc").exists() {
            eprintln!("skipped: {} needs runc", self.name);
            return false;
        }
        true
    }

    fn rows(&self) -> impl Iterator<Item = &'static table::Row> {
        let names = self.rows;
        let is_one = move |row: &&table::Row| {
            names.split_whitespace().any(|name| row.option.trim_start_matches("--") == name)
        };
        rows().filter(is_one)
    }

    /// What all scripts together are, each after a line with its option.
    fn script(&self, place: &Place) -> String {
        let rows = self.rows().filter(|row| row.says().is_some());
        let rows = rows.map(|row| (row.option.trim_start_matches("--"), row.script()));
        let more = self.more.iter().map(|more| (more.option, more.script));
        let parts = rows.chain(more).filter(|(_, script)| !script.is_empty());
        let parts: Vec<String> =
            parts.map(|(option, script)| format!("echo '{MARK}{option}'\n{script}\n")).collect();
        place.fill(&format!("{}echo '{END}'\n", parts.concat()))
    }

    fn start(&self, world: &World, place: &Place) -> Result<()> {
        let args = self.rows().flat_map(|row| row.args);
        let args = args.chain(self.more.iter().flat_map(|more| more.args));
        let args: Vec<String> = args.map(|word| place.fill(word)).collect();
        let serve = "mkdir -p /www && echo ahoy >/www/index.html && exec httpd -f -p 8080 -h /www";
        let last = if self.look.is_some() { serve } else { "exec sleep 6000" };
        let script = format!("{}{last}", self.script(place));
        let mut words = vec!["run", "-d", "--name", self.name];
        words.extend(args.iter().map(String::as_str));
        words.extend(["busybox", "sh", "-c", &script]);
        world.client.run(&words).map(drop)
    }

    /// Everything there is to see once the container has been started `runs` times.
    fn observe(
        &self,
        world: &World,
        place: &Place,
        runs: usize,
    ) -> Result<BTreeMap<String, String>> {
        let mut seen = BTreeMap::new();
        let log = eventually("it has said all", || {
            let log = world.client.try_run(&["logs", self.name])?;
            ensure!(log.stdout.matches(END).count() == runs, "{} says {log:?}", self.name);
            Ok(log.stdout.replace("\r\n", "\n"))
        })?;
        let said = log.split(END).nth(runs - 1).context("what the last run said")?;
        seen.extend(sections(said).map(|(option, text)| (format!("{option} says"), text)));
        // An exec has no terminal of its own, and reads nobody's input.
        if self.name != "terminal" {
            let script = self.script(place);
            let said = world.client.try_run(&["exec", self.name, "sh", "-c", &script])?;
            let told = sections(&said.stdout).collect::<Vec<_>>();
            seen.extend(told.into_iter().map(|(option, text)| (format!("{option} by exec"), text)));
        }
        let [config, host_config, mounts]: [Value; 3] =
            serde_json::from_value(configuration(world, self.name)?)?;
        for (key, value) in [("Config", config), ("HostConfig", host_config)] {
            let fields = value.as_object().context("an object")?;
            seen.extend(fields.iter().map(|(field, v)| (format!("{key}.{field}"), v.to_string())));
        }
        seen.insert("Mounts".to_owned(), mounts.to_string());
        if let Some(look) = self.look {
            seen.insert("outside".to_owned(), look(world, self.name)?);
        }
        Ok(seen)
    }

    /// Compares the first look with what is wanted.
    fn check(&self, place: &Place, seen: &BTreeMap<String, String>) -> Result<()> {
        let rows = self.rows().filter_map(|row| Some((row.option, row.says()?)));
        for (option, wanted) in rows {
            let option = option.trim_start_matches("--");
            for key in [format!("{option} says"), format!("{option} by exec")] {
                let Some(said) = seen.get(&key) else {
                    ensure!(self.name == "terminal", "no {key} in {}", self.name);
                    continue;
                };
                let fits = wanted.iter().any(|wanted| place.fill(wanted).trim() == said);
                ensure!(fits, "{} {key}: {said:?}, not {wanted:?}", self.name);
            }
        }
        for more in self.more.iter().filter(|more| !more.says.is_empty()) {
            let said = &seen[&format!("{} says", more.option)];
            ensure!(said == more.says, "{} says {said:?}", more.option);
        }
        Ok(())
    }
}

/// What each option's script said.
fn sections(said: &str) -> impl Iterator<Item = (String, String)> {
    said.split(MARK).skip(1).filter_map(|part| {
        let (option, text) = part.split_once('\n')?;
        (option != "end").then(|| (option.to_owned(), text.trim().to_owned()))
    })
}

/// A page of the container's, by the port that is published.
fn page(world: &World, name: &str) -> Result<String> {
    eventually("the page comes", || {
        let bound = world.client.run(&["port", name, "8080/tcp"])?;
        let port = bound.trim().rsplit_once(':').context("a port")?.1.parse()?;
        e2e::http::get((std::net::Ipv4Addr::LOCALHOST, port).into())
    })
}

/// Its cgroup, its runtime's name, its health and its page.
fn elsewhere(world: &World, name: &str) -> Result<String> {
    let pid = shows(world, name, "{{.State.Pid}}")?;
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let id = shows(world, name, "{{.Id}}")?;
    let below = format!(":/harbour/{id}");
    let is_below = groups.lines().any(|line| line.ends_with(&below));
    ensure!(is_below, "{groups}");
    eventually("it is healthy", || {
        let health = shows(world, name, "{{.State.Health.Status}}")?;
        ensure!(health == "healthy", "{health}");
        Ok(())
    })?;
    let runtime = world.host.exec_root().join("containers").join(&id);
    let config = std::fs::read_to_string(runtime.join("config.json"))?;
    ensure!(config.contains("/harbour/"), "{config}");
    page(world, name)
}

/// Its page at the very port, its names and what they lead to.
fn member(world: &World, name: &str) -> Result<String> {
    let mut seen = page(world, name)?;
    for alias in ["db", "store", "member"] {
        let look = format!("nslookup {alias} | grep -A 4 {alias} | grep Address | sort");
        let args = ["run", "--rm", "--net", "kept", "busybox", "sh", "-c", &look];
        let found = world.client.run(&args)?;
        ensure!(found.contains("10.230.77.9"), "{alias}: {found}");
        seen.push_str(&found);
    }
    seen.push_str(&world.client.run(&["port", name])?);
    let template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}} \
                    {{json .IPAMConfig}} {{json .Aliases}} {{.MacAddress}}{{end}}";
    seen.push_str(&shows(world, name, template)?);
    Ok(seen)
}
