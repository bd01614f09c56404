//! The first command of a cluster's life, and raising its feature level.

use super::users::NewUser;
use super::{CreateProject, Outcome, Reply};
use crate::ids::ClusterId;
use crate::rejection::Rejection;
use crate::state::{Cluster, Draft};
use serde::{Deserialize, Serialize};

/// The newest command forms this build understands.
pub const FEATURE_LEVEL: u32 = 1;

/// The administrator and the first project. Refused once there is a cluster, so that every
/// leader may propose it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InitCluster {
    pub cluster: ClusterId,
    pub admin: NewUser,
    pub project: CreateProject,
}

impl InitCluster {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        if draft.cluster().is_some() {
            return Err(Rejection::exists("The cluster is already initialised"));
        }
        let created_at = draft.at;
        draft.put_cluster(Cluster {
            id: self.cluster,
            created_at,
            feature_level: FEATURE_LEVEL,
        });
        self.admin.insert(draft)?;
        self.project.insert(draft, self.admin.id)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetFeatureLevel {
    pub level: u32,
}

impl SetFeatureLevel {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        crate::access::require_global_admin(draft, draft.actor)?;
        let cluster = draft
            .cluster()
            .ok_or_else(|| Rejection::error("The cluster is not initialised"))?;
        if self.level < cluster.feature_level {
            return Err(Rejection::error(format!(
                "The feature level is {}, it cannot go back to {}",
                cluster.feature_level, self.level
            )));
        }
        let cluster = Cluster {
            feature_level: self.level,
            ..cluster.as_ref().clone()
        };
        draft.put_cluster(cluster);
        Ok(Reply::None)
    }
}
