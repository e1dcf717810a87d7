//! What goes wrong, and when.

use std::time::Duration;

use super::{Death, Due, FRAMEWORKS, World};

impl World {
    pub(super) fn mishap(&mut self) {
        if !self.stormy() {
            for framework in self.frameworks.values_mut() {
                framework.busy = false;
            }
            self.make_peace();
            return;
        }
        let after = Duration::from_millis(500 + self.rng.below(6000));
        self.at(after, Due::Mishap);
        let agent = 1 + u32::try_from(self.rng.below(self.options.agents.into())).unwrap_or(0);
        match self.rng.below(18) {
            0 => {
                self.report.cuts += 1;
                let heals = self.now + Duration::from_millis(self.rng.below(200_000));
                let heals = heals.min(self.end_of_storm);
                if self.network.cut.insert(agent, heals).is_none() {
                    self.at_time(heals, Due::Heal(agent));
                }
            }
            1 | 2 => {
                let count = self.rng.below(6);
                if let Some(machine) = self.machines.get_mut(&agent).filter(|it| it.agent.is_some())
                {
                    machine.dies_after = Some(count);
                }
            }
            3 => {
                self.dying = Some(match self.rng.below(3) {
                    0 => Death::BeforePersist,
                    1 => Death::BeforeSend,
                    _ => Death::Sending(self.rng.below(5)),
                });
            }
            4 => self.fail_over(),
            5..=8 => self.kill_something(),
            9 => self.tear_down(),
            10 => self.change_mind(),
            11..=15 => self.interfere(agent),
            _ => self.ask_all(),
        }
    }

    fn pick_framework(&mut self) -> u32 {
        FRAMEWORKS + u32::try_from(self.rng.below(self.options.frameworks.into())).unwrap_or(0)
    }

    /// A second scheduler takes over while the first still has its stream.
    fn fail_over(&mut self) {
        let name = self.pick_framework();
        if let Some(framework) = self.frameworks.get_mut(&name)
            && framework.subscribed
        {
            framework.stream = None;
            self.subscribe(name);
        }
    }

    fn kill_something(&mut self) {
        let name = self.pick_framework();
        let Some(framework) = self.frameworks.get(&name) else { return };
        if let (Some(stream), true) = (framework.stream, framework.subscribed)
            && let Some(call) = framework.kill(&mut self.rng)
        {
            self.send_calls(name, stream, vec![call]);
        }
    }

    /// A framework ends itself, and starts anew once it is sure that it has ended.
    fn tear_down(&mut self) {
        let name = self.pick_framework();
        let Some(framework) = self.frameworks.get_mut(&name) else { return };
        if let (Some(stream), true) = (framework.stream, framework.subscribed) {
            let call = framework.tear_down();
            self.send_calls(name, stream, vec![call]);
        }
    }

    /// A framework changes its mind about offers, or about itself.
    fn change_mind(&mut self) {
        let name = self.pick_framework();
        let Some(framework) = self.frameworks.get_mut(&name) else { return };
        if let (Some(stream), true) = (framework.stream, framework.subscribed) {
            let call = framework.change_mind(&mut self.rng);
            self.send_calls(name, stream, vec![call]);
        }
    }

    pub(super) fn ask(&mut self) {
        self.at(Duration::from_secs(30), Due::Ask);
        if !self.stormy() {
            self.make_peace();
        }
        self.ask_all();
    }

    fn ask_all(&mut self) {
        let names: Vec<u32> = self.frameworks.keys().copied().collect();
        for name in names {
            let Some(framework) = self.frameworks.get(&name) else { continue };
            if let (Some(stream), true) = (framework.stream, framework.subscribed)
                && framework.open().next().is_some()
            {
                let call = framework.reconcile();
                self.send_calls(name, stream, vec![call]);
            }
        }
    }
}
