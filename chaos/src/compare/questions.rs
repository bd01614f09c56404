//! The requests that the comparison asks, in the released client's own shapes.

use super::load::Question;
use serde_json::{Value, json};
use std::sync::Arc;

/// A small task under this name, as the client would send it.
pub fn task(name: &str) -> Value {
    json!({
        "run_name": name,
        "repo_id": "none",
        "repo_data": { "repo_type": "virtual" },
        "configuration_path": "bench.dstack.yml",
        "configuration": { "type": "task", "name": name, "commands": ["true"] },
        "profile": { "name": "default" },
    })
}

/// The body that submits it.
pub fn submission(name: &str) -> Value {
    json!({ "plan": { "run_spec": task(name), "current_resource": null }, "force": false })
}

pub fn my_user() -> Question {
    Question {
        path: "/api/users/get_my_user",
        body: Arc::new(|_| None),
    }
}

/// What `dstack ps -a` asks: one page of the newest.
pub fn list_runs() -> Question {
    Question {
        path: "/api/runs/list",
        body: Arc::new(|_| {
            Some(json!({
                "project_name": "main", "only_active": false, "include_jobs": true,
                "job_submissions_limit": 1, "limit": 100, "ascending": false,
            }))
        }),
    }
}

pub fn plan() -> Question {
    Question {
        path: "/api/project/main/runs/get_plan",
        body: Arc::new(|number| {
            Some(json!({ "run_spec": task(&format!("plan-{number}")), "max_offers": 3 }))
        }),
    }
}

pub fn apply() -> Question {
    Question {
        path: "/api/project/main/runs/apply",
        body: Arc::new(|number| Some(submission(&format!("bench-{number}")))),
    }
}
