//! `--mount` and `--volume`.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use crate::units;

pub(crate) fn check(value: &str) -> Result<(), String> {
    parse_mount(value).map(drop)
}

/// Parses one `--mount` into the API's Mount.
pub(crate) fn parse_mount(value: &str) -> Result<Json, String> {
    let mut fields = Fields::default();
    for field in split_fields(value)? {
        fields.take(&field)?;
    }
    fields.finish()
}

/// Splits at commas; a field may be quoted as in CSV to contain one.
fn split_fields(value: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut chars = value.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err("extraneous or missing \" in quoted-field".to_owned());
    }
    if !field.is_empty() || !value.is_empty() {
        fields.push(field);
    }
    if fields.is_empty() { Err("value is empty".to_owned()) } else { Ok(fields) }
}

#[derive(Default)]
struct Fields {
    kind: String,
    source: String,
    target: String,
    consistency: String,
    read_only: bool,
    bind: Map<String, Json>,
    volume: Map<String, Json>,
    labels: Map<String, Json>,
    driver: Map<String, Json>,
    driver_options: Map<String, Json>,
    tmpfs: Map<String, Json>,
    image: Map<String, Json>,
}

impl Fields {
    fn take(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let key = key.as_str();
        if value.is_none()
            && !matches!(
                key,
                "readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive" | "bind-create-src"
            )
        {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        }
        let flag = || match value {
            None => Ok(true),
            Some(text) => crate::grammar::parse_bool(text)
                .ok_or_else(|| format!("invalid value for {key}: {text}")),
        };
        let text = value.unwrap_or_default();
        let pair = |into: &mut Map<String, Json>| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            into.insert(name.to_owned(), Json::from(value));
        };
        match key {
            "type" => self.kind = text.to_ascii_lowercase(),
            "source" | "src" => self.source = absolute_if_relative(text),
            "target" | "dst" | "destination" => text.clone_into(&mut self.target),
            "readonly" | "ro" => self.read_only = flag()?,
            "consistency" => self.consistency = text.to_ascii_lowercase(),
            "bind-propagation" => insert(&mut self.bind, "Propagation", text.to_ascii_lowercase()),
            "bind-nonrecursive" => insert(&mut self.bind, "NonRecursive", flag()?),
            "bind-create-src" => insert(&mut self.bind, "CreateMountpoint", flag()?),
            "bind-recursive" => self.take_recursive(text)?,
            "volume-subpath" => insert(&mut self.volume, "Subpath", text),
            "volume-nocopy" => insert(&mut self.volume, "NoCopy", flag()?),
            "volume-label" => pair(&mut self.labels),
            "volume-driver" => insert(&mut self.driver, "Name", text),
            "volume-opt" => pair(&mut self.driver_options),
            "image-subpath" => insert(&mut self.image, "Subpath", text),
            "tmpfs-size" => {
                let size = units::parse_bytes(text)
                    .map_err(|_| format!("invalid value for {key}: {text}"))?;
                insert(&mut self.tmpfs, "SizeBytes", size);
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(text, 8)
                    .map_err(|_| format!("invalid value for {key}: {text}"))?;
                insert(&mut self.tmpfs, "Mode", mode);
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
        Ok(())
    }

    fn take_recursive(&mut self, value: &str) -> Result<(), String> {
        match value {
            "enabled" => {}
            "disabled" => insert(&mut self.bind, "NonRecursive", true),
            "writable" => insert(&mut self.bind, "ReadOnlyNonRecursive", true),
            "readonly" => insert(&mut self.bind, "ReadOnlyForceRecursive", true),
            _ => {
                return Err(format!(
                    "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                ));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Json, String> {
        if self.kind.is_empty() {
            self.kind.push_str("volume");
        }
        if self.target.is_empty() {
            return Err("target is required".to_owned());
        }
        if !self.labels.is_empty() {
            self.volume.insert("Labels".to_owned(), Json::Object(self.labels));
        }
        if !self.driver_options.is_empty() {
            self.driver.insert("Options".to_owned(), Json::Object(self.driver_options));
        }
        if !self.driver.is_empty() {
            self.volume.insert("DriverConfig".to_owned(), Json::Object(self.driver));
        }
        let mut mount = json!({"Type": self.kind, "Target": self.target});
        let options = [
            ("bind", "BindOptions", self.bind),
            ("volume", "VolumeOptions", self.volume),
            ("tmpfs", "TmpfsOptions", self.tmpfs),
            ("image", "ImageOptions", self.image),
        ];
        for (kind, name, options) in options {
            if options.is_empty() {
                continue;
            }
            if kind != self.kind {
                return Err(format!(
                    "cannot mix '{kind}-*' options with mount type '{}'",
                    self.kind
                ));
            }
            mount[name] = Json::Object(options);
        }
        if !self.source.is_empty() {
            mount["Source"] = Json::from(self.source);
        }
        if self.read_only {
            mount["ReadOnly"] = Json::from(true);
        }
        if !self.consistency.is_empty() {
            mount["Consistency"] = Json::from(self.consistency);
        }
        Ok(mount)
    }
}

fn insert(into: &mut Map<String, Json>, name: &str, value: impl Into<Json>) {
    into.insert(name.to_owned(), value.into());
}

/// Completes a path that begins with a dot; other words may be volume names.
fn absolute_if_relative(path: &str) -> String {
    if path == "." || path == ".." || path.starts_with("./") || path.starts_with("../") {
        return absolute(path);
    }
    path.to_owned()
}

/// Completes a path from the working directory and takes `.` and `..` out by name.
pub(crate) fn absolute(path: &str) -> String {
    let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let mut clean = PathBuf::from("/");
    for part in base.join(Path::new(path)).components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            _ => {}
        }
    }
    clean.to_string_lossy().into_owned()
}

/// What the values of `--volume` mean.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Volumes {
    /// `source:target[:options]`
    pub(crate) binds: Vec<String>,
    /// Targets of anonymous volumes.
    pub(crate) anonymous: Vec<String>,
}

impl Volumes {
    pub(crate) fn parse(values: &[String]) -> Self {
        let mut volumes = Self::default();
        for value in values {
            match value.split_once(':') {
                None => volumes.anonymous.push(value.clone()),
                Some((source, rest)) => {
                    volumes.binds.push(format!("{}:{rest}", absolute_if_relative(source)))
                }
            }
        }
        volumes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_parse() {
        let mount =
            parse_mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").expect("parses");
        assert_eq!(
            mount,
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true,
                   "BindOptions": {"Propagation": "rslave"}})
        );
        let mount =
            parse_mount("src=data,dst=/d,volume-nocopy,volume-opt=o=size,\"volume-label=a=b,c\"");
        assert_eq!(
            mount.expect("parses"),
            json!({"Type": "volume", "Source": "data", "Target": "/d",
                   "VolumeOptions": {"NoCopy": true, "Labels": {"a": "b,c"},
                                     "DriverConfig": {"Options": {"o": "size"}}}})
        );
    }

    #[test]
    fn malformed_mounts_say_why() {
        let cases = [
            ("x", "invalid field 'x' must be a key=value pair"),
            ("type=bind,source=/a", "target is required"),
            (
                "type=bind,src=/a,dst=/b,volume-nocopy",
                "cannot mix 'volume-*' options with mount type 'bind'",
            ),
            ("type=bind,src=/a,dst=/b,foo=1", "unexpected key 'foo' in 'foo=1'"),
            ("type=bind,src=/a,dst=/b,readonly=x", "invalid value for readonly: x"),
            ("type=tmpfs,dst=/b,tmpfs-size=x", "invalid value for tmpfs-size: x"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_mount(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn volumes_sort_into_binds_and_anonymous() {
        let values = ["/data".to_owned(), "v:/d:ro".to_owned(), "/h:/c".to_owned()];
        let volumes = Volumes::parse(&values);
        assert_eq!(volumes.anonymous, ["/data"]);
        assert_eq!(volumes.binds, ["v:/d:ro", "/h:/c"]);
    }
}
