//! `events`.

use docker_api::Request;
use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use crate::filters;
use crate::grammar::{Call, Outcome};
use crate::template::Format;
use crate::units::parse_time;

/// `events [OPTIONS]`
pub(crate) async fn events(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let now = Timestamp::now();
    let time = |name: &str| {
        parse_time(flags.text(name), now)
            .map(|time| Some(time).filter(|time| !time.is_empty()))
            .map_err(|_| {
                format!("failed to parse value as time or duration: {:?}", flags.text(name))
            })
    };
    let (since, until) = (time("since")?, time("until")?);
    let format = match flags.text("format") {
        "" | "json" => None,
        template => Some(Format::parse(template)?),
    };
    let json = flags.text("format") == "json";
    let client = call.cli.client().await?;
    let request = Request::get("/events")
        .query_some("since", since)
        .query_some("until", until)
        .query_some("filters", filters::encode(flags.all("filter")));
    let mut response = client.call(request).await?;
    while let Some(event) = response.next_json::<Json>().await? {
        match &format {
            Some(format) => println!("{}", format.render(&event)?),
            None if json => println!("{event}"),
            None => println!("{}", line(&event)),
        }
    }
    Ok(0)
}

/// Writes an event as `TIME TYPE ACTION ID (NAME=VALUE, …)`.
fn line(event: &Json) -> String {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let time = match (event["timeNano"].as_i64(), event["time"].as_i64()) {
        (Some(nanos), _) if nanos != 0 => Timestamp::from_nanosecond(i128::from(nanos)),
        (_, seconds) => Timestamp::from_second(seconds.unwrap_or(0)),
    };
    let time = time.unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(jiff::tz::TimeZone::system());
    let zone =
        if time.offset().is_zero() { "Z".to_owned() } else { time.strftime("%:z").to_string() };
    let time = format!("{}{zone}", time.strftime("%Y-%m-%dT%H:%M:%S.%9f"));
    let mut out = format!(
        "{time} {} {} {}",
        text(&event["Type"]),
        text(&event["Action"]),
        text(&event["Actor"]["ID"])
    );
    let attributes = event["Actor"]["Attributes"].as_object().cloned().unwrap_or_else(Map::new);
    if !attributes.is_empty() {
        let mut pairs: Vec<String> =
            attributes.iter().map(|(k, v)| format!("{k}={}", text(v))).collect();
        pairs.sort();
        out.push_str(&format!(" ({})", pairs.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_read_well() {
        let event = json!({
            "Type": "container", "Action": "die", "timeNano": 1_700_000_000_123_456_789_i64, "time": 1_700_000_000,
            "Actor": {"ID": "abc", "Attributes": {"exitCode": "0", "image": "debian"}},
        });
        let line = line(&event);
        assert!(line.ends_with(" container die abc (exitCode=0, image=debian)"), "{line}");
        assert!(line.contains(":20.123456789"), "{line}");
    }
}
