//! Platforms (`os/architecture[/variant]`): names, their normal form, and which of several offers fits best.
//!
//! The names are Go's (`amd64`, `arm64`, `386`), as in image configs and manifest lists.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    /// Empty means the architecture's base variant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A platform text that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?}: invalid platform: expected a known os or architecture, os/architecture or os/architecture/variant"
)]
pub struct InvalidPlatform(String);

impl Platform {
    /// Returns the platform of this machine.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, "").normalized()
    }

    /// Parses `--platform` text: `linux/arm64/v8`, `linux/amd64`, `arm64` or `linux`; parts left out are the host's.
    ///
    /// # Errors
    /// More than three parts, an empty part, or characters outside of `[A-Za-z0-9_.-]`.
    pub fn parse(text: &str) -> Result<Self, InvalidPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        let sane = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        if !parts.iter().all(sane) {
            return Err(InvalidPlatform(text.to_owned()));
        }
        let host = Self::host();
        let platform = match *parts.as_slice() {
            [os] if is_os(os) => Self::new(os, &host.architecture, &host.variant),
            [architecture] if is_architecture(architecture) => {
                Self::new(&host.os, architecture, "")
            }
            [os, architecture] => Self::new(os, architecture, ""),
            [os, architecture, variant] => Self::new(os, architecture, variant),
            _ => return Err(InvalidPlatform(text.to_owned())),
        };
        Ok(platform.normalized())
    }

    /// Returns the same platform with the usual names: `x86_64` is `amd64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let variant = self.variant.to_ascii_lowercase();
        let (architecture, variant) =
            match (self.architecture.to_ascii_lowercase().as_str(), variant.as_str()) {
                ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64".to_owned(), ""),
                ("x86_64" | "x86-64" | "amd64", variant) => ("amd64".to_owned(), variant),
                ("i386" | "i686" | "x86" | "386", _) => ("386".to_owned(), ""),
                ("aarch64" | "arm64", "" | "8" | "v8" | "v8.0") => ("arm64".to_owned(), ""),
                ("aarch64" | "arm64", variant) => ("arm64".to_owned(), variant),
                ("armhf", _) => ("arm".to_owned(), "v7"),
                ("armel", _) => ("arm".to_owned(), "v6"),
                ("arm", "" | "7" | "v7") => ("arm".to_owned(), "v7"),
                ("arm", "5") => ("arm".to_owned(), "v5"),
                ("arm", "6") => ("arm".to_owned(), "v6"),
                ("arm", "8") => ("arm".to_owned(), "v8"),
                ("powerpc64le" | "powerpc64", _) => ("ppc64le".to_owned(), ""),
                (architecture, variant) => (architecture.to_owned(), variant),
            };
        Self::new(&os, &architecture, variant)
    }

    /// Returns how well `offer` fits: 0 is best, `None` is not at all.
    ///
    /// A processor runs the older variants of its architecture and its 32-bit ancestor too.
    pub fn rank(&self, offer: &Self) -> Option<usize> {
        let offer = offer.normalized();
        self.accepted().iter().position(|platform| *platform == offer)
    }

    fn accepted(&self) -> Vec<Self> {
        let wanted = self.normalized();
        let mut accepted = vec![wanted.clone()];
        let mut also = |architecture: &str, variant: &str| {
            accepted.push(Self::new(&wanted.os, architecture, variant).normalized());
        };
        match (wanted.architecture.as_str(), wanted.variant.as_str()) {
            ("amd64", variant) => {
                for older in (1..level(variant, 1)).rev() {
                    also("amd64", &format!("v{older}"));
                }
                also("386", "");
            }
            ("arm64", variant) => {
                if !variant.is_empty() {
                    also("arm64", "");
                }
                for older in ["v8", "v7", "v6", "v5"] {
                    also("arm", older);
                }
            }
            ("arm", variant) => {
                for older in (5..level(variant, 7)).rev() {
                    also("arm", &format!("v{older}"));
                }
            }
            _ => {}
        }
        accepted
    }

    fn new(os: &str, architecture: &str, variant: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: variant.to_owned(),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

/// `v3` is 3; what is no level is `default`. Capped, because the text may come from a manifest.
fn level(variant: &str, default: u8) -> u8 {
    variant
        .strip_prefix('v')
        .and_then(|digits| digits.parse::<u8>().ok())
        .map_or(default, |level| level.min(9))
}

/// A single word that is no operating system must be one of these, or a typing error would be looked
/// for in registries.
fn is_architecture(text: &str) -> bool {
    let normal = Platform::new("linux", text, "").normalized();
    matches!(
        normal.architecture.as_str(),
        "386"
            | "amd64"
            | "arm"
            | "arm64"
            | "loong64"
            | "mips"
            | "mips64"
            | "mips64le"
            | "mipsle"
            | "ppc64"
            | "ppc64le"
            | "riscv64"
            | "s390x"
            | "wasm"
    )
}

fn is_os(text: &str) -> bool {
    matches!(
        text,
        "linux"
            | "windows"
            | "darwin"
            | "macos"
            | "freebsd"
            | "netbsd"
            | "openbsd"
            | "illumos"
            | "wasip1"
    )
}

#[cfg(test)]
mod tests {
    use super::Platform;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).unwrap()
    }

    #[test]
    fn texts_are_brought_to_their_normal_form() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("LINUX/AMD64/V3", "linux/amd64/v3"),
            ("linux/arm64/v8", "linux/arm64"),
            ("aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("armel", "linux/arm/v6"),
            ("windows/i386", "windows/386"),
        ] {
            assert_eq!(platform(text).to_string(), expected, "{text}");
        }
        assert_eq!(platform("linux"), Platform::host());
        for text in ["", "/", "linux/", "a/b/c/d", "linux/am d64", "linux/\u{1b}"] {
            assert!(Platform::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn older_variants_fit_and_newer_ones_do_not() {
        for (wanted, offer, rank) in [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/amd64", "linux/amd64/v2", None),
            ("linux/amd64/v3", "linux/amd64", Some(2)),
            ("linux/amd64", "linux/386", Some(1)),
            ("linux/amd64", "linux/arm64", None),
            ("linux/amd64", "windows/amd64", None),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm64", "linux/arm64/v8", Some(0)),
            ("linux/arm64", "linux/arm/v7", Some(2)),
            ("linux/s390x", "linux/s390x", Some(0)),
        ] {
            assert_eq!(platform(wanted).rank(&platform(offer)), rank, "{wanted} <- {offer}");
        }
    }
}
