//! What the agent offers: what its flags say, and for the rest what the host has.

use std::collections::BTreeMap;
use std::path::Path;

use cluster::id::Role;
use cluster::resources::{Format, Ranges, Resource, Resources, Value};
use mesos_api::v1::{self, Attribute, value};

const MEGABYTES: u64 = 1 << 20;
/// A host keeps this much of its memory for itself, unless that is more than half.
const RESERVED_MEMORY: u64 = 1024;
/// The same for the disk.
const RESERVED_DISK: u64 = 5 * 1024;
const DEFAULT_PORTS: (u64, u64) = (31_000, 32_000);

/// Reads `--resources` and adds what it leaves out.
pub(crate) fn offered(text: &str, role: &Role, disk: &Path) -> Result<Vec<v1::Resource>, String> {
    let (mut all, named): (Resources, Vec<String>) = if text.trim_start().starts_with('[') {
        let value = mesos_api::json::parse(text.as_bytes())?;
        let wire: Vec<v1::Resource> =
            mesos_api::json::list_from_value(&value).map_err(|e| e.to_string())?;
        (of_json(&wire, role)?, wire.into_iter().map(|one| one.name).collect())
    } else {
        let all = Resources::parse(text, role).map_err(|e| e.to_string())?;
        (all, text.split(';').map(name_in).collect())
    };
    if let Some(port) = impossible_port(&all) {
        return Err(format!("port {port} of 'ports' is none: they end at {}", u16::MAX));
    }
    // Who says that there is nothing of it has said something.
    let given = |name: &str| named.iter().any(|known| known == name);
    let detected = [("cpus", cpus()), ("mem", memory()?), ("disk", disk_space(disk)?)];
    for (name, amount) in detected {
        if !given(name) {
            all.add(&with_role(Resource::scalar(name, amount), role));
        }
    }
    if !given("ports") {
        let ports = Value::Ranges(Ranges::new([DEFAULT_PORTS]));
        all.add(&with_role(Resource::new("ports", ports), role));
    }
    Ok(all.to_wire(Format::Refined))
}

#[expect(deprecated, reason = "most files still name the role there")]
fn of_json(wire: &[v1::Resource], default_role: &Role) -> Result<Resources, String> {
    let mut all = Resources::new();
    let mut types: BTreeMap<&str, v1::value::Type> = BTreeMap::new();
    for one in wire {
        refuse(one)?;
        let (name, kind) = (&one.name, one.r#type());
        if *types.entry(name).or_insert(kind) != kind {
            return Err(format!(
                "Resources with the same name ('{name}') but different types are not allowed"
            ));
        }
        let resource = Resource::from_wire(one)?;
        let names_none = one.role.is_none() && resource.reservations.is_empty();
        all.add(&if names_none { with_role(resource, default_role) } else { resource });
    }
    Ok(all)
}

/// What a flag cannot say, in the words of Mesos where Mesos refuses it as well.
fn refuse(one: &v1::Resource) -> Result<(), &'static str> {
    let dynamic = v1::resource::reservation_info::Type::Dynamic;
    if one.disk.as_ref().is_some_and(|disk| disk.persistence.is_some()) {
        Err("Persistent volumes cannot be specified at the command line")
    } else if one.revocable.is_some() {
        Err("Revocable resources cannot be specified at the command line; do not include a \
             'revocable' key in the resources JSON")
    } else if one.reservation.is_some() || one.reservations.iter().any(|it| it.r#type() == dynamic)
    {
        Err("Dynamic reservations cannot be specified at the command line; do not include a \
             reservation with DYNAMIC type in the resources JSON")
    } else if one.disk.as_ref().is_some_and(|disk| disk.source.is_some()) {
        Err("disks of their own (`disk.source`) are not available: all volumes are in the work_dir")
    } else {
        Ok(())
    }
}

/// The name in `name:value` or `name(role):value`.
fn name_in(part: &str) -> String {
    part.split([':', '(']).next().unwrap_or_default().trim().to_owned()
}

fn impossible_port(resources: &Resources) -> Option<u64> {
    let of_ports = resources.iter().filter(|resource| &*resource.name == "ports");
    let ranges = of_ports.filter_map(|resource| match &resource.value {
        Value::Ranges(ranges) => Some(ranges),
        _ => None,
    });
    ranges.flat_map(Ranges::iter).map(|(_, end)| end).find(|end| *end > u64::from(u16::MAX))
}

fn with_role(mut resource: Resource, role: &Role) -> Resource {
    use cluster::resources::{Reservation, ReservationKind};
    if *role != Role::star() {
        resource.reservations.push(Reservation {
            kind: ReservationKind::Static,
            role: role.clone(),
            principal: None,
            labels: Vec::new(),
        });
    }
    resource
}

#[expect(clippy::cast_precision_loss, reason = "no host has 2^52 processors")]
fn cpus() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64)
}

/// The host's memory in bytes.
pub(crate) fn host_memory() -> Result<u64, String> {
    let text =
        std::fs::read_to_string("/proc/meminfo").map_err(|e| format!("/proc/meminfo: {e}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map(|k| k * 1024).ok_or_else(|| "/proc/meminfo has no MemTotal".to_owned())
}

fn memory() -> Result<f64, String> {
    Ok(what_is_left(host_memory()? / MEGABYTES, RESERVED_MEMORY))
}

fn disk_space(path: &Path) -> Result<f64, String> {
    let stat = rustix::fs::statvfs(path).map_err(|e| format!("statvfs {}: {e}", path.display()))?;
    Ok(what_is_left(stat.f_blocks * stat.f_frsize / MEGABYTES, RESERVED_DISK))
}

#[expect(clippy::cast_precision_loss, reason = "megabytes of one host")]
fn what_is_left(total: u64, reserved: u64) -> f64 {
    (if total > 2 * reserved { total - reserved } else { total / 2 }) as f64
}

/// Reads `--attributes`: `rack:r1;level:10;range:[1-3]`.
pub(crate) fn attributes(text: &str) -> Result<Vec<Attribute>, String> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(attribute).collect()
}

fn attribute(part: &str) -> Result<Attribute, String> {
    let (name, text) = part.split_once(':').ok_or_else(|| format!("'{part}' is not name:value"))?;
    let mut attribute = Attribute { name: name.trim().to_owned(), ..Attribute::default() };
    let text = text.trim();
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        let mut range = Vec::new();
        for part in inner.split(',') {
            let bounds = part.trim().split_once('-').and_then(|(begin, end)| {
                Some((begin.trim().parse().ok()?, end.trim().parse().ok()?))
            });
            let (begin, end) = bounds.ok_or_else(|| format!("'{part}' is no range"))?;
            range.push(value::Range { begin, end });
        }
        attribute.ranges = Some(value::Ranges { range });
        attribute.set_type(value::Type::Ranges);
    } else if let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite()) {
        attribute.scalar = Some(value::Scalar { value: number });
        attribute.set_type(value::Type::Scalar);
    } else {
        attribute.text = Some(value::Text { value: text.to_owned() });
        attribute.set_type(value::Type::Text);
    }
    Ok(attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flags_leave_out_is_detected() {
        let all = offered("cpus:2;mem:512", &Role::star(), Path::new("/")).expect("good flags");
        let names: Vec<&str> = all.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["cpus", "mem", "disk", "ports"]);
        assert_eq!(all[0].scalar.as_ref().map(|s| s.value), Some(2.0));
        assert!(all[2].scalar.as_ref().is_some_and(|s| s.value > 0.0));
    }

    #[test]
    fn what_there_is_none_of_is_not_detected() {
        let json = r#"[{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0}}]"#;
        for text in ["cpus:0", "cpus(web):0", json] {
            let all = offered(text, &Role::star(), Path::new("/")).expect("good flags");
            let names: Vec<&str> = all.iter().map(|r| r.name.as_str()).collect();
            assert_eq!(names, ["mem", "disk", "ports"], "{text}");
        }
    }

    #[test]
    fn the_default_role_is_that_of_resources_that_name_none() {
        let json = r#"[{"name": "cpus", "type": "SCALAR", "scalar": {"value": 2}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": 64}, "role": "*"}]"#;
        for text in [json, "cpus:2;mem(*):64"] {
            let all = offered(text, &"web".into(), Path::new("/")).expect("good resources");
            let role = |name: &str| {
                let found = all.iter().find(|r| r.name == name).expect(name);
                found.reservations.first().and_then(|it| it.role.as_deref())
            };
            assert_eq!(role("cpus"), Some("web"), "{text}");
            assert_eq!(role("mem"), None, "{text}");
            assert_eq!(role("disk"), Some("web"), "{text}");
        }
    }

    #[test]
    fn what_no_host_has_is_refused() {
        for (text, part) in [
            ("cpus:many:x", "not a number"),
            ("cpus:-1", "finite and not negative"),
            ("cpus:1e999", "finite and not negative"),
            ("mem", "expected name:value"),
            ("ports:[5-1]", "begins before it ends"),
            ("ports:[1-70000]", "port 70000 of 'ports' is none"),
            ("ports:[1-99999999999999999999]", "a range is begin-end"),
            ("mem(../x):1", "role"),
            ("[{", "syntax error"),
            (r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":-1}}]"#, "value < 0"),
            (r#"[{"name":"cpus","type":"SCALAR"}]"#, "Invalid scalar"),
            (r#"[{"type":"SCALAR","scalar":{"value":1}}]"#, "name"),
            ("cpus:1;cpus:{a}", "'cpus' is a number in one place and not in another"),
            (
                r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1}},
                    {"name":"cpus","type":"SET","set":{"item":["a"]}}]"#,
                "('cpus') but different types",
            ),
            (
                r#"[{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"persistence":{"id":"v"}}}]"#,
                "Persistent volumes cannot be specified",
            ),
            (
                r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1},"revocable":{}}]"#,
                "Revocable resources cannot be specified",
            ),
            (
                r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1},
                     "reservations":[{"type":"DYNAMIC","role":"a"}]}]"#,
                "Dynamic reservations cannot be specified",
            ),
            (
                r#"[{"name":"disk","type":"SCALAR","scalar":{"value":1},
                     "disk":{"source":{"type":"MOUNT","mount":{"root":"/mnt"}}}}]"#,
                "(`disk.source`) are not available",
            ),
            (
                r#"[{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":9,"end":1}]}}]"#,
                "begin > end",
            ),
        ] {
            let told = offered(text, &Role::star(), Path::new("/")).expect_err(text);
            assert!(told.contains(part), "{text}: {told}");
        }
    }

    #[test]
    fn attributes_have_three_types() {
        let all = attributes("rack:r1;level:10;range:[1-3,5-6]").expect("good attributes");
        assert_eq!(all[0].text.as_ref().map(|t| t.value.as_str()), Some("r1"));
        assert_eq!(all[1].scalar.as_ref().map(|s| s.value), Some(10.0));
        assert_eq!(all[2].ranges.as_ref().map(|r| r.range.len()), Some(2));
        assert!(attributes("nonsense").is_err());
        // Names, whatever else they might mean: no JSON has such numbers.
        for name in ["nan", "inf", "infinity"] {
            let all = attributes(&format!("rack:{name}")).expect("good attributes");
            assert_eq!(all[0].text.as_ref().map(|t| t.value.as_str()), Some(name));
        }
    }
}
