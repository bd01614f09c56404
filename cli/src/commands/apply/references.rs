//! References only this shell can resolve: `${{ run.args }}` in commands, `${{ env.NAME }}` in
//! registry credentials. Others travel on and are the server's.

use crate::failure::{Failure, Outcome};
use dstack_domain::spec::RunConfiguration;
use dstack_domain::spec::interpolate::{Reference, Stage, interpolate};

/// Replaces them in place. `lookup` knows this shell's variables.
pub fn fill(
    configuration: &mut RunConfiguration,
    run_args: &[String],
    lookup: impl Fn(&str) -> Option<String>,
) -> Outcome {
    let args = run_args
        .iter()
        .map(|word| quote(word))
        .collect::<Vec<_>>()
        .join(" ");
    for command in commands(configuration) {
        replace(command, |reference| {
            Ok(matches!(reference, Reference::RunArgs).then(|| args.clone()))
        })?;
    }
    if let Some(auth) = &mut configuration.common_mut().registry_auth {
        for text in [&mut auth.username, &mut auth.password] {
            replace(text, |reference| match reference {
                Reference::Env(name) => lookup(name).map(Some).ok_or_else(|| {
                    format!("registry_auth: the variable {name} is not set in this shell")
                }),
                _ => Ok(None),
            })?;
        }
    }
    Ok(())
}

fn commands(configuration: &mut RunConfiguration) -> Vec<&mut String> {
    match configuration {
        RunConfiguration::Task(task) => {
            let groups = task
                .groups
                .iter_mut()
                .flatten()
                .flat_map(|group| group.commands.iter_mut());
            task.commands.iter_mut().chain(groups).collect()
        }
        RunConfiguration::Service(service) => {
            let groups = service
                .groups
                .iter_mut()
                .flatten()
                .flat_map(|group| group.commands.iter_mut());
            service.commands.iter_mut().chain(groups).collect()
        }
        RunConfiguration::DevEnvironment(_) => Vec::new(),
    }
}

fn replace(
    text: &mut String,
    lookup: impl FnMut(&Reference) -> Result<Option<String>, String>,
) -> Outcome {
    *text = interpolate(text, Stage::Early, lookup).map_err(Failure::refused)?;
    Ok(())
}

/// A word as a POSIX shell reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dstack_domain::spec::AnyConfiguration;
    use dstack_domain::spec::parse::parse_yaml;

    fn filled(args: &[&str]) -> String {
        let yaml = "type: task\ncommands:\n  - python train.py ${{ run.args }}\n";
        let AnyConfiguration::Run(mut configuration) = parse_yaml("x.dstack.yml", yaml).unwrap()
        else {
            panic!("a run")
        };
        let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
        fill(&mut configuration, &args, |_| None).unwrap();
        commands(&mut configuration)[0].clone()
    }

    #[test]
    fn run_args_are_quoted_for_the_shell() {
        assert_eq!(
            filled(&["--lr", "0.1", "two words", "it's"]),
            r"python train.py --lr 0.1 'two words' 'it'\''s'"
        );
        assert_eq!(filled(&[]), "python train.py ");
    }
}
