//! Log drivers that send lines to a service: their options, in Docker's words.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runtime::shim::protocol::remote::{
    Address, Fluentd, Gelf, GelfCompression, Journald, Remote, Syslog, SyslogFormat,
};

use super::{flag, invalid};
use crate::Result;

type Options = BTreeMap<String, String>;

/// Options of each driver beside those that all have.
pub(super) fn known(driver: &str) -> Option<&'static [&'static str]> {
    Some(match driver {
        "syslog" => &["syslog-address", "syslog-facility", "syslog-format"],
        "journald" => &[],
        "gelf" => &["gelf-address", "gelf-compression-type", "gelf-compression-level"],
        "fluentd" => &["fluentd-address", "fluentd-async", "fluentd-sub-second-precision"],
        _ => return None,
    })
}

/// What takes the place of options that Docker's drivers have and these do not.
pub(super) fn unsupported(driver: &str, key: &str) -> Option<&'static str> {
    const ANEW: &str = "a broken connection is made anew every second, and lines wait meanwhile";
    Some(match (driver, key) {
        (
            "syslog",
            "syslog-tls-ca-cert" | "syslog-tls-cert" | "syslog-tls-key" | "syslog-tls-skip-verify",
        ) => "send to a relay on this host that speaks TLS",
        (
            "fluentd",
            "fluentd-retry-wait" | "fluentd-max-retries" | "fluentd-async-reconnect-interval",
        )
        | ("gelf", "gelf-tcp-max-reconnect" | "gelf-tcp-reconnect-delay") => ANEW,
        ("fluentd", "fluentd-buffer-limit") => {
            "mode=non-blocking and max-buffer-size bound a buffer"
        }
        ("fluentd", "fluentd-request-ack" | "fluentd-write-timeout" | "fluentd-read-timeout") => {
            "lines are sent without waiting for an answer"
        }
        ("fluentd", "fluentd-async-connect") => "its name is fluentd-async",
        _ => return None,
    })
}

/// What a service is told about the container, with every line or once.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image_id: String,
    pub(super) image_name: String,
    pub(super) command: String,
    pub(super) created: String,
    pub(super) hostname: String,
    /// Filled in.
    pub(super) tag: String,
    /// Chosen labels and variables.
    pub(super) attributes: BTreeMap<String, String>,
}

/// Reads the options of `driver`; `None` when it is no service.
///
/// # Errors
/// InvalidParameter for a value that cannot act.
pub(super) fn service(driver: &str, options: &Options, facts: Facts) -> Result<Option<Remote>> {
    Ok(Some(match driver {
        "syslog" => Remote::Syslog(syslog(options, facts)?),
        "journald" => Remote::Journald(journald(facts)),
        "gelf" => Remote::Gelf(gelf(options, facts)?),
        "fluentd" => Remote::Fluentd(fluentd(options, facts)?),
        _ => return Ok(None),
    }))
}

fn syslog(options: &Options, facts: Facts) -> Result<Syslog> {
    let set = |key: &str| options.get(key).filter(|text| !text.is_empty());
    let address = match set("syslog-address") {
        None => None,
        Some(text) => Some(syslog_address(text)?),
    };
    let format = match options.get("syslog-format").map(String::as_str) {
        None | Some("") => SyslogFormat::Local,
        Some("rfc3164") => SyslogFormat::Rfc3164,
        Some("rfc5424") => SyslogFormat::Rfc5424,
        Some("rfc5424micro") => SyslogFormat::Rfc5424Micro,
        Some(_) => return Err(invalid("Invalid syslog format")),
    };
    Ok(Syslog {
        address,
        facility: facility(set("syslog-facility").map_or("daemon", String::as_str))?,
        format,
        tag: facts.tag,
        hostname: facts.hostname,
        pid: std::process::id(),
    })
}

fn syslog_address(text: &str) -> Result<Address> {
    let form = || {
        let text = text.escape_default();
        invalid(format!("syslog-address should be in form proto://address, got {text}"))
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
    match scheme {
        "udp" => Ok(Address::Udp(with_port(scheme, rest, 514)?)),
        "tcp" => Ok(Address::Tcp(with_port(scheme, rest, 514)?)),
        "unix" if rest.starts_with('/') => Ok(Address::Unix(PathBuf::from(rest))),
        "unixgram" if rest.starts_with('/') => Ok(Address::Unixgram(PathBuf::from(rest))),
        "tcp+tls" => Err(invalid(
            "syslog-address: tcp+tls is not supported: send to a relay on this host that speaks TLS",
        )),
        _ => Err(form()),
    }
}

/// Completes `host[:port]` of an address with a scheme.
fn with_port(scheme: &str, text: &str, default: u16) -> Result<String> {
    let host = text.trim_end_matches('/');
    let told = text.escape_default();
    let wrong = || invalid(format!("parse \"{scheme}://{told}\": invalid host"));
    if host.is_empty() || host.contains(['/', ' ']) || host.chars().any(char::is_control) {
        return Err(wrong());
    }
    let bare = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    match bare.rsplit_once(':') {
        None => Ok(format!("{host}:{default}")),
        Some((_, port)) => port.parse::<u16>().map(|_| host.to_owned()).map_err(|_| {
            let port = port.escape_default();
            invalid(format!("parse \"{scheme}://{told}\": invalid port \":{port}\" after host"))
        }),
    }
}

fn facility(text: &str) -> Result<u8> {
    const NAMES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
        "authpriv", "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4",
        "local5", "local6", "local7",
    ];
    let number = match text.parse::<u8>() {
        Ok(number) => Some(number).filter(|number| *number < 24),
        Err(_) => NAMES
            .iter()
            .position(|name| !name.is_empty() && *name == text)
            .and_then(|place| u8::try_from(place).ok()),
    };
    number.ok_or_else(|| invalid("invalid syslog facility"))
}

fn journald(facts: Facts) -> Journald {
    let mut fields: BTreeMap<String, String> =
        facts.attributes.into_iter().map(|(name, value)| (field_name(&name), value)).collect();
    let short = facts.id.chars().take(12).collect();
    for (name, value) in [
        ("CONTAINER_ID", short),
        ("CONTAINER_ID_FULL", facts.id),
        ("CONTAINER_NAME", facts.name),
        ("CONTAINER_TAG", facts.tag.clone()),
        ("IMAGE_NAME", facts.image_name),
        ("SYSLOG_IDENTIFIER", facts.tag),
    ] {
        fields.insert(name.to_owned(), value);
    }
    Journald { fields }
}

/// The journal takes capitals, digits and underscores, none of these first.
fn field_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    let clean: String =
        upper.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let clean = clean.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit());
    clean.to_owned()
}

fn gelf(options: &Options, facts: Facts) -> Result<Gelf> {
    let text = options
        .get("gelf-address")
        .filter(|text| !text.is_empty())
        .ok_or_else(|| invalid("gelf-address is a required parameter"))?;
    let form = || {
        let text = text.escape_default();
        invalid(format!("gelf-address should be in form proto://address, got {text}"))
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(form)?;
    if !matches!(scheme, "udp" | "tcp") {
        return Err(form());
    }
    if !rest.contains(':') {
        return Err(invalid("gelf: please provide gelf-address as proto://host:port"));
    }
    let place = with_port(scheme, rest, 12201)?;
    let address = if scheme == "udp" { Address::Udp(place) } else { Address::Tcp(place) };
    let unknown = |key: &str, value: &str| {
        let value = value.escape_default();
        invalid(format!("unknown value \"{value}\" for log opt \"{key}\" for gelf log driver"))
    };
    let asked = options.keys().any(|key| key.starts_with("gelf-compression"));
    if asked && scheme == "tcp" {
        return Err(invalid("compression is only supported on UDP"));
    }
    let compression = match options.get("gelf-compression-type").map(String::as_str) {
        None | Some("gzip") => GelfCompression::Gzip,
        Some("zlib") => GelfCompression::Zlib,
        Some("none") => GelfCompression::None,
        Some(other) => return Err(unknown("gelf-compression-type", other)),
    };
    let level = match options.get("gelf-compression-level").map(String::as_str) {
        None => 1,
        // The compressor's own choice, which zlib documents to be 6.
        Some("-1") => 6,
        Some(text) => text
            .parse()
            .ok()
            .filter(|level| *level <= 9)
            .ok_or_else(|| unknown("gelf-compression-level", text))?,
    };
    let mut fields: BTreeMap<String, String> =
        facts.attributes.into_iter().map(|(name, value)| (format!("_{name}"), value)).collect();
    for (name, value) in [
        ("_container_id", facts.id),
        ("_container_name", facts.name),
        ("_image_id", facts.image_id),
        ("_image_name", facts.image_name),
        ("_command", facts.command),
        ("_tag", facts.tag),
        ("_created", facts.created),
    ] {
        fields.insert(name.to_owned(), value);
    }
    Ok(Gelf { address, compression, level, hostname: facts.hostname, fields })
}

fn fluentd(options: &Options, facts: Facts) -> Result<Fluentd> {
    let text = options.get("fluentd-address").map_or("", String::as_str);
    let told = text.escape_default();
    let wrong =
        || invalid(format!("invalid fluentd-address {told}: take tcp://HOST:PORT or unix:///PATH"));
    let place = |text: &str| {
        let place = with_port("tcp", text, 24224);
        place.map_err(|error| invalid(format!("invalid fluentd-address {told}: {error}")))
    };
    let address = match text.split_once("://") {
        None if text.is_empty() => Address::Tcp("127.0.0.1:24224".to_owned()),
        None => Address::Tcp(place(text)?),
        Some(("tcp", rest)) => Address::Tcp(place(rest)?),
        Some(("unix", path)) if path.starts_with('/') => Address::Unix(PathBuf::from(path)),
        Some(_) => return Err(wrong()),
    };
    let mut fields = facts.attributes;
    fields.insert("container_id".to_owned(), facts.id);
    fields.insert("container_name".to_owned(), format!("/{}", facts.name));
    Ok(Fluentd {
        address,
        tag: facts.tag,
        lazily: flag(options, "fluentd-async")?,
        sub_second: flag(options, "fluentd-sub-second-precision")?,
        fields,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(driver: &str, options: &[(&str, &str)]) -> Result<Remote> {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        service(driver, &options, Facts::default()).map(|service| service.unwrap())
    }

    #[test]
    fn addresses_are_completed() {
        for (driver, options, wanted) in [
            ("syslog", ("syslog-address", "udp://logs"), "logs:514"),
            ("syslog", ("syslog-address", "tcp://[fd00::1]"), "[fd00::1]:514"),
            ("gelf", ("gelf-address", "udp://logs:9"), "logs:9"),
            ("fluentd", ("fluentd-address", "logs:7"), "logs:7"),
            ("fluentd", ("fluentd-async", "true"), "127.0.0.1:24224"),
        ] {
            let service = read(driver, &[options]).unwrap();
            let told = serde_json::to_string(&service).unwrap();
            assert!(told.contains(&format!("\"{wanted}\"")), "{told}");
        }
    }

    #[test]
    fn values_that_cannot_act_are_refused() {
        for (driver, option, reason) in [
            ("syslog", ("syslog-address", "logs"), "should be in form proto://address, got logs"),
            ("syslog", ("syslog-address", "tcp+tls://a"), "tcp+tls is not supported"),
            (
                "syslog",
                ("syslog-address", "udp://a:b"),
                "parse \"udp://a:b\": invalid port \":b\" after host",
            ),
            ("syslog", ("syslog-address", "udp://a:99999"), "invalid port \":99999\" after host"),
            ("syslog", ("syslog-facility", "sails"), "invalid syslog facility"),
            ("syslog", ("syslog-format", "short"), "Invalid syslog format"),
            ("gelf", ("gelf-address", "sail://a:1"), "should be in form proto://address, got sail"),
            ("gelf", ("gelf-address", "x"), "should be in form proto://address, got x"),
            ("gelf", ("gelf-address", "udp://a"), "gelf: please provide gelf-address as"),
            ("gelf", ("gelf-compression-level", "1"), "gelf-address is a required parameter"),
            ("fluentd", ("fluentd-address", "tls://a"), "invalid fluentd-address"),
            (
                "fluentd",
                ("fluentd-async", "perhaps"),
                "invalid value for option fluentd-async: perhaps",
            ),
            ("fluentd", ("fluentd-address", "a:b"), "invalid fluentd-address a:b: parse"),
        ] {
            let error = read(driver, &[option]).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn values_of_gelf_are_told_with_their_option() {
        for (key, value, told) in [
            (
                "gelf-compression-type",
                "x",
                "unknown value \"x\" for log opt \"gelf-compression-type\"",
            ),
            ("gelf-compression-level", "10", "unknown value \"10\" for log opt"),
            ("gelf-compression-level", "-2", "unknown value \"-2\" for log opt"),
        ] {
            let options = [("gelf-address", "udp://a:1"), (key, value)];
            let error = read("gelf", &options).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        read("gelf", &[("gelf-address", "udp://a:1"), ("gelf-compression-level", "-1")]).unwrap();
        let tcp = [("gelf-address", "tcp://a:1"), ("gelf-compression-type", "none")];
        let error = read("gelf", &tcp).unwrap_err().to_string();
        assert!(error.contains("compression is only supported on UDP"), "{error}");
        read("syslog", &[("syslog-address", ""), ("syslog-facility", "")]).unwrap();
    }

    #[test]
    fn journal_fields_have_its_letters() {
        assert_eq!(field_name("com.example-x"), "COM_EXAMPLE_X");
        assert_eq!(field_name("_1st"), "ST");
    }
}
