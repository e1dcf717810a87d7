//! Asking others: whom, in which order, how long, and whose answer counts.
//!
//! ```text
//! asked -> next one asked 200 ms later, or at once when one cannot -> again after 1 s, 2 s
//!       -> first good answer, or the news that there is none once the earlier ones had a second
//!       -> failure after 4.5 s, before the C library's own 5 s are over
//! ```
//! Order matters to many: the first knows the names of a company, the second only those of the
//! world. So a later one's "no such name" waits for the earlier ones. Who did not answer for two
//! seconds is asked last, and tried beside the others every 5 s until he answers again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::core::{Client, Output, Via};
use crate::message::{Answer, Key, Query, Rcode};
use crate::view::Upstream;

const NEXT_AFTER: Duration = Duration::from_millis(200);
const ROUNDS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(1);
const GIVE_UP_AFTER: Duration = Duration::from_millis(4500);
const UDP_ATTEMPT: Duration = Duration::from_secs(2);
const TCP_ATTEMPT: Duration = Duration::from_secs(4);
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// Questions that are open at a time, and clients that wait for the same one.
const FLIGHTS_MAX: usize = 512;
const WAITING_MAX: usize = 64;

/// All open questions.
#[derive(Debug)]
pub(crate) struct Forwarder {
    flights: BTreeMap<u64, Flight>,
    by_key: HashMap<(Key, Via), u64>,
    attempts: BTreeMap<u64, Attempt>,
    /// Who did not answer, and when to try again.
    silent: Vec<(Upstream, Instant)>,
    last_number: u64,
    random: fn() -> u32,
}

/// A question on its way.
#[derive(Debug)]
struct Flight {
    query: Query,
    via: Via,
    waiting: Vec<(Client, Query)>,
    order: Vec<Upstream>,
    asked: usize,
    since: Instant,
    next: Instant,
    /// A good answer that there is nothing, and the place in the order of who gave it.
    nothing: Option<(usize, Answer)>,
    /// Somebody's refusal, if nobody has better.
    refusal: Option<Answer>,
}

/// One message to one upstream. It outlives its flight, to learn whether he answers at all.
#[derive(Debug)]
struct Attempt {
    flight: u64,
    upstream: Upstream,
    id: u16,
    until: Instant,
    is_tcp: bool,
}

/// The answer that was given.
#[derive(Debug)]
pub(crate) struct Conclusion {
    pub(crate) query: Query,
    pub(crate) answer: Answer,
}

impl Forwarder {
    pub(crate) fn new(random: fn() -> u32) -> Self {
        Self {
            flights: BTreeMap::new(),
            by_key: HashMap::new(),
            attempts: BTreeMap::new(),
            silent: Vec::new(),
            last_number: 0,
            random,
        }
    }

    /// Takes a question that only others can answer.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        client: Client,
        query: Query,
        upstreams: &[Upstream],
        output: &mut Vec<Output>,
    ) {
        let key = (query.key(), client.via());
        let open = self.by_key.get(&key).and_then(|number| self.flights.get_mut(number));
        if let Some(flight) = open.filter(|flight| flight.waiting.len() < WAITING_MAX) {
            flight.waiting.push((client, query));
            return;
        }
        if self.flights.len() >= FLIGHTS_MAX || upstreams.is_empty() {
            let bytes = query.answer(Rcode::SERVER_FAILURE, 0, &[], client.limit(&query));
            output.push(Output::Reply { client, bytes });
            return;
        }
        let number = self.number();
        let flight = Flight {
            via: client.via(),
            waiting: vec![(client, query.clone())],
            query,
            order: self.order(upstreams),
            asked: 0,
            since: now,
            next: now,
            nothing: None,
            refusal: None,
        };
        self.flights.insert(number, flight);
        self.by_key.insert(key, number);
        self.ask_next(now, number, output);
        self.probe(now, number, output);
    }

    /// Those who answer first, in the order given; then the others.
    fn order(&mut self, upstreams: &[Upstream]) -> Vec<Upstream> {
        self.silent.retain(|(silent, _)| upstreams.contains(silent));
        let is_silent = |upstream: &Upstream| self.silent.iter().any(|(it, _)| it == upstream);
        let (mut order, silent): (Vec<_>, Vec<_>) =
            upstreams.iter().copied().partition(|upstream| !is_silent(upstream));
        order.extend(silent);
        order
    }

    /// Asks whoever was silent for a while beside the others.
    fn probe(&mut self, now: Instant, number: u64, output: &mut Vec<Output>) {
        let due: Vec<_> = self
            .silent
            .iter_mut()
            .filter(|(_, at)| *at <= now)
            .map(|(upstream, at)| {
                *at = now + PROBE_EVERY;
                *upstream
            })
            .collect();
        let first = self.flights.get(&number).and_then(|flight| flight.order.first().copied());
        for upstream in due.into_iter().filter(|upstream| Some(*upstream) != first) {
            self.send(now, number, upstream, output);
        }
    }

    fn ask_next(&mut self, now: Instant, number: u64, output: &mut Vec<Output>) {
        let Some(flight) = self.flights.get_mut(&number) else { return };
        let length = flight.order.len();
        let round = u32::try_from(flight.asked / length).unwrap_or(ROUNDS);
        if round >= ROUNDS {
            flight.next = flight.since + GIVE_UP_AFTER;
            return;
        }
        let upstream = flight.order[flight.asked % length];
        flight.asked += 1;
        let pause = if flight.asked.is_multiple_of(length) {
            PATIENCE * 2_u32.pow(round)
        } else {
            NEXT_AFTER
        };
        flight.next = now + pause;
        self.send(now, number, upstream, output);
    }

    fn send(&mut self, now: Instant, flight: u64, upstream: Upstream, output: &mut Vec<Output>) {
        let attempt = self.number();
        let id = self.id();
        let Some(asking) = self.flights.get(&flight) else { return };
        let is_tcp = asking.via == Via::Tcp;
        let bytes = asking.query.forwarded(id);
        output.push(Output::Ask { attempt, upstream, via: asking.via, bytes });
        let until = now + if is_tcp { TCP_ATTEMPT } else { UDP_ATTEMPT };
        self.attempts.insert(attempt, Attempt { flight, upstream, id, until, is_tcp });
    }

    /// Takes what came for an attempt.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        number: u64,
        bytes: &[u8],
        output: &mut Vec<Output>,
    ) -> Option<Conclusion> {
        let attempt = self.attempts.get(&number)?;
        let (flight_number, upstream, is_tcp) = (attempt.flight, attempt.upstream, attempt.is_tcp);
        let Some(flight) = self.flights.get_mut(&flight_number) else {
            // Too late to help, but he is alive.
            self.silent.retain(|(silent, _)| *silent != upstream);
            self.forget(number, output);
            return None;
        };
        let Some(answer) = Answer::parse(bytes, &flight.query, attempt.id) else {
            // Somebody else's, or nonsense. On a connection nothing better will follow.
            return if is_tcp { self.failed(now, number, output) } else { None };
        };
        self.silent.retain(|(silent, _)| *silent != upstream);
        self.forget(number, output);
        let flight = self.flights.get_mut(&flight_number)?;
        match answer.rcode {
            Rcode::OK if answer.has_data() => self.conclude(flight_number, answer, output),
            Rcode::OK | Rcode::NO_SUCH_NAME => {
                let place = flight.place_of(upstream);
                if flight.nothing.as_ref().is_none_or(|(known, _)| place < *known) {
                    flight.nothing = Some((place, answer));
                }
                self.settle(now, flight_number, output)
            }
            _ => {
                flight.refusal.get_or_insert(answer);
                self.go_on(now, flight_number, output)
            }
        }
    }

    /// An attempt has failed for good.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        number: u64,
        output: &mut Vec<Output>,
    ) -> Option<Conclusion> {
        let attempt = self.attempts.get(&number)?;
        let flight = attempt.flight;
        self.mark_silent(now, number);
        self.forget(number, output);
        self.go_on(now, flight, output)
    }

    /// Does what has become due.
    pub(crate) fn tick(&mut self, now: Instant, output: &mut Vec<Output>) -> Vec<Conclusion> {
        let mut conclusions = Vec::new();
        let late = self.attempts.iter().filter(|(_, attempt)| attempt.until <= now);
        let late: Vec<_> = late.map(|(number, attempt)| (*number, attempt.flight)).collect();
        for (number, flight) in late {
            self.mark_silent(now, number);
            self.forget(number, output);
            // Silence is no refusal: the question is asked again until its time is over.
            if self.flights.get(&flight).is_some_and(|flight| flight.nothing.is_some()) {
                conclusions.extend(self.settle(now, flight, output));
            }
        }
        let due = self.flights.iter().filter(|(_, flight)| flight.due() <= now);
        let due: Vec<_> = due.map(|(number, _)| *number).collect();
        for number in due {
            let Some(flight) = self.flights.get(&number) else { continue };
            if now >= flight.since + GIVE_UP_AFTER {
                conclusions.extend(self.give_up(number, output));
            } else if flight.nothing.is_some() {
                conclusions.extend(self.settle(now, number, output));
            } else {
                self.ask_next(now, number, output);
            }
        }
        conclusions
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let flights = self.flights.values().map(Flight::due);
        flights.chain(self.attempts.values().map(|attempt| attempt.until)).min()
    }

    /// After a failure: asks the next one at once, or sees whether there is nobody left to wait
    /// for.
    fn go_on(&mut self, now: Instant, number: u64, output: &mut Vec<Output>) -> Option<Conclusion> {
        let flight = self.flights.get(&number)?;
        if flight.asked < flight.order.len() && flight.nothing.is_none() {
            self.ask_next(now, number, output);
            return None;
        }
        self.settle(now, number, output)
    }

    /// Gives the news that there is nothing once nobody before its giver may know better, and a
    /// failure once everybody has refused.
    fn settle(
        &mut self,
        now: Instant,
        number: u64,
        output: &mut Vec<Output>,
    ) -> Option<Conclusion> {
        let flight = self.flights.get(&number)?;
        let mut open = self.attempts.values().filter(|attempt| attempt.flight == number);
        if let Some((place, _)) = flight.nothing {
            let waits = open.any(|attempt| flight.place_of(attempt.upstream) < place);
            let waits = waits && now < flight.since + PATIENCE;
            return if waits { None } else { self.give_up(number, output) };
        }
        let is_over = open.next().is_none() && flight.asked >= flight.order.len();
        if is_over { self.give_up(number, output) } else { None }
    }

    /// Answers with what there is.
    fn give_up(&mut self, number: u64, output: &mut Vec<Output>) -> Option<Conclusion> {
        let flight = self.flights.get_mut(&number)?;
        if let Some(answer) = flight.nothing.take().map(|(_, it)| it).or(flight.refusal.take()) {
            return self.conclude(number, answer, output);
        }
        let flight = self.remove(number)?;
        for (client, query) in flight.waiting {
            let bytes = query.answer(Rcode::SERVER_FAILURE, 0, &[], client.limit(&query));
            output.push(Output::Reply { client, bytes });
        }
        None
    }

    fn conclude(
        &mut self,
        number: u64,
        answer: Answer,
        output: &mut Vec<Output>,
    ) -> Option<Conclusion> {
        let flight = self.remove(number)?;
        for (client, query) in &flight.waiting {
            let bytes = query.pass_on(&answer, 0, client.limit(query));
            output.push(Output::Reply { client: *client, bytes });
        }
        Some(Conclusion { query: flight.query, answer })
    }

    fn remove(&mut self, number: u64) -> Option<Flight> {
        let flight = self.flights.remove(&number)?;
        let key = (flight.query.key(), flight.via);
        // A later one may have the key, if too many waited for this one.
        if self.by_key.get(&key) == Some(&number) {
            self.by_key.remove(&key);
        }
        Some(flight)
    }

    fn forget(&mut self, attempt: u64, output: &mut Vec<Output>) {
        self.attempts.remove(&attempt);
        output.push(Output::Forget { attempt });
    }

    fn mark_silent(&mut self, now: Instant, attempt: u64) {
        // Some answer over UDP alone, which is what most questions use.
        let attempt = self.attempts.get(&attempt).filter(|attempt| !attempt.is_tcp);
        if let Some(Attempt { upstream, .. }) = attempt
            && !self.silent.iter().any(|(silent, _)| silent == upstream)
        {
            self.silent.push((*upstream, now + PROBE_EVERY));
        }
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn id(&self) -> u16 {
        let [high, low, ..] = (self.random)().to_ne_bytes();
        u16::from_ne_bytes([high, low])
    }
}

impl Flight {
    fn place_of(&self, upstream: Upstream) -> usize {
        self.order.iter().position(|it| *it == upstream).unwrap_or(self.order.len())
    }

    fn due(&self) -> Instant {
        let end = self.since + GIVE_UP_AFTER;
        let next = if self.nothing.is_some() { self.since + PATIENCE } else { self.next };
        next.min(end)
    }
}
