//! Each command of the client, with success and with failure.

use anyhow::{Result, ensure};
use dstack_chaos::lab::{Released, text};
use std::path::Path;
use std::time::Duration;

use super::{Setting, setting, succeed, task};
use crate::clone::Clone;
use crate::wait::wait_for;

/// The command succeeds and says the words.
async fn says(client: &Released, args: &[&str], words: &[&str]) -> Result<()> {
    let said = client.run(args).await?;
    for word in words {
        ensure!(
            said.contains(word),
            "dstack {args:?} without {word:?}: {said}"
        );
    }
    Ok(())
}

/// The command fails, saying why.
async fn refuses(client: &Released, args: &[&str], words: &str) -> Result<()> {
    let out = client.output(args).await?;
    let said = text(&out);
    ensure!(
        out.status.code() == Some(1),
        "dstack {args:?}: {}: {said}",
        out.status
    );
    ensure!(
        said.contains(words),
        "dstack {args:?} without {words:?}: {said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn its_models_accept_what_every_replica_answers() -> Result<()> {
    let mut setting = setting().await?;
    let leader = setting
        .lab
        .cluster
        .wait_leader(Duration::from_secs(30))
        .await?;
    let mut urls = setting.lab.cluster.urls();
    urls.swap(0, leader);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/released_client.py");
    let mut suite = setting.client.python(&script);
    suite
        .args([&urls[0], &setting.lab.cluster.token])
        .args(&urls[1..]);
    let said = succeed(&mut suite).await?;
    ensure!(said.contains("all passed"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_about_what_is_there_and_what_is_not() -> Result<()> {
    let Setting { client, lab, .. } = &setting().await?;
    says(client, &["fleet"], &["lab", "active"]).await?;
    says(client, &["fleet", "-v"], &["cpu="]).await?;
    says(
        client,
        &["fleet", "get", "lab", "--json"],
        &["\"name\": \"lab\""],
    )
    .await?;
    refuses(client, &["fleet", "get", "nope", "--json"], "not found").await?;
    says(client, &["offer"], &["ssh (remote)", "idle"]).await?;
    says(client, &["offer", "--json"], &["\"total_offers\":1"]).await?;
    says(client, &["offer", "--group-by", "gpu,backend"], &["GPU"]).await?;
    refuses(
        client,
        &["offer", "--group-by", "gpu,region"],
        "also grouping by 'backend'",
    )
    .await?;
    says(client, &["secret", "set", "hf", "s3cret"], &["OK"]).await?;
    says(client, &["secret", "get", "hf"], &["s3cret"]).await?;
    says(client, &["secret"], &["hf", "******"]).await?;
    says(client, &["secret", "delete", "hf", "-y"], &["OK"]).await?;
    refuses(client, &["secret", "get", "hf"], "not found").await?;
    says(client, &["event", "--within-fleet", "lab"], &["lab"]).await?;
    refuses(client, &["event", "--within-fleet", "nope"], "not found").await?;
    says(client, &["volume"], &["NAME"]).await?;
    refuses(client, &["volume", "get", "v", "--json"], "not found").await?;
    says(client, &["gateway"], &["NAME"]).await?;
    refuses(client, &["gateway", "delete", "g", "-y"], "not found").await?;
    refuses(client, &["export"], "not supported").await?;
    refuses(client, &["import"], "not supported").await?;
    let leader = lab.cluster.replicas.iter().map(|replica| replica.url());
    for url in leader {
        refuses(client, &["login", "--url", &url, "-y"], "No SSO providers").await?;
    }
    says(client, &["project", "-v"], &["main", "admin"]).await?;
    projects(client, &lab.cluster.token).await?;
    says(client, &["completion", "bash"], &["complete"]).await?;
    refuses(client, &["volume", "delete", "v", "-y"], "does not exist").await?;
    says(client, &["gateway", "--json"], &["\"gateways\""]).await?;
    refuses(
        client,
        &["gateway", "update", "g", "--set-default"],
        "gateway",
    )
    .await?;
    refuses(
        client,
        &["export", "create", "e", "--fleet", "lab"],
        "not supported",
    )
    .await?;
    refuses(client, &["export", "delete", "e", "-y"], "not supported").await?;
    refuses(client, &["import", "delete", "p/e", "-y"], "not supported").await?;
    says(client, &["event", "--since", "1h"], &["lab"]).await?;
    refuses(client, &["event", "--target-secret", "nope"], "not found").await?;
    refuses(client, &["init"], "Git repo not found").await?;
    refuses(client, &["logs", "nope"], "not found").await?;
    refuses(client, &["stop", "nope", "-y"], "not found").await?;
    refuses(client, &["attach", "nope"], "not found").await?;
    refuses(client, &["metrics", "nope"], "not found").await?;
    refuses(client, &["run", "get", "nope", "--json"], "not found").await
}

/// Those that are about this machine's configuration.
async fn projects(client: &Released, token: &str) -> Result<()> {
    let add = |name: &'static str, token| {
        [
            "project",
            "add",
            "--url",
            client.url(),
            "--name",
            name,
            "--token",
            token,
            "-n",
        ]
    };
    refuses(client, &add("nope", token), "").await?;
    refuses(client, &add("main", "wrong"), "").await?;
    says(client, &add("main", token), &["Configuration updated"]).await?;
    says(client, &["project", "set-default", "main"], &[]).await?;
    refuses(client, &["project", "set-default", "nope"], "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_from_its_plan_to_its_deletion() -> Result<()> {
    let Setting { client, .. } = &setting().await?;
    client.run(&["secret", "set", "hf", "s3cret"]).await?;
    std::fs::write(client.home().join("data.txt"), "from a file\n")?;
    let yaml = |priority: &str| {
        task(
            "work",
            &format!(
                "files: [data.txt]\nenv: [WORD, \"HF=${{{{ secrets.hf }}}}\"]\npriority: {priority}\ncommands:\n  - cat data.txt; echo $WORD; echo hf has ${{#HF}}\n  - sleep 600\n"
            ),
        )
    };
    let file = client.write("work.yml", &yaml("0"))?;
    refuses(
        client,
        &["apply", "-y", "-d", "-f", &file],
        "WORD is not set",
    )
    .await?;
    let mut apply = client.command(&["apply", "-y", "-d", "-f", &file]);
    succeed(apply.env("WORD", "given")).await?;
    let logs = async || Ok(client.run(&["logs", "work"]).await?.contains("hf has 6"));
    wait_for("the output", logs).await?;
    says(client, &["logs", "work"], &["from a file", "given"]).await?;
    says(client, &["logs", "-d", "work"], &["started as"]).await?;
    says(client, &["ps", "-v"], &["work", "running"]).await?;
    says(client, &["ps", "--json"], &["\"status\":\"running\""]).await?;
    says(client, &["run", "get", "work", "--json"], &["\"work\""]).await?;
    says(client, &["event", "--target-run", "work"], &["RUNNING"]).await?;
    let shown = async || Ok(!client.run(&["metrics", "work"]).await?.contains("no data"));
    wait_for("two samples of its use", shown).await?;

    let mut again = client.command(&["apply", "-y", "-d", "-f", &file]);
    let said = succeed(again.env("WORD", "given")).await?;
    ensure!(said.contains("Detected no changes"), "{said}");
    let changed = client.write("work.yml", &yaml("7"))?;
    let mut update = client.command(&["apply", "-y", "-d", "-f", &changed]);
    let said = succeed(update.env("WORD", "given")).await?;
    ensure!(said.contains("priority"), "{said}");
    let mut other = client.command(&["apply", "-y", "-d", "-f", &changed]);
    let said = succeed(other.env("WORD", "another")).await?;
    ensure!(
        said.contains("env"),
        "an override says what differs: {said}"
    );

    refuses(client, &["delete", "-y", "-f", &file], "").await?;
    says(client, &["stop", "-x", "-y", "work"], &["Aborted"]).await?;
    let over = async || Ok(client.run(&["ps", "-a"]).await?.contains("aborted"));
    wait_for("the end", over).await?;
    says(client, &["delete", "-y", "-f", &file], &[]).await?;
    refuses(client, &["run", "get", "work", "--json"], "not found").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_with_changes_runs_as_it_lies_here() -> Result<()> {
    let Setting {
        client,
        lab,
        folder,
    } = &setting().await?;
    let clone = Clone::make(client.home())?;
    clone.follow_over_ssh(&lab.hosts[0])?;
    let key = folder.path().join("id_ed25519").display().to_string();
    let init = ["init", "-P", "work", "--git-identity", &key];
    says(client, &init, &["OK"]).await?;
    let yaml = task(
        "code",
        "repos: [work]\nworking_dir: /workflow\ncommands: [cat tracked]\n",
    );
    let file = client.write("code.yml", &yaml)?;
    says(client, &["apply", "-y", "-f", &file], &["and changed"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_refused_before_it_is_lost() -> Result<()> {
    let Setting { client, .. } = &setting().await?;
    for (name, yaml, words) in [
        ("bad.yml", "type: task\ncomands: [x]\n", "commands"),
        (
            "service.yml",
            "type: service\nname: svc\nport: 80\nimage: x\n",
            "services",
        ),
        (
            "volume.yml",
            "type: volume\nname: v\nbackend: aws\nregion: x\nsize: 10GB\n",
            "does not support volumes",
        ),
        (
            "gateway.yml",
            "type: gateway\nname: g\nbackend: aws\nregion: x\ndomain: a.b\n",
            "does not support gateways",
        ),
    ] {
        let file = client.write(name, yaml)?;
        refuses(client, &["apply", "-y", "-f", &file], words).await?;
    }
    let big = task("big", "commands: [x]\n").replace("cpu: 1..", "cpu: 4096..");
    let file = client.write("big.yml", &big)?;
    let out = client.output(&["apply", "-y", "-f", &file]).await?;
    let said = text(&out);
    ensure!(!out.status.success() && said.contains("no"), "{said}");
    Ok(())
}
