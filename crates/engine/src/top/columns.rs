//! The columns of ps(1): their names, titles and values.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::process::{Host, Process};

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Args,
    BsdTime,
    Command,
    CpuPercent,
    CpuWhole,
    Elapsed,
    ElapsedSeconds,
    Gid,
    Group,
    GroupId,
    MemoryPercent,
    Nice,
    ParentPid,
    Pid,
    Priority,
    Processor,
    Resident,
    Session,
    Start,
    StartLong,
    StartYear,
    State,
    StateLong,
    Terminal,
    Threads,
    Time,
    Uid,
    User,
    Virtual,
}

/// Name, title, meaning.
const KEYWORDS: &[(&str, &str, Keyword)] = &[
    ("%cpu", "%CPU", Keyword::CpuPercent),
    ("%mem", "%MEM", Keyword::MemoryPercent),
    ("args", "COMMAND", Keyword::Args),
    ("bsdtime", "TIME", Keyword::BsdTime),
    ("c", "C", Keyword::CpuWhole),
    ("cmd", "CMD", Keyword::Args),
    ("comm", "COMMAND", Keyword::Command),
    ("command", "COMMAND", Keyword::Args),
    ("cputime", "TIME", Keyword::Time),
    ("egid", "EGID", Keyword::Gid),
    ("egroup", "EGROUP", Keyword::Group),
    ("etime", "ELAPSED", Keyword::Elapsed),
    ("etimes", "ELAPSED", Keyword::ElapsedSeconds),
    ("euid", "EUID", Keyword::Uid),
    ("euser", "EUSER", Keyword::User),
    ("gid", "GID", Keyword::Gid),
    ("group", "GROUP", Keyword::Group),
    ("lstart", "STARTED", Keyword::StartLong),
    ("ni", "NI", Keyword::Nice),
    ("nice", "NI", Keyword::Nice),
    ("nlwp", "NLWP", Keyword::Threads),
    ("pcpu", "%CPU", Keyword::CpuPercent),
    ("pgid", "PGID", Keyword::GroupId),
    ("pgrp", "PGRP", Keyword::GroupId),
    ("pid", "PID", Keyword::Pid),
    ("pmem", "%MEM", Keyword::MemoryPercent),
    ("ppid", "PPID", Keyword::ParentPid),
    ("pri", "PRI", Keyword::Priority),
    ("psr", "PSR", Keyword::Processor),
    ("rss", "RSS", Keyword::Resident),
    ("rssize", "RSS", Keyword::Resident),
    ("rsz", "RSZ", Keyword::Resident),
    ("s", "S", Keyword::State),
    ("sess", "SESS", Keyword::Session),
    ("sid", "SID", Keyword::Session),
    ("start", "STARTED", Keyword::Start),
    ("start_time", "START", Keyword::StartYear),
    ("stat", "STAT", Keyword::StateLong),
    ("state", "S", Keyword::State),
    ("stime", "STIME", Keyword::StartYear),
    ("thcount", "THCNT", Keyword::Threads),
    ("time", "TIME", Keyword::Time),
    ("tname", "TTY", Keyword::Terminal),
    ("tt", "TT", Keyword::Terminal),
    ("tty", "TT", Keyword::Terminal),
    ("ucmd", "CMD", Keyword::Command),
    ("uid", "UID", Keyword::Uid),
    ("uname", "USER", Keyword::User),
    ("user", "USER", Keyword::User),
    ("vsize", "VSZ", Keyword::Virtual),
    ("vsz", "VSZ", Keyword::Virtual),
];

impl Keyword {
    /// Finds a column by its name, with its usual title.
    pub(super) fn find(name: &str) -> Option<(Self, &'static str)> {
        let found = KEYWORDS.iter().find(|(keyword, ..)| *keyword == name);
        found.map(|(_, title, keyword)| (*keyword, *title))
    }

    /// What the column shows for a process.
    pub(super) fn value(self, process: &Process, host: &Host) -> String {
        match self {
            Self::Args => process.command_line(),
            Self::Command => process.name.clone(),
            Self::Pid => process.pid.to_string(),
            Self::ParentPid => process.parent.to_string(),
            Self::GroupId => process.group.to_string(),
            Self::Session => process.session.to_string(),
            Self::Uid => process.uid.to_string(),
            Self::Gid => process.gid.to_string(),
            Self::User => host.user(process.uid),
            Self::Group => host.group(process.gid),
            Self::State => process.state.to_string(),
            Self::StateLong => process.state_long(),
            Self::Terminal => process.terminal(),
            Self::Threads => process.threads.to_string(),
            Self::Nice => process.nice.to_string(),
            Self::Priority => (39 - process.priority).to_string(),
            Self::Processor => process.processor.to_string(),
            Self::Virtual => (process.virtual_bytes / 1024).to_string(),
            Self::Resident => (process.resident_bytes / 1024).to_string(),
            Self::MemoryPercent => {
                let total = host.memory_bytes.max(1);
                tenths(process.resident_bytes.saturating_mul(1000) / total)
            }
            Self::CpuPercent => tenths(cpu_per_mille(process, host)),
            Self::CpuWhole => (cpu_per_mille(process, host) / 10).min(99).to_string(),
            Self::Time => long_time(process.cpu_secs()),
            Self::BsdTime => {
                let secs = process.cpu_secs();
                format!("{}:{:02}", secs / 60, secs % 60)
            }
            Self::Elapsed => elapsed(host.age_secs(process)),
            Self::ElapsedSeconds => host.age_secs(process).to_string(),
            Self::Start => started(process, host, "%b %d"),
            Self::StartYear => started(process, host, "%b%d"),
            Self::StartLong => {
                local(host.started_at(process)).strftime("%a %b %e %T %Y").to_string()
            }
        }
    }
}

fn local(time: Timestamp) -> jiff::Zoned {
    time.to_zoned(TimeZone::system())
}

/// The time of today, else the day.
fn started(process: &Process, host: &Host, day: &str) -> String {
    let start = local(host.started_at(process));
    let format = if start.date() == local(host.now).date() { "%H:%M" } else { day };
    start.strftime(format).to_string()
}

/// CPU time per time alive, in thousandths.
fn cpu_per_mille(process: &Process, host: &Host) -> u64 {
    let age_ticks = host.age_ticks(process).max(1);
    process.cpu_ticks.saturating_mul(1000) / age_ticks
}

fn tenths(value: u64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

/// `[DD-]HH:MM:SS`.
fn long_time(secs: u64) -> String {
    let (days, hours) = (secs / 86_400, secs / 3600 % 24);
    let clock = format!("{hours:02}:{:02}:{:02}", secs / 60 % 60, secs % 60);
    if days > 0 { format!("{days}-{clock}") } else { clock }
}

/// `[[DD-]HH:]MM:SS`.
fn elapsed(secs: u64) -> String {
    if secs < 3600 { format!("{:02}:{:02}", secs / 60, secs % 60) } else { long_time(secs) }
}
