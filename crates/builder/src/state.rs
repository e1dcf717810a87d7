//! A stage between two of its instructions: the image that it would be.

use std::collections::BTreeMap;
use std::sync::Arc;

use images::{
    Digest, Hasher, History, ImageConfig, ImageId, RootFs, RunConfig, StepRecord, UnpackedLayer,
};

use crate::Result;

/// The state.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Over everything that went into it.
    pub(crate) key: String,
    pub(crate) config: ImageConfig,
    /// The image that this is, until a step changes it.
    pub(crate) image: Option<ImageId>,
    /// The layers, held against removal, lowest first.
    pub(crate) layers: Vec<Arc<UnpackedLayer>>,
    /// ARGs of this stage that were declared, in order.
    pub(crate) args: Vec<(String, Option<String>)>,
    /// Whether this Dockerfile has said CMD: an ENTRYPOINT takes an inherited one away.
    pub(crate) own_cmd: bool,
    /// The keys of the steps that made it, from the image it stands on.
    pub(crate) steps: Vec<String>,
}

/// Computes a key over parts; no two lists of parts have the same.
pub(crate) fn key(parts: &[&str]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(b"teu-step-1");
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finish().hex()
}

/// The `PATH` of what says nothing else, so that `ENV PATH=/own:$PATH` loses no programs: Docker's
/// builders give it to every base.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn with_path(mut config: RunConfig) -> RunConfig {
    let env = config.env.get_or_insert_default();
    if !env.iter().any(|entry| entry.starts_with("PATH=")) {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    config
}

impl State {
    /// Nothing at all.
    pub(crate) fn scratch() -> Self {
        let config = RunConfig { working_dir: "/".to_owned(), ..RunConfig::default() };
        let config = ImageConfig {
            architecture: images::host_architecture().to_owned(),
            os: "linux".to_owned(),
            config: with_path(config),
            rootfs: RootFs::default(),
            ..ImageConfig::default()
        };
        Self {
            key: key(&["scratch"]),
            config,
            image: None,
            layers: Vec::new(),
            args: Vec::new(),
            own_cmd: false,
            steps: Vec::new(),
        }
    }

    /// An image. Its own history stays in front.
    pub(crate) fn image(
        id: &ImageId,
        config: ImageConfig,
        layers: Vec<Arc<UnpackedLayer>>,
    ) -> Self {
        let config = ImageConfig {
            author: config.author.clone(),
            comment: String::new(),
            container: String::new(),
            docker_version: String::new(),
            config: with_path(config.config),
            ..config
        };
        Self {
            key: key(&["image", &id.to_string()]),
            config,
            image: Some(*id),
            layers,
            args: Vec::new(),
            own_cmd: false,
            steps: Vec::new(),
        }
    }

    /// A stage that another one stands on.
    pub(crate) fn base_of(&self) -> Self {
        Self { args: Vec::new(), own_cmd: false, ..self.clone() }
    }

    pub(crate) fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id()).collect()
    }

    /// Looks a variable up as instructions see it: the environment, then the ARGs.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let of_env = self.config.config.env.iter().flatten().find_map(|entry| {
            entry.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        });
        of_env.or_else(|| {
            let found = self.args.iter().rev().find(|(own, _)| own == name);
            found.and_then(|(_, value)| value.clone())
        })
    }

    /// The ARGs that a command sees: those with a value that no ENV hides.
    pub(crate) fn visible_args(&self) -> BTreeMap<String, String> {
        let env = self.config.config.env.iter().flatten();
        let hidden: Vec<&str> = env.filter_map(|entry| entry.split('=').next()).collect();
        let args = self.args.iter().filter(|(name, _)| !hidden.contains(&name.as_str()));
        args.filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
    }

    /// Takes a step's result in.
    pub(crate) fn advance(
        &mut self,
        key: String,
        created_by: String,
        created_at: i64,
        layer: Option<Arc<UnpackedLayer>>,
    ) {
        let created = Some(rfc3339(created_at));
        self.steps.push(key.clone());
        self.key = key;
        self.image = None;
        self.config.created.clone_from(&created);
        self.config.history.push(History {
            created,
            created_by,
            author: self.config.author.clone(),
            comment: String::new(),
            empty_layer: layer.is_none(),
        });
        if let Some(layer) = layer {
            self.config.rootfs.diff_ids.push(layer.diff_id());
            self.layers.push(layer);
        }
    }

    /// The id that the image would have if it ended here.
    pub(crate) fn image_id(&self) -> Result<ImageId> {
        match self.image {
            Some(id) => Ok(id),
            None => Ok(ImageId::of_config(&self.config.to_bytes()?)),
        }
    }
}

/// The record of a step that was just made.
pub(crate) fn record(
    parent: &str,
    description: &str,
    created_at: i64,
    layer: Option<&UnpackedLayer>,
) -> StepRecord {
    StepRecord {
        layer: layer.map(UnpackedLayer::diff_id),
        size: layer.map_or(0, UnpackedLayer::size),
        created_at,
        last_used_at: now(),
        uses: 0,
        parent: Some(parent.to_owned()),
        description: description.chars().take(500).collect(),
        note: serde_json::Value::Null,
    }
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A time as images have it.
pub(crate) fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// Sets a variable of an environment.
pub(crate) fn set_env(env: &mut Vec<String>, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    let same = |other: &&mut String| other.split('=').next() == Some(key);
    match env.iter_mut().find(same) {
        Some(other) => *other = entry,
        None => env.push(entry),
    }
}
