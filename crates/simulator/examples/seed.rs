//! Runs seeds and prints what came of them: `cargo run -p simulator --example seed -- 0 100`.

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let first = arguments.next().unwrap_or(0);
    let last = arguments.next().unwrap_or(first + 1);
    for seed in first..last {
        let before = std::time::Instant::now();
        let outcome = simulator::run(simulator::Options::new(seed));
        println!("seed {seed} after {:?}: {outcome:?}", before.elapsed());
    }
}
