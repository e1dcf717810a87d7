//! `--device` and `--gpus`.

use serde_json::{Map, Value as Json, json};

/// Sorts `--device` values into device mappings and requests for CDI devices.
pub(crate) fn parse(values: &[String]) -> Result<(Vec<Json>, Vec<String>), String> {
    let (mut mappings, mut cdi) = (Vec::new(), Vec::new());
    for value in values {
        if is_cdi(value) {
            cdi.push(value.clone());
        } else {
            mappings.push(parse_mapping(value)?);
        }
    }
    Ok((mappings, cdi))
}

/// `vendor/class=name`
fn is_cdi(value: &str) -> bool {
    !value.starts_with('/')
        && value.split_once('=').is_some_and(|(kind, name)| {
            !name.is_empty()
                && kind.split_once('/').is_some_and(|(v, c)| !v.is_empty() && !c.is_empty())
        })
}

fn parse_mapping(value: &str) -> Result<Json, String> {
    let invalid = || format!("bad format for path: {value}");
    let parts: Vec<&str> = value.split(':').collect();
    let is_mode = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b"rwm".contains(&b))
            && text.bytes().all(|b| text.bytes().filter(|other| *other == b).count() == 1)
    };
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] if is_mode(mode) => (*host, *container, *mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        _ => return Err(invalid()),
    };
    if host.is_empty() {
        return Err(invalid());
    }
    let container = if container.is_empty() { host } else { container };
    if !container.starts_with('/') {
        return Err(format!("{container} is not an absolute path"));
    }
    Ok(json!({"PathOnHost": host, "PathInContainer": container, "CgroupPermissions": mode}))
}

pub(crate) fn check_gpus(value: &str) -> Result<(), String> {
    parse_gpus(value).map(drop)
}

/// Parses `all`, a count, or `device=…,capabilities=…,driver=…`.
pub(crate) fn parse_gpus(value: &str) -> Result<Json, String> {
    let mut request = json!({"Capabilities": [["gpu"]]});
    for field in value.split(',') {
        let (key, text) = match field.split_once('=') {
            Some((key, text)) => (key, text),
            None => ("count", field),
        };
        match key {
            "count" if text == "all" => request["Count"] = json!(-1),
            "count" => {
                let count: i64 = text.parse().map_err(|_| {
                    format!("invalid count ({text}): value must be either \"all\" or an integer: invalid syntax")
                })?;
                request["Count"] = json!(count);
            }
            "device" => request["DeviceIDs"] = json!(text.split(' ').collect::<Vec<_>>()),
            "driver" => request["Driver"] = json!(text),
            "capabilities" => {
                let mut all = vec!["gpu"];
                all.extend(text.split(' ').filter(|c| *c != "gpu"));
                request["Capabilities"] = json!([all]);
            }
            "options" => {
                let (name, value) = text.split_once('=').unwrap_or((text, ""));
                let mut options = Map::new();
                options.insert(name.to_owned(), json!(value));
                request["Options"] = Json::Object(options);
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if request.get("Count").is_none() && request.get("DeviceIDs").is_none() {
        request["Count"] = json!(1);
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_parse() {
        let mapping = |value: &str| parse_mapping(value).map(|m| m.to_string());
        let expected =
            json!({"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "rw"});
        assert_eq!(mapping("/dev/a:/dev/b:rw"), Ok(expected.to_string()));
        let expected =
            json!({"PathOnHost": "/dev/a", "PathInContainer": "/dev/a", "CgroupPermissions": "r"});
        assert_eq!(mapping("/dev/a:r"), Ok(expected.to_string()));
        assert_eq!(mapping("/dev/a:/b:q"), Err("bad mode specified: q".to_owned()));
        assert_eq!(mapping("/dev/a:b"), Err("b is not an absolute path".to_owned()));
        assert!(is_cdi("vendor.com/gpu=0"));
    }
}
