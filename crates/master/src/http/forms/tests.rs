use mesos_api::json;

use super::*;

fn told(form: Form, body: &str) -> String {
    match form_call(form, &Fields::parse(body)) {
        Ok(call) => json::to_string(&call),
        Err(text) => text,
    }
}

#[test]
fn fields_are_unescaped_and_the_last_counts() {
    let fields = Fields::parse("a=1&b=x+y%2Fz&a=2&c&=&%=%4");
    assert_eq!(fields.get("a"), Some("2"));
    assert_eq!(fields.get("b"), Some("x y/z"));
    assert_eq!(fields.get("c"), Some(""));
    assert_eq!(fields.get("%"), Some("%4"));
    assert_eq!(fields.get("d"), None);
}

#[test]
fn what_a_form_lacks_is_named_in_the_words_of_mesos() {
    assert_eq!(
        told(Form::Teardown, ""),
        "Missing 'frameworkId' query parameter in the request body"
    );
    assert_eq!(told(Form::Reserve, ""), "Missing 'slaveId' query parameter in the request body");
    assert_eq!(
        told(Form::Unreserve, "slaveId=s"),
        "Missing 'resources' query parameter in the request body"
    );
    assert_eq!(
        told(Form::CreateVolumes, "slaveId=s&volumes=bad"),
        "Error in parsing 'volumes' query parameter in the request body: \
         syntax error at line 1 near: bad"
    );
    assert_eq!(
        told(Form::DestroyVolumes, "slaveId=s&volumes=[{}]"),
        "Error in parsing 'volumes' query parameter in the request body: \
         Missing required fields: name, type"
    );
}

#[test]
fn a_form_becomes_the_call_that_does_the_same() {
    assert_eq!(
        told(Form::Teardown, "frameworkId=f-1"),
        r#"{"type":"TEARDOWN","teardown":{"framework_id":{"value":"f-1"}}}"#
    );
    assert_eq!(
        told(
            Form::Reserve,
            "slaveId=s&resources=%5B%7B%22name%22%3A%22cpus%22%2C%22type%22%3A%22SCALAR%22%2C\
             %22scalar%22%3A%7B%22value%22%3A1%7D%7D%5D"
        ),
        r#"{"type":"RESERVE_RESOURCES","reserve_resources":{"agent_id":{"value":"s"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1.0}}]}}"#
    );
}
