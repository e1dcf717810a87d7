//! Environment variables and labels from flags and files.

use std::fs::File;
use std::io::{BufRead as _, BufReader};

use serde_json::{Map, Value as Json};

use crate::config::Proxy;

/// Lists `NAME=value` from files, then from flags; a bare name takes this
/// process' value, and is passed on alone when a flag names an unset one.
pub(crate) fn variables(files: &[String], flags: &[String]) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for path in files {
        for line in lines(path)? {
            let (name, value) = match line.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (line.as_str(), None),
            };
            let name = name.trim_start();
            if name.contains(char::is_whitespace) {
                return Err(format!(
                    "invalid env file ({path}): variable '{name}' contains whitespaces"
                ));
            }
            if name.is_empty() {
                return Err(format!(
                    "invalid env file ({path}): no variable name on line '{line}'"
                ));
            }
            match value {
                Some(value) => all.push(format!("{name}={value}")),
                None => all.extend(std::env::var(name).ok().map(|value| format!("{name}={value}"))),
            }
        }
    }
    for flag in flags {
        let inherited =
            || std::env::var(flag).map_or_else(|_| flag.clone(), |value| format!("{flag}={value}"));
        all.push(if flag.contains('=') { flag.clone() } else { inherited() });
    }
    Ok(all)
}

/// Adds the configured proxies, unless the variables say otherwise already.
pub(crate) fn add_proxies(variables: &mut Vec<String>, proxy: Option<&Proxy>) {
    for (name, value) in proxy.into_iter().flat_map(Proxy::variables) {
        let prefix = format!("{name}=");
        if !variables.iter().any(|v| v.starts_with(&prefix) || *v == name) {
            variables.push(format!("{prefix}{value}"));
        }
    }
}

/// Collects labels from files, then from flags.
pub(crate) fn labels(files: &[String], flags: &[String]) -> Result<Map<String, Json>, String> {
    let mut labels = Map::new();
    let mut add = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        labels.insert(name.to_owned(), Json::from(value));
    };
    for path in files {
        for line in lines(path)? {
            super::checks::label(&line)
                .map_err(|why| format!("invalid label file ({path}): {why}"))?;
            add(&line);
        }
    }
    flags.iter().for_each(|flag| add(flag));
    Ok(labels)
}

/// Reads the lines of a file that are neither blank nor comments.
fn lines(path: &str) -> Result<Vec<String>, String> {
    let file = File::open(path).map_err(|e| open_error(path, &e))?;
    let mut lines = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| format!("invalid env file ({path}): {e}"))?;
        let line = if index == 0 { line.trim_start_matches('\u{feff}') } else { &line };
        let line = line.trim_start();
        if !line.is_empty() && !line.starts_with('#') {
            lines.push(line.to_owned());
        }
    }
    Ok(lines)
}

/// Says why a file does not open, without the number that Rust adds.
pub(crate) fn open_error(path: &str, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    format!("open {path}: {why}")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn files_come_before_flags() {
        let mut file = tempfile::NamedTempFile::new().expect("temp file");
        write!(file, "\u{feff}# a comment\nA=1\n\n  B=two words\nTEU_SURELY_UNSET\n")
            .expect("write");
        let path = file.path().to_string_lossy().into_owned();
        let flags = ["A=2".to_owned(), "TEU_SURELY_UNSET".to_owned()];
        let got = variables(&[path], &flags).expect("reads");
        assert_eq!(got, ["A=1", "B=two words", "A=2", "TEU_SURELY_UNSET"]);
    }
}
