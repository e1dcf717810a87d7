//! Every command, by the groups in which the help shows them.

mod cluster;
mod containers;
mod images;
mod networks;
mod swarm;
mod system;

use crate::cli;
use crate::grammar::{self, Command, Flag, LIST, STRING, SWITCH, flag, short};
use crate::terminal;

pub(crate) static GLOBALS: &[Flag] = &[
    flag("config", STRING, "Directory of config.json and the certificates"),
    short('c', "context", STRING, "Name of the context that says where the daemon is"),
    short('D', "debug", SWITCH, "Say more about errors"),
    short('H', "host", LIST, "Socket of the daemon (unix://PATH or tcp://HOST:PORT)"),
    short(
        'l',
        "log-level",
        STRING.or("info"),
        "How much to log: debug, info, warn, error or fatal",
    ),
    flag("tls", SWITCH, "Use TLS"),
    flag("tlscacert", STRING, "Certificates that the daemon's must be signed by"),
    flag("tlscert", STRING, "Certificate to show to the daemon"),
    flag("tlskey", STRING, "Key of that certificate"),
    flag("tlsverify", SWITCH, "Use TLS and check the daemon's certificate"),
    short('v', "version", SWITCH, "Print the version and end"),
];

const COMMON: &[&Command] = &[
    &containers::RUN,
    &containers::EXEC,
    &containers::PS,
    &images::BUILD,
    &images::PULL,
    &images::PUSH,
    &images::IMAGES,
    &images::BOOTSTRAP,
    &images::LOGIN,
    &images::LOGOUT,
    &images::SEARCH,
    &system::VERSION,
    &system::INFO,
];

const MANAGEMENT: &[&Command] = &[
    &images::BUILDER,
    &cluster::CLUSTER,
    &containers::CONTAINER,
    &images::IMAGE,
    &networks::NETWORK,
    &swarm::NODE,
    &swarm::SWARM,
    &system::SYSTEM,
    &cluster::TASK,
    &networks::VOLUME,
];

const OTHERS: &[&Command] = &[
    &containers::ATTACH,
    &containers::COMMIT,
    &system::COMPLETION,
    &containers::CP,
    &containers::CREATE,
    &containers::DIFF,
    &system::EVENTS,
    &containers::EXPORT,
    &images::HISTORY,
    &images::IMPORT,
    &system::INSPECT,
    &containers::KILL,
    &images::LOAD,
    &containers::LOGS,
    &containers::PAUSE,
    &containers::PORT,
    &containers::RENAME,
    &containers::RESTART,
    &containers::RM,
    &images::RMI,
    &images::SAVE,
    &containers::START,
    &containers::STATS,
    &containers::STOP,
    &images::TAG,
    &containers::TOP,
    &containers::UNPAUSE,
    &containers::UPDATE,
    &containers::WAIT,
];

const GROUPS: &[(&str, &[&Command])] =
    &[("Common Commands", COMMON), ("Management Commands", MANAGEMENT), ("Commands", OTHERS)];

/// Lists the commands of the first level.
pub(crate) fn all() -> impl Iterator<Item = &'static Command> {
    GROUPS.iter().flat_map(|(_, commands)| commands.iter().copied())
}

/// Finds a command of the first level.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    all().find(|command| command.name == name || command.aliases.contains(&name))
}

/// Writes the help of the program.
pub(crate) fn help() -> String {
    grammar::root_help(cli::program(), GROUPS, GLOBALS, terminal::width())
}

/// Writes the line of `--version`.
pub(crate) fn version_line() -> String {
    let commit = option_env!("TEU_COMMIT").unwrap_or("unknown");
    format!("{} version {}, build {commit}", cli::product(), env!("CARGO_PKG_VERSION"))
}
