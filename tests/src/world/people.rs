//! What people do: make clusters and fleets, submit and stop runs.

use super::{Host, World};
use dstack_domain::command::{
    Actor, ApplyFleet, Command, CreateProject, DeleteFleets, HostOrder, InitCluster, NewUser,
    Outcome, Reply, SetBackend, StopRuns, SubmitRun,
};
use dstack_domain::ids::{ClusterId, FleetId, ProjectId, RunId};
use dstack_domain::model::{GlobalRole, InstanceStatus, RemoteHost, Run, Sealed, Submission};
use dstack_domain::spec::{BackendType, Blocks, FleetSpec, RunSpec};
use serde_json::json;
use std::sync::Arc;

impl World {
    pub(super) fn init_cluster(&mut self) {
        let (admin, project) = (self.admin, self.project);
        let sealed = || Sealed("sealed".into());
        let cluster = ClusterId::from_random(self.rng.bytes());
        let command = InitCluster {
            cluster,
            admin: NewUser {
                id: admin,
                username: "admin".into(),
                global_role: GlobalRole::Admin,
                email: None,
                active: true,
                token_hash: "hash".into(),
                token: sealed(),
                ssh_public_key: Some("ssh-ed25519 AAAA admin\n".into()),
                ssh_private_key: Some(sealed()),
            },
            project: CreateProject {
                id: project,
                name: "main".into(),
                is_public: false,
                ssh_public_key: "ssh-ed25519 AAAA project\n".into(),
                ssh_private_key: sealed(),
            },
        };
        assert!(self.system(command.into()), "the cluster starts");
    }

    /// A command of the administrator.
    pub fn admin_does(&mut self, command: impl Into<Command>) -> Outcome {
        let entry = self.entry(Actor::User(self.admin), command.into());
        let reply = self.memory.commit(&entry).reply;
        self.wake();
        reply
    }

    /// New hosts with these numbers and a fleet of them.
    pub fn create_fleet(
        &mut self,
        name: &str,
        numbers: std::ops::RangeInclusive<u32>,
        blocks: Blocks,
    ) -> FleetId {
        let hosts: Vec<Host> = numbers.map(Host::new).collect();
        let orders: Vec<HostOrder> = hosts.iter().map(|host| order(host, blocks)).collect();
        for host in hosts {
            self.hosts.insert(host.address.clone(), host);
        }
        let command = self.fleet_command(name, orders);
        let reply = self.admin_does(command);
        match self.expect_reply(reply) {
            Reply::Fleet(id) => id,
            other => panic!("a fleet answers its id, not {other:?}"),
        }
    }

    pub fn fleet_command(&mut self, name: &str, hosts: Vec<HostOrder>) -> ApplyFleet {
        let names: Vec<&str> = hosts
            .iter()
            .map(|order| order.remote.hostname.as_str())
            .collect();
        let spec: FleetSpec = serde_json::from_value(json!({
            "configuration": {
                "type": "fleet", "name": name, "placement": "cluster",
                "ssh_config": {"user": "ubuntu", "identity_file": "key", "hosts": names},
            },
            "profile": {"name": "default", "default": false},
        }))
        .expect("the fleet's specification is valid");
        ApplyFleet {
            project: self.project,
            fleet: FleetId::from_random(self.rng.bytes()),
            spec,
            hosts,
            current: None,
            force: true,
            name_seed: self.rng.next_u64(),
        }
    }

    /// One more project.
    pub fn create_project(&mut self, name: &str) -> ProjectId {
        let command = CreateProject {
            id: ProjectId::from_random(self.rng.bytes()),
            name: name.into(),
            is_public: false,
            ssh_public_key: "ssh-ed25519 AAAA project\n".into(),
            ssh_private_key: Sealed("sealed".into()),
        };
        let reply = self.admin_does(command);
        match self.expect_reply(reply) {
            Reply::Project(id) => id,
            other => panic!("a project answers its id, not {other:?}"),
        }
    }

    /// A backend, and a fleet whose machines it makes; `extra` is merged into the fleet's configuration.
    pub fn create_cloud_fleet(&mut self, name: &str, extra: serde_json::Value) -> FleetId {
        let backend = SetBackend {
            project: self.project,
            kind: BackendType::Crusoe,
            config: json!({"type": "crusoe"}),
            creds: Sealed("sealed".into()),
            exists: None,
        };
        self.admin_does(backend).expect("the backend is set");
        let mut command = self.fleet_command(name, Vec::new());
        let mut configuration = json!({"type": "fleet", "name": name});
        if let (Some(all), serde_json::Value::Object(extra)) =
            (configuration.as_object_mut(), extra)
        {
            all.extend(extra);
        }
        command.spec.configuration =
            serde_json::from_value(configuration).expect("the fleet's configuration is valid");
        let reply = self.admin_does(command);
        match self.expect_reply(reply) {
            Reply::Fleet(id) => id,
            other => panic!("a fleet answers its id, not {other:?}"),
        }
    }

    pub fn delete_fleet(&mut self, name: &str) -> Outcome {
        self.admin_does(DeleteFleets {
            project: self.project,
            names: vec![name.into()],
        })
    }

    /// Submits a task; `extra` is merged into its configuration.
    pub fn submit(&mut self, name: &str, extra: serde_json::Value) -> Outcome {
        let mut configuration = json!({"type": "task", "name": name, "commands": ["work"]});
        if let (Some(all), serde_json::Value::Object(extra)) =
            (configuration.as_object_mut(), extra)
        {
            all.extend(extra);
        }
        let spec: RunSpec =
            serde_json::from_value(json!({"run_name": name, "configuration": configuration}))
                .expect("the task's specification is valid");
        let command = SubmitRun {
            run: RunId::from_random(self.rng.bytes()),
            project: self.project,
            spec,
            name_seed: self.rng.next_u64(),
            cluster_key: None,
        };
        self.admin_does(command)
    }

    pub fn stop(&mut self, name: &str, abort: bool) {
        let reply = self.admin_does(StopRuns {
            project: self.project,
            names: vec![name.into()],
            abort,
        });
        self.expect_reply(reply);
    }

    /// Names of the runs that are not over.
    pub fn unfinished(&self) -> Vec<String> {
        let runs = self.memory.state.unfinished_runs();
        runs.map(|run| run.name.clone()).collect()
    }

    pub fn run(&self, name: &str) -> Arc<Run> {
        self.memory
            .state
            .run_by_name(self.project, name)
            .cloned()
            .expect("the run exists")
    }

    /// The newest submission of each job.
    pub fn jobs(&self, name: &str) -> Vec<Arc<Submission>> {
        let run = self.run(name);
        self.memory
            .state
            .latest_submissions(run.id)
            .into_iter()
            .cloned()
            .collect()
    }

    pub fn fleet_is_ready(&self, name: &str) -> bool {
        let state = &self.memory.state;
        state
            .fleet_by_name(self.project, name)
            .is_some_and(|fleet| {
                state
                    .instances_of(fleet.id)
                    .all(|instance| instance.status == InstanceStatus::Idle)
            })
    }

    /// A fleet that has connected all its hosts.
    pub fn ready_fleet(
        &mut self,
        name: &str,
        numbers: std::ops::RangeInclusive<u32>,
        blocks: Blocks,
    ) -> FleetId {
        let fleet = self.create_fleet(name, numbers, blocks);
        assert!(
            self.run_until(120, |world| world.fleet_is_ready(name)),
            "the fleet becomes ready"
        );
        fleet
    }
}

pub fn order(host: &Host, blocks: Blocks) -> HostOrder {
    let hostname = host
        .address
        .split(':')
        .next()
        .unwrap_or_default()
        .to_owned();
    HostOrder {
        remote: RemoteHost {
            hostname,
            port: 22,
            user: "ubuntu".into(),
            identity: Some(Sealed("sealed".into())),
            identity_public: None,
            proxy_jump: None,
            internal_ip: None,
        },
        blocks,
    }
}
