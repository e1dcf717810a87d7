//! One process and its host, as /proc describes them.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use jiff::{SignedDuration, Timestamp};

/// Longer command lines are cut; a process can make its own as long as it likes.
const MAX_COMMAND_LINE: u64 = 32 << 10;

/// The figures of one process.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) state: char,
    pub(super) parent: i64,
    pub(super) group: i64,
    pub(super) session: i64,
    terminal: i64,
    foreground: i64,
    pub(super) cpu_ticks: u64,
    pub(super) priority: i64,
    pub(super) nice: i64,
    pub(super) threads: i64,
    start_ticks: u64,
    pub(super) virtual_bytes: u64,
    pub(super) resident_bytes: u64,
    pub(super) processor: i64,
    pub(super) uid: u32,
    pub(super) gid: u32,
    locked: bool,
    command_line: Vec<u8>,
}

impl Process {
    /// Reads a process of this pid namespace.
    pub(super) fn read(pid: u32) -> io::Result<Self> {
        let directory = format!("/proc/{pid}");
        let stat = fs::read(format!("{directory}/stat"))?;
        let mut process = Self::parse(&String::from_utf8_lossy(&stat))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected stat line"))?;
        process.pid = pid;
        let owner = fs::metadata(&directory)?;
        (process.uid, process.gid) = (owner.uid(), owner.gid());
        if let Ok(status) = fs::read(format!("{directory}/status")) {
            process.read_status(&String::from_utf8_lossy(&status));
        }
        let file = fs::File::open(format!("{directory}/cmdline"))?;
        file.take(MAX_COMMAND_LINE).read_to_end(&mut process.command_line)?;
        Ok(process)
    }

    /// Reads proc_pid_stat(5). The name is in parentheses and can contain anything.
    fn parse(stat: &str) -> Option<Self> {
        let (name_start, name_end) = (stat.find('(')? + 1, stat.rfind(')')?);
        let fields: Vec<&str> = stat.get(name_end + 1..)?.split_whitespace().collect();
        // `fields[0]` is field 3 of the manual page.
        let signed = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
        let unsigned = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            name: stat.get(name_start..name_end)?.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: signed(4)?,
            group: signed(5)?,
            session: signed(6)?,
            terminal: signed(7)?,
            foreground: signed(8)?,
            cpu_ticks: unsigned(14)? + unsigned(15)?,
            priority: signed(18)?,
            nice: signed(19)?,
            threads: signed(20)?,
            start_ticks: unsigned(22)?,
            virtual_bytes: unsigned(23)?,
            resident_bytes: unsigned(24)?.saturating_mul(rustix::param::page_size() as u64),
            processor: signed(39)?,
            ..Self::default()
        })
    }

    /// The directory's owner is root for a process that cannot be dumped; status tells the truth.
    fn read_status(&mut self, status: &str) {
        for line in status.lines() {
            let Some((key, values)) = line.split_once(':') else { continue };
            let mut values = values.split_whitespace();
            match key {
                "Uid" => {
                    self.uid = values.nth(1).and_then(|id| id.parse().ok()).unwrap_or(self.uid)
                }
                "Gid" => {
                    self.gid = values.nth(1).and_then(|id| id.parse().ok()).unwrap_or(self.gid)
                }
                "VmLck" => self.locked = values.next().is_some_and(|size| size != "0"),
                _ => {}
            }
        }
    }

    /// The arguments; the name in brackets where there are none.
    pub(super) fn command_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.command_line);
        let words = text.trim_end_matches('\0').replace('\0', " ");
        // A terminal must not be steered by what a container calls its processes.
        let printable: String =
            words.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        match (printable.is_empty(), self.state) {
            (false, _) => printable,
            (true, 'Z') => format!("[{}] <defunct>", self.name),
            (true, _) => format!("[{}]", self.name),
        }
    }

    /// The state with ps' additions: nice, locked memory, session leader, threads, foreground.
    pub(super) fn state_long(&self) -> String {
        let mut state = self.state.to_string();
        let mut add = |holds: bool, letter| {
            if holds {
                state.push(letter);
            }
        };
        add(self.nice < 0, '<');
        add(self.nice > 0, 'N');
        add(self.locked, 'L');
        add(self.session == i64::from(self.pid), 's');
        add(self.threads > 1, 'l');
        add(self.foreground == self.group, '+');
        state
    }

    /// `pts/0`, `tty1`, or `?`.
    pub(super) fn terminal(&self) -> String {
        let Ok(device) = u64::try_from(self.terminal) else { return "?".to_owned() };
        let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
        match major {
            136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
            4 if minor < 64 => format!("tty{minor}"),
            4 => format!("ttyS{}", minor - 64),
            _ => "?".to_owned(),
        }
    }

    /// CPU time used, in whole seconds.
    pub(super) fn cpu_secs(&self) -> u64 {
        self.cpu_ticks / ticks_per_second()
    }
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

/// What is the same for all processes.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) now: Timestamp,
    pub(super) memory_bytes: u64,
    uptime_ticks: u64,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Host {
    /// Reads clock, memory, and the names of users and groups.
    pub(super) fn read() -> Self {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let mut parts = uptime.split_whitespace().next().unwrap_or("0").split('.');
        let mut part = || parts.next().and_then(|part| part.parse::<u64>().ok()).unwrap_or(0);
        let (secs, hundredths) = (part(), part());
        Self {
            now: Timestamp::now(),
            memory_bytes: crate::info::memory_total().unwrap_or(0),
            uptime_ticks: secs * ticks_per_second() + hundredths * ticks_per_second() / 100,
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
        }
    }

    pub(super) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    pub(super) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }

    pub(super) fn age_ticks(&self, process: &Process) -> u64 {
        self.uptime_ticks.saturating_sub(process.start_ticks)
    }

    pub(super) fn age_secs(&self, process: &Process) -> u64 {
        self.age_ticks(process) / ticks_per_second()
    }

    pub(super) fn started_at(&self, process: &Process) -> Timestamp {
        let age = SignedDuration::from_secs(i64::try_from(self.age_secs(process)).unwrap_or(0));
        self.now.checked_sub(age).unwrap_or(self.now)
    }
}

/// Id to name of passwd(5) or group(5).
fn names(path: &str) -> HashMap<u32, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_do_not_shift_the_fields() {
        let mut stat = "7 (a) S 9 (b) R 1 2 3 34816 2".to_owned();
        stat.push_str(&" 5".repeat(45));
        let process = Process::parse(&stat).unwrap();
        assert_eq!((process.name.as_str(), process.state), ("a) S 9 (b", 'R'));
        assert_eq!((process.parent, process.session), (1, 3));
        assert_eq!(process.terminal(), "pts/0");
        assert!(Process::parse("7 (a").is_none() && Process::parse("").is_none());
    }

    #[test]
    fn control_characters_are_not_shown() {
        let process = Process { command_line: b"a\x1b[2J\0b\0".to_vec(), ..Process::default() };
        assert_eq!(process.command_line(), "a?[2J b");
        let bare = Process { name: "kworker".to_owned(), ..Process::default() };
        assert_eq!(bare.command_line(), "[kworker]");
    }
}
