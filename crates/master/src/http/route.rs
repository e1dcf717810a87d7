//! Paths. Each known path also takes everything below it, and the longest wins: clients rely on
//! `/api/v1/operator` reaching `/api/v1`.

use endpoints::authentication::Realm;

/// What a path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Scheduler,
    Operator,
    /// Takes a form by POST and changes something.
    Form(Form),
    /// Takes a JSON list of machines by POST.
    Machine(Machine),
    Weights,
    Quota,
    Schedule,
    /// Is read.
    Get(Get),
}

/// The endpoints that take a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Teardown,
    Reserve,
    Unreserve,
    CreateVolumes,
    DestroyVolumes,
}

/// The endpoints that take machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    Down,
    Up,
}

/// The endpoints that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Get {
    State,
    StateSummary,
    Agents,
    Frameworks,
    Tasks,
    Roles,
    MaintenanceStatus,
    Health,
    Version,
    Flags,
    Redirect,
    MetricsSnapshot,
    Prometheus,
    SystemStats,
    LoggingToggle,
    FilesBrowse,
    FilesRead,
    FilesDownload,
    FilesDebug,
    Explain,
    Help,
}

/// Paths of the master's process; they answer with and without `/master` before them.
const MASTER: &[(&str, Endpoint)] = &[
    ("api/v1", Endpoint::Operator),
    ("api/v1/scheduler", Endpoint::Scheduler),
    ("state", Endpoint::Get(Get::State)),
    ("state-summary", Endpoint::Get(Get::StateSummary)),
    ("slaves", Endpoint::Get(Get::Agents)),
    ("frameworks", Endpoint::Get(Get::Frameworks)),
    ("tasks", Endpoint::Get(Get::Tasks)),
    ("roles", Endpoint::Get(Get::Roles)),
    ("weights", Endpoint::Weights),
    ("quota", Endpoint::Quota),
    ("maintenance/schedule", Endpoint::Schedule),
    ("maintenance/status", Endpoint::Get(Get::MaintenanceStatus)),
    ("machine/down", Endpoint::Machine(Machine::Down)),
    ("machine/up", Endpoint::Machine(Machine::Up)),
    ("health", Endpoint::Get(Get::Health)),
    ("flags", Endpoint::Get(Get::Flags)),
    ("redirect", Endpoint::Get(Get::Redirect)),
    ("teardown", Endpoint::Form(Form::Teardown)),
    ("reserve", Endpoint::Form(Form::Reserve)),
    ("unreserve", Endpoint::Form(Form::Unreserve)),
    ("create-volumes", Endpoint::Form(Form::CreateVolumes)),
    ("destroy-volumes", Endpoint::Form(Form::DestroyVolumes)),
    ("explain", Endpoint::Get(Get::Explain)),
];

/// Paths of the whole program.
const PROGRAM: &[(&str, Endpoint)] = &[
    ("version", Endpoint::Get(Get::Version)),
    ("metrics", Endpoint::Get(Get::Prometheus)),
    ("metrics/snapshot", Endpoint::Get(Get::MetricsSnapshot)),
    ("system/stats.json", Endpoint::Get(Get::SystemStats)),
    ("logging/toggle", Endpoint::Get(Get::LoggingToggle)),
    ("files/browse", Endpoint::Get(Get::FilesBrowse)),
    ("files/read", Endpoint::Get(Get::FilesRead)),
    ("files/download", Endpoint::Get(Get::FilesDownload)),
    ("files/debug", Endpoint::Get(Get::FilesDebug)),
    ("help", Endpoint::Get(Get::Help)),
];

impl Endpoint {
    /// What guards it, if anything does.
    pub(crate) const fn realm(self) -> Option<Realm> {
        match self {
            Self::Scheduler => Some(Realm::Scheduler),
            Self::Operator
            | Self::Form(_)
            | Self::Machine(_)
            | Self::Weights
            | Self::Quota
            | Self::Schedule
            | Self::Get(Get::LoggingToggle) => Some(Realm::ReadWrite),
            // Who only looks whether somebody is here, and where the leader is, need not say who
            // it is.
            Self::Get(
                Get::Health | Get::Version | Get::Redirect | Get::Help | Get::SystemStats,
            ) => None,
            Self::Get(_) => Some(Realm::ReadOnly),
        }
    }
}

/// All paths, for `/help`.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    MASTER.iter().chain(PROGRAM).map(|(path, _)| *path)
}

/// An endpoint, and what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// None: it is the whole program's.
    pub(crate) process: Option<&'static str>,
    pub(crate) path: &'static str,
    pub(crate) endpoint: Endpoint,
}

/// The endpoint that a request's path reaches.
pub(crate) fn find(path: &str) -> Option<Found> {
    let path = path.trim_matches('/');
    // The files endpoints are read with a path of the agent's by some clients.
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let of_master = |path| longest(MASTER, Some("master"), path);
    match path.strip_prefix("master/") {
        Some(inner) => of_master(inner),
        None => of_master(path).or_else(|| longest(PROGRAM, None, path)),
    }
}

fn longest(
    paths: &[(&'static str, Endpoint)],
    process: Option<&'static str>,
    path: &str,
) -> Option<Found> {
    paths
        .iter()
        .filter(|(known, _)| {
            path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .max_by_key(|(known, _)| known.len())
        .map(|(path, endpoint)| Found { process, path, endpoint: *endpoint })
}

#[cfg(test)]
mod tests;
