//! Rates of one thing, measured in turns, and how they compare.

use super::peer::Peer;

pub(super) struct Rates {
    what: &'static str,
    unit: &'static str,
    /// One list per peer, in the order of the peers; a round's are at the same place of each.
    by_peer: Vec<Vec<f64>>,
}

impl Rates {
    pub(super) fn new(what: &'static str, unit: &'static str, peers: usize) -> Self {
        Self { what, unit, by_peer: vec![Vec::new(); peers] }
    }

    pub(super) fn push(&mut self, peer: usize, rate: f64) {
        self.by_peer[peer].push(rate);
    }

    /// Medians, each as a part of `base` where there is one, and the first peer's ratio to each
    /// other: of every round, so that what the machine does meanwhile falls on both.
    pub(super) fn print(&self, peers: &[Peer], base: &[f64]) {
        print!("{:<26}", self.what);
        for (peer, rates) in peers.iter().zip(&self.by_peer) {
            print!("{:>8} {}", peer.name(), shown(median(rates), self.unit));
            if !base.is_empty() {
                print!(" = {:.2} of loopback", median(&ratios(rates, base)));
            }
        }
        for (peer, rates) in peers.iter().zip(&self.by_peer).skip(1) {
            let ratios = ratios(&self.by_peer[0], rates);
            let (least, most) = ends(&ratios);
            let (own, other) = (peers[0].name(), peer.name());
            print!("   {own}/{other} {:.2} ({least:.2} to {most:.2})", median(&ratios));
        }
        println!();
    }
}

/// A line about what no engine has a part in.
pub(super) fn print_plain(what: &str, unit: &str, rates: &[f64], base: &[f64]) {
    print!("{what:<26}         {}", shown(median(rates), unit));
    if !base.is_empty() {
        let ratios = ratios(rates, base);
        let (least, most) = ends(&ratios);
        print!(" = {:.2} of loopback ({least:.2} to {most:.2})", median(&ratios));
    }
    println!();
}

fn shown(rate: f64, unit: &str) -> String {
    if rate < 1000.0 { format!("{rate:>7.2} {unit}") } else { format!("{rate:>7.0} {unit}") }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn ratios(values: &[f64], others: &[f64]) -> Vec<f64> {
    values.iter().zip(others).map(|(value, other)| value / other).collect()
}

fn ends(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::MAX, 0.0), |(least, most), value| (least.min(*value), most.max(*value)))
}
