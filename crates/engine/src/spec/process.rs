//! The process: arguments, environment, user, rights, limits.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    BoxBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, User,
    UserBuilder,
};

use super::user::ResolvedUser;
use super::{HostFacts, SpecInput, invalid};
use crate::container::{ContainerRecord, Ulimit};
use crate::exec::ExecConfig;
use crate::{Error, Result};

/// Where the reaping process 1 appears inside.
pub(super) const INIT_DESTINATION: &str = "/sbin/docker-init";

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Builds process 1.
pub(super) fn init(input: &SpecInput<'_>) -> Result<Process> {
    let record = input.record;
    let host_config = &record.host_config;
    let mut args = record.argv();
    if args.first().is_none_or(String::is_empty) {
        return Err(Error::InvalidParameter("no command specified".to_owned()));
    }
    if input.init.is_some() {
        args.splice(0..0, [INIT_DESTINATION.to_owned(), "--".to_owned()]);
    }
    let mut additional = input.user.additional_gids.clone();
    additional.extend(&input.additional_groups);
    let security = super::SecurityOptions::parse(host_config)?;
    let mut builder = ProcessBuilder::default()
        .terminal(record.config.tty)
        .args(args)
        .env(environment(record, &input.link_environment, &[], &input.user, record.config.tty))
        .cwd(working_dir(&record.config.working_dir))
        .user(user(&input.user, additional)?)
        .capabilities(super::capability::sets(host_config, &input.host.bounding)?)
        .no_new_privileges(security.no_new_privileges)
        .rlimits(rlimits(&host_config.resources.ulimits, input.default_ulimits)?);
    if let Some((rows, columns)) = host_config.console_size.filter(|_| record.config.tty) {
        let size = BoxBuilder::default().height(rows).width(columns).build().map_err(invalid)?;
        builder = builder.console_size(size);
    }
    if let Some(score) = oom_score_adj(host_config.oom_score_adj)? {
        builder = builder.oom_score_adj(score);
    }
    if let Some(profile) = &input.apparmor {
        builder = builder.apparmor_profile(profile.clone());
    }
    builder.build().map_err(invalid)
}

/// A further process of a running container.
#[derive(Debug)]
pub(crate) struct ExecProcess<'a> {
    pub(crate) record: &'a ContainerRecord,
    pub(crate) config: &'a ExecConfig,
    pub(crate) user: ResolvedUser,
    pub(crate) additional_groups: Vec<u32>,
    pub(crate) host: &'a HostFacts,
    pub(crate) default_ulimits: &'a [Ulimit],
    /// Variables that links bring, before the user's.
    pub(crate) link_environment: Vec<String>,
    /// The container's AppArmor profile, which the kernel has.
    pub(crate) apparmor: Option<String>,
}

impl ExecProcess<'_> {
    /// Builds the process; rights and limits are the container's, unless it is privileged.
    ///
    /// # Errors
    /// As for process 1.
    pub(crate) fn build(&self) -> Result<Process> {
        let (record, config) = (self.record, self.config);
        let host_config = &record.host_config;
        let mut additional = self.user.additional_gids.clone();
        additional.extend(&self.additional_groups);
        let capabilities = if config.privileged {
            super::capability::privileged_sets(&self.host.bounding)?
        } else {
            super::capability::sets(host_config, &self.host.bounding)?
        };
        let working = if config.working_dir.is_empty() {
            &record.config.working_dir
        } else {
            &config.working_dir
        };
        let security = super::SecurityOptions::parse(host_config)?;
        let mut builder = ProcessBuilder::default()
            .terminal(config.tty)
            .args(config.cmd.clone())
            .env(environment(record, &self.link_environment, &config.env, &self.user, config.tty))
            .cwd(working_dir(working))
            .user(user(&self.user, additional)?)
            .capabilities(capabilities)
            .no_new_privileges(security.no_new_privileges && !config.privileged)
            .rlimits(rlimits(&host_config.resources.ulimits, self.default_ulimits)?);
        if let Some(score) = oom_score_adj(host_config.oom_score_adj)? {
            builder = builder.oom_score_adj(score);
        }
        if let Some(profile) = &self.apparmor {
            builder = builder.apparmor_profile(profile.clone());
        }
        builder.build().map_err(invalid)
    }
}

fn user(resolved: &ResolvedUser, mut additional: Vec<u32>) -> Result<User> {
    additional.sort_unstable();
    additional.dedup();
    UserBuilder::default()
        .uid(resolved.uid)
        .gid(resolved.gid)
        .additional_gids(additional)
        .build()
        .map_err(invalid)
}

fn working_dir(configured: &str) -> PathBuf {
    if configured.is_empty() { PathBuf::from("/") } else { Path::new(configured).to_owned() }
}

/// Builds the environment in Docker's order: search path, host name, terminal type, links, then what
/// image and user say, each replacing its namesake in place; a bare name removes.
fn environment(
    record: &ContainerRecord,
    links: &[String],
    over: &[String],
    user: &ResolvedUser,
    tty: bool,
) -> Vec<String> {
    let mut environment =
        vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", record.config.hostname)];
    if tty {
        environment.push("TERM=xterm".to_owned());
    }
    environment.extend_from_slice(links);
    for entry in record.config.env.iter().chain(over) {
        let name = entry.split_once('=').map_or(entry.as_str(), |(name, _)| name);
        let same =
            |other: &String| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        match (entry.contains('='), environment.iter().position(same)) {
            (true, Some(at)) => environment[at].clone_from(entry),
            (true, None) => environment.push(entry.clone()),
            (false, Some(at)) => drop(environment.remove(at)),
            (false, None) => {}
        }
    }
    if !environment.iter().any(|entry| entry.starts_with("HOME=")) {
        environment.push(format!("HOME={}", user.home));
    }
    environment
}

/// Lowering the score needs a right that the daemon may lack; the kernel's own word for it would
/// be a bare "permission denied" that reads as if the program could not be executed.
fn oom_score_adj(wanted: i64) -> Result<Option<i32>> {
    let own: i64 = std::fs::read_to_string("/proc/self/oom_score_adj")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    if wanted == own {
        return Ok(None);
    }
    if wanted == 0 && own > 0 {
        // Nobody asked; the daemon's own score is the lowest there is to give.
        return Ok(None);
    }
    let score = i32::try_from(wanted)
        .map_err(|_| Error::InvalidParameter(format!("invalid oom score adj: {wanted}")))?;
    Ok(Some(score))
}

/// The limits of the user, and the defaults for what the user does not limit.
fn rlimits(asked: &[Ulimit], default: &[Ulimit]) -> Result<Vec<PosixRlimit>> {
    let mut limits = Vec::new();
    for ulimit in asked {
        let (kind, resource) = ulimit_type(&ulimit.name)?;
        let (soft, hard) = (amount(ulimit.soft), amount(ulimit.hard));
        if let Some(own) = own_hard_limit(resource).filter(|own| hard > *own) {
            return Err(Error::InvalidParameter(format!(
                "invalid ulimit {}: hard limit {} is above the daemon's own of {own}; \
                 ask for at most that",
                ulimit.name, ulimit.hard
            )));
        }
        limits.push(rlimit(kind, soft, hard)?);
    }
    for ulimit in default.iter().filter(|ulimit| asked.iter().all(|a| a.name != ulimit.name)) {
        let (kind, resource) = ulimit_type(&ulimit.name)?;
        let most = own_hard_limit(resource).unwrap_or(u64::MAX);
        limits.push(rlimit(kind, amount(ulimit.soft).min(most), amount(ulimit.hard).min(most))?);
    }
    Ok(limits)
}

fn rlimit(kind: PosixRlimitType, soft: u64, hard: u64) -> Result<PosixRlimit> {
    PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build().map_err(invalid)
}

/// -1 is unlimited.
fn amount(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Our own hard limit, where it binds: with CAP_SYS_RESOURCE limits can be raised.
fn own_hard_limit(resource: rustix::process::Resource) -> Option<u64> {
    let may_raise = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|line| {
            let bits = line.strip_prefix("CapEff:").map(str::trim);
            bits.and_then(|bits| u64::from_str_radix(bits, 16).ok())
                .is_some_and(|bits| bits & (1 << 24) != 0)
        })
    });
    if may_raise { None } else { rustix::process::getrlimit(resource).maximum }
}

/// Finds the limit that Docker calls `name`.
///
/// # Errors
/// InvalidParameter for a name that is none.
pub(crate) fn ulimit_type(name: &str) -> Result<(PosixRlimitType, rustix::process::Resource)> {
    use rustix::process::Resource;
    Ok(match name.to_ascii_lowercase().as_str() {
        "core" => (PosixRlimitType::RlimitCore, Resource::Core),
        "cpu" => (PosixRlimitType::RlimitCpu, Resource::Cpu),
        "data" => (PosixRlimitType::RlimitData, Resource::Data),
        "fsize" => (PosixRlimitType::RlimitFsize, Resource::Fsize),
        "locks" => (PosixRlimitType::RlimitLocks, Resource::Locks),
        "memlock" => (PosixRlimitType::RlimitMemlock, Resource::Memlock),
        "msgqueue" => (PosixRlimitType::RlimitMsgqueue, Resource::Msgqueue),
        "nice" => (PosixRlimitType::RlimitNice, Resource::Nice),
        "nofile" => (PosixRlimitType::RlimitNofile, Resource::Nofile),
        "nproc" => (PosixRlimitType::RlimitNproc, Resource::Nproc),
        "rss" => (PosixRlimitType::RlimitRss, Resource::Rss),
        "rtprio" => (PosixRlimitType::RlimitRtprio, Resource::Rtprio),
        "rttime" => (PosixRlimitType::RlimitRttime, Resource::Rttime),
        "sigpending" => (PosixRlimitType::RlimitSigpending, Resource::Sigpending),
        "stack" => (PosixRlimitType::RlimitStack, Resource::Stack),
        other => {
            return Err(Error::InvalidParameter(format!(
                "invalid ulimit type: {}",
                other.escape_default()
            )));
        }
    })
}
