//! config.json: formats, detach keys, proxies, and where credentials are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::env;

/// The keys of config.json that this program knows; others are kept as they are.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Config {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) auths: BTreeMap<String, StoredAuth>,
    #[serde(rename = "HttpHeaders", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) http_headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ps_format: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) images_format: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) networks_format: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) volumes_format: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) stats_format: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detach_keys: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) creds_store: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) cred_helpers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) proxies: BTreeMap<String, Proxy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current_context: Option<String>,
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
    /// Where the file is.
    #[serde(skip)]
    path: PathBuf,
    /// Why the file could not be used, for a warning.
    #[serde(skip)]
    pub(crate) problem: Option<String>,
}

/// Credentials of one registry as stored.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", default)]
pub(crate) struct StoredAuth {
    /// base64 of `user:password`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) auth: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) password: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) identitytoken: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) registrytoken: String,
}

/// Proxies that containers get in their environment.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Proxy {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
}

impl Proxy {
    /// Tells the variables to set, in both spellings that programs read.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (String, &str)> {
        [
            ("HTTP_PROXY", &self.http_proxy),
            ("HTTPS_PROXY", &self.https_proxy),
            ("NO_PROXY", &self.no_proxy),
            ("FTP_PROXY", &self.ftp_proxy),
            ("ALL_PROXY", &self.all_proxy),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .flat_map(|(name, value)| {
            [(name.to_owned(), value.as_str()), (name.to_ascii_lowercase(), value.as_str())]
        })
    }
}

impl Config {
    pub(crate) fn default_dir() -> PathBuf {
        if let Some(dir) = env("DOCKER_CONFIG") {
            return PathBuf::from(dir);
        }
        env("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from).join(".docker")
    }

    /// Reads `<dir>/config.json`; what cannot be read counts as empty and is told in `problem`.
    pub(crate) fn load(dir: &Path) -> Self {
        let path = dir.join("config.json");
        let problem =
            |why: String| Some(format!("Error loading config file: {}: {why}", path.display()));
        let mut config = match std::fs::read(&path) {
            Ok(bytes) if bytes.trim_ascii().is_empty() => Self::default(),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(config) => config,
                Err(error) => Self { problem: problem(error.to_string()), ..Self::default() },
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => Self { problem: problem(error.to_string()), ..Self::default() },
        };
        config.path = path;
        config
    }

    /// Writes the file back, readable by its owner only.
    pub(crate) fn save(&self) -> std::io::Result<()> {
        use std::io::Write as _;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?; // mode 0600
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        // A link to the real file is followed, so that it stays a link.
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        file.persist(target).map_err(|e| e.error)?;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
