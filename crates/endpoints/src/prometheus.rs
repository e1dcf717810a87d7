//! Figures in the text format of Prometheus, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the text is to be called.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// The label of that name.
pub fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

/// Figures with their names as Mesos writes them and their labels, divided by commas.
pub fn text(figures: impl IntoIterator<Item = (String, String, f64)>) -> String {
    let mut families: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    for (name, labels, value) in figures {
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        families.entry(format!("mesos_{name}")).or_default().push((labels, value));
    }
    let mut text = String::new();
    // Writing to a string does not fail.
    for (family, values) in families {
        let _ = writeln!(text, "# TYPE {family} untyped");
        for (labels, value) in values {
            let _ = match &*labels {
                "" => writeln!(text, "{family} {value}"),
                labels => writeln!(text, "{family}{{{labels}}} {value}"),
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_family_has_one_type_and_values_are_escaped() {
        let figures = [
            ("slave/uptime_secs".to_owned(), String::new(), 1.5),
            ("frameworks/received".to_owned(), label("principal", "a\"b\\c\nd"), 2.0),
            ("frameworks/received".to_owned(), label("principal", "e"), 0.0),
        ];
        assert_eq!(
            text(figures),
            "# TYPE mesos_frameworks_received untyped\n\
             mesos_frameworks_received{principal=\"a\\\"b\\\\c\\nd\"} 2\n\
             mesos_frameworks_received{principal=\"e\"} 0\n\
             # TYPE mesos_slave_uptime_secs untyped\n\
             mesos_slave_uptime_secs 1.5\n"
        );
    }
}
