//! The stages at which references get their values: the client before it submits, the server before it starts a job.

use std::collections::BTreeSet;

use super::configuration::RunConfiguration;
use super::interpolate::{Reference, Stage, interpolate, references};
use super::job_spec::JobSpec;
use super::spec_error::SpecError;

/// Fills in what only the client knows: its variables, and the arguments after `--`.
pub fn resolve_for_submission(
    configuration: &mut RunConfiguration,
    variable: impl Fn(&str) -> Option<String>,
    args: &[String],
) -> Result<(), SpecError> {
    let unknown = configuration.common_mut().env.resolve(&variable);
    if let Some(name) = unknown.first() {
        let error = SpecError::new(
            format!("env.{name}"),
            format!("the variable `{name}` has no value"),
        );
        return Err(error.with_hint(format!("set it in your shell, or pass `-e {name}=…`")));
    }
    let own = |reference: &Reference| match reference {
        Reference::Env(name) => match variable(name) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("the variable `{name}` has no value")),
        },
        _ => Ok(None),
    };
    if let Some(auth) = &mut configuration.common_mut().registry_auth {
        replace("registry_auth.username", &mut auth.username, own)?;
        replace("registry_auth.password", &mut auth.password, own)?;
    }
    let arguments = shell_words::join(args);
    let with_args =
        |reference: &Reference| Ok((*reference == Reference::RunArgs).then(|| arguments.clone()));
    for (path, commands) in command_lists(configuration) {
        for (index, command) in commands.iter_mut().enumerate() {
            replace(&format!("{path}[{index}]"), command, with_args)?;
        }
    }
    if let RunConfiguration::Service(service) = configuration {
        for (index, probe) in service.probes.iter_mut().flatten().enumerate() {
            let path = format!("probes[{index}]");
            let headers = probe.headers.iter_mut().map(|header| &mut header.value);
            for text in probe.url.iter_mut().chain(&mut probe.body).chain(headers) {
                replace(&path, text, own)?;
            }
        }
    }
    Ok(())
}

fn command_lists(configuration: &mut RunConfiguration) -> Vec<(String, &mut Vec<String>)> {
    let mut lists = Vec::new();
    match configuration {
        RunConfiguration::DevEnvironment(dev) => lists.push(("init".to_owned(), &mut dev.init)),
        RunConfiguration::Task(task) => {
            lists.push(("commands".to_owned(), &mut task.commands));
            let groups = task.groups.iter_mut().flatten().enumerate();
            lists.extend(
                groups.map(|(index, group)| {
                    (format!("groups[{index}].commands"), &mut group.commands)
                }),
            );
        }
        RunConfiguration::Service(service) => {
            lists.push(("commands".to_owned(), &mut service.commands));
            let groups = service.groups.iter_mut().flatten().enumerate();
            lists.extend(
                groups.map(|(index, group)| {
                    (format!("groups[{index}].commands"), &mut group.commands)
                }),
            );
        }
    }
    lists
}

fn replace(
    path: &str,
    text: &mut String,
    lookup: impl FnMut(&Reference) -> Result<Option<String>, String>,
) -> Result<(), SpecError> {
    *text =
        interpolate(text, Stage::Early, lookup).map_err(|message| SpecError::new(path, message))?;
    Ok(())
}

/// The secrets that a job needs before it can start.
pub fn secret_names(job: &JobSpec) -> BTreeSet<String> {
    let auth = job
        .registry_auth
        .iter()
        .flat_map(|auth| [&auth.username, &auth.password]);
    job.env
        .values()
        .chain(auth)
        .filter_map(|text| references(text).ok())
        .flatten()
        .filter_map(|reference| match reference {
            Reference::Secret(name) => Some(name),
            _ => None,
        })
        .collect()
}

/// Puts secrets in. The result goes to the agent and nowhere else: it must not be stored or shown.
pub fn resolve_secrets(
    job: &mut JobSpec,
    secret: impl Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let lookup = |reference: &Reference| match reference {
        Reference::Secret(name) => match secret(name) {
            Some(value) => Ok(Some(value)),
            None => Err(format!(
                "there is no secret `{name}`; add it with `dstack secret set {name}`"
            )),
        },
        _ => Ok(None),
    };
    let auth = job
        .registry_auth
        .iter_mut()
        .flat_map(|auth| [&mut auth.username, &mut auth.password]);
    for text in job.env.values_mut().chain(auth) {
        // A value that merely looks broken is the user's own text by now.
        if references(text).is_ok() {
            *text = interpolate(text, Stage::Last, lookup)?;
        }
    }
    Ok(())
}

/// The addresses of other nodes and replicas that a job's commands name; it can start when all are known.
pub fn addresses_needed(job: &JobSpec) -> BTreeSet<Reference> {
    let is_address = |reference: &Reference| {
        matches!(
            reference,
            Reference::NodeAddress { .. } | Reference::ReplicaAddress { .. }
        )
    };
    job.commands
        .iter()
        .filter_map(|text| references(text).ok())
        .flatten()
        .filter(is_address)
        .collect()
}

/// Puts addresses in; names the first that is not known yet. Resolves `$${{` as well, so it is called for every job.
pub fn resolve_addresses(
    job: &mut JobSpec,
    address: impl Fn(&Reference) -> Option<String>,
) -> Result<(), Reference> {
    let mut unknown = None;
    for text in job
        .commands
        .iter_mut()
        .filter(|text| references(text).is_ok())
    {
        let lookup = |reference: &Reference| {
            let found = address(reference);
            let is_address = matches!(
                reference,
                Reference::NodeAddress { .. } | Reference::ReplicaAddress { .. }
            );
            if found.is_none() && is_address && unknown.is_none() {
                unknown = Some(reference.clone());
            }
            Ok(found)
        };
        if let Ok(resolved) = interpolate(text, Stage::Last, lookup) {
            *text = resolved;
        }
    }
    unknown.map_or(Ok(()), Err)
}
