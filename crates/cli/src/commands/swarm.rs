//! The commands for swarms and their nodes.

use crate::container::{checks, flags::FILTERS};
use crate::grammar::{
    Action, Args, Command, DURATION, Flag, INT, LIST, STRING, STRINGS, SWITCH, UINT, UINT32,
    action, checked, flag, short,
};
use crate::{node, swarm};

const ADVERTISE: Flag = flag(
    "advertise-addr",
    STRING,
    "Address that other nodes reach this one by (ADDRESS|INTERFACE[:PORT])",
);
const AUTOLOCK: Flag = flag("autolock", SWITCH, "Lock managers with a key");
const AVAILABILITY: Flag =
    flag("availability", STRING.or("active"), "Availability of the node: active, pause or drain");
const CERT_EXPIRY: Flag =
    flag("cert-expiry", DURATION.or("2160h0m0s"), "How long nodes' certificates are valid");
const DATA_PATH: Flag =
    flag("data-path-addr", STRING, "Address for the packets of overlays (ADDRESS|INTERFACE)");
const EXTERNAL_CA: Flag = flag("external-ca", STRINGS, "Authority that signs certificates instead");
const HEARTBEAT: Flag =
    flag("dispatcher-heartbeat", DURATION.or("5s"), "How often nodes tell that they live");
const HISTORY: Flag = flag("task-history-limit", INT.or("5"), "Ended tasks that are remembered");
const LISTEN: Flag = flag(
    "listen-addr",
    STRING.or("0.0.0.0:2377"),
    "Where a manager listens (ADDRESS|INTERFACE[:PORT])",
);
const MAX_SNAPSHOTS: Flag = flag("max-snapshots", UINT, "Older snapshots of raft to keep");
const SNAPSHOT_INTERVAL: Flag =
    flag("snapshot-interval", UINT.or("10000"), "Entries of raft's log between two snapshots");

const INIT: Command = Command {
    name: "init",
    usage: "[OPTIONS]",
    about: "Begin a swarm",
    flags: &[&[
        ADVERTISE,
        AUTOLOCK,
        AVAILABILITY,
        CERT_EXPIRY,
        DATA_PATH,
        flag("data-path-port", UINT32, "UDP port for the packets of overlays (1024 to 49151)"),
        flag("default-addr-pool", STRINGS, "Take the networks' subnets from here (CIDR)"),
        flag(
            "default-addr-pool-mask-length",
            UINT32.or("24"),
            "Bits of the prefix of these subnets",
        ),
        HEARTBEAT,
        EXTERNAL_CA,
        flag("force-new-cluster", SWITCH, "Go on with the swarm that this manager has"),
        LISTEN,
        MAX_SNAPSHOTS,
        SNAPSHOT_INTERVAL,
        HISTORY,
    ]],
    action: action!(swarm::init),
    ..Command::BASE
};

const JOIN: Command = Command {
    name: "join",
    usage: "[OPTIONS] HOST:PORT",
    about: "Join a swarm as a worker",
    flags: &[&[
        ADVERTISE,
        AVAILABILITY,
        DATA_PATH,
        LISTEN,
        flag("token", STRING, "Token of the swarm"),
    ]],
    args: Args::Exactly(1),
    action: action!(swarm::join),
    ..Command::BASE
};

const LEAVE: Command = Command {
    name: "leave",
    usage: "[OPTIONS]",
    about: "Leave the swarm",
    flags: &[&[short('f', "force", SWITCH, "Leave even if that ends the swarm")]],
    action: action!(swarm::leave),
    ..Command::BASE
};

const JOIN_TOKEN: Command = Command {
    name: "join-token",
    usage: "[OPTIONS] (worker|manager)",
    about: "Show or exchange the tokens to join with",
    flags: &[&[
        short('q', "quiet", SWITCH, "Show the token only"),
        flag("rotate", SWITCH, "Make a new token; the old one is worthless then"),
    ]],
    args: Args::Exactly(1),
    action: action!(swarm::join_token),
    ..Command::BASE
};

const UPDATE: Command = Command {
    name: "update",
    usage: "[OPTIONS]",
    about: "Change the swarm",
    flags: &[&[
        AUTOLOCK,
        CERT_EXPIRY,
        HEARTBEAT,
        EXTERNAL_CA,
        MAX_SNAPSHOTS,
        SNAPSHOT_INTERVAL,
        HISTORY,
    ]],
    action: action!(swarm::update),
    ..Command::BASE
};

const CA: Command = Command {
    name: "ca",
    usage: "[OPTIONS]",
    about: "Show the root certificate",
    flags: &[&[
        flag("ca-cert", STRING, "File with a root certificate to use from now on"),
        flag("ca-key", STRING, "File with its key"),
        CERT_EXPIRY,
        short('d', "detach", SWITCH, "Do not wait until all nodes have a new certificate"),
        EXTERNAL_CA,
        short('q', "quiet", SWITCH, "Show no progress"),
        flag("rotate", SWITCH, "Exchange the root certificate"),
    ]],
    action: action!(swarm::ca),
    ..Command::BASE
};

const UNLOCK: Command = Command {
    name: "unlock",
    about: "Unlock a manager",
    action: action!(swarm::unlock),
    ..Command::BASE
};

const UNLOCK_KEY: Command = Command {
    name: "unlock-key",
    usage: "[OPTIONS]",
    about: "Show or exchange the key that unlocks managers",
    flags: &[&[
        short('q', "quiet", SWITCH, "Show the key only"),
        flag("rotate", SWITCH, "Make a new key"),
    ]],
    action: action!(swarm::unlock_key),
    ..Command::BASE
};

pub(super) const SWARM: Command = Command {
    name: "swarm",
    about: "Manage a swarm",
    action: Action::Group(&[&CA, &INIT, &JOIN, &JOIN_TOKEN, &LEAVE, &UNLOCK, &UNLOCK_KEY, &UPDATE]),
    ..Command::BASE
};

const NODE_LS: Command = Command {
    name: "ls",
    aliases: &["list"],
    usage: "[OPTIONS]",
    about: "List the nodes of the swarm",
    paths: &["node ls", "node list"],
    flags: &[&[
        FILTERS,
        flag("format", STRING, "Show each by a Go template, as 'json', or as 'table TEMPLATE'"),
        short('q', "quiet", SWITCH, "Show ids only"),
    ]],
    action: action!(node::list),
    ..Command::BASE
};

const NODE_INSPECT: Command = Command {
    name: "inspect",
    usage: "[OPTIONS] self|NODE [NODE...]",
    about: "Show everything about nodes",
    flags: &[&[
        short('f', "format", STRING, "Show each by a Go template, or as 'json'"),
        flag("pretty", SWITCH, "Show it for people"),
    ]],
    args: Args::AtLeast(1),
    action: action!(node::inspect),
    ..Command::BASE
};

const NODE_UPDATE: Command = Command {
    name: "update",
    usage: "[OPTIONS] NODE",
    about: "Change a node",
    flags: &[&[
        flag("availability", STRING, "Availability of the node: active, pause or drain"),
        flag("label-add", checked("list", checks::label), "Set a label (key[=value])"),
        flag("label-rm", LIST, "Remove a label"),
        flag("role", STRING, "Role of the node: worker or manager"),
    ]],
    args: Args::Exactly(1),
    action: action!(node::update),
    ..Command::BASE
};

const NODE_RM: Command = Command {
    name: "rm",
    aliases: &["remove"],
    usage: "[OPTIONS] NODE [NODE...]",
    about: "Take nodes out of the swarm",
    paths: &["node rm", "node remove"],
    flags: &[&[short('f', "force", SWITCH, "Take out nodes that are not down, too")]],
    args: Args::AtLeast(1),
    action: action!(node::remove),
    ..Command::BASE
};

const NODE_PROMOTE: Command = Command {
    name: "promote",
    usage: "NODE [NODE...]",
    about: "Make managers of nodes",
    args: Args::AtLeast(1),
    action: action!(node::promote),
    ..Command::BASE
};

const NODE_DEMOTE: Command = Command {
    name: "demote",
    usage: "NODE [NODE...]",
    about: "Make workers of managers",
    args: Args::AtLeast(1),
    action: action!(node::demote),
    ..Command::BASE
};

const NODE_PS: Command = Command {
    name: "ps",
    usage: "[OPTIONS] [NODE...]",
    about: "List tasks of services on nodes, by default on this one",
    flags: &[&[
        FILTERS,
        flag("format", STRING, "Show each by a Go template, as 'json', or as 'table TEMPLATE'"),
        flag("no-resolve", SWITCH, "Show ids in the place of names"),
        flag("no-trunc", SWITCH, "Do not shorten anything"),
        short('q', "quiet", SWITCH, "Show ids only"),
    ]],
    args: Args::AtLeast(0),
    action: action!(node::tasks),
    ..Command::BASE
};

pub(super) const NODE: Command = Command {
    name: "node",
    about: "Manage the nodes of a swarm",
    action: Action::Group(&[
        &NODE_DEMOTE,
        &NODE_INSPECT,
        &NODE_LS,
        &NODE_PROMOTE,
        &NODE_PS,
        &NODE_RM,
        &NODE_UPDATE,
    ]),
    ..Command::BASE
};
