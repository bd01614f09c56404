//! Applying a task, dev environment or service.

use super::repo::{self, Code};
use super::{files, load, profile};
use crate::args::Apply;
use crate::attach::{Keeper, Wanted, reserve};
use crate::commands::follow::Follow;
use crate::commands::{attach, given, refused};
use crate::failure::{Failure, Outcome};
use crate::ui;
use dstack_api::client::ProjectClient;
use dstack_api::http::jobs::JobStatus;
use dstack_api::http::runs::{
    ApplyAction, ApplyRunInput, GetRunPlan, Run, RunPlan, RunSnapshot, RunStatus,
};
use dstack_domain::spec::resolve::resolve_for_submission;
use dstack_domain::spec::{RunConfiguration, RunSpec};
use std::path::Path;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Plans, asks, submits, and follows the run to its end unless detached.
pub async fn apply(
    project: &ProjectClient,
    configuration: RunConfiguration,
    path: String,
    folder: &Path,
    args: Apply,
) -> Outcome {
    let mut configuration = configuration;
    repo::choose(&args.repository, &mut configuration.common_mut().repos)?;
    let repos = &configuration.common().repos;
    let code = Code::find(project, repos, folder, &args.repository).await?;
    let mut spec = build(project, configuration, path, folder, &args).await?;
    code.describe(&mut spec);
    let request = GetRunPlan {
        run_spec: spec,
        max_offers: Some(args.max_offers),
        reverse_offers: false,
        full_offers: args.full_offers,
        unallocated_resources: args.unallocated,
        for_offers_only: false,
    };
    let plan = project.get_run_plan(&request).await.map_err(refused)?;
    ui::plan::run(&plan, args.max_offers as usize, args.verbose);
    warn_without_offers(project, &plan).await?;
    if !args.detach {
        check_ports(&plan, &args)?;
    }
    let Some(current) = go_ahead(project, &plan, &args).await? else {
        return Ok(());
    };
    code.upload(project).await?;
    let input = ApplyRunInput {
        run_spec: plan.run_spec,
        current_resource: current,
    };
    let run = project
        .apply_run(input, args.force)
        .await
        .map_err(refused)?;
    let name = run.run_spec.run_name.clone().unwrap_or_default();
    if args.detach {
        ui::talk(&format!(
            "Run {name} submitted. See it with: dstack ps; follow it with: dstack logs -f {name}"
        ));
        return Ok(());
    }
    ui::talk(&format!("Run {name} submitted"));
    follow(project, &name, &args).await
}

/// Everything this shell must add before the server can plan.
async fn build(
    project: &ProjectClient,
    mut configuration: RunConfiguration,
    path: String,
    folder: &Path,
    args: &Apply,
) -> Outcome<RunSpec> {
    if let Some(name) = &args.name {
        configuration.common_mut().name = Some(name.clone());
    }
    load::fill_env(&mut configuration.common_mut().env, args, |name| {
        std::env::var(name).ok()
    })?;
    resolve_for_submission(
        &mut configuration,
        |name| std::env::var(name).ok(),
        &args.run_args,
    )
    .map_err(|error| Failure::refused(error.to_string()))?;
    let conditions = given::profile(&args.conditions)?;
    *configuration.profile_mut() = conditions.or(configuration.profile());
    given::resources(&args.resources, &mut configuration.common_mut().resources)?;
    let archives = files::upload(project, &configuration.common().files, folder).await?;
    let mut spec = RunSpec::new(configuration);
    spec.file_archives = archives;
    spec.configuration_path = Some(path);
    spec.profile = Some(profile::profile(&args.profile)?);
    Ok(spec)
}

async fn warn_without_offers(project: &ProjectClient, plan: &RunPlan) -> Outcome {
    if plan
        .job_plans
        .first()
        .is_some_and(|job| !job.offers.is_empty())
    {
        return Ok(());
    }
    let fleets = project.list_fleets().await.map_err(refused)?;
    ui::talk(if fleets.is_empty() {
        "The project has no fleets. Create one before submitting a run: dstack apply -f fleet.dstack.yml"
    } else {
        "No offer matches now: no instance of the fleets has what the run wants, or all are busy"
    });
    Ok(())
}

/// Asks what must be asked. `None` means there is nothing to submit; else the resource the plan
/// was made against, when it is to be updated.
async fn go_ahead(
    project: &ProjectClient,
    plan: &RunPlan,
    args: &Apply,
) -> Outcome<Option<Option<RunSnapshot>>> {
    let Some(current) = plan
        .current_resource
        .as_ref()
        .filter(|run| !run.status.is_finished())
    else {
        let name = plan
            .run_spec
            .run_name
            .as_deref()
            .map_or(String::new(), |name| format!(" {name}"));
        ui::agree(args.yes, &format!("Submit the run{name}?"))?;
        return Ok(Some(plan.current_resource.as_ref().map(RunSnapshot::from)));
    };
    let name = current.run_spec.run_name.clone().unwrap_or_default();
    let unchanged = plan.effective_run_spec.as_ref() == Some(&current.run_spec);
    if plan.action == ApplyAction::Update && !unchanged {
        ui::agree(
            args.yes,
            &format!("Active run {name} exists and can be updated in place. Update it?"),
        )?;
        return Ok(Some(Some(RunSnapshot::from(current))));
    }
    if unchanged && !args.force {
        ui::talk(&format!(
            "Active run {name} exists, and nothing has changed"
        ));
        if args.yes {
            ui::talk("Use --force to apply anyway");
            return Ok(None);
        }
    }
    ui::agree(
        args.yes,
        &format!("Stop the active run {name} and override it?"),
    )?;
    project
        .stop_runs(vec![name.clone()], false)
        .await
        .map_err(refused)?;
    let stopped = wait_finished(project, &name).await?;
    Ok(Some(stopped.as_ref().map(RunSnapshot::from)))
}

async fn wait_finished(project: &ProjectClient, name: &str) -> Outcome<Option<Run>> {
    loop {
        match project.get_run_by_name(name).await {
            Ok(run) if run.status.is_finished() => return Ok(Some(run)),
            Ok(run) => ui::status(&format!("{name}: {}", run.status_message)),
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(refused(error)),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Streams the log; Ctrl-C asks whether to stop the run, as upstream, and never aborts by accident.
async fn follow(project: &ProjectClient, name: &str, args: &Apply) -> Outcome {
    let mut follow = Follow::new(project, name, (0, 0), false, None);
    let wanted = Wanted::new(name, (0, 0), &args.reach)?;
    let keeper = Keeper::start(project, wanted)?;
    // Output comes from the replicas; who cannot attach still sees it.
    let mut announced = std::pin::pin!(attach::announce(&keeper, &args.reach.host));
    loop {
        tokio::select! {
            run = follow.until_end() => return finish(name, &run?),
            never = &mut announced => match never {},
            _ = tokio::signal::ctrl_c() => ui::status_done(),
        }
        if args.yes {
            ui::talk(&format!(
                "Detached; the run goes on. Follow it with: dstack logs -f {name}"
            ));
            return Ok(());
        }
        if !ui::confirm(&format!("Stop the run {name} before detaching?"))? {
            ui::talk("Detached; the run goes on");
            return Ok(());
        }
        project
            .stop_runs(vec![name.to_owned()], false)
            .await
            .map_err(refused)?;
        tokio::select! {
            run = wait_finished(project, name) => return run.map(drop),
            _ = tokio::signal::ctrl_c() => project.stop_runs(vec![name.to_owned()], true).await.map_err(refused)?,
        }
    }
}

/// A port that is taken is found out before anything runs for it.
fn check_ports(plan: &RunPlan, args: &Apply) -> Outcome {
    let wanted = Wanted::new("", (0, 0), &args.reach)?;
    let first = plan.job_plans.first().map(|job| &job.job_spec.app_specs);
    let apps = first.map(Vec::as_slice).unwrap_or_default();
    reserve(&args.reach.host, &wanted.ports(apps)).map(drop)
}

/// How it ended, in the server's words; success only for `done`.
fn finish(name: &str, run: &Run) -> Outcome {
    // The node that failed, not those that were stopped because of it.
    let worst = run
        .jobs
        .iter()
        .filter_map(|job| job.job_submissions.last().map(|last| (job, last)))
        .find(|(_, last)| last.status == JobStatus::Failed);
    let latest = run.latest_job_submission.as_ref();
    let (message, detail) = match (&worst, latest) {
        (Some((job, last)), _) if run.jobs.len() > 1 => (
            format!("{} (job {})", last.status_message, job.job_spec.job_num),
            last.termination_reason_message.clone(),
        ),
        (_, Some(last)) => (
            last.status_message.clone(),
            last.termination_reason_message.clone(),
        ),
        _ => (run.status_message.clone(), None),
    };
    ui::talk(&format!("Run {name}: {message}"));
    for more in [run.error.clone(), detail].into_iter().flatten() {
        ui::talk(&more);
    }
    if run.status == RunStatus::Done {
        return Ok(());
    }
    ui::talk(&format!(
        "See more: dstack ps -v; dstack event --within-run {name}; dstack logs -d {name}"
    ));
    Err(Failure::RunNotDone)
}
