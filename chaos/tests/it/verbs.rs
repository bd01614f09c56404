//! Our command line: what it says about things that are not there, and the flags that stand for keys.

use anyhow::{Result, ensure};
use dstack_chaos::campaign::Lab;
use dstack_chaos::lab::{Binaries, Cli, text};
use serde_json::Value;
use std::process::Stdio;

async fn says(cli: &Cli, args: &[&str], words: &str) -> Result<()> {
    let out = cli.output(args).await?;
    ensure!(
        out.status.success() && text(&out).contains(words),
        "{args:?}: {}",
        text(&out)
    );
    Ok(())
}

async fn refuses(cli: &Cli, args: &[&str], words: &str) -> Result<()> {
    let out = cli.output(args).await?;
    let refused = out.status.code() == Some(1) && text(&out).contains(words);
    ensure!(refused, "{args:?}: {}", text(&out));
    Ok(())
}

/// Of upstream's verbs, those for things this server does not have at all.
async fn what_is_not_there(lab: &Lab) -> Result<()> {
    let cli = &lab.clis[0];
    says(cli, &["backend"], "REGIONS").await?;
    refuses(cli, &["backend", "test", "crusoe"], "not found").await?;
    let aws = cli.write("aws.yml", "type: aws\n")?;
    refuses(cli, &["backend", "set", "-f", &aws], "no backend aws yet").await?;
    refuses(cli, &["export"], "not supported").await?;
    refuses(
        cli,
        &["export", "create", "shared", "--fleet", "lab", "--global"],
        "not supported",
    )
    .await?;
    refuses(
        cli,
        &["import", "delete", "other/shared", "-y"],
        "not supported",
    )
    .await?;
    refuses(cli, &["import", "delete", "shared", "-y"], "PROJECT/NAME").await?;
    refuses(cli, &["preset", "list", "--json"], "upstream's client").await?;
    let url = lab.cluster.replicas[0].url();
    refuses(cli, &["login", "--url", &url], "no login provider").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_of_upstream_is_known_and_what_is_not_there_is_said_in_words() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lab = Lab::start(folder.path(), 1).await?;
    let cli = &lab.clis[0];
    says(cli, &["volume"], "REGION").await?;
    says(cli, &["volume", "list", "-v"], "NAME").await?;
    refuses(
        cli,
        &["volume", "get", "nope", "--json"],
        "Volume not found",
    )
    .await?;
    refuses(cli, &["volume", "delete", "nope", "-y"], "Volume not found").await?;
    says(cli, &["gateway", "-v"], "DEFAULT").await?;
    says(cli, &["gateway", "--format", "json"], "\"gateways\": []").await?;
    refuses(
        cli,
        &["gateway", "delete", "nope", "-y"],
        "Gateway not found",
    )
    .await?;
    refuses(
        cli,
        &["gateway", "update", "nope", "--set-default"],
        "does not support gateways",
    )
    .await?;
    what_is_not_there(&lab).await?;

    let fleet: Value = serde_json::from_str(&cli.run(&["fleet", "--json"]).await?)?;
    let fleet = &fleet["fleets"][0];
    let id = fleet["id"].as_str().unwrap_or_default();
    says(cli, &["fleet", "get", "--id", id, "--json"], id).await?;
    cli.run(&["secret", "set", "word", "1"]).await?;
    says(cli, &["secret", "--json"], "\"value\": null").await?;
    says(
        cli,
        &["secret", "get", "word", "--json"],
        "\"value\": \"1\"",
    )
    .await?;
    says(cli, &["event", "--target-secret", "word"], "Secret created").await?;
    let all = cli.run(&["event", "list", "--since", "1h"]).await?;
    ensure!(
        all.contains("Secret created") && all.contains("Fleet created"),
        "{all}"
    );
    let some = cli
        .run(&["event", "--since", "1h", "--include-target-type", "secret"])
        .await?;
    ensure!(
        some.contains("Secret created") && !some.contains("Fleet created"),
        "{some}"
    );
    let later = cli
        .run(&["event", "--since", "2999-01-01T00:00:00Z"])
        .await?;
    ensure!(later.is_empty(), "{later}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_a_run_stand_for_its_keys_and_the_shell_knows_its_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lab = Lab::start(folder.path(), 1).await?;
    let cli = &lab.clis[0];
    let yaml = "type: task\nname: flagged\nimage: debian:12\ncommands: [\"true\"]\nresources: {cpu: 1000, memory: 0.1GB.., disk: 0.1GB..}\n";
    let file = cli.write("flagged.dstack.yml", yaml)?;
    let flags = [
        "--cpu",
        "1..",
        "--max-duration",
        "2h",
        "--retry",
        "--fleet",
        "lab",
        "-R",
        "-r",
        "remote",
    ];
    let command = [&["apply", "-f", &file, "-y"], &flags[..]].concat();
    cli.run(&command).await?;
    let run: Value = serde_json::from_str(&cli.run(&["run", "get", "flagged", "--json"]).await?)?;
    let job = &run["jobs"][0]["job_spec"];
    ensure!(job["max_duration"] == 7200, "{job}");
    ensure!(job["retry"]["duration"] == 3600, "{job}");
    ensure!(
        job["requirements"]["resources"]["cpu"]["count"]["max"].is_null(),
        "{job}"
    );
    let written = &run["run_spec"]["configuration"];
    ensure!(
        written["creation_policy"] == "reuse" && written["regions"][0] == "remote",
        "{written}"
    );
    refuses(
        cli,
        &["apply", "-f", &file, "-y", "--max-duration", "soon"],
        "--max-duration: ",
    )
    .await?;
    let none = cli
        .run(&["offer", "--cpu", "1..", "-b", "aws", "--json"])
        .await?;
    ensure!(none.contains("\"total_offers\": 0"), "{none}");
    says(cli, &["ps", "-a", "--format", "json"], "flagged").await?;

    let completed = completed(cli, "logs").await?;
    ensure!(
        completed.lines().any(|line| line.trim() == "flagged"),
        "{completed}"
    );
    Ok(())
}

/// What a real bash offers after `dstack VERB `.
async fn completed(cli: &Cli, verb: &str) -> Result<String> {
    let script = format!(
        r#"eval "$(dstack completion bash)"
        COMP_WORDS=(dstack {verb} ""); COMP_CWORD=2; COMP_TYPE=9
        _clap_complete_dstack dstack "" {verb}; printf '%s\n' "${{COMPREPLY[@]}}""#
    );
    let binaries = Binaries::find()?;
    let beside = binaries
        .cli
        .parent()
        .map(|folder| folder.display().to_string());
    let path = [beside, std::env::var("PATH").ok()].into_iter().flatten();
    let mut bash = tokio::process::Command::new("bash");
    for (name, value) in cli.command(&[]).as_std().get_envs() {
        bash.env(name, value.unwrap_or_default());
    }
    bash.args(["-c", &script])
        .env("PATH", path.collect::<Vec<_>>().join(":"));
    Ok(text(&bash.stdin(Stdio::null()).output().await?))
}
