//! Reading and writing image configs, friendly and hostile.

use super::*;

#[test]
fn docker_config_is_read() {
    let bytes = br#"{"architecture":"amd64","config":{"Hostname":"","Env":["PATH=/bin"],
        "Cmd":["sh"],"ExposedPorts":{"80/tcp":{}},"Volumes":null,"Labels":{"a":"b"},"OnBuild":null,
        "Healthcheck":{"Test":["CMD","x"],"Interval":5},"Shell":["/bin/sh","-c"]},
        "created":"2024-01-01T00:00:00Z","history":[{"created_by":"a"},{"empty_layer":true}],
        "os":"linux","rootfs":{"type":"layers","diff_ids":[
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"x":{"y":1}}"#;
    let config = ImageConfig::parse(bytes).unwrap();
    assert_eq!(config.config.cmd.as_deref(), Some(&["sh".to_owned()][..]));
    assert_eq!(config.config.healthcheck.as_ref().unwrap().interval, 5);
    assert!(config.config.exposed_ports.as_ref().unwrap().contains_key("80/tcp"));
    assert_eq!(config.rootfs.diff_ids, [Digest::of(b"")]);
    assert!(config.history[1].empty_layer);
    let again = ImageConfig::parse(&config.to_bytes().unwrap()).unwrap();
    assert_eq!(again, config);
}

#[test]
fn hostile_configs_are_refused() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_in = format!(r#"{{"config":{{"Labels":{deep}}}}}"#);
    for bytes in [
        "",
        "[]",
        "null",
        "{\"config\":[1]}",
        "{\"rootfs\":{\"diff_ids\":[\"sha256:../../x\"]}}",
        "{\"rootfs\":{\"type\":\"blocks\"}}",
        "{\"history\":[{}]}",
        "{\"config\":{\"Env\":{}}}",
        &deep,
        &deep_in,
    ] {
        let error = ImageConfig::parse(bytes.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("invalid image config: "), "{error}");
    }
    let big = vec![b' '; MAX_CONFIG_BYTES + 1];
    assert!(ImageConfig::parse(&big).unwrap_err().to_string().contains("at most"));
}

#[test]
fn foreign_platforms_are_named() {
    let config = ImageConfig {
        architecture: "s390x".to_owned(),
        os: "linux".to_owned(),
        variant: "v1".to_owned(),
        ..ImageConfig::default()
    };
    let error = config.check_platform("x:1").unwrap_err().to_string();
    assert!(error.contains("linux/s390x/v1") && error.contains(&host_platform()), "{error}");
}
