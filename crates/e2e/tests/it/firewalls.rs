//! Host firewalls beside a daemon, as docs/network.md tells their users: what they close stays
//! closed, and what they open is open.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::bin_dir;

/// A machine of its own as far as networks, firewalls and a daemon's places go, with a neighbour on
/// a wire, and a web server published at port 8080 that has port 80 inside. `outside` runs a command
/// at the neighbour's. `is open` and `is shut` say whether the neighbour is answered, `out is …`
/// whether the container is.
const MACHINE: &str = r#"set -e
for dir in /run /var/lib/teu /var/log; do mkdir -p $dir; mount -t tmpfs tmpfs $dir; done
mkdir -p /run/lock /run/teu /run/root/bin /run/etc
ip link set lo up
ip netns add outside
outside() { ip netns exec outside "$@"; }
ip link add wan0 type veth peer name eth0 netns outside
ip addr add 198.51.100.1/24 dev wan0; ip link set wan0 up
outside ip addr add 198.51.100.2/24 dev eth0; outside ip link set eth0 up; outside ip link set lo up
# What a firewall keeps on disk, it keeps in a copy.
mine() { for place; do name=/run/etc/$(echo $place | tr / _); cp -a $place $name; mount --bind $name $place; done; }
teu() { command teu -H unix:///run/teu.sock "$@"; }
start() {
    command teu daemon -H unix:///run/teu.sock --exec-root /run/teu --pidfile /run/teu.pid > /run/teu.log 2>&1 &
    for i in $(seq 300); do teu version > /dev/null 2>&1 && break; /bin/busybox sleep 0.1; done
    cp /bin/busybox /run/root/bin/; for a in sh httpd nc; do ln -s busybox /run/root/bin/$a; done
    tar -C /run/root -c . | teu import - box > /dev/null
    teu run -d --name web -p 8080:80 box sh -c 'echo page > /index.html; httpd -f -h /' > /dev/null
    outside sh -c 'while true; do echo world | /bin/busybox nc -l -p 81; done' &
}
page() { outside curl -s -m "$1" http://198.51.100.1:8080/ || echo nothing; }
world() { teu exec web nc -w "$1" 198.51.100.2 81 2> /dev/null || echo nothing; }
is() {
    case $1 in
        open) for i in $(seq 150); do test "$(page 1)" = page && break; /bin/busybox sleep 0.1; done
            test "$(page 5)" = page;;
        shut) test "$(page 2)" = nothing;;
    esac || { echo "not $1: $2"; cat /run/*.log; exit 1; }
}
out() {
    case $1 in
        open) for i in $(seq 150); do test "$(world 1)" = world && break; /bin/busybox sleep 0.1; done
            test "$(world 5)" = world;;
        shut) test "$(world 2)" = nothing;;
    esac || { echo "the world is not $1: $2"; cat /run/*.log; exit 1; }
}
"#;

fn on_a_machine(script: &str) -> Result<()> {
    if !e2e::is_root() {
        return Ok(());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"])
        .arg(format!("{MACHINE}{script}\nteu rm -f web > /dev/null; echo done"))
        .env("PATH", format!("{}:{path}", bin_dir().display()))
        .stdin(Stdio::null())
        .output()
        .context("unshare")?;
    let told = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(told.trim_end().ends_with("done"), "{told}\n{said}");
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|dir| dir.join(program).is_file());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

#[test]
fn ufw_decides_who_reaches_a_published_port() -> Result<()> {
    if !is_installed("ufw") {
        return Ok(());
    }
    on_a_machine(
        "mine /etc/ufw /etc/default/ufw
ufw --force enable > /dev/null
start
is shut 'before a rule'; out shut 'before a rule'
ufw route allow proto tcp to any port 80 > /dev/null
is open 'as route allow says'; out shut 'as nothing allows it'
ufw route allow in on teu0 > /dev/null
out open 'as route allow in says'
ufw route delete allow proto tcp to any port 80 > /dev/null
is shut 'as the rule is gone'
ufw route allow proto tcp from 198.51.100.0/24 to any port 80 > /dev/null
is open 'as one from there'
ufw route insert 1 deny proto tcp from 198.51.100.2 to any port 80 > /dev/null
is shut 'as it is denied'",
    )
}

/// firewalld lets every translated connection through, whatever its zones say; what docs/network.md
/// names in their place does close a published port.
#[test]
fn firewalld_users_close_a_published_port() -> Result<()> {
    if !is_installed("firewalld") || !is_installed("dbus-daemon") {
        return Ok(());
    }
    on_a_machine(
        "mine /etc/firewalld
mkdir /run/dbus /run/firewalld
dbus-daemon --system --fork --nopidfile
firewalld --nofork --nopid > /run/firewalld.log 2>&1 &
for i in $(seq 300); do firewall-cmd --state > /dev/null 2>&1 && break; /bin/busybox sleep 0.1; done
set_up() { firewall-cmd -q --permanent \"$@\"; firewall-cmd -q --reload; }
set_up --zone=external --add-interface=wan0
start
is open 'whatever the zone of wan0 is'; out shut 'from one zone to another'
teu network doctor web | grep -q 'zone=trusted --add-interface=teu0 lets them out'
set_up --zone=trusted --add-interface=teu0
out open 'as teu0 is trusted'
rule='ipv4 filter FORWARD 0 -i wan0 -p tcp -m conntrack --ctorigdstport 8080 ! -s 203.0.113.0/24 -j DROP'
set_up --direct --add-rule $rule
is shut 'as the direct rule says'
set_up --direct --remove-rule $rule
is open 'as the direct rule is gone'
nft add rule inet teu TEU-USER meta l4proto tcp ct original proto-dst 8080 ip saddr != 203.0.113.0/24 drop
is shut 'as TEU-USER says'
firewall-cmd -q --reload
is shut 'as it still says after a reload'
out open 'as before'",
    )
}
