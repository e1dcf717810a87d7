//! The commands for images.

use crate::bootstrap;
use crate::container::flags::{FILTERS, PLATFORMS};
use crate::grammar::{
    Action, Args, BYTES, Command, FILTER, Flag, INT, LIST, ON, STRING, SWAP_BYTES, SWITCH, action,
    checked, flag, short,
};
use crate::image::{build, import, list, login, pull, remove};
use crate::prune;
use crate::system::inspect;

const PLATFORM: Flag = flag("platform", STRING, "Platform of the image (os/arch)");
const CHANGE: Flag =
    short('c', "change", LIST, "Apply a Dockerfile instruction to the image's configuration");
const CONTENT_TRUST: Flag = flag("disable-content-trust", ON, "");

pub(super) const BUILD: Command = Command {
    name: "build",
    usage: "[OPTIONS] PATH | URL | -",
    about: "Build an image from a Dockerfile",
    paths: &["image build", "builder build", "build"],
    flags: &[&[
        flag("add-host", LIST, "Add a host and its address to /etc/hosts of RUN (host:ip)"),
        flag("allow", LIST, "Grant RUN what it may not by default (security.insecure, device)"),
        flag("annotation", LIST, ""),
        flag("attest", LIST, ""),
        flag("build-arg", LIST, "Set a value for ARG"),
        flag("build-context", LIST, "Add a context, or replace an image, by name (name=path)"),
        flag("builder", STRING, ""),
        flag("cache-from", LIST, "Take finished steps from an image, or type=local,src=DIR"),
        flag("cache-to", LIST, "Write finished steps elsewhere (type=local,dest=DIR)"),
        flag("call", STRING, "What to do: build, check, outline or targets"),
        flag("cgroup-parent", STRING, "Parent cgroup of RUN"),
        flag("check", SWITCH, "Only say what is wrong with the Dockerfile"),
        flag("compress", SWITCH, "Send the context with gzip"),
        flag("cpu-period", INT, "Length of a scheduling period of RUN in microseconds"),
        flag("cpu-quota", INT, "Run time of RUN per period in microseconds"),
        short('c', "cpu-shares", INT, "Weight of RUN among other containers"),
        flag("cpuset-cpus", STRING, "CPUs that RUN may use (0-2,4)"),
        flag("cpuset-mems", STRING, "Memory nodes that RUN may use"),
        CONTENT_TRUST,
        short('f', "file", STRING, "Path of the Dockerfile, or - for STDIN"),
        flag("force-rm", SWITCH, "Remove the containers of RUN in any case"),
        flag("iidfile", STRING, "Write the image's id to this file"),
        flag("isolation", STRING, "Isolation of RUN (default)"),
        flag("label", LIST, "Set a label of the image"),
        flag("load", SWITCH, "Keep the image in the daemon (--output type=docker)"),
        short('m', "memory", BYTES, "Memory limit of RUN"),
        flag("metadata-file", STRING, "Write the image's id and names to this file, as JSON"),
        flag("memory-swap", SWAP_BYTES, "Limit of memory and swap of RUN, -1 for none"),
        flag("network", STRING, "Network of RUN (default, none, host or a network's name)"),
        flag("no-cache", SWITCH, "Do every step again"),
        flag(
            "no-cache-filter",
            LIST,
            "Do the steps of these stages, and of those that need them, again",
        ),
        short(
            'o',
            "output",
            LIST,
            "Where the result goes (type=local|tar|oci|docker|image,dest=PATH)",
        ),
        flag("platform", STRING, "Platform to build for (os/arch)"),
        flag("progress", STRING.or("auto"), "How to show it: auto, plain, tty, rawjson or quiet"),
        flag("provenance", STRING, "Only false: images here have no attestations"),
        flag("pull", SWITCH, "Ask the registry for newer base images"),
        flag("push", SWITCH, "Push the image (--output type=registry)"),
        short('q', "quiet", SWITCH, "Print the image's id alone"),
        flag("rm", ON, "Remove the containers of RUN"),
        flag("sbom", STRING, "Only false: images here have no attestations"),
        flag("secret", LIST, "Give a secret to RUN (id=NAME,src=FILE)"),
        flag("security-opt", LIST, ""),
        flag("shm-size", BYTES, "Size of /dev/shm of RUN"),
        flag("squash", SWITCH, ""),
        flag("ssh", LIST, "Give an SSH agent to RUN (default, or NAME=SOCKET)"),
        short('t', "tag", LIST, "Name of the image (name[:tag])"),
        flag("target", STRING, "Stage to build"),
        flag(
            "ulimit",
            checked("ulimit", crate::container::checks::ulimit),
            "Limit of the processes of RUN",
        ),
    ]],
    args: Args::Exactly(1),
    action: action!(build::command),
    ..Command::BASE
};

const BUILDER_PRUNE: Command = Command {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove what builds have cached",
    flags: &[&[
        short('a', "all", SWITCH, "Also what images share"),
        flag("filter", FILTER, "Remove only what fits the conditions (until=TIME, type=KIND)"),
        short('f', "force", SWITCH, "Do not ask first"),
        flag("keep-storage", BYTES, "Keep so much of what was used last"),
        flag("reserved-space", BYTES, "The same"),
    ]],
    action: action!(prune::builder),
    ..Command::BASE
};

pub(super) const BUILDER: Command = Command {
    name: "builder",
    about: "Manage builds",
    action: Action::Group(&[&BUILD, &BUILDER_PRUNE]),
    ..Command::BASE
};

pub(super) const PULL: Command = Command {
    name: "pull",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Get an image from a registry",
    paths: &["image pull", "pull"],
    flags: &[&[
        short('a', "all-tags", SWITCH, "Get all tags of the repository"),
        CONTENT_TRUST,
        PLATFORM,
        short('q', "quiet", SWITCH, "Show no progress"),
    ]],
    args: Args::Exactly(1),
    action: action!(pull::command),
    ..Command::BASE
};

pub(super) const PUSH: Command = Command {
    name: "push",
    usage: "[OPTIONS] NAME[:TAG]",
    about: "Bring an image to a registry",
    paths: &["image push", "push"],
    flags: &[&[
        short('a', "all-tags", SWITCH, "Bring all tags of the image"),
        CONTENT_TRUST,
        PLATFORM,
        short('q', "quiet", SWITCH, "Show no progress"),
    ]],
    args: Args::Exactly(1),
    action: action!(pull::push),
    ..Command::BASE
};

pub(super) const IMAGES: Command = Command {
    name: "images",
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    paths: &["image ls", "image list", "images"],
    flags: &[&[
        short('a', "all", SWITCH, "Show intermediate images as well"),
        flag("digests", SWITCH, "Show digests"),
        FILTERS,
        flag(
            "format",
            STRING,
            "Show each image by a Go template, as 'json', or as 'table TEMPLATE'",
        ),
        flag("no-trunc", SWITCH, "Do not shorten anything"),
        short('q', "quiet", SWITCH, "Show ids only"),
    ]],
    args: Args::AtMost(1),
    action: action!(list::list),
    ..Command::BASE
};

const LS: Command = Command { name: "ls", aliases: &["list"], ..IMAGES };

pub(super) const HISTORY: Command = Command {
    name: "history",
    usage: "[OPTIONS] IMAGE",
    about: "Show how an image was made",
    paths: &["image history", "history"],
    flags: &[&[
        flag(
            "format",
            STRING,
            "Show each step by a Go template, as 'json', or as 'table TEMPLATE'",
        ),
        short('H', "human", ON, "Show sizes and dates for people"),
        flag("no-trunc", SWITCH, "Do not shorten anything"),
        PLATFORM,
        short('q', "quiet", SWITCH, "Show ids only"),
    ]],
    args: Args::Exactly(1),
    action: action!(list::history),
    ..Command::BASE
};

pub(super) const IMPORT: Command = Command {
    name: "import",
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    about: "Make an image of the files in a tar",
    paths: &["image import", "import"],
    flags: &[&[CHANGE, short('m', "message", STRING, "Comment in the image's history"), PLATFORM]],
    args: Args::AtLeast(1),
    action: action!(import::import),
    ..Command::BASE
};

pub(super) const LOAD: Command = Command {
    name: "load",
    usage: "[OPTIONS]",
    about: "Take images out of a tar, from a file or STDIN",
    paths: &["image load", "load"],
    flags: &[&[
        short('i', "input", STRING, "Read this file instead of STDIN"),
        PLATFORMS,
        short('q', "quiet", SWITCH, "Show no progress"),
    ]],
    action: action!(import::load),
    ..Command::BASE
};

pub(super) const SAVE: Command = Command {
    name: "save",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Put images into a tar, to a file or STDOUT",
    paths: &["image save", "save"],
    flags: &[&[short('o', "output", STRING, "Write this file instead of STDOUT"), PLATFORMS]],
    args: Args::AtLeast(1),
    action: action!(import::save),
    ..Command::BASE
};

pub(super) const TAG: Command = Command {
    name: "tag",
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Give an image another name",
    paths: &["image tag", "tag"],
    args: Args::Exactly(2),
    action: action!(import::tag),
    ..Command::BASE
};

pub(super) const RMI: Command = Command {
    name: "rmi",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove images",
    paths: &["image rm", "image remove", "rmi"],
    flags: &[&[
        short('f', "force", SWITCH, "Remove images that are in use or have several names"),
        flag("no-prune", SWITCH, "Keep parents without a name"),
        PLATFORMS,
    ]],
    args: Args::AtLeast(1),
    action: action!(remove::remove),
    ..Command::BASE
};

const RM: Command = Command { name: "rm", aliases: &["remove"], ..RMI };

const PRUNE: Command = Command {
    name: "prune",
    usage: "[OPTIONS]",
    about: "Remove images that are not used",
    flags: &[&[
        short('a', "all", SWITCH, "Remove all images without a container, not only nameless ones"),
        flag("filter", FILTER, "Remove only what fits the conditions (until=TIME, label=KEY)"),
        short('f', "force", SWITCH, "Do not ask first"),
    ]],
    action: action!(prune::images),
    ..Command::BASE
};

pub(super) const LOGIN: Command = Command {
    name: "login",
    usage: "[OPTIONS] [SERVER]",
    about: "Log in to a registry",
    flags: &[&[
        short('p', "password", STRING, "Password or token"),
        flag("password-stdin", SWITCH, "Read the password from STDIN"),
        short('u', "username", STRING, "User name"),
    ]],
    args: Args::AtMost(1),
    action: action!(login::login),
    ..Command::BASE
};

pub(super) const LOGOUT: Command = Command {
    name: "logout",
    usage: "[SERVER]",
    about: "Forget the credentials of a registry",
    args: Args::AtMost(1),
    action: action!(login::logout),
    ..Command::BASE
};

pub(super) const SEARCH: Command = Command {
    name: "search",
    usage: "[OPTIONS] TERM",
    about: "Search the default registry for images",
    flags: &[&[
        FILTERS,
        flag(
            "format",
            STRING,
            "Show each image by a Go template, as 'json', or as 'table TEMPLATE'",
        ),
        flag("limit", INT, "Number of results"),
        flag("no-trunc", SWITCH, "Do not shorten anything"),
    ]],
    args: Args::Exactly(1),
    action: action!(login::search),
    ..Command::BASE
};

const INSPECT: Command = Command {
    name: "inspect",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Show everything about images",
    flags: &[&[short('f', "format", STRING, "Show each by a Go template, or as 'json'"), PLATFORM]],
    args: Args::AtLeast(1),
    action: action!(inspect::image),
    ..Command::BASE
};

pub(super) const BOOTSTRAP: Command = Command {
    name: "bootstrap",
    usage: "[OPTIONS] NAME:SUITE",
    about: "Make a base image out of a distribution's packages",
    paths: &["image bootstrap", "bootstrap"],
    flags: &[&[
        flag("force", SWITCH, "Make the image even if there is one of that name"),
        flag("include", LIST, "Packages to install as well, separated by commas"),
        flag("mirror", STRING, "Package mirror to use instead of this machine's"),
        flag("variant", STRING.or("minbase"), "Set of packages: minbase, buildd or standard"),
    ]],
    args: Args::Exactly(1),
    action: action!(bootstrap::command),
    ..Command::BASE
};

pub(super) const IMAGE: Command = Command {
    name: "image",
    about: "Manage images",
    action: Action::Group(&[
        &BOOTSTRAP, &BUILD, &HISTORY, &IMPORT, &INSPECT, &LOAD, &LS, &PRUNE, &PULL, &PUSH, &RM,
        &SAVE, &TAG,
    ]),
    ..Command::BASE
};
