use super::*;

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_run_line_becomes_what_run_sends() {
    let line = "--memory 33554432 --net host --name mesos-1 --ulimit=nofile=1024 img /bin/sh -c x";
    let request = create_request(&words(line)).expect("a good line");
    assert_eq!(request.name.as_deref(), Some("mesos-1"));
    assert_eq!(request.image, "img");
    assert_eq!(request.body["Cmd"], serde_json::json!(["/bin/sh", "-c", "x"]));
    assert_eq!(request.body["HostConfig"]["Memory"], 33_554_432);
    assert_eq!(request.body["HostConfig"]["NetworkMode"], "host");
    assert_eq!(request.body["HostConfig"]["Ulimits"][0]["Soft"], 1024);
}

#[test]
fn refusals_are_one_line() {
    for (line, part) in [
        ("--nosuch=1 img", "unknown flag: --nosuch"),
        ("--rm img", "--rm cannot be used here"),
        ("--memory=x img", "invalid argument"),
        ("--name=x", "requires at least 1 argument"),
    ] {
        let error = create_request(&words(line)).expect_err(line);
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
}
