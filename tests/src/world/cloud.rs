//! A cloud account in memory: calls that take effect though nobody hears of it, lists that lag behind, machines that
//! take their time to come and to go. What lies in it is compared with the ledger at every tick.

use super::{End, Host, World, after};
use dstack_domain::command::{Command, Found, RecordIntent, RecordSweep, Sighting};
use dstack_domain::facts::CloudOffers;
use dstack_domain::ids::IntentId;
use dstack_domain::model::{
    Availability, Disk, Gpu, HAS_FABRIC, InstanceOffer, InstanceRuntime, InstanceType, Intent,
    Kind, Phase, Resources, Seen,
};
use dstack_domain::spec::BackendType;
use dstack_domain::step::Action;
use jiff::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A mistake one could make in the hands or in the thinking. Each must be noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slip {
    #[default]
    None,
    /// The call is made before its permission is in the log.
    CallsFirst,
    /// An error is read as "it is not there".
    ErrorIsAbsent,
    /// Things are named by chance.
    RandomName,
    /// One healthy answer is enough.
    BelievesAtOnce,
    /// None of ours: somebody put things into the account.
    Planted,
}

/// What may befall one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfortune {
    /// A 503, and nothing happened.
    ErrorBefore,
    /// It happened, and the answer was lost.
    ErrorAfter,
    /// A clear no.
    Refused,
}

#[derive(Clone, Debug)]
pub struct Thing {
    pub kind: Kind,
    pub key: String,
    pub id: String,
    visible_at: Timestamp,
    /// Of a machine: when it answers.
    up_at: Timestamp,
    gone_at: Option<Timestamp>,
    fabric: Option<String>,
    host: u32,
}

/// A call on its way: whoever sent it may be dead by the time it arrives.
struct Call {
    at: Timestamp,
    action: Action,
    intent: Arc<Intent>,
}

#[derive(Default)]
pub struct Cloud {
    pub slip: Slip,
    pub things: Vec<Thing>,
    /// How many things were ever made under a key.
    pub made: BTreeMap<(Kind, String), u32>,
    /// Calls that changed something, and calls that asked.
    pub writes: u64,
    pub reads: u64,
    /// Calls so far, and what befalls one of them.
    pub calls_taken: u64,
    pub misfortune: Option<(u64, Misfortune)>,
    /// Types that are not to be had, as `TYPE in REGION`.
    pub sold_out: BTreeSet<String>,
    calls: Vec<Call>,
    answers: BTreeMap<IntentId, Sighting>,
    serial: u32,
}

/// Numbers of hosts below are one's own.
const FIRST_HOST: u32 = 1000;

impl Cloud {
    /// What is there and will stay.
    pub fn alive(&self, kind: Kind) -> usize {
        let alive = |thing: &&Thing| thing.kind == kind && thing.gone_at.is_none();
        self.things.iter().filter(alive).count()
    }

    fn visible(&self, kind: Kind, key: &str, now: Timestamp) -> Option<&Thing> {
        self.things
            .iter()
            .find(|thing| thing.kind == kind && thing.key == key && thing.visible_at <= now)
    }
}

pub fn offers() -> Vec<InstanceOffer> {
    let offer = |name: &str, region: &str, gpus: usize, price: f64| InstanceOffer {
        backend: BackendType::Crusoe,
        instance: InstanceType {
            name: name.into(),
            resources: Resources {
                cpus: 64,
                memory_mib: 512 * 1024,
                gpus: vec![
                    Gpu {
                        name: "H100".into(),
                        memory_mib: 81920,
                        vendor: Some("nvidia".into()),
                    };
                    gpus
                ],
                spot: false,
                disk: Disk {
                    size_mib: 1024 * 1024,
                },
                cpu_arch: Some("x86".into()),
                description: String::new(),
            },
        },
        region: region.into(),
        price,
        backend_data: [(HAS_FABRIC.to_owned(), json!(true))].into(),
        availability: Availability::Available,
        availability_zones: None,
        instance_runtime: InstanceRuntime::Shim,
        blocks: 1,
        total_blocks: 1,
    };
    vec![
        offer("h100-80gb-sxm-ib.8x", "us-east1-a", 8, 31.2),
        offer("h100-80gb-sxm-ib.8x", "eu-iceland1-a", 8, 31.3),
    ]
}

impl World {
    /// The call leaves; it arrives whatever becomes of the sender.
    pub(super) fn send(&mut self, action: Action) {
        let (Action::Create { intent, .. }
        | Action::Find { intent, .. }
        | Action::Release { intent, .. }) = action
        else {
            return;
        };
        let Some(intent) = self.memory.state.intent(intent).cloned() else {
            return;
        };
        let at = after(self.now, self.rng.between(0, 2_000) as i64);
        self.cloud.calls.push(Call { at, action, intent });
    }

    /// What a careless leader would do before its command is in the log.
    pub(super) fn slip(&mut self, command: &Command) {
        let Command::IssueIntent(issue) = command else {
            return;
        };
        if self.cloud.slip == Slip::CallsFirst
            && let Some(intent) = self.memory.state.intent(issue.intent).cloned()
        {
            self.create(&intent);
            if self.rng.chance(200) {
                self.crash_leader();
            }
        }
    }

    pub(super) fn tick_cloud(&mut self) {
        let now = self.now;
        let (due, rest): (Vec<Call>, Vec<Call>) =
            self.cloud.calls.drain(..).partition(|call| call.at <= now);
        self.cloud.calls = rest;
        for call in due {
            self.take(call);
        }
        self.boot();
        self.vanish();
        if self.cloud.slip == Slip::None {
            self.assert_remembered();
        }
    }

    /// Every external object has an intent.
    fn assert_remembered(&self) {
        for thing in &self.cloud.things {
            let known = self
                .memory
                .state
                .intents()
                .any(|one| one.key == thing.key && one.kind() == thing.kind && one.may_exist());
            assert!(known, "nobody remembers {thing:?}");
            let made = self.cloud.made.get(&(thing.kind, thing.key.clone()));
            assert_eq!(made, Some(&1), "{} was made twice", thing.key);
        }
    }

    fn take(&mut self, call: Call) {
        self.cloud.calls_taken += 1;
        let at = self.cloud.calls_taken;
        let meant = self.cloud.misfortune.filter(|(call, _)| *call == at);
        let meant = meant.map(|(_, misfortune)| misfortune);
        if meant == Some(Misfortune::Refused) {
            let why = "the account is locked".into();
            return self.note(&call, Sighting::Refused { why });
        }
        let fails = self.rng.chance(self.faults.cloud_error) || meant.is_some();
        let after_effect = match meant {
            Some(misfortune) => misfortune == Misfortune::ErrorAfter,
            None => self.rng.chance(500),
        };
        if fails && !after_effect {
            return self.note(&call, unknown("503 from the cloud"));
        }
        let sighting = match call.action {
            Action::Create { .. } => {
                self.cloud.writes += 1;
                self.create(&call.intent)
            }
            Action::Release { .. } => self.end(&call.intent),
            _ => self.find(&call.intent),
        };
        match fails {
            true => self.note(&call, unknown("the answer was lost")),
            false => self.note(&call, sighting),
        }
    }

    fn note(&mut self, call: &Call, sighting: Sighting) {
        let sighting = match sighting {
            Sighting::Unknown { .. } if self.cloud.slip == Slip::ErrorIsAbsent => Sighting::Absent,
            other => other,
        };
        self.cloud.answers.insert(call.intent.id, sighting);
    }

    /// The answer reaches the leader, if it still lives.
    pub(super) fn answer(&mut self, action: Action, lost: bool) {
        if let Action::FetchOffers { project } = action {
            if let Some(leader) = &mut self.leader {
                let known = CloudOffers {
                    offers: offers(),
                    problems: Vec::new(),
                };
                leader.offers.insert(project, Arc::new(known));
            }
            return self.wake();
        }
        let (Action::Create { intent, generation }
        | Action::Find { intent, generation }
        | Action::Release { intent, generation }) = action
        else {
            return;
        };
        let answer = self.cloud.answers.remove(&intent);
        let sighting = answer.unwrap_or_else(|| unknown("timed out"));
        if lost {
            return;
        }
        let times = match (&sighting, self.cloud.slip) {
            (Sighting::Absent, Slip::BelievesAtOnce | Slip::ErrorIsAbsent) => 40,
            _ => 1,
        };
        for again in 0..times {
            // A careless reader counts one answer many times over, as if time had passed.
            let now = self.now;
            self.now = after(now, again * 1000);
            self.system(
                RecordIntent {
                    intent,
                    generation: generation + again as u64,
                    sighting: sighting.clone(),
                }
                .into(),
            );
            self.now = now;
        }
    }

    fn create(&mut self, intent: &Intent) -> Sighting {
        let (kind, now) = (intent.kind(), self.now);
        let place = intent
            .offer
            .as_ref()
            .map(|offer| format!("{} in {}", offer.instance.name, offer.region));
        if kind == Kind::Machine
            && (self.rng.chance(self.faults.no_capacity)
                || place.is_some_and(|place| self.cloud.sold_out.contains(&place)))
        {
            return Sighting::Refused {
                why: "out_of_stock".into(),
            };
        }
        self.cloud.serial += 1;
        let serial = self.cloud.serial;
        let key = match self.cloud.slip {
            Slip::RandomName => format!("{}-{}", intent.key, self.rng.below(1000)),
            _ => intent.key.clone(),
        };
        let stillborn = self.rng.chance(self.faults.stillborn);
        let boot = self.rng.between(5_000, 60_000) as i64;
        let fabric = intent
            .fabric()
            .and_then(|id| Some(self.memory.state.intent(id)?.key.clone()));
        let thing = Thing {
            kind,
            key: key.clone(),
            id: format!("id-{serial}"),
            visible_at: after(now, self.rng.between(0, 5_000) as i64),
            up_at: match stillborn {
                true => Timestamp::MAX,
                false => after(now, boot),
            },
            gone_at: None,
            fabric,
            host: FIRST_HOST + serial,
        };
        let seen = self.seen(&thing);
        self.cloud.things.push(thing);
        *self.cloud.made.entry((kind, key)).or_default() += 1;
        Sighting::Seen(seen)
    }

    fn seen(&self, thing: &Thing) -> Seen {
        let address = Host::new(thing.host).facts.hostname;
        let up = thing.kind == Kind::Machine && thing.up_at <= self.now;
        Seen {
            id: thing.id.clone(),
            address: up.then(|| address.clone()),
            internal_address: up.then_some(address),
            user: "ubuntu".into(),
            port: 22,
        }
    }

    fn find(&mut self, intent: &Intent) -> Sighting {
        self.cloud.reads += 1;
        let found = self.cloud.visible(intent.kind(), &intent.key, self.now);
        found.map_or(Sighting::Absent, |thing| Sighting::Seen(self.seen(thing)))
    }

    fn end(&mut self, intent: &Intent) -> Sighting {
        self.cloud.writes += 1;
        let (kind, now) = (intent.kind(), self.now);
        let used = self
            .cloud
            .things
            .iter()
            .any(|thing| thing.fabric.as_ref() == Some(&intent.key));
        if kind == Kind::Fabric && used {
            return Sighting::Refused {
                why: "the partition is in use".into(),
            };
        }
        let later = after(now, self.rng.between(0, 10_000) as i64);
        let found = self
            .cloud
            .things
            .iter_mut()
            .find(|one| one.kind == kind && one.key == intent.key && one.visible_at <= now);
        match found {
            None => Sighting::Absent,
            Some(thing) => {
                thing.gone_at.get_or_insert(later);
                unknown("it is still being deleted")
            }
        }
    }

    /// A machine that is up is a host like any other.
    fn boot(&mut self) {
        let now = self.now;
        let up: Vec<u32> = self
            .cloud
            .things
            .iter()
            .filter(|thing| thing.kind == Kind::Machine && thing.up_at <= now)
            .map(|thing| thing.host)
            .collect();
        for number in up {
            let host = Host::new(number);
            self.hosts.entry(host.address.clone()).or_insert(host);
        }
    }

    fn vanish(&mut self) {
        let now = self.now;
        let gone = |thing: &Thing| thing.gone_at.is_some_and(|at| at <= now);
        let (lost, kept): (Vec<Thing>, Vec<Thing>) = self.cloud.things.drain(..).partition(gone);
        self.cloud.things = kept;
        for thing in lost.iter().filter(|thing| thing.kind == Kind::Machine) {
            let address = Host::new(thing.host).address;
            self.kill_host(&address, None);
            self.hosts.remove(&address);
        }
    }

    /// The leader looks at the whole account.
    pub fn sweep(&mut self, remove: bool) {
        let now = self.now;
        let shown = self.cloud.things.iter().filter(|one| one.visible_at <= now);
        let found = shown
            .map(|one| Found {
                kind: one.kind,
                key: one.key.clone(),
                id: one.id.clone(),
            })
            .collect();
        let command = RecordSweep {
            project: self.project,
            backend: BackendType::Crusoe,
            found,
            remove,
        };
        self.system(command.into());
    }

    /// A thing that bears our mark, and that nobody here ever asked for.
    pub fn plant(&mut self, kind: Kind, key: &str) {
        self.cloud.slip = Slip::Planted;
        self.cloud.serial += 1;
        let serial = self.cloud.serial;
        self.cloud.things.push(Thing {
            kind,
            key: key.into(),
            id: format!("id-{serial}"),
            visible_at: self.now,
            up_at: Timestamp::MAX,
            gone_at: None,
            fabric: None,
            host: FIRST_HOST + serial,
        });
    }

    /// The machine breaks, or somebody ends it by hand.
    pub fn lose_machine(&mut self, key: &str) {
        let now = self.now;
        for thing in self.cloud.things.iter_mut().filter(|one| one.key == key) {
            thing.gone_at = Some(now);
        }
    }

    /// Things that no living record means.
    pub fn orphans(&self) -> Vec<String> {
        let state = &self.memory.state;
        let known = |thing: &&Thing| {
            let mut records = state.intents();
            records.any(|one| {
                one.key == thing.key && one.kind() == thing.kind && one.phase != Phase::Planned
            })
        };
        let things = self.cloud.things.iter();
        things
            .filter(|thing| !known(thing))
            .map(|thing| thing.key.clone())
            .collect()
    }

    /// Processes that died with a machine that was taken from under them.
    pub fn killed_processes(&self) -> usize {
        let killed = |process: &&super::Process| process.end == Some(End::HostDied);
        self.processes.iter().filter(killed).count()
    }
}

fn unknown(why: &str) -> Sighting {
    Sighting::Unknown { why: why.into() }
}
