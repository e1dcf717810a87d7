//! The registered agents, and of each the picture that readers get of it.
//!
//! There are thousands of agents and few change between two looks: a picture is taken once and is
//! good until somebody gets hold of the agent to change it, or says that something else changed
//! which the picture shows ([`Agents::repaint`]).

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::agent::Agent;
use super::snapshot::{AgentFacts, AgentSnapshot};
use crate::id::AgentId;

/// See the module. Entries are big, and a tree has room for about half as many again as are in it.
#[derive(Debug, Default)]
pub(super) struct Agents(BTreeMap<AgentId, Box<Entry>>);

#[derive(Debug)]
struct Entry {
    agent: Agent,
    picture: OnceCell<Arc<AgentSnapshot>>,
    /// The facts of the last picture, which are those of the next one mostly.
    facts: RefCell<Option<Arc<AgentFacts>>>,
}

impl Entry {
    fn new(agent: Agent) -> Box<Self> {
        Box::new(Self { agent, picture: OnceCell::new(), facts: RefCell::default() })
    }

    fn facts(&self) -> Arc<AgentFacts> {
        let mut kept = self.facts.borrow_mut();
        match &*kept {
            Some(facts) if facts.hold_for(&self.agent) => Arc::clone(facts),
            _ => Arc::clone(kept.insert(Arc::new(AgentFacts::of(&self.agent)))),
        }
    }
}

impl Agents {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains_key(&self, id: &AgentId) -> bool {
        self.0.contains_key(id)
    }

    pub(super) fn get(&self, id: &AgentId) -> Option<&Agent> {
        self.0.get(id).map(|entry| &entry.agent)
    }

    pub(super) fn get_mut(&mut self, id: &AgentId) -> Option<&mut Agent> {
        self.0.get_mut(id).map(|entry| {
            entry.picture.take();
            &mut entry.agent
        })
    }

    pub(super) fn insert(&mut self, id: AgentId, agent: Agent) {
        self.0.insert(id, Entry::new(agent));
    }

    pub(super) fn remove(&mut self, id: &AgentId) -> Option<Agent> {
        self.0.remove(id).map(|entry| entry.agent)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &AgentId> {
        self.0.keys()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Agent> {
        self.0.values().map(|entry| &entry.agent)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&AgentId, &Agent)> {
        self.0.iter().map(|(id, entry)| (id, &entry.agent))
    }

    /// The pictures of all agents, by id. `paint` makes those that are not there.
    pub(super) fn pictures(
        &self,
        paint: impl Fn(&Agent, Arc<AgentFacts>) -> AgentSnapshot,
    ) -> impl Iterator<Item = &Arc<AgentSnapshot>> {
        self.0.values().map(move |entry| {
            entry.picture.get_or_init(|| Arc::new(paint(&entry.agent, entry.facts())))
        })
    }

    /// The picture of one agent, if one was taken.
    pub(super) fn taken(&self, id: &AgentId) -> Option<&Arc<AgentSnapshot>> {
        self.0.get(id)?.picture.get()
    }

    /// What the picture of an agent shows changed elsewhere.
    pub(super) fn repaint(&mut self, id: &AgentId) {
        if let Some(entry) = self.0.get_mut(id) {
            entry.picture.take();
        }
    }

    /// What the pictures of all agents show changed elsewhere.
    pub(super) fn repaint_all(&mut self) {
        self.0.values_mut().for_each(|entry| drop(entry.picture.take()));
    }
}
