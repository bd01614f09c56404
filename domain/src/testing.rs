//! A cluster of one administrator and one plain user, for unit tests of commands.

use crate::command::{
    Actor, AddMembers, ApplyFleet, Command, ConnectedHost, CreateProject, CreateUser, Entry,
    HostOrder, HostOutcome, InitCluster, MemberOrder, NewUser, Outcome, RecordHost, Reply,
    SubmitRun, apply,
};
use crate::ids::{ClusterId, FleetId, ProjectId, RequestId, RunId, UserId};
use crate::model::{GlobalRole, HostFacts, ProjectRole, RemoteHost, Run, Sealed};
use crate::spec::{Blocks, RunSpec};
use crate::state::{RowChange, State, Table};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

pub struct Lab {
    pub state: State,
    pub rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    pub now: Timestamp,
    pub project: ProjectId,
    index: u64,
}

pub fn admin() -> UserId {
    UserId::from_random([1; 16])
}

pub fn ann() -> UserId {
    UserId::from_random([2; 16])
}

pub fn new_user(id: UserId, username: &str, global_role: GlobalRole) -> NewUser {
    NewUser {
        id,
        username: username.into(),
        global_role,
        email: None,
        active: true,
        token_hash: format!("hash of {username}"),
        token: Sealed("sealed".into()),
        ssh_public_key: None,
        ssh_private_key: None,
    }
}

pub fn new_project(number: u8, name: &str) -> CreateProject {
    CreateProject {
        id: ProjectId::from_random([number; 16]),
        name: name.into(),
        is_public: false,
        ssh_public_key: "ssh-ed25519 AAAA".into(),
        ssh_private_key: Sealed("sealed".into()),
    }
}

impl Lab {
    pub fn new() -> Self {
        let project = new_project(9, "main");
        let mut lab = Self {
            state: State::default(),
            rows: BTreeMap::new(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            project: project.id,
            index: 0,
        };
        let cluster = ClusterId::from_random([7; 16]);
        lab.system(InitCluster {
            cluster,
            admin: new_user(admin(), "admin", GlobalRole::Admin),
            project,
        })
        .unwrap();
        lab.admin(CreateUser {
            user: new_user(ann(), "ann", GlobalRole::User),
        })
        .unwrap();
        lab
    }

    pub fn system(&mut self, command: impl Into<Command>) -> Outcome {
        self.by(Actor::System, command)
    }

    pub fn admin(&mut self, command: impl Into<Command>) -> Outcome {
        self.by(Actor::User(admin()), command)
    }

    pub fn ann(&mut self, command: impl Into<Command>) -> Outcome {
        self.by(Actor::User(ann()), command)
    }

    pub fn by(&mut self, actor: Actor, command: impl Into<Command>) -> Outcome {
        let request = RequestId::derived("request", &[&self.index.to_be_bytes()]);
        self.request(request, actor, command).0
    }

    pub fn request(
        &mut self,
        request: RequestId,
        actor: Actor,
        command: impl Into<Command>,
    ) -> (Outcome, Vec<RowChange>) {
        self.index += 1;
        let entry = Entry {
            index: self.index,
            request,
            actor,
            at: self.now,
            command: command.into(),
        };
        let applied = apply(&mut self.state, &entry);
        for change in &applied.changes {
            let key = (change.table, change.key.clone());
            match &change.value {
                Some(value) => self.rows.insert(key, value.clone()),
                None => self.rows.remove(&key),
            };
        }
        (applied.reply, applied.changes)
    }

    pub fn wait(&mut self, seconds: i64) {
        self.now = self
            .now
            .saturating_add(SignedDuration::from_secs(seconds))
            .unwrap();
    }

    pub fn join(&mut self, role: ProjectRole) {
        let members = vec![MemberOrder {
            username: "ann".into(),
            role,
        }];
        self.admin(AddMembers {
            project: self.project,
            members,
        })
        .unwrap();
    }

    pub fn submit(&mut self, name: &str, extra: serde_json::Value) -> Arc<Run> {
        let spec = self.run_spec(name, extra);
        self.submit_spec(name, spec)
    }

    /// A task of one command, unless `extra` says otherwise.
    pub fn run_spec(&self, name: &str, extra: serde_json::Value) -> RunSpec {
        let mut configuration = match extra.get("type") {
            None => json!({"type": "task", "name": name, "commands": ["work"]}),
            Some(_) => json!({ "name": name }),
        };
        if let (Some(all), serde_json::Value::Object(extra)) =
            (configuration.as_object_mut(), extra)
        {
            all.extend(extra);
        }
        serde_json::from_value(json!({"run_name": name, "configuration": configuration})).unwrap()
    }

    pub fn submit_spec(&mut self, name: &str, spec: RunSpec) -> Arc<Run> {
        let run = RunId::derived("run", &[name.as_bytes(), &self.index.to_be_bytes()]);
        let command = SubmitRun {
            run,
            project: self.project,
            spec,
            name_seed: 1,
            cluster_key: None,
        };
        self.admin(command).unwrap();
        self.run(name)
    }

    pub fn run(&self, name: &str) -> Arc<Run> {
        self.state.run_by_name(self.project, name).unwrap().clone()
    }

    /// A fleet of connected hosts.
    pub fn fleet(&mut self, name: &str, facts: &[HostFacts]) -> FleetId {
        let hosts: Vec<HostOrder> = (0..facts.len())
            .map(|n| host_order(&format!("{name}{n}.example")))
            .collect();
        let names: Vec<&str> = hosts
            .iter()
            .map(|order| order.remote.hostname.as_str())
            .collect();
        let spec = serde_json::from_value(json!({
            "configuration": {"type": "fleet", "name": name, "placement": "cluster",
                "ssh_config": {"user": "u", "identity_file": "key", "hosts": names}},
            "profile": {"name": "default", "default": false},
        }))
        .unwrap();
        let fleet = FleetId::derived("fleet", &[name.as_bytes()]);
        let command = ApplyFleet {
            project: self.project,
            fleet,
            spec,
            hosts,
            current: None,
            force: false,
            name_seed: 1,
        };
        assert_eq!(self.admin(command), Ok(Reply::Fleet(fleet)));
        let instances: Vec<_> = self
            .state
            .instances_of(fleet)
            .map(|i| (i.id, i.generation))
            .collect();
        for ((instance, generation), facts) in instances.into_iter().zip(facts) {
            let host = ConnectedHost {
                facts: facts.clone(),
                host_key: Some("key".into()),
                agent_version: "1".into(),
                runtime: "process".into(),
                boot_id: "boot".into(),
            };
            let outcome = HostOutcome::Connected(Box::new(host));
            self.system(RecordHost {
                instance,
                generation,
                outcome,
            })
            .unwrap();
        }
        fleet
    }
}

pub fn host_order(hostname: &str) -> HostOrder {
    HostOrder {
        remote: RemoteHost {
            hostname: hostname.into(),
            port: 22,
            user: "u".into(),
            identity: Some(Sealed("sealed".into())),
            identity_public: None,
            proxy_jump: None,
            internal_ip: None,
        },
        blocks: Blocks::Count(1),
    }
}

pub fn big_host() -> HostFacts {
    HostFacts {
        cpus: 16,
        memory_mib: 64 * 1024,
        disk_mib: 1024 * 1024,
        arch: "x86_64".into(),
        ..HostFacts::default()
    }
}
