//! Devices of the Container Device Interface 1.0: files of vendors say what a device, named
//! `vendor.com/class=name`, brings into a container.
//!
//! Files are read at each start, JSON and YAML ones. A later directory wins over an earlier one. Their
//! hooks are run by the runtime, as root of the host: whoever can write such a file is root anyway.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Hook, HookBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup,
    LinuxDeviceCgroupBuilder, LinuxDeviceType, Mount, MountBuilder, Spec,
};
use serde::Deserialize;

use super::{device, invalid};
use crate::container::DeviceRequest;
use crate::{Error, Result};

/// What requests for such devices call their driver.
pub(crate) const DRIVER: &str = "cdi";

/// Larger files are none that a vendor wrote.
const MAX_FILE: u64 = 4 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct File {
    kind: String,
    devices: Vec<Device>,
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// What is brought into a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Bind>,
    #[serde(rename = "additionalGIDs")]
    additional_gids: Vec<u32>,
    hooks: Vec<CdiHook>,
    intel_rdt: Option<serde_json::Value>,
    net_devices: Vec<serde_json::Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    #[serde(default)]
    host_path: String,
    file_mode: Option<u32>,
    #[serde(default)]
    permissions: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

/// A program to be run at a turning point of the container.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CdiHook {
    hook_name: String,
    path: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    timeout: Option<i64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bind {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default, rename = "type")]
    kind: String,
}

fn refuse<T>(text: String) -> Result<T> {
    Err(Error::InvalidParameter(format!("CDI device injection failed: {text}")))
}

/// Finds what the requests for such devices bring.
///
/// # Errors
/// InvalidParameter naming all devices that no file describes, or a file that cannot be read.
pub(crate) fn find(directories: &[PathBuf], requests: &[DeviceRequest]) -> Result<Vec<Edits>> {
    let requests = requests.iter().filter(|request| request.driver == DRIVER);
    let names: Vec<&String> = requests.flat_map(|request| &request.device_ids).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let files = files(directories)?;
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        match resolve(&files, name) {
            Some(edits) => found.extend(edits),
            None => missing.push(name.escape_default().to_string()),
        }
    }
    if missing.is_empty() {
        return Ok(found);
    }
    refuse(format!("unresolvable CDI devices {}", missing.join(", ")))
}

impl crate::Engine {
    /// Lists the CDI devices of this host, sorted. Blocks.
    ///
    /// # Errors
    /// InvalidParameter naming a file that cannot be read.
    pub fn cdi_devices(&self) -> Result<Vec<String>> {
        let files = files(&self.config().cdi_spec_dirs)?;
        let devices = files.iter().flat_map(|(kind, files)| {
            let devices = files.iter().flat_map(|file| &file.devices);
            devices.map(move |device| format!("{kind}={}", device.name))
        });
        let mut devices: Vec<String> = devices.collect();
        devices.sort();
        devices.dedup();
        Ok(devices)
    }
}

/// Files by the kind of their devices.
fn files(directories: &[PathBuf]) -> Result<BTreeMap<String, Vec<File>>> {
    let mut files = BTreeMap::new();
    for path in directories.iter().flat_map(|directory| listed(directory)) {
        if path.extension().is_some_and(|extension| extension == "json" || extension == "yaml") {
            let file = read(&path)?;
            files.entry(file.kind.clone()).or_insert_with(Vec::new).push(file);
        }
    }
    Ok(files)
}

fn listed(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Result<File> {
    let name = path.display();
    let size = std::fs::metadata(path).map(|metadata| metadata.len());
    match size {
        Ok(size) if size <= MAX_FILE => {}
        Ok(size) => return refuse(format!("{name} has {size} bytes")),
        Err(error) => return refuse(format!("read {name}: {error}")),
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return refuse(format!("read {name}: {error}")),
    };
    let parsed = if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    } else {
        serde_saphyr::from_slice(&bytes).map_err(|error| error.to_string())
    };
    parsed.or_else(|error| refuse(format!("parse {name}: {error}")))
}

/// The edits of the last file that has the device, the file's own before the device's.
fn resolve(files: &BTreeMap<String, Vec<File>>, name: &str) -> Option<[Edits; 2]> {
    let (kind, device) = name.split_once('=')?;
    files.get(kind)?.iter().rev().find_map(|file| {
        let device = file.devices.iter().find(|known| known.name == device)?;
        Some([file.container_edits.clone(), device.container_edits.clone()])
    })
}

/// Brings everything into the configuration.
///
/// # Errors
/// InvalidParameter for a node that is none on the host, and for what the runtime does not do.
pub(crate) fn apply(spec: &mut Spec, edits: &[Edits]) -> Result<()> {
    for edit in edits {
        if edit.intel_rdt.is_some() || !edit.net_devices.is_empty() {
            return refuse("intelRdt and netDevices are not supported".to_owned());
        }
        add_hooks(spec, &edit.hooks)?;
        let mut nodes = Vec::new();
        let mut rules = Vec::new();
        for node in &edit.device_nodes {
            let (device, rule) = node.made()?;
            nodes.push(device);
            rules.push(rule);
        }
        if let Some(mut linux) = spec.linux().clone() {
            let mut devices = linux.devices().clone().unwrap_or_default();
            nodes.into_iter().for_each(|node| device::push(&mut devices, node));
            linux.set_devices(Some(devices));
            if let Some(mut resources) = linux.resources().clone() {
                let mut all = resources.devices().clone().unwrap_or_default();
                all.extend(rules);
                resources.set_devices(Some(all));
                linux.set_resources(Some(resources));
            }
            spec.set_linux(Some(linux));
        }
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        for bind in &edit.mounts {
            mounts.push(bind.made()?);
        }
        spec.set_mounts(Some(mounts));
        if let Some(mut process) = spec.process().clone() {
            let mut env = process.env().clone().unwrap_or_default();
            env.extend(edit.env.iter().cloned());
            process.set_env(Some(env));
            let mut user = process.user().clone();
            let mut groups = user.additional_gids().clone().unwrap_or_default();
            groups.extend(&edit.additional_gids);
            user.set_additional_gids(Some(groups));
            process.set_user(user);
            spec.set_process(Some(process));
        }
    }
    Ok(())
}

fn add_hooks(spec: &mut Spec, added: &[CdiHook]) -> Result<()> {
    if added.is_empty() {
        return Ok(());
    }
    let mut hooks = spec.hooks().clone().unwrap_or_default();
    for hook in added {
        #[allow(deprecated, reason = "files name it, and it has a moment of its own")]
        let list = match hook.hook_name.as_str() {
            "prestart" => hooks.prestart_mut(),
            "createRuntime" => hooks.create_runtime_mut(),
            "createContainer" => hooks.create_container_mut(),
            "startContainer" => hooks.start_container_mut(),
            "poststart" => hooks.poststart_mut(),
            "poststop" => hooks.poststop_mut(),
            other => return refuse(format!("invalid hook name {other:?}")),
        };
        list.get_or_insert_default().push(hook.made()?);
    }
    spec.set_hooks(Some(hooks));
    Ok(())
}

impl CdiHook {
    fn made(&self) -> Result<Hook> {
        let path = Path::new(&self.path);
        if !path.is_absolute() {
            return refuse(format!("invalid hook path {:?}: it must be absolute", self.path));
        }
        if self.timeout.is_some_and(|seconds| seconds <= 0) {
            return refuse(format!("invalid timeout of hook {}", self.path));
        }
        let mut hook = HookBuilder::default()
            .path(path)
            .args(self.args.clone())
            .env(self.env.clone())
            .build()
            .map_err(super::invalid)?;
        hook.set_timeout(self.timeout);
        Ok(hook)
    }
}

impl Node {
    /// The node, and the rule that lets it be opened.
    fn made(&self) -> Result<(LinuxDevice, LinuxDeviceCgroup)> {
        let source = if self.host_path.is_empty() { &self.path } else { &self.host_path };
        let Some(mut made) = device::node(Path::new(source), Path::new(&self.path))? else {
            return refuse(format!("{} is no device of the host", source.escape_default()));
        };
        if let Some(mode) = self.file_mode {
            made.set_file_mode(Some(mode));
        }
        if self.uid.is_some() {
            made.set_uid(self.uid);
        }
        if self.gid.is_some() {
            made.set_gid(self.gid);
        }
        let made = LinuxDeviceBuilder::default()
            .path(made.path().clone())
            .typ(made.typ())
            .major(made.major())
            .minor(made.minor())
            .file_mode(made.file_mode().unwrap_or(0o666))
            .uid(made.uid().unwrap_or(0))
            .gid(made.gid().unwrap_or(0))
            .build()
            .map_err(invalid)?;
        let access = if self.permissions.is_empty() { "rwm" } else { &self.permissions };
        let rule = LinuxDeviceCgroupBuilder::default()
            .allow(true)
            .typ(match made.typ() {
                LinuxDeviceType::B => LinuxDeviceType::B,
                _ => LinuxDeviceType::C,
            })
            .major(made.major())
            .minor(made.minor())
            .access(access)
            .build()
            .map_err(invalid)?;
        Ok((made, rule))
    }
}

impl Bind {
    fn made(&self) -> Result<Mount> {
        let options = if self.options.is_empty() {
            vec!["bind".to_owned(), "ro".to_owned(), "nosuid".to_owned(), "nodev".to_owned()]
        } else {
            self.options.clone()
        };
        MountBuilder::default()
            .source(&self.host_path)
            .destination(&self.container_path)
            .typ(if self.kind.is_empty() { "bind" } else { &self.kind })
            .options(options)
            .build()
            .map_err(invalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(names: &[&str]) -> DeviceRequest {
        DeviceRequest {
            driver: DRIVER.to_owned(),
            device_ids: names.iter().map(|name| (*name).to_owned()).collect(),
            ..DeviceRequest::default()
        }
    }

    #[test]
    fn later_files_win_and_what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (name, value) in [("a.json", "old"), ("b.json", "new")] {
            let text = format!(
                r#"{{"cdiVersion": "0.6.0", "kind": "example.com/sail",
                    "containerEdits": {{"env": ["ALL=1"]}},
                    "devices": [{{"name": "main", "containerEdits": {{"env": ["SAIL={value}"]}}}}]}}"#
            );
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let yaml = "# of a vendor\ncdiVersion: 0.6.0\nkind: example.com/oar\ndevices:\n\
                    - name: \"1\"\n  containerEdits:\n    env: [OAR=one]\n    deviceNodes:\n    \
                    - path: /dev/oar\n      hostPath: /dev/null\n      fileMode: 438\n";
        std::fs::write(dir.path().join("c.yaml"), yaml).unwrap();
        let dirs = [dir.path().to_owned()];
        let found = find(&dirs, &[request(&["example.com/sail=main"])]).unwrap();
        let env: Vec<&String> = found.iter().flat_map(|edits| &edits.env).collect();
        assert_eq!(env, ["ALL=1", "SAIL=new"]);
        let error = find(&dirs, &[request(&["example.com/sail=jib", "x/y=z"])]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("unresolvable CDI devices example.com/sail=jib, x/y=z"), "{text}");
        let found = find(&dirs, &[request(&["example.com/oar=1"])]).unwrap();
        assert_eq!(found[1].env, ["OAR=one"]);
        assert_eq!(found[1].device_nodes[0].file_mode, Some(0o666));
        // One that cannot be read is named, and one that would unfold without end is not unfolded.
        let bomb: String = ('b'..='j')
            .zip('a'..)
            .map(|(name, last)| {
                format!("{name}: &{name} [{}]\n", vec![format!("*{last}"); 9].join(","))
            })
            .collect();
        for (name, text) in [("d.json", "{"), ("e.yaml", &format!("a: &a [x]\n{bomb}kind: *j\n"))] {
            std::fs::write(dir.path().join(name), text).unwrap();
            let error = find(&dirs, &[request(&["x/y=z"])]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
}
