//! From an image's name to a distribution and its suite.

use crate::image::split_tag;

/// A distribution that debootstrap can install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distribution {
    Debian,
    Ubuntu,
}

const DEBIAN: [(&str, &[&str]); 7] = [
    ("bullseye", &["11", "oldoldstable"]),
    ("bookworm", &["12", "oldstable"]),
    ("trixie", &["13", "stable", "latest"]),
    ("forky", &["14", "testing"]),
    ("sid", &["unstable"]),
    ("buster", &["10"]),
    ("stretch", &["9"]),
];
const UBUNTU: [(&str, &[&str]); 5] = [
    ("focal", &["20.04"]),
    ("jammy", &["22.04"]),
    ("noble", &["24.04", "latest"]),
    ("plucky", &["25.04"]),
    ("questing", &["25.10"]),
];

impl Distribution {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Ubuntu => "ubuntu",
        }
    }

    const fn suites(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Self::Debian => &DEBIAN,
            Self::Ubuntu => &UBUNTU,
        }
    }
}

/// What to install, and the name of the image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) distribution: Distribution,
    pub(crate) suite: &'static str,
    pub(crate) name: String,
    pub(crate) tag: String,
}

impl Target {
    /// Reads `debian:bookworm`, `debian:12`, `debian:bookworm-slim`, `ubuntu:24.04`.
    pub(crate) fn parse(reference: &str) -> Result<Self, String> {
        if reference.contains('@') {
            return Err(format!(
                "cannot bootstrap {reference}: a digest names an image that exists already"
            ));
        }
        let (name, tag) = split_tag(reference);
        let tag = tag.unwrap_or("latest");
        let distribution = match name.rsplit('/').next() {
            Some("debian") => Distribution::Debian,
            Some("ubuntu") => Distribution::Ubuntu,
            _ => {
                return Err(format!(
                    "cannot bootstrap {reference}: only debian and ubuntu are known, such as debian:bookworm"
                ));
            }
        };
        let wanted = tag.strip_suffix("-slim").unwrap_or(tag);
        let suite = distribution
            .suites()
            .iter()
            .find(|(suite, others)| *suite == wanted || others.contains(&wanted))
            .map(|(suite, _)| *suite);
        let Some(suite) = suite else {
            let known: Vec<&str> = distribution.suites().iter().map(|(suite, _)| *suite).collect();
            return Err(format!(
                "cannot bootstrap {reference}: {tag} is no suite of {} (known: {})",
                distribution.name(),
                known.join(", ")
            ));
        };
        Ok(Self { distribution, suite, name: name.to_owned(), tag: tag.to_owned() })
    }

    pub(crate) fn reference(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_suites() {
        let cases = [
            ("debian:bookworm", Distribution::Debian, "bookworm"),
            ("debian:12", Distribution::Debian, "bookworm"),
            ("debian:bookworm-slim", Distribution::Debian, "bookworm"),
            ("debian", Distribution::Debian, "trixie"),
            ("localhost:5000/mine/debian:sid", Distribution::Debian, "sid"),
            ("ubuntu:24.04", Distribution::Ubuntu, "noble"),
        ];
        for (reference, distribution, suite) in cases {
            let target = Target::parse(reference).expect(reference);
            assert_eq!((target.distribution, target.suite), (distribution, suite), "{reference}");
        }
        for reference in ["alpine", "debian:nonsense", "debian@sha256:0"] {
            assert!(Target::parse(reference).is_err(), "{reference}");
        }
    }
}
