use super::*;

/// Runs seeds and shows every one that fails.
fn check(seeds: std::ops::Range<u64>) {
    let failures: Vec<String> = seeds
        .filter_map(|seed| run(Options::new(seed)).err())
        .map(|failure| failure.to_string())
        .collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn seeds_0_to_250() {
    check(0..250);
}

#[test]
fn seeds_250_to_500() {
    check(250..500);
}

#[test]
fn seeds_500_to_750() {
    check(500..750);
}

#[test]
fn seeds_750_to_1000() {
    check(750..1000);
}

/// The books are looked at after every step here; elsewhere after every fourth, for it takes most of
/// the time.
#[test]
fn the_books_add_up_after_every_step() {
    for seed in 1000..1060 {
        let options = Options { audit_every: 1, ..Options::new(seed) };
        if let Err(failure) = run(options) {
            panic!("{failure}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(Options::new(7)), run(Options::new(7)));
}

#[test]
fn a_run_has_everything_going_wrong() {
    let mut sum = Report::default();
    for seed in 0..20 {
        let report = run(Options::new(seed)).unwrap();
        sum.tasks += report.tasks;
        sum.groups += report.groups;
        sum.master_crashes += report.master_crashes;
        sum.agent_crashes += report.agent_crashes;
        sum.cuts += report.cuts;
        sum.broken_connections += report.broken_connections;
    }
    assert!(sum.tasks > 500 && sum.groups > 100, "{sum:?}");
    assert!(sum.master_crashes > 10 && sum.agent_crashes > 10 && sum.cuts > 10, "{sum:?}");
    assert!(sum.broken_connections > 50, "{sum:?}");
}
