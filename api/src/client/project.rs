//! The endpoints of one project.

use std::time::Duration;

use dstack_domain::spec::{BackendType, FleetSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::multipart;
use super::transport::{Call, Client};
use crate::http::backends::{BackendYaml, DeleteBackends};
use crate::http::fleets::{
    ApplyFleet, ApplyFleetInput, DeleteFleetInstances, DeleteFleets, Fleet, FleetPlan, GetFleet,
    GetFleetPlan, ListProjectFleets,
};
use crate::http::gpus::{GpuList, ListGpus};
use crate::http::leaks::Leaks;
use crate::http::logs::{JobSubmissionLogs, PollLogs};
use crate::http::metrics::{GetJobMetrics, JobMetrics};
use crate::http::projects::{Member, MemberSetting, Project, RemoveMembers, SetMembers};
use crate::http::repos::{DeleteRepos, GetRepo, InitRepo, RepoHead, RepoHeadWithCreds};
use crate::http::runs::{
    ApplyRun, ApplyRunInput, DeleteRuns, GetRun, GetRunPlan, Run, RunPlan, StopRuns,
};
use crate::http::secrets::{DeleteSecrets, GetSecret, Secret, SetSecret};

/// One project of a server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProjectClient {
    client: Client,
    name: String,
}

impl ProjectClient {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server it belongs to.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/project/{}/{rest}", self.name)
    }

    pub(super) fn ask(&self, rest: &str, request: &impl Serialize) -> Call {
        Call::json(self.path(rest), request)
    }

    pub(super) fn change(&self, rest: &str, request: &impl Serialize) -> Call {
        self.ask(rest, request).write()
    }

    pub(super) async fn send<T: DeserializeOwned>(&self, call: Call) -> Result<T, ApiError> {
        self.client.call(call).await
    }

    pub async fn get(&self) -> Result<Project, ApiError> {
        self.client
            .call(Call::get(format!("/api/projects/{}/get", self.name)))
            .await
    }

    pub async fn members(&self) -> Result<Vec<Member>, ApiError> {
        Ok(self.get().await?.members)
    }

    pub async fn set_members(&self, members: Vec<MemberSetting>) -> Result<Project, ApiError> {
        let path = format!("/api/projects/{}/set_members", self.name);
        self.client
            .call(Call::json(path, &SetMembers { members }).write())
            .await
    }

    pub async fn add_members(&self, members: Vec<MemberSetting>) -> Result<Project, ApiError> {
        let path = format!("/api/projects/{}/add_members", self.name);
        self.client
            .call(Call::json(path, &SetMembers { members }).write())
            .await
    }

    pub async fn remove_members(&self, usernames: Vec<String>) -> Result<Project, ApiError> {
        let path = format!("/api/projects/{}/remove_members", self.name);
        self.client
            .call(Call::json(path, &RemoveMembers { usernames }).write())
            .await
    }

    pub async fn get_run_plan(&self, request: &GetRunPlan) -> Result<RunPlan, ApiError> {
        self.client.call(self.ask("runs/get_plan", request)).await
    }

    /// Submits a run, or updates the one it was planned against.
    pub async fn apply_run(&self, plan: ApplyRunInput, force: bool) -> Result<Run, ApiError> {
        self.client
            .call(self.change("runs/apply", &ApplyRun { plan, force }))
            .await
    }

    pub async fn get_run(&self, request: &GetRun) -> Result<Run, ApiError> {
        self.client.call(self.ask("runs/get", request)).await
    }

    pub async fn get_run_by_name(&self, name: &str) -> Result<Run, ApiError> {
        self.get_run(&GetRun {
            run_name: Some(name.to_owned()),
            id: None,
        })
        .await
    }

    pub async fn stop_runs(&self, runs_names: Vec<String>, abort: bool) -> Result<(), ApiError> {
        self.client
            .call_void(self.change("runs/stop", &StopRuns { runs_names, abort }))
            .await
    }

    pub async fn delete_runs(&self, runs_names: Vec<String>) -> Result<(), ApiError> {
        self.client
            .call_void(self.change("runs/delete", &DeleteRuns { runs_names }))
            .await
    }

    pub async fn list_gpus(&self, request: &ListGpus) -> Result<GpuList, ApiError> {
        self.client.call(self.ask("gpus/list", request)).await
    }

    pub async fn get_job_metrics(
        &self,
        run: &str,
        request: &GetJobMetrics,
    ) -> Result<JobMetrics, ApiError> {
        let mut path = format!(
            "{}?replica_num={}&job_num={}&limit={}",
            self.path(&format!("metrics/job/{run}")),
            request.replica_num,
            request.job_num,
            request.limit
        );
        if let Some(id) = request.run_id {
            path.push_str(&format!("&run_id={id}"));
        }
        // Moments have no character that a query would read otherwise.
        for (name, moment) in [("after", request.after), ("before", request.before)] {
            if let Some(moment) = moment {
                path.push_str(&format!("&{name}={moment}"));
            }
        }
        self.client.call(Call::query(path)).await
    }

    pub async fn poll_logs(&self, request: &PollLogs) -> Result<JobSubmissionLogs, ApiError> {
        let wait = Duration::from_secs(u64::from(request.wait.unwrap_or(0)));
        self.client
            .call(self.ask("logs/poll", request).extra(wait))
            .await
    }

    pub async fn list_fleets(&self) -> Result<Vec<Fleet>, ApiError> {
        self.client
            .call(self.ask(
                "fleets/list",
                &ListProjectFleets {
                    include_imported: true,
                },
            ))
            .await
    }

    pub async fn get_fleet(&self, request: &GetFleet) -> Result<Fleet, ApiError> {
        self.client.call(self.ask("fleets/get", request)).await
    }

    pub async fn get_fleet_by_name(&self, name: &str) -> Result<Fleet, ApiError> {
        self.get_fleet(&GetFleet {
            name: Some(name.to_owned()),
            id: None,
        })
        .await
    }

    pub async fn get_fleet_plan(&self, spec: FleetSpec) -> Result<FleetPlan, ApiError> {
        self.client
            .call(self.ask("fleets/get_plan", &GetFleetPlan { spec }))
            .await
    }

    pub async fn apply_fleet(&self, plan: ApplyFleetInput, force: bool) -> Result<Fleet, ApiError> {
        self.client
            .call(self.change("fleets/apply", &ApplyFleet { plan, force }))
            .await
    }

    pub async fn delete_fleets(&self, names: Vec<String>) -> Result<(), ApiError> {
        self.client
            .call_void(self.change("fleets/delete", &DeleteFleets { names }))
            .await
    }

    pub async fn delete_fleet_instances(
        &self,
        name: &str,
        instance_nums: Vec<u32>,
    ) -> Result<(), ApiError> {
        let request = DeleteFleetInstances {
            name: name.to_owned(),
            instance_nums,
        };
        self.client
            .call_void(self.change("fleets/delete_instances", &request))
            .await
    }

    pub async fn init_repo(&self, request: &InitRepo) -> Result<(), ApiError> {
        self.client
            .call_void(self.change("repos/init", request))
            .await
    }

    pub async fn get_repo(
        &self,
        repo_id: &str,
        include_creds: bool,
    ) -> Result<RepoHeadWithCreds, ApiError> {
        let request = GetRepo {
            repo_id: repo_id.to_owned(),
            include_creds,
        };
        self.client.call(self.ask("repos/get", &request)).await
    }

    pub async fn list_repos(&self) -> Result<Vec<RepoHead>, ApiError> {
        self.client.call(Call::get(self.path("repos/list"))).await
    }

    pub async fn delete_repos(&self, repos_ids: Vec<String>) -> Result<(), ApiError> {
        self.client
            .call_void(self.change("repos/delete", &DeleteRepos { repos_ids }))
            .await
    }

    /// Uploads the changes of a dirty Git work tree; `sha256` is of the bytes, in lower-case hex.
    pub async fn upload_code(
        &self,
        repo_id: &str,
        sha256: &str,
        diff: &[u8],
    ) -> Result<(), ApiError> {
        let form = multipart::file(sha256, diff);
        let path = format!("{}?repo_id={repo_id}", self.path("repos/upload_code"));
        self.client
            .call_void(Call::form(path, form.content_type, form.body))
            .await
    }

    /// Makes a backend, or changes it, from YAML in the form of `server/config.yml`.
    pub async fn set_backend(&self, yaml: &str, exists: bool) -> Result<(), ApiError> {
        let path = match exists {
            true => "backends/update_yaml",
            false => "backends/create_yaml",
        };
        let request = BackendYaml {
            config_yaml: yaml.to_owned(),
        };
        self.client.call_void(self.change(path, &request)).await
    }

    /// The ledger against the accounts, compared now.
    pub async fn leaks(&self) -> Result<Leaks, ApiError> {
        let call = self.ask("leaks/list", &serde_json::json!({}));
        self.client.call(call).await
    }

    /// Whether the backend can be used; why not, if not.
    pub async fn test_backend(&self, name: &str) -> Result<(), ApiError> {
        let call = self.ask(&format!("backends/{name}/test"), &serde_json::json!({}));
        self.client.call_void(call).await
    }

    pub async fn delete_backends(&self, backends_names: Vec<BackendType>) -> Result<(), ApiError> {
        let call = self.change("backends/delete", &DeleteBackends { backends_names });
        self.client.call_void(call).await
    }

    pub async fn list_secrets(&self) -> Result<Vec<Secret>, ApiError> {
        self.client.call(Call::get(self.path("secrets/list"))).await
    }

    pub async fn get_secret(&self, name: &str) -> Result<Secret, ApiError> {
        self.client
            .call(self.ask(
                "secrets/get",
                &GetSecret {
                    name: name.to_owned(),
                },
            ))
            .await
    }

    pub async fn set_secret(&self, name: &str, value: &str) -> Result<Secret, ApiError> {
        let request = SetSecret {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        self.client
            .call(self.change("secrets/create_or_update", &request))
            .await
    }

    pub async fn delete_secrets(&self, secrets_names: Vec<String>) -> Result<(), ApiError> {
        self.client
            .call_void(self.change("secrets/delete", &DeleteSecrets { secrets_names }))
            .await
    }
}
