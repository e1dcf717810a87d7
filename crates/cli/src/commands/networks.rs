//! The commands for networks and volumes.

use crate::container::{checks, flags::FILTERS};
use crate::grammar::{
    Action, Args, Command, FILTER, Flag, INT, MAP, ON, STRING, STRINGS, SWITCH, action, checked,
    flag, short,
};
use crate::system::inspect;
use crate::{network, prune, volume};

const LABEL: Flag = flag("label", checked("list", checks::label), "Set a label (key[=value])");
const FORMAT: Flag =
    flag("format", STRING, "Show each by a Go template, as 'json', or as 'table TEMPLATE'");
const OPTIONS: Flag = short('o', "opt", MAP, "Set an option of the driver (key=value)");

const NETWORK_CREATE: Command = Command {
    name: "create",
    usage: "[OPTIONS] NETWORK",
    about: "Create a network",
    flags: &[&[
        flag("attachable", SWITCH, "Let containers of any kind attach"),
        flag("aux-address", MAP, "Addresses that the driver uses itself (name=address)"),
        flag("config-from", STRING, "Network to copy the configuration from"),
        flag("config-only", SWITCH, "Create a configuration for other networks only"),
        short('d', "driver", STRING.or("bridge"), "Driver of the network"),
        flag("gateway", STRINGS, "Gateway of a subnet"),
        flag("ingress", SWITCH, "Create the routing mesh of a swarm"),
        flag("internal", SWITCH, "Let nothing out of the network"),
        flag("ip-range", STRINGS, "Take the containers' addresses from this part of a subnet"),
        flag("ipam-driver", STRING.or("default"), "Driver of the addresses"),
        flag("ipam-opt", MAP, "Set an option of that driver (key=value)"),
        flag("ipv4", ON, "Give out IPv4 addresses"),
        flag("ipv6", SWITCH, "Give out IPv6 addresses"),
        LABEL,
        OPTIONS,
        flag("scope", STRING, "Scope of the network"),
        flag("subnet", STRINGS, "Subnet of the network in CIDR notation"),
    ]],
    args: Args::Exactly(1),
    action: action!(network::create),
    ..Command::BASE
};

const NETWORK_CONNECT: Command = Command {
    name: "connect",
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Connect a container to a network",
    flags: &[&[
        flag("alias", STRINGS, "Add a name of the container in the network"),
        flag("driver-opt", STRINGS, "Set an option of the driver (key=value)"),
        flag("gw-priority", INT, "Highest one provides the default gateway"),
        flag("ip", STRING, "IPv4 address"),
        flag("ip6", STRING, "IPv6 address"),
        flag("link", checked("list", checks::link), "Link to another container"),
        flag("link-local-ip", STRINGS, "Add a link-local address"),
    ]],
    args: Args::Exactly(2),
    action: action!(network::connect),
    ..Command::BASE
};

const NETWORK_DISCONNECT: Command = Command {
    name: "disconnect",
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Disconnect a container from a network",
    flags: &[&[short('f', "force", SWITCH, "Disconnect even what is there no more")]],
    args: Args::Exactly(2),
    action: action!(network::disconnect),
    ..Command::BASE
};

const NETWORK_DOCTOR: Command = Command {
    name: "doctor",
    usage: "[OPTIONS] [CONTAINER|NETWORK]",
    about: "Explain what is wrong with a container's or a network's connectivity",
    flags: &[&[short('q', "quiet", SWITCH, "Show problems only")]],
    args: Args::AtMost(1),
    action: action!(network::doctor),
    ..Command::BASE
};

const NETWORK_INSPECT: Command = Command {
    name: "inspect",
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Show everything about networks",
    flags: &[&[
        short('f', "format", STRING, "Show each by a Go template, or as 'json'"),
        flag("scope", STRING, ""),
        short('v', "verbose", SWITCH, "Show even more"),
    ]],
    args: Args::AtLeast(1),
    action: action!(inspect::network),
    ..Command::BASE
};

const NETWORK_LS: Command = Command {
    name: "ls",
    aliases: &["list"],
    usage: "[OPTIONS]",
    about: "List networks",
    paths: &["network ls", "network list"],
    flags: &[&[
        FILTERS,
        FORMAT,
        flag("no-trunc", SWITCH, "Do not shorten anything"),
        short('q', "quiet", SWITCH, "Show ids only"),
    ]],
    action: action!(network::list),
    ..Command::BASE
};

const NETWORK_PRUNE: Command = Command {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove all networks that are not used",
    flags: &[&[
        flag("filter", FILTER, "Remove only what fits the conditions (until=TIME, label=KEY)"),
        short('f', "force", SWITCH, "Do not ask first"),
    ]],
    action: action!(prune::networks),
    ..Command::BASE
};

const NETWORK_RM: Command = Command {
    name: "rm",
    aliases: &["remove"],
    usage: "NETWORK [NETWORK...]",
    about: "Remove networks",
    paths: &["network rm", "network remove"],
    flags: &[&[short('f', "force", SWITCH, "Do not mind networks that do not exist")]],
    args: Args::AtLeast(1),
    action: action!(network::remove),
    ..Command::BASE
};

pub(super) const NETWORK: Command = Command {
    name: "network",
    about: "Manage networks",
    action: Action::Group(&[
        &NETWORK_CONNECT,
        &NETWORK_CREATE,
        &NETWORK_DISCONNECT,
        &NETWORK_DOCTOR,
        &NETWORK_INSPECT,
        &NETWORK_LS,
        &NETWORK_PRUNE,
        &NETWORK_RM,
    ]),
    ..Command::BASE
};

const VOLUME_CREATE: Command = Command {
    name: "create",
    usage: "[OPTIONS] [VOLUME]",
    about: "Create a volume",
    flags: &[&[
        short('d', "driver", STRING.or("local"), "Driver of the volume"),
        LABEL,
        flag("name", STRING, ""),
        OPTIONS,
    ]],
    args: Args::AtMost(1),
    action: action!(volume::create),
    ..Command::BASE
};

const VOLUME_INSPECT: Command = Command {
    name: "inspect",
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Show everything about volumes",
    flags: &[&[short('f', "format", STRING, "Show each by a Go template, or as 'json'")]],
    args: Args::AtLeast(1),
    action: action!(inspect::volume),
    ..Command::BASE
};

const VOLUME_LS: Command = Command {
    name: "ls",
    aliases: &["list"],
    usage: "[OPTIONS]",
    about: "List volumes",
    paths: &["volume ls", "volume list"],
    flags: &[&[FILTERS, FORMAT, short('q', "quiet", SWITCH, "Show names only")]],
    action: action!(volume::list),
    ..Command::BASE
};

const VOLUME_PRUNE: Command = Command {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove local volumes that are not used",
    flags: &[&[
        short('a', "all", SWITCH, "Remove named volumes as well, not only anonymous ones"),
        flag("filter", FILTER, "Remove only what fits the conditions (label=KEY)"),
        short('f', "force", SWITCH, "Do not ask first"),
    ]],
    action: action!(volume::prune),
    ..Command::BASE
};

const VOLUME_RM: Command = Command {
    name: "rm",
    aliases: &["remove"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove volumes that no container uses",
    paths: &["volume rm", "volume remove"],
    flags: &[&[short('f', "force", SWITCH, "Do not mind volumes that do not exist")]],
    args: Args::AtLeast(1),
    action: action!(volume::remove),
    ..Command::BASE
};

pub(super) const VOLUME: Command = Command {
    name: "volume",
    about: "Manage volumes",
    action: Action::Group(&[
        &VOLUME_CREATE,
        &VOLUME_INSPECT,
        &VOLUME_LS,
        &VOLUME_PRUNE,
        &VOLUME_RM,
    ]),
    ..Command::BASE
};
