use super::*;

#[test]
fn figures_are_of_the_last_times() {
    let timer = Timer::default();
    assert_eq!(timer.figures(), [("/count", 0.0)]);
    for took in (1..=100).rev() {
        timer.note(Duration::from_millis(took));
    }
    let expected = [
        ("/count", 100.0),
        ("", 1.0),
        ("/min", 1.0),
        ("/p50", 50.0),
        ("/p90", 90.0),
        ("/p95", 95.0),
        ("/p99", 99.0),
        ("/p999", 100.0),
        ("/p9999", 100.0),
        ("/max", 100.0),
    ];
    assert_eq!(timer.figures(), expected);
    for _ in 0..KEPT {
        timer.note(Duration::from_millis(7));
    }
    assert_eq!(timer.figures().last(), Some(&("/max", 7.0)));
    assert_eq!(timer.figures()[0], ("/count", 1100.0));
}
