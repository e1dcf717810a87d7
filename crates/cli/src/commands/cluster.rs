//! The commands for clusters: of those who run one, and of those who run tasks on one.

use crate::grammar::{
    Action, Args, Command, DECIMAL, Flag, LIST, STRING, SWITCH, UINT, UINT16, action, flag, short,
};
use crate::{cluster, task};

const MASTER: Flag = flag(
    "master",
    STRING,
    "Address of the master, or of several with commas (default $TEU_MASTER, else 127.0.0.1:5050)",
);

const CLUSTER_STATUS: Command = Command {
    name: "status",
    usage: "[OPTIONS]",
    about: "Show agents, frameworks and tasks, and say what stands in their way",
    flags: &[&[MASTER]],
    action: action!(cluster::status),
    ..Command::BASE
};

const CLUSTER_UP: Command = Command {
    name: "up",
    usage: "[OPTIONS]",
    about: "Run a master, an agent and the daemon on this host until Ctrl-C",
    flags: &[&[
        flag("ip", STRING.or(cluster::IP), "Address of this host that master and agent use"),
        flag("port", UINT16.or(cluster::PORT), "Port of the master"),
        flag("agent-port", UINT16.or(cluster::AGENT_PORT), "Port of the agent"),
        flag("work-dir", STRING.or(cluster::WORK_DIR), "Directory for their state"),
        flag("agent-flag", LIST, "Hand a flag to the agent (--agent-flag=--resources=cpus:2)"),
        flag("master-flag", LIST, "Hand a flag to the master"),
    ]],
    action: action!(cluster::up),
    ..Command::BASE
};

pub(super) const CLUSTER: Command = Command {
    name: "cluster",
    about: "Run and look at a Mesos cluster",
    action: Action::Group(&[&CLUSTER_STATUS, &CLUSTER_UP]),
    ..Command::BASE
};

const TASK_KILL: Command = Command {
    name: "kill",
    usage: "[OPTIONS] TASK [TASK...]",
    about: "Kill tasks, and forget those that have ended",
    flags: &[&[MASTER]],
    args: Args::AtLeast(1),
    action: action!(task::kill),
    ..Command::BASE
};

const TASK_LOGS: Command = Command {
    name: "logs",
    usage: "[OPTIONS] TASK",
    about: "Show what a task has printed",
    flags: &[&[MASTER, short('f', "follow", SWITCH, "Go on until the task ends")]],
    args: Args::Exactly(1),
    action: action!(task::logs),
    ..Command::BASE
};

const TASK_LS: Command = Command {
    name: "ls",
    aliases: &["list"],
    usage: "[OPTIONS]",
    about: "List tasks, of all frameworks",
    paths: &["task ls", "task list"],
    flags: &[&[
        MASTER,
        short('a', "all", SWITCH, "List those that have ended as well"),
        flag("format", STRING, "Show each by a Go template, as 'json', or as 'table TEMPLATE'"),
        flag("no-trunc", SWITCH, "Do not shorten anything"),
        short('q', "quiet", SWITCH, "Show ids only"),
    ]],
    action: action!(task::list),
    ..Command::BASE
};

const TASK_RUN: Command = Command {
    name: "run",
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Run a task somewhere in the cluster; with --no-image a command on an agent's host",
    flags: &[&[
        MASTER,
        flag("cpus", DECIMAL.or(task::CPUS), "Processors; parts of one are possible"),
        short('d', "detach", SWITCH, "Leave it to itself once it runs, and print its id"),
        flag("disk", UINT.or(task::DISK), "Disk in MB"),
        short('e', "env", LIST, "Set a variable of the environment (name=value)"),
        flag("memory", UINT.or(task::MEMORY), "Memory in MB"),
        flag("name", STRING, "Name of the task (default: the image, or the command)"),
        flag("network", STRING.or(task::NETWORK), "host, bridge, none, or the name of a network"),
        flag("no-image", SWITCH, "Run COMMAND on the agent's host, without a container image"),
        short('p', "publish", LIST, "Make a port of the container reachable ([agent's port:]port)"),
        flag("pull", SWITCH, "Pull the image even if the agent has it"),
        flag("role", STRING.or(task::ROLE), "Role whose resources to use"),
        flag("user", STRING, "User to run as on the host"),
        short(
            'v',
            "volume",
            LIST,
            "Show a path of the host in the container (host:container[:ro])",
        ),
        flag("wait", UINT.or(task::WAIT), "Seconds to wait for an offer that is large enough"),
    ]],
    args: Args::AtLeast(1),
    interspersed: false,
    action: action!(task::run),
    ..Command::BASE
};

pub(super) const TASK: Command = Command {
    name: "task",
    about: "Run tasks on a Mesos cluster without a framework of your own",
    action: Action::Group(&[&TASK_KILL, &TASK_LOGS, &TASK_LS, &TASK_RUN]),
    ..Command::BASE
};
