//! Frameworks: their streams, calls and events.

use std::time::Duration;

use cluster::master::{Input, RequestId, Scheduler};
use mesos_api::v1::scheduler::{Call, Event};

use super::{Due, World, party_of};
use crate::network::Fate;

impl World {
    pub(super) fn subscribe(&mut self, name: u32) {
        let Some(framework) = self.frameworks.get_mut(&name) else { return };
        if framework.stream.is_some() || self.master.is_none() {
            return;
        }
        self.streams += 1;
        let stream = self.streams;
        framework.stream = Some(stream);
        framework.subscribed = false;
        let call = framework.subscribe();
        self.send_calls(name, stream, vec![call]);
    }

    pub(super) fn send_calls(&mut self, framework: u32, stream: u64, calls: Vec<Call>) {
        for call in calls {
            let generation = self.network.generation(party_of(stream));
            let weather = self.weather(true);
            let fate =
                self.network.send(self.now, (party_of(stream), true), weather, &mut self.rng);
            match fate {
                Fate::Arrives(at) | Fate::ArrivesTwice(at, _) => {
                    let call = Box::new(call);
                    self.at_time(at, Due::CallMaster { framework, stream, generation, call });
                }
                Fate::Breaks(at) => {
                    self.report.broken_connections += 1;
                    self.at_time(at, Due::StreamBroke { framework, stream });
                }
                Fate::Vanishes => {}
            }
        }
    }

    pub(super) fn call_master(&mut self, framework: u32, stream: u64, call: Box<Call>) {
        self.tell_master(Input::Call {
            request: Some(RequestId(stream)),
            from: Some(Scheduler::Stream(format!("{framework}:{stream}").into())),
            principal: None,
            call,
        });
    }

    pub(super) fn find_stream(&self, scheduler: &Scheduler) -> Option<(u32, u64)> {
        let Scheduler::Stream(id) = scheduler else { return None };
        let (framework, stream) = id.split_once(':')?;
        Some((framework.parse().ok()?, stream.parse().ok()?))
    }

    pub(super) fn send_to_framework(&mut self, to: &Scheduler, event: Box<Event>) {
        let Some((framework, stream)) = self.find_stream(to) else { return };
        let generation = self.network.generation(party_of(stream));
        let weather = self.weather(true);
        match self.network.send(self.now, (party_of(stream), false), weather, &mut self.rng) {
            Fate::Arrives(at) | Fate::ArrivesTwice(at, _) => {
                self.at_time(at, Due::TellFramework { framework, stream, generation, event });
            }
            Fate::Breaks(at) => {
                self.report.broken_connections += 1;
                self.at_time(at, Due::StreamBroke { framework, stream });
            }
            Fate::Vanishes => {}
        }
    }

    pub(super) fn tell_framework(&mut self, name: u32, stream: u64, event: Event) {
        let Some(framework) = self.frameworks.get_mut(&name) else { return };
        if framework.stream != Some(stream) {
            return;
        }
        let calls = framework.hear(event, &mut self.rng);
        self.send_calls(name, stream, calls);
    }

    pub(super) fn stream_broke(&mut self, name: u32, stream: u64) {
        let scheduler = Scheduler::Stream(format!("{name}:{stream}").into());
        self.tell_master(Input::SchedulerGone(scheduler));
        let Some(framework) = self.frameworks.get_mut(&name) else { return };
        if framework.stream == Some(stream) {
            framework.stream = None;
            framework.subscribed = false;
            self.network.reconnect(party_of(stream));
            let after = Duration::from_millis(self.rng.below(2000));
            self.at(after, Due::Subscribe(name));
        }
    }
}
