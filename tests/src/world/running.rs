//! The world as a whole, and time passing in it.

use super::{Cloud, Host, Leader, Memory, Process, Script};
use crate::rng::Rng;
use dstack_domain::command::Reply;
use dstack_domain::ids::{InstanceId, ProjectId, UserId};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// How much goes wrong, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A change does not wake the leader; only its timer does.
    pub dropped_wakeups: u64,
    /// Per step of a pass: the leader dies before taking it.
    pub leader_crash: u64,
    /// Per host and tick: the network to it goes away for a while.
    pub silence: u64,
    /// Per host and tick: the machine dies and comes back later, its jobs gone.
    pub host_death: u64,
    /// Per report: it is delivered again later.
    pub duplicate_report: u64,
    /// Per report: it is late.
    pub late_report: u64,
    /// Per action: its outcome is never recorded, because whoever waited for it died.
    pub lost_outcome: u64,
    /// Per call to the cloud: it fails before, or after it took effect.
    pub cloud_error: u64,
    /// Per machine asked for: it is refused.
    pub no_capacity: u64,
    /// Per machine made: it never comes up.
    pub stillborn: u64,
    /// Per attempt: a host cannot be logged into.
    pub failed_connect: u64,
}

pub struct World {
    pub rng: Rng,
    pub now: Timestamp,
    pub faults: Faults,
    pub memory: Memory,
    pub leader: Option<Leader>,
    /// When the next leader takes over, while there is none.
    pub election_at: Timestamp,
    pub term: u64,
    /// Points at which a leader can die: before each step of a pass, and between an effect and its record.
    pub points: u64,
    /// The point at which it does.
    pub crash_at: Option<u64>,
    /// The account of the project.
    pub cloud: Cloud,
    /// By address.
    pub hosts: BTreeMap<String, Host>,
    /// When any replica last heard from an agent: shared outside the log, so a new leader is not blind.
    pub last_seen: BTreeMap<InstanceId, Timestamp>,
    /// Every process that ever ran, anywhere.
    pub processes: Vec<Process>,
    /// What a job's processes do, by run name and job number; `Script::default` otherwise.
    pub scripts: BTreeMap<(String, u32), Script>,
    pub project: ProjectId,
    pub admin: UserId,
}

pub const TICK_MS: i64 = 200;

impl World {
    pub fn new(seed: u64) -> Self {
        let start = Timestamp::from_second(1_800_000_000).expect("a valid time");
        let mut rng = Rng::new(seed);
        let admin = UserId::from_random(rng.bytes());
        let project = ProjectId::from_random(rng.bytes());
        let mut world = Self {
            rng,
            now: start,
            faults: Faults::default(),
            memory: Memory::default(),
            leader: None,
            election_at: start,
            term: 0,
            points: 0,
            crash_at: None,
            cloud: Cloud::default(),
            hosts: BTreeMap::new(),
            last_seen: BTreeMap::new(),
            processes: Vec::new(),
            scripts: BTreeMap::new(),
            project,
            admin,
        };
        world.init_cluster();
        world
    }

    /// Lets time pass, tick by tick.
    pub fn run_for(&mut self, seconds: i64) {
        let end = after(self.now, seconds * 1000);
        while self.now < end {
            self.tick();
        }
    }

    /// Lets time pass until the condition holds; false if it does not within the limit.
    pub fn run_until(&mut self, seconds: i64, condition: impl Fn(&World) -> bool) -> bool {
        let end = after(self.now, seconds * 1000);
        while self.now < end {
            if condition(self) {
                return true;
            }
            self.tick();
        }
        condition(self)
    }

    pub fn tick(&mut self) {
        self.now = after(self.now, TICK_MS);
        self.tick_cloud();
        self.tick_hosts();
        self.tick_leader();
    }

    /// Nothing goes wrong any more, and what was broken is mended.
    pub fn heal(&mut self) {
        self.faults = Faults::default();
        for host in self.hosts.values_mut() {
            host.silent_until = None;
            host.dead_until = None;
        }
    }

    pub(crate) fn expect_reply(
        &self,
        reply: Result<Reply, dstack_domain::rejection::Rejection>,
    ) -> Reply {
        match reply {
            Ok(reply) => reply,
            Err(rejection) => panic!("refused: {rejection}"),
        }
    }
}

pub fn after(at: Timestamp, ms: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_millis(ms))
        .unwrap_or(Timestamp::MAX)
}
