//! What users type and read, as rows.

use super::*;

#[test]
fn sizes_parse_in_powers_of_1024() {
    let cases = [
        ("64", 64),
        ("64b", 64),
        ("6m", 6 << 20),
        ("1.5g", 3 << 29),
        ("2GiB", 2 << 30),
        ("1kb", 1024),
        ("0", 0),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_bytes(text), Ok(expected), "{text}");
    }
    assert_eq!(parse_bytes("x"), Err("invalid size: 'x'".to_owned()));
    assert_eq!(parse_bytes("1x"), Err("invalid suffix: 'x'".to_owned()));
    for text in ["-1", "", "m", "1 2", "1e3"] {
        assert!(parse_bytes(text).is_err(), "{text}");
    }
}

#[test]
fn cpus_parse_exactly() {
    assert_eq!(parse_nano_cpus("1.5"), Ok(1_500_000_000));
    assert_eq!(parse_nano_cpus(".5"), Ok(500_000_000));
    assert_eq!(parse_nano_cpus("0.0000000001"), Err("value is too precise".to_owned()));
    assert_eq!(parse_nano_cpus("x"), Err("failed to parse x as a rational number".to_owned()));
}

#[test]
fn durations_are_written_as_go_writes_them() {
    for (nanos, expected) in [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (250_000_000, "250ms"),
        (1_500_000_000, "1.5s"),
        (90_000_000_000, "1m30s"),
        (3_600_000_000_000, "1h0m0s"),
        (3_605_000_000_001, "1h0m5.000000001s"),
        (-30_000_000_000, "-30s"),
    ] {
        assert_eq!(go_duration(nanos), expected);
        assert_eq!(parse_duration_nanos(expected), Ok(nanos));
    }
}

#[test]
fn durations_parse_as_go_writes_them() {
    assert_eq!(parse_duration_nanos("1m30s"), Ok(90_000_000_000));
    assert_eq!(parse_duration_nanos("1.5h"), Ok(5_400_000_000_000));
    assert_eq!(parse_duration_nanos("-2ms"), Ok(-2_000_000));
    assert_eq!(parse_duration_nanos("5"), Err("time: missing unit in duration \"5\"".to_owned()));
    assert_eq!(
        parse_duration_nanos("5x"),
        Err("time: unknown unit \"x\" in duration \"5x\"".to_owned())
    );
}

#[test]
fn times_become_unix_seconds() {
    let now = Timestamp::from_second(1_000_000).expect("in range");
    let cases = [
        ("10m", "999400.000000000"),
        ("2013-01-02T13:23:37Z", "1357133017.000000000"),
        ("1357133017.5", "1357133017.5"),
        ("2013-01-02T13:23:37+01:00", "1357129417.000000000"),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_time(text, now).as_deref(), Ok(expected), "{text}");
    }
    assert!(parse_time("yesterday", now).is_err());
}

#[test]
fn sizes_read_well() {
    let cases = [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1_234_567, "1.235MB"),
        (123_456_789, "123.5MB"),
        (999_999, "1000kB"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(human_size(bytes), expected);
    }
    assert_eq!(human_size_short(123_456_789), "123MB");
    assert_eq!(human_size_short(77_800_000), "77.8MB");
    assert_eq!(binary_size(3 << 29), "1.5GiB");
}

#[test]
fn durations_read_well() {
    let (minute, hour, day) = (60, 3600, 86400);
    let cases = [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (minute, "About a minute"),
        (45 * minute, "45 minutes"),
        (hour, "About an hour"),
        (47 * hour, "47 hours"),
        (3 * day, "3 days"),
        (14 * day, "2 weeks"),
        (60 * day, "2 months"),
        (800 * day, "2 years"),
    ];
    for (seconds, expected) in cases {
        assert_eq!(human_duration(seconds), expected);
    }
}
