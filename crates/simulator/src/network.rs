//! The network: messages arrive late, in order per direction, sometimes twice, or not at all.
//!
//! As with TCP a lost message is a broken connection: whatever was sent on it before and has not
//! arrived is lost as well, and both ends hear of it, later. During a cut nothing arrives and nobody
//! hears anything.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::rng::Rng;
use cluster::time::Time;

/// A direction of a connection, by its name: an agent's, or a stream's.
pub(crate) type Pair = (u32, bool);

/// How bad it is. A chance is one in so many; zero is never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) delay_max: Duration,
    pub(crate) loss_one_in: u64,
    pub(crate) duplicate_one_in: u64,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrives(Time),
    ArrivesTwice(Time, Time),
    /// The connection breaks now; both ends hear of it at this time.
    Breaks(Time),
    /// Cut: it vanishes.
    Vanishes,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Network {
    /// When the last message of a direction arrives: the next is not earlier.
    last: BTreeMap<Pair, Time>,
    /// Parties that are cut off.
    pub(crate) cut: BTreeMap<u32, Time>,
    /// Which connection of a party is the current one: messages of older ones are lost.
    generation: BTreeMap<u32, u64>,
}

impl Network {
    pub(crate) fn generation(&self, party: u32) -> u64 {
        self.generation.get(&party).copied().unwrap_or(0)
    }

    /// Breaks a party's connection.
    pub(crate) fn reconnect(&mut self, party: u32) {
        *self.generation.entry(party).or_default() += 1;
    }

    pub(crate) fn send(&mut self, now: Time, pair: Pair, weather: Weather, rng: &mut Rng) -> Fate {
        if self.cut.contains_key(&pair.0) {
            return Fate::Vanishes;
        }
        let delay = |rng: &mut Rng| {
            let most = u64::try_from(weather.delay_max.as_nanos()).unwrap_or(u64::MAX).max(1);
            Duration::from_nanos(rng.below(most))
        };
        if weather.loss_one_in > 0 && rng.one_in(weather.loss_one_in) {
            self.reconnect(pair.0);
            return Fate::Breaks(now + delay(rng));
        }
        let last = self.last.entry(pair).or_default();
        let at = (now + delay(rng)).max(*last);
        *last = at;
        if weather.duplicate_one_in > 0 && rng.one_in(weather.duplicate_one_in) {
            let again = at + delay(rng);
            *last = again;
            return Fate::ArrivesTwice(at, again);
        }
        Fate::Arrives(at)
    }
}
