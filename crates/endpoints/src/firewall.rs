//! Endpoints that an operator has disabled (`--firewall_rules`).

use std::collections::BTreeSet;

use mesos_api::json::{self, Value};

/// Which endpoints answer nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firewall(BTreeSet<String>);

impl Firewall {
    /// Reads rules as JSON, or from the file of that path:
    /// `{"disabled_endpoints": {"paths": ["/files/browse"]}}`.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn given(value: &str) -> Result<Self, String> {
        if !value.starts_with('/') {
            return Self::parse(value);
        }
        let text = std::fs::read_to_string(value)
            .map_err(|error| format!("cannot read {value}: {error}"))?;
        Self::parse(&text).map_err(|message| format!("{value}: {message}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let rules = json::parse(text.as_bytes())?;
        let Value::Object(members) = &rules else {
            return Err("the rules are no JSON object".to_owned());
        };
        if let Some((other, _)) = members.iter().find(|(name, _)| name != "disabled_endpoints") {
            return Err(format!("'{other}' is no rule; there is disabled_endpoints"));
        }
        let Some(rule) = rules.get("disabled_endpoints") else { return Ok(Self::default()) };
        let list = match rule.get("paths") {
            Some(Value::Array(list)) => list,
            None if matches!(rule, Value::Object(_)) => return Ok(Self::default()),
            _ => return Err("'disabled_endpoints' has a list 'paths'".to_owned()),
        };
        let path = |value: &Value<'_>| {
            let path = value.as_str().ok_or("each of 'paths' is a text")?;
            Ok::<_, String>(format!("/{}", path.trim_start_matches('/')))
        };
        list.iter().map(path).collect::<Result<_, _>>().map(Self)
    }

    /// What somebody is answered, with 403, whose request reaches the endpoint `path` of the process
    /// `process`; the endpoints of the whole program, such as `/files/browse`, are of no process. None
    /// if it is not disabled. As with Mesos the rules name the endpoints of a process with it:
    /// `/master/state`; without it is meant the same.
    pub fn forbids(&self, process: Option<&str>, path: &str) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let path = format!("/{path}");
        let full = process.map_or_else(|| path.clone(), |process| format!("/{process}{path}"));
        let forbidden = self.0.contains(&full) || self.0.contains(&path);
        forbidden.then(|| format!("Endpoint '{full}' is disabled"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disabled_endpoint_is_named_by_its_path() {
        let rules = r#"{"disabled_endpoints":
                        {"paths": ["/master/state", "files/browse", "/metrics/snapshot"]}}"#;
        let firewall = Firewall::given(rules).expect("good");
        let forbids = |process, path| firewall.forbids(process, path);
        let text = "Endpoint '/master/state' is disabled";
        assert_eq!(forbids(Some("master"), "state").as_deref(), Some(text));
        let text = "Endpoint '/files/browse' is disabled";
        assert_eq!(forbids(None, "files/browse").as_deref(), Some(text));
        assert!(forbids(None, "metrics/snapshot").is_some());
        assert_eq!(forbids(Some("master"), "state-summary"), None);
        assert_eq!(forbids(Some("slave(1)"), "state"), None, "another process");
        assert_eq!(forbids(None, "files/read"), None);
        let short = Firewall::given(r#"{"disabled_endpoints": {"paths": ["/state"]}}"#);
        let text = "Endpoint '/slave(1)/state' is disabled";
        assert_eq!(short.expect("good").forbids(Some("slave(1)"), "state").as_deref(), Some(text));
    }

    #[test]
    fn rules_that_forbid_nothing_are_rules_and_others_are_told_what_is_wrong() {
        for nothing in ["{}", r#"{"disabled_endpoints": {}}"#] {
            assert_eq!(Firewall::given(nothing), Ok(Firewall::default()));
        }
        for (bad, told) in [
            ("[]", "the rules are no JSON object"),
            (r#"{"paths": []}"#, "'paths' is no rule; there is disabled_endpoints"),
            (
                r#"{"disabled_endpoints": {"paths": "x"}}"#,
                "'disabled_endpoints' has a list 'paths'",
            ),
            (r#"{"disabled_endpoints": {"paths": [1]}}"#, "each of 'paths' is a text"),
            ("/nowhere/at/all", "cannot read /nowhere/at/all: "),
        ] {
            let error = Firewall::given(bad).expect_err("bad");
            assert!(error.starts_with(told), "{error}");
        }
    }
}
