//! The format, against what dockerd writes.

use super::super::protocol::LogDriver;
use super::*;

const NOON: i64 = 1_136_214_245_000_000_000;

fn check(name: &str, config: LogConfig, write: impl FnOnce(&mut Log)) -> (PathBuf, String) {
    let dir = std::env::temp_dir().join(format!("teu-log-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("x-json.log");
    let config = LogConfig { driver: LogDriver::JsonFile, path: path.clone(), ..config };
    let mut log = Log::open(&config).unwrap().unwrap();
    write(&mut log);
    (dir, std::fs::read_to_string(path).unwrap())
}

#[test]
fn lines_are_escaped_as_docker_does() {
    let attrs =
        BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "<".to_owned())]);
    let (dir, text) = check("escape", LogConfig { attrs, ..LogConfig::default() }, |log| {
        log.write(Source::Stdout, b"a<b>&\"\\\t\xff\xe2\x80\xa8\r\npart", NOON + 120_000_000)
            .unwrap();
        log.write(Source::Stderr, b"e\n", NOON).unwrap();
        log.end(Source::Stdout, NOON + 1).unwrap();
        log.end(Source::Stderr, NOON + 1).unwrap();
    });
    let expected = concat!(
        r#"{"log":"a\u003cb\u003e\u0026\"\\\u0009\ufffd\u2028\r\n","stream":"stdout","attrs":{"a":"\u003c","b":"2"},"time":"2006-01-02T15:04:05.12Z"}"#,
        "\n",
        r#"{"log":"e\n","stream":"stderr","attrs":{"a":"\u003c","b":"2"},"time":"2006-01-02T15:04:05Z"}"#,
        "\n",
        r#"{"log":"part","stream":"stdout","attrs":{"a":"\u003c","b":"2"},"time":"2006-01-02T15:04:05.000000001Z"}"#,
        "\n",
    );
    assert_eq!(text, expected);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(dir.join("x-json.log")).unwrap().mode() & 0o137, 0);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn long_lines_are_split_at_16_kib() {
    let (dir, text) = check("split", LogConfig::default(), |log| {
        let mut line = vec![b'x'; PIECE_BYTES];
        log.write(Source::Stdout, &line, NOON).unwrap();
        log.write(Source::Stdout, b"\n", NOON + 7).unwrap();
        line.extend_from_slice(b"yz\nq\n");
        log.write(Source::Stdout, &line, NOON).unwrap();
    });
    let logs: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lengths: Vec<_> = logs.iter().map(|log| log["log"].as_str().unwrap().len()).collect();
    assert_eq!(lengths, [PIECE_BYTES, 1, PIECE_BYTES, 3, 2]);
    assert_eq!(logs[1]["time"], logs[0]["time"]);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn files_rotate_and_the_oldest_goes() {
    let config = LogConfig { max_size: Some(100), max_file: 3, ..LogConfig::default() };
    let (dir, text) = check("rotate", config, |log| {
        for number in 0..10 {
            log.write(Source::Stdout, format!("line {number}\n").as_bytes(), NOON).unwrap();
        }
    });
    // Two lines of 73 bytes reach 100.
    assert!(text.contains("line 8") && text.contains("line 9") && !text.contains("line 7"));
    let mut names: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["x-json.log", "x-json.log.1", "x-json.log.2"]);
    assert!(std::fs::read_to_string(dir.join("x-json.log.2")).unwrap().contains("line 4"));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn dates_are_right_over_centuries() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
    ] {
        let mut output = Vec::new();
        json::write_time(seconds * 1_000_000_000, &mut output);
        assert_eq!(String::from_utf8(output).unwrap(), text);
    }
}
