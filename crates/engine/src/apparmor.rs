//! AppArmor: which profile a container has, and that the kernel has it.
//!
//! A container that does not say otherwise has [`DEFAULT`], where the kernel enforces profiles and the
//! host has the program that compiles them. The kernel forgets profiles at a reboot and when somebody
//! removes them, so it is asked at every start. Profiles that users name are theirs to load.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::spec::SecurityOptions;
use crate::{Error, Result};

/// The name of the profile that containers have by default.
pub(crate) const DEFAULT: &str = "teu-default";

/// What it says. The kernel's own names: it mediates the paths that the container sees.
const DEFAULT_TEXT: &str = include_str!("apparmor/default-profile");

/// What takes all confinement away.
const UNCONFINED: &str = "unconfined";

/// Tells whether the kernel enforces profiles: `Y`.
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";

/// Where the kernel tells and takes profiles, when its file system is mounted.
const POLICY: &str = "/sys/kernel/security/apparmor";

/// Where distributions have the compiler.
const PARSERS: [&str; 3] =
    ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser", "/usr/local/sbin/apparmor_parser"];

/// What the host has of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AppArmor {
    /// The kernel enforces profiles, and its file system is mounted.
    enabled: bool,
    /// The program that compiles and loads them.
    parser: Option<PathBuf>,
}

impl AppArmor {
    /// Looks at the host.
    pub(crate) fn read() -> Self {
        let parameter = std::fs::read_to_string(ENABLED).unwrap_or_default();
        Self {
            enabled: parameter.starts_with('Y') && Path::new(POLICY).exists(),
            parser: PARSERS.iter().map(PathBuf::from).find(|path| path.exists()),
        }
    }

    /// Tells whether containers have a profile unless they say otherwise.
    pub(crate) fn has_default(&self) -> bool {
        self.enabled && self.parser.is_some()
    }

    /// The profile's name as inspect shows it: empty where there is none, `unconfined` where somebody
    /// asked for none.
    pub(crate) fn shown(&self, options: &SecurityOptions, privileged: bool) -> String {
        match options.apparmor.as_deref() {
            _ if !self.enabled => String::new(),
            Some(name) if !name.is_empty() => name.to_owned(),
            _ if privileged => UNCONFINED.to_owned(),
            _ if self.has_default() => DEFAULT.to_owned(),
            _ => String::new(),
        }
    }

    /// Checks what a user asked for.
    ///
    /// # Errors
    /// InvalidParameter for a profile where the kernel has none.
    pub(crate) fn validate(&self, options: &SecurityOptions) -> Result<()> {
        let named = options.apparmor.as_deref().filter(|name| !matches!(*name, "" | UNCONFINED));
        let Some(name) = named else { return Ok(()) };
        if name.chars().any(char::is_control) {
            let name = name.escape_debug();
            return Err(Error::InvalidParameter(format!("invalid AppArmor profile: \"{name}\"")));
        }
        if self.enabled {
            return Ok(());
        }
        Err(Error::InvalidParameter(format!(
            "AppArmor profile {name} cannot be applied: the kernel does not enforce profiles \
             ({ENABLED} is not Y, or {POLICY} is not mounted); leave the option out, or boot with \
             apparmor=1"
        )))
    }

    /// The profile to start processes under, loaded; `None` for none. Blocks.
    ///
    /// # Errors
    /// InvalidParameter when a user's profile is not loaded; Internal when the default one cannot be.
    pub(crate) fn ready(
        &self,
        options: &SecurityOptions,
        privileged: bool,
    ) -> Result<Option<String>> {
        self.validate(options)?;
        let name = self.shown(options, privileged);
        if matches!(name.as_str(), "" | UNCONFINED) {
            return Ok(None);
        }
        let path = Path::new(POLICY).join("profiles");
        let loaded = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        if has(&loaded, &name) {
            return Ok(Some(name));
        }
        match &self.parser {
            Some(parser) if name == DEFAULT => load(parser).map(|()| Some(name)),
            _ => Err(Error::InvalidParameter(format!(
                "AppArmor profile {name} is not loaded: load it with apparmor_parser -r FILE, or \
                 take --security-opt apparmor=unconfined"
            ))),
        }
    }
}

/// Looks for a profile in the kernel's list, whose lines are `name (mode)`.
fn has(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(known, _)| known == name))
}

/// Compiles and loads the default profile, in the place of one of the same name.
fn load(parser: &Path) -> Result<()> {
    let failed = |reason: String| {
        Error::Internal(format!(
            "load AppArmor profile {DEFAULT} with {}: {reason}; take --security-opt \
             apparmor=unconfined to go without",
            parser.display()
        ))
    };
    let mut child = Command::new(parser)
        // Replaces, and neither reads nor leaves a compiled one of another version's text.
        .args(["--replace", "--skip-cache"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut input = child.stdin.take().expect("stdin is piped");
    // Should it end before it has read all, its own words are the better error.
    let _ = input.write_all(DEFAULT_TEXT.as_bytes());
    drop(input);
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{} ({})", said.trim(), output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(apparmor: Option<&str>) -> SecurityOptions {
        let text = apparmor.map(|name| format!("apparmor={name}"));
        let host_config = crate::container::HostConfig {
            security_opt: text.into_iter().collect(),
            ..Default::default()
        };
        SecurityOptions::parse(&host_config).unwrap()
    }

    #[test]
    fn the_profile_follows_option_privilege_and_host() {
        let full = AppArmor { enabled: true, parser: Some("/sbin/apparmor_parser".into()) };
        let bare = AppArmor { enabled: true, parser: None };
        let none = AppArmor { enabled: false, ..full.clone() };
        for (host, option, privileged, wanted) in [
            (&full, None, false, DEFAULT),
            (&full, Some(""), false, DEFAULT),
            (&full, None, true, "unconfined"),
            (&full, Some("mine"), true, "mine"),
            (&full, Some("unconfined"), false, "unconfined"),
            (&bare, None, false, ""),
            (&bare, Some("mine"), false, "mine"),
            (&none, None, false, ""),
            (&none, Some("unconfined"), false, ""),
        ] {
            assert_eq!(host.shown(&options(option), privileged), wanted, "{host:?} {option:?}");
        }
    }

    #[test]
    fn profiles_that_nothing_would_enforce_are_refused() {
        let none = AppArmor::default();
        let told = none.validate(&options(Some("mine"))).unwrap_err().to_string();
        assert!(told.contains("mine cannot be applied"), "{told}");
        none.validate(&options(Some("unconfined"))).unwrap();
        none.validate(&options(None)).unwrap();
        let some = AppArmor { enabled: true, parser: None };
        some.validate(&options(Some("mine"))).unwrap();
        assert!(some.validate(&options(Some("a\nb"))).is_err());
    }

    #[test]
    fn the_kernels_list_is_read() {
        let list = "a profile (enforce)\n/usr/bin/man//filter (complain)\n";
        assert!(has(list, "a profile") && has(list, "/usr/bin/man//filter"));
        assert!(!has(list, "profile") && !has(list, "a profile (enforce)"));
    }
}
