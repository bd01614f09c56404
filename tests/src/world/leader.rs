//! The leader and its hands: what is lost when it dies is everything in this file.

use super::{World, after};
use dstack_domain::command::{
    Actor, Command, ConnectedHost, Entry, HostOutcome, InstanceGone, RecordHost,
};
use dstack_domain::decide::{DesiredSet, ObservedJobs, ObservedPhase, decide, observe};
use dstack_domain::facts::{AgentFact, CloudOffers, Facts};
use dstack_domain::ids::{InstanceId, ProjectId, RequestId, SubmissionId};
use dstack_domain::model::Instance;
use dstack_domain::step::{Action, ActionKey, Step, Subject};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The reconcile loop looks at least this often, woken or not.
const TIMER_MS: i64 = 1000;

pub struct Leader {
    pub term: u64,
    pub since: Timestamp,
    pub look_at: Timestamp,
    pub in_flight: BTreeMap<ActionKey, (Action, Timestamp)>,
    pub desired: BTreeMap<InstanceId, DesiredSet>,
    links: BTreeMap<InstanceId, Link>,
    reports: Vec<(Timestamp, InstanceId, ObservedJobs)>,
    pub drained: BTreeSet<SubmissionId>,
    pub offers: BTreeMap<ProjectId, Arc<CloudOffers>>,
}

#[derive(Default)]
struct Link {
    connected: bool,
    trying_since: Option<Timestamp>,
    pushed: Option<DesiredSet>,
    generation: u64,
    reported: Option<ObservedJobs>,
    /// When the last report under way arrives.
    delivered: Timestamp,
}

impl World {
    pub(super) fn tick_leader(&mut self) {
        if self.leader.is_none() {
            if self.election_at > self.now {
                return;
            }
            self.elect();
        }
        self.finish_actions();
        self.tick_links();
        self.deliver_reports();
        let due = self
            .leader
            .as_ref()
            .is_some_and(|leader| leader.look_at <= self.now);
        if due {
            self.pass();
        }
    }

    fn elect(&mut self) {
        self.term += 1;
        self.leader = Some(Leader {
            term: self.term,
            since: self.now,
            look_at: self.now,
            in_flight: BTreeMap::new(),
            desired: BTreeMap::new(),
            links: BTreeMap::new(),
            reports: Vec::new(),
            drained: BTreeSet::new(),
            offers: BTreeMap::new(),
        });
    }

    /// The leader dies; somebody else takes over after a while.
    pub fn crash_leader(&mut self) {
        self.leader = None;
        let wait = self.rng.between(300, 2_000) as i64;
        self.election_at = after(self.now, wait);
    }

    /// Puts a command of the system into the log.
    pub fn system(&mut self, command: Command) -> bool {
        let entry = self.entry(Actor::System, command);
        let accepted = self.memory.commit(&entry).reply.is_ok();
        self.wake();
        accepted
    }

    pub fn entry(&mut self, actor: Actor, command: Command) -> Entry {
        // Clocks of replicas differ; log time must not mind.
        let skew = self.rng.between(0, 200) as i64 - 100;
        Entry {
            index: 0,
            request: RequestId::from_random(self.rng.bytes()),
            actor,
            at: after(self.now, skew),
            command,
        }
    }

    pub(super) fn wake(&mut self) {
        let dropped = self.rng.chance(self.faults.dropped_wakeups);
        if let Some(leader) = &mut self.leader
            && !dropped
        {
            leader.look_at = leader.look_at.min(self.now);
        }
    }

    pub fn facts(&self) -> Facts {
        let Some(leader) = &self.leader else {
            return Facts::default();
        };
        let agents = leader.links.iter().map(|(id, link)| {
            let fact = AgentFact {
                connected: link.connected,
                last_seen: self.last_seen.get(id).copied(),
                trying_since: link.trying_since,
                error: (!link.connected).then(|| "timed out".to_owned()),
            };
            (*id, fact)
        });
        Facts {
            agents: agents.collect(),
            in_flight: leader.in_flight.keys().copied().collect(),
            drained: leader.drained.clone(),
            offers: leader.offers.clone(),
            leader_since: leader.since,
        }
    }

    fn pass(&mut self) {
        let decision = decide(&self.memory.state, &self.facts(), self.now);
        if let Some(leader) = &mut self.leader {
            leader.look_at = after(self.now, TIMER_MS).min(decision.next.unwrap_or(Timestamp::MAX));
        }
        for step in decision.steps {
            if self.rng.chance(self.faults.leader_crash) || self.reaches_crash_point() {
                self.crash_leader();
                return;
            }
            match step {
                Step::Propose(command) => {
                    self.slip(&command);
                    let described = format!("{command:?}");
                    assert!(
                        self.system(command),
                        "a decided command was refused: {described}"
                    );
                }
                Step::Act(action) => self.begin_action(action),
            }
        }
        if let Some(leader) = &mut self.leader {
            leader.desired = decision.desired;
        }
    }

    fn reaches_crash_point(&mut self) -> bool {
        self.points += 1;
        self.crash_at == Some(self.points)
    }

    /// Every action must stand on a record that says it is wanted.
    fn begin_action(&mut self, action: Action) {
        self.assert_recorded(action);
        self.send(action);
        let done = after(self.now, self.rng.between(200, 3_000) as i64);
        if let Some(leader) = &mut self.leader {
            let earlier = leader.in_flight.insert(action.key(), (action, done));
            assert!(earlier.is_none(), "{action:?} was issued twice");
        }
    }

    fn assert_recorded(&self, action: Action) {
        let state = &self.memory.state;
        let recorded = match action {
            Action::ConnectHost { instance, .. } | Action::ReleaseHost { instance, .. } => {
                state.instance(instance).map(|record| record.generation)
            }
            Action::Create { intent, .. }
            | Action::Find { intent, .. }
            | Action::Release { intent, .. } => {
                state.intent(intent).map(|record| record.generation)
            }
            Action::FetchOffers { .. } => return,
        };
        let (Action::ConnectHost { generation, .. }
        | Action::ReleaseHost { generation, .. }
        | Action::Create { generation, .. }
        | Action::Find { generation, .. }
        | Action::Release { generation, .. }) = action
        else {
            return;
        };
        assert_eq!(
            recorded,
            Some(generation),
            "{action:?} is not of its record's generation"
        );
    }

    fn finish_actions(&mut self) {
        let now = self.now;
        let Some(leader) = &mut self.leader else {
            return;
        };
        let done: Vec<Action> = leader
            .in_flight
            .values()
            .filter(|(_, at)| *at <= now)
            .map(|(action, _)| *action)
            .collect();
        for action in done {
            if self.reaches_crash_point() {
                return self.crash_leader();
            }
            if let Some(leader) = &mut self.leader {
                leader.in_flight.remove(&action.key());
            }
            self.effect(action);
        }
    }

    /// The effect in the world, then, unless the outcome is lost, its record.
    fn effect(&mut self, action: Action) {
        let lost = self.rng.chance(self.faults.lost_outcome);
        let Subject::Instance(instance) = action.key().subject else {
            return self.answer(action, lost);
        };
        let Some(instance) = self.memory.state.instance(instance).cloned() else {
            return;
        };
        let fails = self.rng.chance(self.faults.failed_connect);
        let address = address(&instance);
        let Some(host) = self.hosts.get_mut(&address) else {
            return;
        };
        let reached = host.answers() && !fails;
        let command: Command = match action {
            Action::ConnectHost {
                instance,
                generation,
            } => {
                let outcome = if reached {
                    host.agent.get_or_insert_default();
                    HostOutcome::Connected(Box::new(ConnectedHost {
                        facts: host.facts.clone(),
                        host_key: Some(format!("key of {address}")),
                        agent_version: "0.1.0".into(),
                        runtime: "process".into(),
                        boot_id: "boot".into(),
                    }))
                } else {
                    HostOutcome::Failed {
                        reason: "connection timed out".into(),
                    }
                };
                RecordHost {
                    instance,
                    generation,
                    outcome,
                }
                .into()
            }
            Action::ReleaseHost {
                instance,
                generation,
            } => {
                if reached {
                    host.agent = None;
                }
                InstanceGone {
                    instance,
                    generation,
                    message: (!reached).then(|| "The host did not answer".into()),
                }
                .into()
            }
            _ => return,
        };
        if !lost {
            self.system(command);
        }
    }

    fn tick_links(&mut self) {
        let Some(leader) = &self.leader else { return };
        let (term, targets) = (leader.term, leader.desired.clone());
        for (id, set) in targets {
            let Some(instance) = self.memory.state.instance(id).cloned() else {
                continue;
            };
            let address = address(&instance);
            let up = self
                .hosts
                .get(&address)
                .is_some_and(|host| host.answers() && host.agent.is_some());
            if let Some((generation, news)) = self.tick_link(id, up, &set) {
                if news {
                    self.accept(&address, term, generation, &set);
                }
                self.collect_report(id, &address, term);
            }
        }
    }

    /// Keeps one link; answers whether it is up and there is something to push.
    fn tick_link(&mut self, id: InstanceId, up: bool, set: &DesiredSet) -> Option<(u64, bool)> {
        let now = self.now;
        let leader = self.leader.as_mut()?;
        let link = leader.links.entry(id).or_default();
        if !up {
            if link.connected || link.trying_since.is_none() {
                link.trying_since = Some(now);
            }
            link.connected = false;
            link.pushed = None;
            link.reported = None;
            // What was under way on the broken stream is lost.
            leader.reports.retain(|(_, to, _)| *to != id);
            return None;
        }
        let reconnected = !link.connected;
        link.connected = true;
        link.trying_since = None;
        self.last_seen.insert(id, now);
        let news = link.pushed.as_ref() != Some(set);
        if news {
            link.generation += 1;
            link.pushed = Some(set.clone());
        }
        let answer = (link.generation, news);
        if reconnected {
            leader.look_at = now;
        }
        Some(answer)
    }

    fn collect_report(&mut self, id: InstanceId, address: &str, term: u64) {
        let Some(report) = self.hosts.get(address).and_then(|host| host.observed()) else {
            return;
        };
        let now = self.now;
        let late = if self.rng.chance(self.faults.late_report) {
            self.rng.between(200, 5_000) as i64
        } else {
            0
        };
        let again = self.rng.chance(self.faults.duplicate_report);
        let Some(leader) = &mut self.leader else {
            return;
        };
        for job in &report.jobs {
            if matches!(job.phase, ObservedPhase::Exited { .. }) {
                leader.drained.insert(job.submission);
            }
        }
        let Some(link) = leader.links.get_mut(&id) else {
            return;
        };
        // A report of another leader's set says nothing about ours.
        if report.epoch != term || link.reported.as_ref() == Some(&report) {
            return;
        }
        link.reported = Some(report.clone());
        // One stream per host: reports may be late or doubled, but they do not overtake each other.
        link.delivered = link.delivered.max(after(now, late));
        let at = link.delivered;
        if again {
            leader.reports.push((at, id, report.clone()));
        }
        leader.reports.push((at, id, report));
    }

    fn deliver_reports(&mut self) {
        let now = self.now;
        let Some(leader) = &mut self.leader else {
            return;
        };
        let (due, rest): (Vec<_>, Vec<_>) =
            leader.reports.drain(..).partition(|(at, _, _)| *at <= now);
        leader.reports = rest;
        for (_, id, report) in due {
            for command in observe(&self.memory.state, id, &report, now) {
                if self.rng.chance(self.faults.leader_crash) {
                    self.crash_leader();
                    return;
                }
                self.system(command);
            }
        }
    }
}

/// Where the instance is reached, if that is known.
fn address(instance: &Instance) -> String {
    let remote = instance.remote.as_ref();
    remote.map(|remote| remote.address()).unwrap_or_default()
}
