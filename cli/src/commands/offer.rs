//! `dstack offer`.

use super::apply::profile;
use super::{given, refused};
use crate::args::Offer;
use crate::failure::{Failure, Outcome};
use crate::ui;
use dstack_api::http::gpus::{GroupBy, ListGpus};
use dstack_api::http::runs::GetRunPlan;
use dstack_domain::spec::{RunConfiguration, RunSpec};
use serde_json::{Value, json};

/// Shows what a run with these requirements could get.
pub async fn offer(args: Offer) -> Outcome {
    let project = super::connect(&args.common)?;
    let run_spec = spec(&args)?;
    if !args.group_by.is_empty() {
        let request = ListGpus {
            run_spec,
            group_by: Some(groups(&args.group_by)?),
            reverse: false,
            full_offers: args.full_offers,
            unallocated_resources: args.unallocated,
        };
        let list = project.list_gpus(&request).await.map_err(refused)?;
        if args.format.is_json() {
            ui::json(&json!({"project": project.name(), "gpus": list.gpus, "cpus": list.cpus}));
        } else {
            ui::offers::groups(&list);
        }
        return Ok(());
    }
    let request = GetRunPlan {
        run_spec,
        max_offers: Some(args.max_offers),
        reverse_offers: false,
        full_offers: args.full_offers,
        unallocated_resources: args.unallocated,
        for_offers_only: true,
    };
    let plan = project.get_run_plan(&request).await.map_err(refused)?;
    let Some(job) = plan.job_plans.first() else {
        return Ok(());
    };
    if args.format.is_json() {
        ui::json(&json!({
            "project": plan.project_name,
            "user": plan.user,
            "requirements": job.job_spec.requirements,
            "offers": job.offers,
            "total_offers": job.total_offers,
        }));
    } else if job.offers.is_empty() {
        ui::talk("No offers: no instance of the project's fleets has what is asked for");
    } else {
        ui::plan::offers(
            &job.offers,
            job.total_offers,
            job.max_price,
            args.max_offers as usize,
        );
    }
    Ok(())
}

/// The smallest run that asks for it.
fn spec(args: &Offer) -> Outcome<RunSpec> {
    let configuration = json!({
        "type": "task",
        "commands": [":"],
        "image": "scratch",
        "resources": {"cpu": "1..", "memory": "0..", "gpu": "0..", "disk": null},
    });
    let mut configuration: RunConfiguration = serde_json::from_value(configuration)
        .map_err(|error| Failure::refused(error.to_string()))?;
    *configuration.profile_mut() = given::profile(&args.conditions)?;
    given::resources(&args.resources, &mut configuration.common_mut().resources)?;
    let mut spec = RunSpec::new(configuration);
    spec.profile = Some(profile(&args.profile)?);
    Ok(spec)
}

/// `gpu` must be among the words, as upstream wants it, and is what rows are of anyway.
fn groups(words: &[String]) -> Outcome<Vec<GroupBy>> {
    if !words.iter().any(|word| word == "gpu") {
        return Err(Failure::refused(
            "--group-by must name gpu: --group-by gpu,backend",
        ));
    }
    let others = words.iter().filter(|word| *word != "gpu");
    let parse = |word: &String| {
        serde_json::from_value(Value::String(word.clone())).map_err(|_| {
            Failure::refused(format!(
                "--group-by {word}: one can group by gpu, backend, region and count"
            ))
        })
    };
    others.map(parse).collect()
}
