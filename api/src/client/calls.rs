//! The endpoints outside of projects.

use serde_json::json;

use super::error::ApiError;
use super::multipart;
use super::project::ProjectClient;
use super::transport::{Call, Client};
use crate::http::cluster::{AddMember, ChangeMember, ClusterStatus};
use crate::http::events::{Event, ListEvents};
use crate::http::files::FileArchive;
use crate::http::fleets::{Fleet, ListFleets};
use crate::http::instances::{Instance, ListInstances};
use crate::http::projects::{CreateProject, DeleteProjects, ListProjects, Project};
use crate::http::runs::{ListRuns, Run};
use crate::http::server::{Health, OAuthProviderInfo, ServerInfo};
use crate::http::users::{CreateUser, DeleteUsers, GetUser, ListUsers, User, UserWithCreds};

impl Client {
    /// The endpoints of one project.
    pub fn project(&self, name: impl Into<String>) -> ProjectClient {
        ProjectClient::new(self.clone(), name.into())
    }

    pub async fn healthcheck(&self) -> Result<Health, ApiError> {
        self.call(Call::get("/healthcheck")).await
    }

    pub async fn server_info(&self) -> Result<ServerInfo, ApiError> {
        self.call(Call::get("/api/server/get_info")).await
    }

    /// Who vouches for people that log in; nobody needs a token to ask.
    pub async fn list_login_providers(&self) -> Result<Vec<OAuthProviderInfo>, ApiError> {
        self.call(Call::get("/api/auth/list_providers")).await
    }

    /// The replicas, as the one that is asked sees them.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, ApiError> {
        self.call(Call::get("/api/cluster/status")).await
    }

    /// Takes a replica in as a learner.
    pub async fn cluster_add(&self, name: &str, address: &str) -> Result<ClusterStatus, ApiError> {
        let request = AddMember {
            name: name.to_owned(),
            address: address.to_owned(),
        };
        self.call(Call::json("/api/cluster/add", &request).write())
            .await
    }

    /// Gives a learner its vote.
    pub async fn cluster_promote(&self, name: &str) -> Result<ClusterStatus, ApiError> {
        self.call(
            Call::json(
                "/api/cluster/promote",
                &ChangeMember {
                    name: name.to_owned(),
                },
            )
            .write(),
        )
        .await
    }

    pub async fn cluster_remove(&self, name: &str) -> Result<ClusterStatus, ApiError> {
        self.call(
            Call::json(
                "/api/cluster/remove",
                &ChangeMember {
                    name: name.to_owned(),
                },
            )
            .write(),
        )
        .await
    }

    pub async fn my_user(&self) -> Result<UserWithCreds, ApiError> {
        self.call(Call::get("/api/users/get_my_user")).await
    }

    pub async fn list_users(&self, request: &ListUsers) -> Result<Vec<User>, ApiError> {
        let request = ListUsers {
            return_total_count: false,
            ..request.clone()
        };
        self.call(Call::json("/api/users/list", &request)).await
    }

    pub async fn get_user(&self, username: &str) -> Result<UserWithCreds, ApiError> {
        self.call(Call::json(
            "/api/users/get_user",
            &GetUser {
                username: username.to_owned(),
            },
        ))
        .await
    }

    pub async fn create_user(&self, request: &CreateUser) -> Result<User, ApiError> {
        self.call(Call::json("/api/users/create", request).write())
            .await
    }

    pub async fn update_user(&self, request: &CreateUser) -> Result<User, ApiError> {
        self.call(Call::json("/api/users/update", request).write())
            .await
    }

    /// The old token stops working at once.
    pub async fn refresh_token(&self, username: &str) -> Result<UserWithCreds, ApiError> {
        let request = GetUser {
            username: username.to_owned(),
        };
        self.call(Call::json("/api/users/refresh_token", &request).write())
            .await
    }

    pub async fn delete_users(&self, users: Vec<String>) -> Result<(), ApiError> {
        self.call_void(Call::json("/api/users/delete", &DeleteUsers { users }).write())
            .await
    }

    pub async fn list_projects(&self, request: &ListProjects) -> Result<Vec<Project>, ApiError> {
        let request = ListProjects {
            return_total_count: false,
            ..request.clone()
        };
        self.call(Call::json("/api/projects/list", &request)).await
    }

    pub async fn create_project(&self, request: &CreateProject) -> Result<Project, ApiError> {
        self.call(Call::json("/api/projects/create", request).write())
            .await
    }

    pub async fn delete_projects(&self, projects_names: Vec<String>) -> Result<(), ApiError> {
        self.call_void(
            Call::json("/api/projects/delete", &DeleteProjects { projects_names }).write(),
        )
        .await
    }

    /// Newest first.
    pub async fn list_runs(&self, request: &ListRuns) -> Result<Vec<Run>, ApiError> {
        self.call(Call::json("/api/runs/list", request)).await
    }

    pub async fn list_fleets(&self, request: &ListFleets) -> Result<Vec<Fleet>, ApiError> {
        self.call(Call::json("/api/fleets/list", request)).await
    }

    pub async fn list_instances(&self, request: &ListInstances) -> Result<Vec<Instance>, ApiError> {
        self.call(Call::json("/api/instances/list", request)).await
    }

    /// Newest first, unless asked otherwise.
    pub async fn list_events(&self, request: &ListEvents) -> Result<Vec<Event>, ApiError> {
        self.call(Call::json("/api/events/list", request)).await
    }

    /// Uploads a tar archive; `sha256` is of its bytes, in lower-case hex.
    pub async fn upload_archive(&self, sha256: &str, tar: &[u8]) -> Result<FileArchive, ApiError> {
        let form = multipart::file(sha256, tar);
        self.call(Call::form(
            "/api/files/upload_archive",
            form.content_type,
            form.body,
        ))
        .await
    }

    pub async fn get_archive_by_hash(&self, hash: &str) -> Result<FileArchive, ApiError> {
        self.call(Call::json(
            "/api/files/get_archive_by_hash",
            &json!({ "hash": hash }),
        ))
        .await
    }
}
