//! `RUN --device`: what it says, and which of the host's CDI devices it means.

/// Devices that a command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// `vendor.com/class=name`; without a name the first of the class, with `*` all of it.
    pub(crate) name: String,
    /// Whether its absence is an error.
    pub(crate) required: bool,
}

/// Parses the value of `--device`.
///
/// # Errors
/// For unknown keys, and what names no device.
pub(crate) fn parse(text: &str) -> Result<Device, String> {
    let (mut name, mut required) = (None, false);
    for field in text.split(',') {
        match field.split_once('=') {
            None if field.eq_ignore_ascii_case("required") => required = true,
            Some((key, value)) if key.eq_ignore_ascii_case("required") => {
                required = match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(format!("invalid value for required: {value:?}")),
                };
            }
            Some((key, value)) if key.eq_ignore_ascii_case("name") && name.is_none() => {
                name = Some(value);
            }
            // A class and a name have an equals sign between them, too.
            _ if name.is_none() => name = Some(field),
            _ => {
                return Err(format!(
                    "unexpected field '{field}' in --device={text}: it knows name and required"
                ));
            }
        }
    }
    let name = name.unwrap_or_default();
    let class = name.split('=').next().unwrap_or_default();
    let is_class = class.split_once('/').is_some_and(|(vendor, class)| {
        let fine = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        fine(vendor) && fine(class)
    });
    match is_class {
        true => Ok(Device { name: name.to_owned(), required }),
        false => Err(format!("invalid device {name:?}: want vendor.com/class=name")),
    }
}

impl Device {
    /// Tells whether it was granted, by its name, by its class, or with all others (`*`).
    pub(crate) fn is_allowed(&self, allowed: &[String]) -> bool {
        let class = self.name.split('=').next().unwrap_or_default();
        allowed.iter().any(|name| name == "*" || *name == self.name || name == class)
    }

    /// Finds it among the devices that are here, which are sorted.
    ///
    /// # Errors
    /// When it is required and not here.
    pub(crate) fn among(&self, here: &[String]) -> Result<Vec<String>, String> {
        let (class, name) = self.name.split_once('=').unwrap_or((&self.name, ""));
        let of_class = |device: &&String| device.split('=').next() == Some(class);
        let found: Vec<String> = match name {
            "" => here.iter().find(of_class).into_iter().cloned().collect(),
            "*" => here.iter().filter(of_class).cloned().collect(),
            _ => here.iter().filter(|device| **device == self.name).cloned().collect(),
        };
        match found.is_empty() && self.required {
            true => Err(format!(
                "required device {:?} is not registered: no file in the daemon's cdi-spec-dirs has it",
                self.name
            )),
            false => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names_and_may_be_required() {
        let device = |name: &str, required| Ok(Device { name: name.to_owned(), required });
        assert_eq!(parse("v.com/c=a,required"), device("v.com/c=a", true));
        assert_eq!(parse("name=v.com/c,required=false"), device("v.com/c", false));
        for bad in ["", "c=a", "v.com/c=a,what=b", "v.com/c,required=x", "../c=a", "v/c,v/d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_here_is_found_by_name_and_class() {
        let here = ["v/a=1", "v/a=2", "v/b=1"].map(str::to_owned);
        let found = |text: &str| parse(text).unwrap().among(&here);
        assert_eq!(found("v/a").unwrap(), ["v/a=1"]);
        assert_eq!(found("v/a=*").unwrap(), ["v/a=1", "v/a=2"]);
        assert_eq!(found("v/b=1,required").unwrap(), ["v/b=1"]);
        assert!(found("v/b=2").unwrap().is_empty());
        assert!(found("v/b=2,required").unwrap_err().contains("not registered"));
        let device = parse("v/a=1").unwrap();
        for (allowed, is_allowed) in [("*", true), ("v/a", true), ("v/a=1", true), ("v/a=2", false)]
        {
            assert_eq!(device.is_allowed(&[allowed.to_owned()]), is_allowed, "{allowed}");
        }
    }
}
