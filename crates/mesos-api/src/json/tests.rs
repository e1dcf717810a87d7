use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};

use super::*;
use crate::v1::{self, agent, master, scheduler};

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)).unwrap()
}

/// Empty arrays and messages without content say nothing, and Mesos prints some of them.
fn without_nothing(value: &Value<'_>) -> String {
    let mut writer = Writer::new();
    write(value, &mut writer);
    writer.into_string()
}

fn write(value: &Value<'_>, to: &mut Writer) {
    match value {
        Value::Null => to.null(),
        Value::Bool(value) => to.bool(*value),
        Value::Signed(value) => to.i64(*value),
        Value::Unsigned(value) => to.u64(*value),
        Value::Float(value) => to.f64(*value),
        Value::String(value) => to.string(value),
        Value::Array(values) => {
            to.begin_array();
            values.iter().for_each(|value| write(value, to));
            to.end_array();
        }
        Value::Object(members) => {
            to.begin_object();
            for (name, value) in members.iter().filter(|(_, v)| *v != Value::Array(Vec::new())) {
                to.name(name);
                write(value, to);
            }
            to.end_object();
        }
    }
}

fn reads_and_writes<T: Json>(name: &str) {
    let text = golden(name);
    let value = parse(&text).unwrap();
    let message: T = from_value(&value).unwrap();
    assert_eq!(to_string(&message), without_nothing(&value), "{name}");
}

#[test]
fn what_mesos_answered_operators_reads_and_writes_alike() {
    let mut seen = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("op_master_") {
            reads_and_writes::<master::Response>(&name);
            seen += 1;
        } else if name.starts_with("op_agent_") {
            reads_and_writes::<agent::Response>(&name);
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} captured answers");
}

#[test]
fn what_mesos_told_a_framework_reads_and_writes_alike() {
    let raw = String::from_utf8(golden("scheduler_stream.raw")).unwrap();
    let mut kinds = Vec::new();
    // The capture is of the wire: between the events are the sizes of chunks and records.
    for text in raw.lines().filter(|line| line.starts_with('{')) {
        let event: scheduler::Event = from_slice(text.as_bytes()).unwrap();
        assert_eq!(to_string(&event), text);
        kinds.push(event.r#type().as_str_name());
    }
    expect![[r#"["SUBSCRIBED", "HEARTBEAT", "OFFERS", "OFFERS", "HEARTBEAT", "FAILURE", "UPDATE", "OFFERS", "HEARTBEAT"]"#]]
        .assert_eq(&format!("{kinds:?}"));
}

fn told<T: Json>(text: &str, expected: Expect) {
    let told = match from_slice::<T>(text.as_bytes()) {
        Ok(message) => to_string(&message),
        Err(error) => error.to_string(),
    };
    expected.assert_eq(&told);
}

#[test]
fn calls_are_refused_in_the_words_of_mesos() {
    type Call = scheduler::Call;
    told::<Call>(
        "bad",
        expect!["Failed to parse body into JSON: syntax error at line 1 near: bad"],
    );
    told::<Call>("[]", expect!["Expecting a JSON object"]);
    told::<Call>(
        "{} x",
        expect![
            "Failed to parse body into JSON: Parsed JSON included non-whitespace trailing characters:  x"
        ],
    );
    told::<Call>(r#"{"type":1}"#, expect!["Not expecting a JSON number for field 'type'"]);
    told::<Call>(
        r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"n"}}}"#,
        expect!["Missing required fields: subscribe.framework_info.user"],
    );
    told::<Call>(
        r#"{"accept":{"operations":[{"launch":{"task_infos":[{},{"name":"x","task_id":{}}]}}]},"kill":{}}"#,
        expect![[
            r#"Missing required fields: accept.operations[0].launch.task_infos[0].name, accept.operations[0].launch.task_infos[0].task_id, accept.operations[0].launch.task_infos[0].agent_id, accept.operations[0].launch.task_infos[1].agent_id, accept.operations[0].launch.task_infos[1].task_id.value, kill.task_id"#
        ]],
    );
    told::<Call>(
        r#"{"framework_id":[{"value":"x"}]}"#,
        expect!["Not expecting a JSON array for field 'framework_id'"],
    );
    told::<Call>(
        r#"{"framework_id":"x"}"#,
        expect!["Not expecting a JSON string for field 'framework_id'"],
    );
}

#[test]
fn readers_are_lenient_as_mesos_is() {
    type Info = v1::FrameworkInfo;
    told::<Info>(
        r#"{"user":"u","name":"n","failover_timeout":"5","checkpoint":"true","roles":null,"frameworkName":1,"capabilities":{"type":"NEW"}}"#,
        expect![[
            r#"{"user":"u","name":"n","failover_timeout":5.0,"checkpoint":true,"capabilities":[{}]}"#
        ]],
    );
    told::<Info>(
        r#"{"user":"u","user":"v","name":"\u00e9\ud83d\ude00\n"}"#,
        expect![[
            "{\"user\":\"v\",\"name\":\"é😀\\n\",\"failover_timeout\":0.0,\"checkpoint\":false}"
        ]],
    );
    told::<v1::TimeInfo>(
        r#"{"nanoseconds":1795409802524285952}"#,
        expect![[r#"{"nanoseconds":1795409802524285952}"#]],
    );
    told::<v1::Uuid>(
        r#"{"value":"s/hExb5v TQCj+/EqokoUOg"}"#,
        expect![[r#"{"value":"s/hExb5vTQCj+/EqokoUOg=="}"#]],
    );
    told::<v1::Uuid>(
        r#"{"value":"s/hE!"}"#,
        expect!["Failed to base64 decode bytes field 'value': Invalid character '!'"],
    );
    told::<v1::value::Scalar>(
        r#"{"value":"x"}"#,
        expect![
            "Failed to parse 'x' as a JSON number for field 'value': syntax error at line 1 near: x"
        ],
    );
    told::<v1::value::Scalar>(
        r#"{"value":"true"}"#,
        expect![
            "Failed to parse 'true' as a JSON number for field 'value': Unexpected JSON type parsed"
        ],
    );
    told::<v1::Resource>(r#"{"name":"cpus","type":"NO"}"#, expect!["Failed to find enum for 'NO'"]);
    told::<v1::quota::QuotaConfig>(
        r#"{"role":"r","limits":{"mem":{"value":"Infinity"},"cpus":{"value":1}}}"#,
        expect![[r#"{"role":"r","limits":{"cpus":{"value":1.0},"mem":{"value":"Infinity"}}}"#]],
    );
    told::<scheduler::AttributeConstraint>(
        r#"{"selector":{"attribute_name":"rack"},"predicate":{"exists":{}}}"#,
        expect![[r#"{"selector":{"attribute_name":"rack"},"predicate":{"exists":{}}}"#]],
    );
}

#[test]
fn defaults_are_printed_unless_deprecated() {
    told::<v1::container_info::DockerInfo>(
        r#"{"image":"i"}"#,
        expect![[r#"{"image":"i","network":"HOST","privileged":false}"#]],
    );
    told::<v1::Resource>(
        r#"{"name":"cpus","type":"SCALAR","role":"r"}"#,
        expect![[r#"{"name":"cpus","type":"SCALAR","role":"r"}"#]],
    );
}

#[test]
fn numbers_are_printed_as_mesos_prints_them() {
    let cases = [
        (15.0, "15.0"),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (0.0, "0.0"),
        (-0.05, "-0.05"),
        (262_144.0, "262144.0"),
        (0.001, "0.001"),
        (999_999_999_999.999, "999999999999.999"),
        (32.1234567, "32.1234567"),
        (1e-5, "0.00001"),
        (1.5e-6, "0.0000015"),
        (1e-7, "1e-7"),
        (1e15, "1000000000000000.0"),
        (1.5e20, "150000000000000000000.0"),
        (1e21, "1e21"),
        (1e99, "1e99"),
        (1_795_409_802.524_286, "1795409802.524286"),
        (f64::INFINITY, "\"Infinity\""),
        (f64::NAN, "null"),
    ];
    for (value, expected) in cases {
        let mut writer = Writer::new();
        writer.f64(value);
        assert_eq!(writer.into_string(), expected);
    }
}

proptest::proptest! {
    /// There is a way of its own for amounts, and it must not show.
    #[test]
    fn amounts_are_printed_as_all_numbers_are(thousandths: i64) {
        for thousandths in [thousandths, thousandths % 1_000_000_000, thousandths % 10_000] {
            #[expect(clippy::cast_precision_loss, reason = "any number will do")]
            let value = thousandths as f64 / 1000.0;
            let mut writer = Writer::new();
            writer.f64(value);
            if (1e-3..1e15).contains(&value.abs()) {
                proptest::prop_assert_eq!(writer.into_string(), format!("{value:?}"));
            }
        }
    }
}

#[test]
fn nothing_nested_too_deeply_or_broken_is_accepted() {
    let deep = "[".repeat(100_000);
    assert!(parse(deep.as_bytes()).unwrap_err().contains("nested"));
    for bad in [
        "",
        "{",
        "[1,",
        "{\"a\"}",
        "\"\\x\"",
        "\"\\ud800\"",
        "tru",
        "-",
        "1e999",
        "\"\n\"",
        "\u{e9}",
    ] {
        assert!(parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(parse(b"\"\xff\"").is_err());
}

#[test]
fn of_many_equal_keys_the_last_counts() {
    let members: Vec<String> = (0..100).map(|n| format!("\"k{}\":{n}", n % 40)).collect();
    let text = format!("{{{}}}", members.join(","));
    let value = parse(text.as_bytes()).unwrap();
    assert_eq!(value.get("k3"), Some(&Value::Signed(83)));
    assert!(matches!(value, Value::Object(members) if members.len() == 40));
}

#[test]
fn text_in_pieces_is_the_same_text() {
    let write = |to: &mut Writer| {
        to.begin_object();
        to.array("numbers", |to| (0..1000).for_each(|number| to.u64(number)));
        to.object("more", |to| {
            to.name("text");
            to.string(&"long ".repeat(100));
            to.name("there");
            to.bool(true);
        });
        to.end_object();
    };
    let mut whole = Writer::new();
    write(&mut whole);
    let whole = whole.into_string();
    for bytes in [1, 10, 1000, 10_000] {
        let (sender, pieces) = std::sync::mpsc::channel();
        let mut to = Writer::in_pieces(bytes, move |piece| sender.send(piece).unwrap());
        write(&mut to);
        to.finish();
        let pieces: Vec<String> = pieces.iter().collect();
        assert_eq!(pieces.concat(), whole);
        assert_eq!(pieces.len() > 1, whole.len() > bytes);
    }
}
