//! `RUN --mount`: what it says, checked.

/// A mount of one RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// What it brings in.
    pub(crate) kind: Kind,
    /// Where it appears; relative to the working directory until it is resolved.
    pub(crate) target: String,
    /// Whether it cannot be written.
    pub(crate) read_only: bool,
}

/// What a mount brings in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Files of a context, stage or image. Writes are thrown away.
    Bind {
        /// `None`: the context.
        from: Option<String>,
        /// The path there.
        source: String,
    },
    /// A directory that is kept between builds.
    Cache {
        /// Which one.
        id: String,
        /// Where its first content comes from.
        from: Option<String>,
        /// The path there.
        source: String,
        /// Who else may use it meanwhile.
        sharing: Sharing,
        /// The directory's owner.
        uid: u32,
        /// The directory's group.
        gid: u32,
        /// The directory's permissions.
        mode: u32,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; 0 is half of the memory.
        size: i64,
    },
    /// A file with a secret.
    Secret {
        /// Which one.
        id: String,
        /// The variable that holds it, instead of or besides the file.
        env: Option<String>,
        /// Whether it is also a file.
        is_file: bool,
        /// Whether its absence is an error.
        required: bool,
        /// The file's owner.
        uid: u32,
        /// The file's group.
        gid: u32,
        /// The file's permissions.
        mode: u32,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// Which one.
        id: String,
        /// Whether its absence is an error.
        required: bool,
        /// The socket's owner.
        uid: u32,
        /// The socket's group.
        gid: u32,
        /// The socket's permissions.
        mode: u32,
    },
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Everybody.
    Shared,
    /// Others get a directory of their own.
    Private,
    /// Others wait.
    Locked,
}

impl Mount {
    /// What it copies from.
    pub(crate) fn from(&self) -> Option<&str> {
        match &self.kind {
            Kind::Bind { from, .. } | Kind::Cache { from, .. } => from.as_deref(),
            _ => None,
        }
    }
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "env",
];

#[derive(Default)]
struct Raw {
    kind: String,
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: Option<bool>,
    id: Option<String>,
    sharing: Option<String>,
    required: bool,
    size: i64,
    mode: Option<u32>,
    uid: u32,
    gid: u32,
    env: Option<String>,
}

/// Parses the value of `--mount`; `number` tells the mounts of one RUN apart.
///
/// # Errors
/// For unknown keys and values that cannot be.
pub(crate) fn parse(text: &str, number: usize) -> Result<Mount, String> {
    let raw = read(text)?;
    let only = |given: bool, key: &str, kinds: &[&str]| match given
        && !kinds.contains(&raw.kind.as_str())
    {
        true => Err(format!("unexpected key '{key}' for mount type '{}'", raw.kind)),
        false => Ok(()),
    };
    only(raw.from.is_some(), "from", &["bind", "cache"])?;
    only(raw.sharing.is_some(), "sharing", &["cache"])?;
    only(raw.size != 0, "size", &["tmpfs"])?;
    only(raw.env.is_some(), "env", &["secret"])?;
    only(raw.required, "required", &["secret", "ssh"])?;
    only(raw.id.is_some(), "id", &["cache", "secret", "ssh"])?;
    only(raw.mode.is_some(), "mode", &["cache", "secret", "ssh"])?;
    let (uid, gid) = (raw.uid, raw.gid);
    let needs_target = |raw: &Raw| {
        raw.target.clone().ok_or_else(|| format!("mount type '{}' needs a target", raw.kind))
    };
    let source = raw.source.clone().unwrap_or_else(|| "/".to_owned());
    let (kind, target, read_only) = match raw.kind.as_str() {
        "bind" => {
            let target = needs_target(&raw)?;
            (Kind::Bind { from: raw.from, source }, target, raw.read_only.unwrap_or(true))
        }
        "cache" => {
            let target = needs_target(&raw)?;
            let sharing = match raw.sharing.as_deref() {
                None | Some("shared") => Sharing::Shared,
                Some("private") => Sharing::Private,
                Some("locked") => Sharing::Locked,
                Some(other) => {
                    return Err(format!(
                        "unsupported sharing value {other:?}: use shared, private or locked"
                    ));
                }
            };
            let id = raw.id.unwrap_or_else(|| target.clone());
            let mode = raw.mode.unwrap_or(0o755);
            let kind = Kind::Cache { id, from: raw.from, source, sharing, uid, gid, mode };
            (kind, target, raw.read_only.unwrap_or(false))
        }
        "tmpfs" => (Kind::Tmpfs { size: raw.size }, needs_target(&raw)?, false),
        "secret" => {
            let named = raw.id.clone().or_else(|| raw.source.clone());
            let id = named
                .or_else(|| {
                    raw.target.as_deref().and_then(|t| t.rsplit('/').next()).map(str::to_owned)
                })
                .ok_or("mount type 'secret' needs an id")?;
            let is_file = raw.env.is_none() || raw.target.is_some();
            let target = raw.target.unwrap_or_else(|| format!("/run/secrets/{id}"));
            let mode = raw.mode.unwrap_or(0o400);
            let kind =
                Kind::Secret { id, env: raw.env, is_file, required: raw.required, uid, gid, mode };
            (kind, target, true)
        }
        "ssh" => {
            let id = raw.id.unwrap_or_else(|| "default".to_owned());
            let target = raw.target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{number}"));
            let mode = raw.mode.unwrap_or(0o600);
            (Kind::Ssh { id, required: raw.required, uid, gid, mode }, target, false)
        }
        other => {
            return Err(format!(
                "unsupported mount type {other:?}: use bind, cache, tmpfs, secret or ssh"
            ));
        }
    };
    Ok(Mount { kind, target, read_only })
}

fn read(text: &str) -> Result<Raw, String> {
    let mut raw = Raw { kind: "bind".to_owned(), ..Raw::default() };
    for field in fields(text) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.trim().to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.trim().to_ascii_lowercase(), None),
        };
        let boolean = match value.as_deref() {
            None | Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(_) => None,
        };
        let truth = || boolean.ok_or_else(|| format!("invalid value for {key}: {field:?}"));
        let given = || {
            value
                .clone()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))
        };
        let number = || {
            let text = given()?;
            text.parse::<u32>()
                .map_err(|_| format!("invalid value for {key}: {text:?} is no number"))
        };
        match key.as_str() {
            "type" => raw.kind = given()?.to_ascii_lowercase(),
            "from" => raw.from = Some(given()?),
            "source" | "src" => raw.source = Some(given()?),
            "target" | "dst" | "destination" => raw.target = Some(given()?),
            "readonly" | "ro" => raw.read_only = Some(truth()?),
            "readwrite" | "rw" => raw.read_only = Some(!truth()?),
            "id" => raw.id = Some(given()?),
            "sharing" => raw.sharing = Some(given()?),
            "required" => raw.required = truth()?,
            "size" => {
                let text = given()?;
                raw.size =
                    size(&text).ok_or_else(|| format!("invalid value for size: {text:?}"))?;
            }
            "mode" => {
                let text = given()?;
                let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777);
                raw.mode = Some(mode.ok_or_else(|| {
                    format!("invalid value {text} for mode: an octal number such as 0700")
                })?);
            }
            "uid" => raw.uid = number()?,
            "gid" => raw.gid = number()?,
            "env" => raw.env = Some(given()?),
            other => {
                let near = crate::diagnostic::closest(other, &KEYS);
                let help = near.map(|near| format!(": did you mean {near}?")).unwrap_or_default();
                return Err(format!("unexpected key '{other}' in '{field}'{help}"));
            }
        }
    }
    Ok(raw)
}

/// Splits at commas; a field in double quotes may hold some.
fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => {
                if let Some(field) = fields.last_mut() {
                    field.push(other);
                }
            }
        }
    }
    fields
}

/// Reads bytes with a unit of 1024.
pub(crate) fn size(text: &str) -> Option<i64> {
    let lower = text.trim().to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, power) = match lower.strip_suffix(['k', 'm', 'g', 't']) {
        Some(number) => (number, " kmgt".find(&lower[number.len()..])?),
        None => (lower, 0),
    };
    let number: i64 = number.trim().parse().ok().filter(|number| *number >= 0)?;
    number.checked_mul(1_i64 << (10 * power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_have_defaults() {
        let mount = parse("type=cache,target=/var/cache/apt,sharing=locked", 0).unwrap();
        let Kind::Cache { id, sharing, mode, .. } = &mount.kind else { panic!("{mount:?}") };
        assert_eq!((id.as_str(), *sharing, *mode), ("/var/cache/apt", Sharing::Locked, 0o755));
        assert!(!mount.read_only);
        let mount = parse("target=/src", 0).unwrap();
        assert_eq!(mount.kind, Kind::Bind { from: None, source: "/".into() });
        assert!(mount.read_only);
        let mount = parse("type=secret,id=token", 0).unwrap();
        assert_eq!(mount.target, "/run/secrets/token");
        let mount = parse("type=ssh", 3).unwrap();
        assert_eq!(mount.target, "/run/buildkit/ssh_agent.3");
        let mount = parse("type=tmpfs,dst=/t,size=2m", 0).unwrap();
        assert_eq!(mount.kind, Kind::Tmpfs { size: 2 << 20 });
        assert!(!parse("type=bind,target=/a,rw", 0).unwrap().read_only);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("type=what,target=/a", "unsupported mount type"),
            ("type=cache", "needs a target"),
            ("type=cache,taget=/a", "did you mean target?"),
            ("type=bind,target=/a,sharing=locked", "unexpected key 'sharing'"),
            ("type=cache,target=/a,sharing=x", "unsupported sharing value"),
            ("type=cache,target=/a,mode=9", "octal"),
            ("type=secret", "needs an id"),
            ("type=bind,target=", "must be a key=value pair"),
        ] {
            let error = parse(text, 0).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
