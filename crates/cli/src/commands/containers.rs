//! The commands for containers.

use crate::container::flags::{
    CONTAINER as CONTAINER_FLAGS, DETACH_KEYS, FILTERS, RUN_ONLY, SIG_PROXY, UPDATE as UPDATE_FLAGS,
};
use crate::container::{copy, exec, lifecycle, list, logs, look, run, start, stats};
use crate::grammar::{
    Action, Args, Command, FILTER, INT, LIST, ON, STRING, SWITCH, action, checked, flag, short,
};
use crate::prune;
use crate::system::inspect;

const ENV: crate::grammar::Type = checked("list", crate::container::checks::env);

pub(super) const RUN: Command = Command {
    name: "run",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a container from an image and run it",
    paths: &["container run", "run"],
    flags: &[CONTAINER_FLAGS, RUN_ONLY],
    args: Args::AtLeast(1),
    interspersed: false,
    action: action!(run::run),
    ..Command::BASE
};

pub(super) const CREATE: Command = Command {
    name: "create",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a container without starting it",
    paths: &["container create", "create"],
    flags: &[CONTAINER_FLAGS],
    args: Args::AtLeast(1),
    interspersed: false,
    action: action!(run::create),
    ..Command::BASE
};

pub(super) const START: Command = Command {
    name: "start",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start containers that were created or stopped",
    paths: &["container start", "start"],
    flags: &[&[
        short('a', "attach", SWITCH, "Attach STDOUT and STDERR and forward signals"),
        DETACH_KEYS,
        short('i', "interactive", SWITCH, "Attach the container's STDIN"),
    ]],
    args: Args::AtLeast(1),
    action: action!(start::start),
    ..Command::BASE
};

pub(super) const ATTACH: Command = Command {
    name: "attach",
    usage: "[OPTIONS] CONTAINER",
    about: "Attach STDIN, STDOUT and STDERR to a running container",
    paths: &["container attach", "attach"],
    flags: &[&[DETACH_KEYS, flag("no-stdin", SWITCH, "Do not attach STDIN"), SIG_PROXY]],
    args: Args::Exactly(1),
    action: action!(start::attach),
    ..Command::BASE
};

pub(super) const EXEC: Command = Command {
    name: "exec",
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Run a command in a running container",
    paths: &["container exec", "exec"],
    flags: &[&[
        short('d', "detach", SWITCH, "Run the command in the background"),
        DETACH_KEYS,
        short('e', "env", ENV, "Set environment variables"),
        flag("env-file", LIST, "Read environment variables from a file"),
        short('i', "interactive", SWITCH, "Keep STDIN open even if not attached"),
        flag("privileged", SWITCH, "Give the command all privileges"),
        short('t', "tty", SWITCH, "Allocate a pseudo-terminal"),
        short('u', "user", STRING, "User and group by name or id (user[:group])"),
        short('w', "workdir", STRING, "Working directory in the container"),
    ]],
    args: Args::AtLeast(2),
    interspersed: false,
    action: action!(exec::exec),
    ..Command::BASE
};

pub(super) const PS: Command = Command {
    name: "ps",
    usage: "[OPTIONS]",
    about: "List containers",
    paths: &["container ls", "container list", "container ps", "ps"],
    flags: &[&[
        short('a', "all", SWITCH, "Show all containers, not only running ones"),
        FILTERS,
        flag(
            "format",
            STRING,
            "Show each container by a Go template, as 'json', or as 'table TEMPLATE'",
        ),
        short('n', "last", INT.or("-1"), "Show the n containers created last, in any state"),
        short('l', "latest", SWITCH, "Show the container created last, in any state"),
        flag("no-trunc", SWITCH, "Do not shorten anything"),
        short('q', "quiet", SWITCH, "Show ids only"),
        short('s', "size", SWITCH, "Show sizes"),
    ]],
    action: action!(list::list),
    ..Command::BASE
};

const LS: Command = Command { name: "ls", aliases: &["list", "ps"], ..PS };

pub(super) const LOGS: Command = Command {
    name: "logs",
    usage: "[OPTIONS] CONTAINER",
    about: "Show what a container has written",
    paths: &["container logs", "logs"],
    flags: &[&[
        flag("details", SWITCH, "Show the attributes of each line"),
        short('f', "follow", SWITCH, "Go on with what is written from now on"),
        flag("since", STRING, "Begin at a time (2013-01-02T13:23:37Z) or so long ago (42m)"),
        short('n', "tail", STRING.or("all"), "Number of lines from the end"),
        short('t', "timestamps", SWITCH, "Show the time of each line"),
        flag("until", STRING, "End at a time (2013-01-02T13:23:37Z) or so long ago (42m)"),
    ]],
    args: Args::Exactly(1),
    action: action!(logs::logs),
    ..Command::BASE
};

pub(super) const STOP: Command = Command {
    name: "stop",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop running containers",
    paths: &["container stop", "stop"],
    flags: &[&[
        short('s', "signal", STRING, "Signal to send first"),
        flag("time", INT, ""),
        short('t', "timeout", INT, "Seconds to wait before killing"),
    ]],
    args: Args::AtLeast(1),
    action: action!(lifecycle::stop),
    ..Command::BASE
};

pub(super) const RESTART: Command = Command {
    name: "restart",
    about: "Stop containers and start them again",
    paths: &["container restart", "restart"],
    action: action!(lifecycle::restart),
    ..STOP
};

pub(super) const KILL: Command = Command {
    name: "kill",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Send a signal to running containers, SIGKILL unless told otherwise",
    paths: &["container kill", "kill"],
    flags: &[&[short('s', "signal", STRING, "Signal to send")]],
    args: Args::AtLeast(1),
    action: action!(lifecycle::kill),
    ..Command::BASE
};

pub(super) const PAUSE: Command = Command {
    name: "pause",
    usage: "CONTAINER [CONTAINER...]",
    about: "Freeze all processes of containers",
    paths: &["container pause", "pause"],
    args: Args::AtLeast(1),
    action: action!(lifecycle::pause),
    ..Command::BASE
};

pub(super) const UNPAUSE: Command = Command {
    name: "unpause",
    about: "Let frozen processes of containers go on",
    paths: &["container unpause", "unpause"],
    action: action!(lifecycle::unpause),
    ..PAUSE
};

pub(super) const RENAME: Command = Command {
    name: "rename",
    usage: "CONTAINER NEW_NAME",
    about: "Give a container another name",
    paths: &["container rename", "rename"],
    args: Args::Exactly(2),
    action: action!(lifecycle::rename),
    ..Command::BASE
};

pub(super) const WAIT: Command = Command {
    name: "wait",
    usage: "CONTAINER [CONTAINER...]",
    about: "Wait until containers stop and print their exit codes",
    paths: &["container wait", "wait"],
    args: Args::AtLeast(1),
    action: action!(lifecycle::wait),
    ..Command::BASE
};

pub(super) const UPDATE: Command = Command {
    name: "update",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Change limits and restart policy of containers",
    paths: &["container update", "update"],
    flags: &[UPDATE_FLAGS],
    args: Args::AtLeast(1),
    action: action!(lifecycle::update),
    ..Command::BASE
};

pub(super) const RM: Command = Command {
    name: "rm",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove containers",
    paths: &["container rm", "container remove", "rm"],
    flags: &[&[
        short('f', "force", SWITCH, "Kill running containers first"),
        short('l', "link", SWITCH, "Remove the link of that name only"),
        short('v', "volumes", SWITCH, "Remove their anonymous volumes as well"),
    ]],
    args: Args::AtLeast(1),
    action: action!(lifecycle::remove),
    ..Command::BASE
};

const REMOVE: Command = Command { aliases: &["remove"], ..RM };

pub(super) const COMMIT: Command = Command {
    name: "commit",
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Make an image of a container's changes",
    paths: &["container commit", "commit"],
    flags: &[&[
        short('a', "author", STRING, "Author of the image"),
        short('c', "change", LIST, "Apply a Dockerfile instruction to the image's configuration"),
        short('m', "message", STRING, "Comment in the image's history"),
        flag("no-pause", SWITCH, "Do not freeze the container meanwhile"),
        short('p', "pause", ON, "Freeze the container meanwhile"),
    ]],
    args: Args::Between(1, 2),
    action: action!(lifecycle::commit),
    ..Command::BASE
};

pub(super) const TOP: Command = Command {
    name: "top",
    usage: "CONTAINER [ps OPTIONS]",
    about: "Show the processes of a container",
    paths: &["container top", "top"],
    args: Args::AtLeast(1),
    interspersed: false,
    action: action!(look::top),
    ..Command::BASE
};

pub(super) const STATS: Command = Command {
    name: "stats",
    usage: "[OPTIONS] [CONTAINER...]",
    about: "Show what containers use, live",
    paths: &["container stats", "stats"],
    flags: &[&[
        short('a', "all", SWITCH, "Show all containers, not only running ones"),
        flag(
            "format",
            STRING,
            "Show each container by a Go template, as 'json', or as 'table TEMPLATE'",
        ),
        flag("no-stream", SWITCH, "Show the figures once and end"),
        flag("no-trunc", SWITCH, "Do not shorten anything"),
    ]],
    args: Args::AtLeast(0),
    action: action!(stats::stats),
    ..Command::BASE
};

pub(super) const PORT: Command = Command {
    name: "port",
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List the published ports of a container",
    paths: &["container port", "port"],
    args: Args::Between(1, 2),
    action: action!(look::port),
    ..Command::BASE
};

pub(super) const DIFF: Command = Command {
    name: "diff",
    usage: "CONTAINER",
    about: "List files that differ from the container's image",
    paths: &["container diff", "diff"],
    args: Args::Exactly(1),
    action: action!(look::diff),
    ..Command::BASE
};

pub(super) const EXPORT: Command = Command {
    name: "export",
    usage: "[OPTIONS] CONTAINER",
    about: "Write a container's files as a tar",
    paths: &["container export", "export"],
    flags: &[&[short('o', "output", STRING, "Write this file instead of STDOUT")]],
    args: Args::Exactly(1),
    action: action!(look::export),
    ..Command::BASE
};

pub(super) const CP: Command = Command {
    name: "cp",
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    about: "Copy files between a container and this machine\n\nWith '-' as the source, a tar from STDIN is unpacked into a directory of the\ncontainer; with '-' as the destination, a tar of the source goes to STDOUT.",
    paths: &["container cp", "cp"],
    flags: &[&[
        short('a', "archive", SWITCH, "Keep owners"),
        short('L', "follow-link", SWITCH, "Copy what a link in SRC_PATH points to"),
        short('q', "quiet", SWITCH, "Do not say what was copied"),
    ]],
    args: Args::Exactly(2),
    action: action!(copy::copy),
    ..Command::BASE
};

const PRUNE: Command = Command {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove all stopped containers",
    flags: &[&[
        flag("filter", FILTER, "Remove only what fits the conditions (until=TIME, label=KEY)"),
        short('f', "force", SWITCH, "Do not ask first"),
    ]],
    action: action!(prune::containers),
    ..Command::BASE
};

const INSPECT: Command = Command {
    name: "inspect",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Show everything about containers",
    flags: &[&[
        short('f', "format", STRING, "Show each by a Go template, or as 'json'"),
        short('s', "size", SWITCH, "Show sizes as well"),
    ]],
    args: Args::AtLeast(1),
    action: action!(inspect::container),
    ..Command::BASE
};

pub(super) const CONTAINER: Command = Command {
    name: "container",
    about: "Manage containers",
    action: Action::Group(&[
        &ATTACH, &COMMIT, &CP, &CREATE, &DIFF, &EXEC, &EXPORT, &INSPECT, &KILL, &LOGS, &LS, &PAUSE,
        &PORT, &PRUNE, &RENAME, &RESTART, &REMOVE, &RUN, &START, &STATS, &STOP, &TOP, &UNPAUSE,
        &UPDATE, &WAIT,
    ]),
    ..Command::BASE
};
