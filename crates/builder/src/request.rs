//! What is asked of a build, and what it tells while it goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use engine::archive::ByteStream;
use engine::container::Resources;
use images::registry::AuthConfig;
use images::{Progress, Reference};

/// Where a build's files come from.
pub enum ContextSource {
    /// An archive, compressed or not.
    Archive(ByteStream),
    /// A Git repository, an archive or a Dockerfile, by URL.
    Remote(String),
}

/// A further source of files, or a replacement for an image, by name.
pub enum NamedContext {
    /// Files that were sent ahead, by what [`crate::Builder::add_context`] calls them.
    Input(String),
    /// An image.
    Image(Reference),
    /// A Git repository or an archive, by URL.
    Remote(String),
}

/// Finds the credentials for a reference.
pub type Credentials = Arc<dyn Fn(&Reference) -> AuthConfig + Send + Sync>;

/// A build.
pub struct Request {
    /// The files.
    pub context: ContextSource,
    /// Further contexts.
    pub contexts: BTreeMap<String, NamedContext>,
    /// All else.
    pub options: Options,
}

/// How to build.
pub struct Options {
    /// Path of the Dockerfile in them.
    pub dockerfile: String,
    /// Names of the image.
    pub tags: Vec<Reference>,
    /// Values for ARG; `None` takes a default away.
    pub build_args: BTreeMap<String, Option<String>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// The stage to build; the last by default.
    pub target: Option<String>,
    /// The platform to build for.
    pub platform: Option<String>,
    /// Look nothing up in the cache.
    pub no_cache: bool,
    /// Names of stages of which nothing is looked up, nor of those that stand on them.
    pub no_cache_filter: Vec<String>,
    /// Images here whose steps are taken, too, where they fit. Those that are not here are told of.
    pub cache_from: Vec<String>,
    /// Write the steps that made the image into its configuration, for those who take them from it.
    pub inline_cache: bool,
    /// Ask the registry for newer base images.
    pub pull: bool,
    /// Keep the containers of RUN.
    pub keep_containers: bool,
    /// The network of RUN: a mode or a network's name.
    pub network: String,
    /// `name:ip` for RUN.
    pub extra_hosts: Vec<String>,
    /// Size of `/dev/shm` of RUN; 0 takes the default.
    pub shm_size_bytes: i64,
    /// Limits of RUN.
    pub resources: Resources,
    /// Secrets by id. They are never stored and no part of the cache's keys.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of SSH agents on this host by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// Whether `RUN --security=insecure` is granted.
    pub allow_insecure: bool,
    /// Devices and classes of devices that `RUN --device` is granted; `*` is all.
    pub allowed_devices: Vec<String>,
    /// What is to become of the Dockerfile.
    pub call: Call,
    /// Credentials for base images.
    pub credentials: Credentials,
}

impl fmt::Debug for ContextSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(_) => f.write_str("Archive"),
            Self::Remote(url) => f.debug_tuple("Remote").field(url).finish(),
        }
    }
}

impl fmt::Debug for NamedContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(id) => f.debug_tuple("Input").field(id).finish(),
            Self::Image(reference) => f.debug_tuple("Image").field(reference).finish(),
            Self::Remote(url) => f.debug_tuple("Remote").field(url).finish(),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("options", &self.options).finish_non_exhaustive()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dockerfile", &self.dockerfile)
            .field("tags", &self.tags)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dockerfile: "Dockerfile".to_owned(),
            tags: Vec::new(),
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            target: None,
            platform: None,
            no_cache: false,
            no_cache_filter: Vec::new(),
            cache_from: Vec::new(),
            inline_cache: false,
            pull: false,
            keep_containers: false,
            network: String::new(),
            extra_hosts: Vec::new(),
            shm_size_bytes: 0,
            resources: Resources::default(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            allow_insecure: false,
            allowed_devices: Vec::new(),
            call: Call::Build,
            credentials: Arc::new(|_| AuthConfig::default()),
        }
    }
}

/// What is to become of a Dockerfile, by BuildKit's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// An image.
    Build,
    /// Advice.
    Check,
    /// A list of what the target takes: values, secrets, agents.
    Outline,
    /// A list of the targets.
    Targets,
}

/// Bytes that are not to be shown.
#[derive(Clone)]
pub struct Secret(pub Arc<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// What a build tells. Steps are known by a number that is theirs alone.
#[derive(Debug, Clone)]
pub enum Event {
    /// The stages that are going to be built, as far as the Dockerfile says it.
    Planned {
        /// Their numbers.
        stages: Vec<usize>,
    },
    /// A step begins.
    Started {
        /// The step.
        step: usize,
        /// Its stage.
        stage: usize,
        /// The stage's name, or its number.
        stage_name: String,
        /// The how manieth of all instructions; 0 for a trigger of the base image.
        number: usize,
        /// The number of all instructions.
        total: usize,
        /// The instruction.
        text: String,
    },
    /// The step's result was there already.
    Cached {
        /// The step.
        step: usize,
    },
    /// The step's command runs in a container.
    Running {
        /// The step.
        step: usize,
        /// The container.
        container: String,
    },
    /// The step's command wrote something.
    Output {
        /// The step.
        step: usize,
        /// To standard error.
        is_error: bool,
        /// What it wrote.
        text: String,
    },
    /// The step's container is gone.
    Removed {
        /// The step.
        step: usize,
        /// The container.
        container: String,
    },
    /// An image or file is on its way.
    Transfer {
        /// The step.
        step: usize,
        /// How far it is.
        progress: Progress,
    },
    /// A step has ended well.
    Done {
        /// The step.
        step: usize,
        /// The id that the image would have if it ended here.
        image: String,
    },
    /// A stage is complete.
    StageEnded {
        /// The stage.
        stage: usize,
    },
    /// Advice about the Dockerfile.
    Lint {
        /// The rule's name.
        rule: String,
        /// The place, the message and what to do.
        text: String,
    },
    /// Something to know.
    Warning(String),
    /// What [`Call::Outline`] and [`Call::Targets`] find, in BuildKit's form.
    Answer(serde_json::Value),
    /// What the cache has of the build, by key.
    Steps {
        /// Steps of all stages.
        all: Vec<String>,
        /// Those that made the result.
        result: Vec<String>,
    },
    /// The image is made.
    Built {
        /// Its id.
        image: String,
    },
    /// The image got a name.
    Tagged {
        /// The name.
        name: String,
    },
}

/// Where events go; a client that does not read holds the build up.
pub type Events = tokio::sync::mpsc::Sender<Event>;
