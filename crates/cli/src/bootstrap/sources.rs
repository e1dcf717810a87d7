//! Package sources: this machine's, and those written into the image.

use std::fmt::Write as _;
use std::path::Path;

use super::suite::{Distribution, Target};

/// One source of packages, whichever notation it was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
}

/// Where an image's packages come from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    pub(crate) mirror: String,
    pub(crate) components: Vec<String>,
    updates: Option<String>,
    security: Option<String>,
    distribution: Distribution,
    suite: &'static str,
}

impl Sources {
    /// Chooses the sources for `target`: `mirror` if given, else what is
    /// configured under `etc_apt`, else the distribution's own servers.
    pub(crate) fn choose(target: &Target, mirror: Option<&str>, etc_apt: &Path) -> Self {
        let configured = read_configured(etc_apt);
        let distribution = target.distribution;
        let main = configured.iter().find_map(|source| main_uri(source, distribution));
        let default_mirror = match distribution {
            Distribution::Debian => "http://deb.debian.org/debian",
            Distribution::Ubuntu => "http://archive.ubuntu.com/ubuntu",
        };
        let default_security = match distribution {
            Distribution::Debian => "http://deb.debian.org/debian-security",
            Distribution::Ubuntu => "http://security.ubuntu.com/ubuntu",
        };
        let rolling = matches!(target.suite, "sid" | "forky");
        let (updates, security) = match &main {
            // What this machine does without, the image does without.
            Some(uri) => (
                find_pocket(&configured, distribution, "-updates").map(|_| uri.clone()),
                find_pocket(&configured, distribution, "-security"),
            ),
            None => (Some(default_mirror.to_owned()), Some(default_security.to_owned())),
        };
        let chosen =
            mirror.map(str::to_owned).or(main).unwrap_or_else(|| default_mirror.to_owned());
        let components: &[&str] = match distribution {
            Distribution::Debian => &["main"],
            Distribution::Ubuntu => &["main", "universe"],
        };
        Self {
            updates: updates
                .filter(|_| !rolling)
                .map(|uri| if mirror.is_some() { chosen.clone() } else { uri }),
            security: security.filter(|_| !rolling),
            mirror: chosen.trim_end_matches('/').to_owned(),
            components: components.iter().map(|&c| c.to_owned()).collect(),
            distribution,
            suite: target.suite,
        }
    }

    /// Tells whether apt inside the image needs certificates.
    pub(crate) fn needs_certificates(&self) -> bool {
        let all = [Some(&self.mirror), self.updates.as_ref(), self.security.as_ref()];
        all.into_iter().flatten().any(|uri| uri.starts_with("https:"))
    }

    /// Writes the image's sources file.
    pub(crate) fn to_deb822(&self) -> String {
        let keyring =
            format!("/usr/share/keyrings/{}-archive-keyring.gpg", self.distribution.name());
        let components = self.components.join(" ");
        let mut suites = self.suite.to_owned();
        if self.updates.is_some() {
            let _ = write!(suites, " {}-updates", self.suite); // a String takes every write
        }
        let stanza = |uri: &str, suites: &str| {
            format!(
                "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {components}\nSigned-By: {keyring}\n"
            )
        };
        let mut text = stanza(&self.mirror, &suites);
        if let Some(uri) = &self.security {
            // Before bullseye the security suite had a path's name.
            let pocket = match self.suite {
                "buster" | "stretch" => format!("{}/updates", self.suite),
                suite => format!("{suite}-security"),
            };
            let _ = write!(text, "\n{}", stanza(uri.trim_end_matches('/'), &pocket));
        }
        text
    }
}

fn last_segment(uri: &str) -> &str {
    uri.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// Tells the URI if the source is the distribution's main archive.
fn main_uri(source: &Source, distribution: Distribution) -> Option<String> {
    let plain = source.suites.iter().any(|suite| !suite.contains('-') && !suite.contains('/'));
    let has_main = source.components.iter().any(|component| component == "main");
    let fits = |uri: &&String| last_segment(uri) == distribution.name();
    source.uris.iter().find(fits).filter(|_| plain && has_main).cloned()
}

fn find_pocket(configured: &[Source], distribution: Distribution, pocket: &str) -> Option<String> {
    configured
        .iter()
        .filter(|source| {
            source
                .suites
                .iter()
                .any(|s| s.ends_with(pocket) || (pocket == "-security" && s.ends_with("/updates")))
        })
        .find_map(|source| {
            source
                .uris
                .iter()
                .find(|uri| last_segment(uri).starts_with(distribution.name()))
                .cloned()
        })
}

fn read_configured(etc_apt: &Path) -> Vec<Source> {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let mut sources = parse_one_line(&read(&etc_apt.join("sources.list")));
    let mut files: Vec<_> = std::fs::read_dir(etc_apt.join("sources.list.d"))
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    files.sort();
    for path in files {
        match path.extension().and_then(|e| e.to_str()) {
            Some("list") => sources.extend(parse_one_line(&read(&path))),
            Some("sources") => sources.extend(parse_deb822(&read(&path))),
            _ => {}
        }
    }
    for source in &mut sources {
        source.uris = source.uris.iter().filter_map(|uri| resolve_uri(uri)).collect();
    }
    sources
}

/// Follows `mirror+file:` lists to their first entry; drops what debootstrap cannot use.
fn resolve_uri(uri: &str) -> Option<String> {
    if let Some(path) = uri.strip_prefix("mirror+file:") {
        let list = std::fs::read_to_string(path.trim_start_matches("//")).ok()?;
        let first =
            list.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
        return first.split_whitespace().next().map(str::to_owned);
    }
    let usable =
        ["http://", "https://", "file:", "ftp://"].iter().any(|scheme| uri.starts_with(scheme));
    usable.then(|| uri.to_owned())
}

/// Reads `deb [options] URI SUITE COMPONENT…` lines.
fn parse_one_line(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(mut rest) = line.strip_prefix("deb ").map(str::trim) else { continue };
        if rest.starts_with('[') {
            rest = rest.split_once(']').map_or("", |(_, after)| after.trim());
        }
        let mut words = rest.split_whitespace().map(str::to_owned);
        if let (Some(uri), Some(suite)) = (words.next(), words.next()) {
            sources.push(Source {
                uris: vec![uri],
                suites: vec![suite],
                components: words.collect(),
            });
        }
    }
    sources
}

/// Reads stanzas of `Field: values`, continued on lines that begin with a blank.
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    for stanza in text.split("\n\n") {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in stanza.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        let words = |name: &str| -> Vec<String> {
            let value =
                fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value);
            value.split_whitespace().map(str::to_owned).collect()
        };
        let disabled = words("enabled").first().is_some_and(|word| word == "no" || word == "false");
        if words("types").iter().any(|kind| kind == "deb") && !disabled {
            sources.push(Source {
                uris: words("uris"),
                suites: words("suites"),
                components: words("components"),
            });
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(files: &[(&str, &str)], reference: &str, mirror: Option<&str>) -> Sources {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(dir.path().join("sources.list.d")).expect("create");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("write");
        }
        Sources::choose(&Target::parse(reference).expect("a target"), mirror, dir.path())
    }

    const DEB822: &str = "Types: deb\n# a comment\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n\
        Components: main contrib\n\nTypes: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\nComponents: main\n";

    #[test]
    fn the_machines_mirror_serves_other_suites_too() {
        let sources = choose(&[("sources.list.d/debian.sources", DEB822)], "debian:trixie", None);
        expect_test::expect![[r"
            Types: deb
            URIs: http://mirror.example/debian
            Suites: trixie trixie-updates
            Components: main
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

            Types: deb
            URIs: http://mirror.example/debian-security
            Suites: trixie-security
            Components: main
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
        "]]
        .assert_eq(&sources.to_deb822());
        assert!(!sources.needs_certificates());
    }

    #[test]
    fn one_line_sources_count_as_well() {
        let list = "deb [arch=amd64 signed-by=/x] https://m.example/debian/ bookworm main # old\n\
                    deb-src http://m.example/debian bookworm main\n";
        let sources = choose(&[("sources.list", list)], "debian:bookworm", None);
        assert_eq!(sources.mirror, "https://m.example/debian");
        assert_eq!((sources.updates.as_deref(), sources.security.as_deref()), (None, None));
        assert!(sources.needs_certificates());
    }

    #[test]
    fn without_any_source_the_distributions_own_serve() {
        let sources = choose(&[], "debian:bookworm", None);
        assert_eq!(sources.mirror, "http://deb.debian.org/debian");
        assert!(sources.to_deb822().contains("bookworm-security"));
        let sources = choose(&[], "ubuntu:noble", Some("http://u.example/ubuntu/"));
        assert_eq!(sources.mirror, "http://u.example/ubuntu");
    }
}
