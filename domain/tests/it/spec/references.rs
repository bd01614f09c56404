//! References get their values at their stage and at no other.

use dstack_domain::spec::interpolate::Reference;
use dstack_domain::spec::resolve::{
    addresses_needed, resolve_addresses, resolve_for_submission, resolve_secrets, secret_names,
};
use dstack_domain::spec::{RegistryAuth, expand_jobs};

use super::expansion::spec;

const TASK: &str = "type: task
image: x
env:
  - HF_TOKEN
  - KEY=${{ secrets.KEY }}
  - RAW=$${{ secrets.KEY }}
registry_auth: {username: '${{ env.LOGIN }}', password: '${{ secrets.PASS }}'}
commands: ['./train.sh ${{ run.args }} ${HOME}']
";

fn shell(name: &str) -> Option<String> {
    match name {
        "HF_TOKEN" => Some("hf".to_owned()),
        "LOGIN" => Some("me".to_owned()),
        _ => None,
    }
}

#[test]
fn the_client_fills_in_variables_and_arguments_and_the_server_secrets() {
    let mut run = spec(TASK);
    let args = ["--name".to_owned(), "two words".to_owned()];
    resolve_for_submission(&mut run.configuration, shell, &args).unwrap();
    let stored = serde_json::to_string(&run).unwrap();
    assert!(stored.contains("${{ secrets.KEY }}") && !stored.contains("run.args"));

    let mut job = expand_jobs("run", &run).remove(0);
    assert_eq!(job.commands[3], "./train.sh --name 'two words' ${HOME}");
    assert_eq!(
        secret_names(&job).into_iter().collect::<Vec<_>>(),
        ["KEY", "PASS"]
    );
    resolve_secrets(&mut job, |name| Some(format!("<{name}>"))).unwrap();
    assert_eq!(job.env["HF_TOKEN"], "hf");
    assert_eq!(job.env["KEY"], "<KEY>");
    assert_eq!(job.env["RAW"], "${{ secrets.KEY }}");
    assert_eq!(
        job.registry_auth,
        Some(RegistryAuth {
            username: "me".to_owned(),
            password: "<PASS>".to_owned()
        })
    );
}

#[test]
fn what_has_no_value_is_named() {
    let mut run = spec(TASK);
    let error = resolve_for_submission(&mut run.configuration, |_| None, &[]).unwrap_err();
    assert_eq!(
        error.one_line(),
        "env.HF_TOKEN: the variable `HF_TOKEN` has no value; set it in your shell, or pass `-e HF_TOKEN=…`"
    );
    let mut job = expand_jobs("run", &spec(TASK)).remove(0);
    assert_eq!(
        resolve_secrets(&mut job, |_| None).unwrap_err(),
        "there is no secret `KEY`; add it with `dstack secret set KEY`"
    );
}

#[test]
fn addresses_are_awaited() {
    let run = spec(
        "type: task\nimage: x\ngroups:\n  - commands: [a]\n  - commands: ['b ${{ groups[0].nodes[0].IP_ADDRESS }}']\n",
    );
    let mut jobs = expand_jobs("run", &run);
    let master = Reference::NodeAddress { group: 0, node: 0 };
    assert!(addresses_needed(&jobs[0]).is_empty());
    assert_eq!(
        addresses_needed(&jobs[1]).into_iter().collect::<Vec<_>>(),
        std::slice::from_ref(&master)
    );
    assert_eq!(resolve_addresses(&mut jobs[1], |_| None), Err(master));
    assert_eq!(
        resolve_addresses(&mut jobs[1], |_| Some("10.0.0.1".to_owned())),
        Ok(())
    );
    assert_eq!(jobs[1].commands[3], "b 10.0.0.1");
}
