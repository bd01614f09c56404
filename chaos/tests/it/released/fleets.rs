//! More than one host: fleets made and changed by the client, runs of several nodes, another try.

use anyhow::{Result, ensure};
use dstack_chaos::lab::{Host, current_user, text};
use std::fmt::Write as _;
use std::path::Path;

use super::{Setting, setting_of, task};
use crate::wait::wait_for;

fn fleet(folder: &Path, hosts: &[Host]) -> String {
    let mut yaml = format!(
        "type: fleet\nname: own\nplacement: cluster\nssh_config:\n  user: {}\n  identity_file: {}\n  hosts:\n",
        current_user(),
        folder.join("id_ed25519").display()
    );
    for host in hosts {
        let _ = writeln!(
            yaml,
            "    - {{hostname: {}, port: {}}}",
            host.address, host.port
        );
    }
    yaml
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_made_changed_in_place_and_deleted() -> Result<()> {
    let Setting {
        client,
        lab,
        folder,
    } = &setting_of(2).await?;
    client.run(&["fleet", "delete", "lab", "-y"]).await?;
    let gone = async || {
        let out = client.output(&["fleet", "get", "lab", "--json"]).await?;
        Ok(text(&out).contains("not found"))
    };
    wait_for("the end of the first fleet", gone).await?;
    let one = client.write("fleet.yml", &fleet(folder.path(), &lab.hosts[..1]))?;
    let said = client.run(&["apply", "-y", "-f", &one]).await?;
    ensure!(said.contains("own") && said.contains("idle"), "{said}");
    let said = client.run(&["apply", "-y", "-f", &one]).await?;
    ensure!(said.contains("No configuration changes"), "{said}");
    let two = client.write("fleet.yml", &fleet(folder.path(), &lab.hosts))?;
    let said = client.run(&["apply", "-y", "-f", &two]).await?;
    ensure!(
        said.contains("in-place") || said.contains("in place"),
        "{said}"
    );
    let busy = async || Ok(client.run(&["fleet"]).await?.matches("idle").count() == 2);
    wait_for("both hosts", busy).await?;

    let file = client.write("hold.yml", &task("hold", "commands: [sleep 600]\n"))?;
    client.run(&["apply", "-y", "-d", "-f", &file]).await?;
    let running = async || Ok(client.run(&["ps"]).await?.contains("running"));
    wait_for("a run on it", running).await?;
    let out = client.output(&["fleet", "delete", "own", "-y"]).await?;
    ensure!(
        !out.status.success() && text(&out).contains("in use"),
        "{}",
        text(&out)
    );
    client.run(&["stop", "hold", "-x", "-y"]).await?;
    let said = async || {
        let out = client
            .output(&["fleet", "delete", "own", "-i", "1", "-y"])
            .await?;
        Ok(out.status.success())
    };
    wait_for("one host to be given back", said).await?;
    let deleted = async || {
        Ok(client
            .output(&["delete", "-y", "-f", &two])
            .await?
            .status
            .success())
    };
    wait_for("the fleet to be free", deleted).await?;
    let out = client.output(&["delete", "-y", "-f", &two]).await?;
    ensure!(out.status.code() == Some(1), "{}", text(&out));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_which_one_fails_are_tried_again_together() -> Result<()> {
    let Setting { client, folder, .. } = &setting_of(2).await?;
    let mark = folder.path().join("failed-once");
    let commands = format!(
        "nodes: 2\nretry: {{on_events: [error], duration: 10m}}\ncommands:\n  - if [ $DSTACK_NODE_RANK = 1 ] && ! test -e {mark}; then touch {mark}; exit 5; fi\n  - sleep 2; echo rank $DSTACK_NODE_RANK of $DSTACK_NODES_NUM\n",
        mark = mark.display()
    );
    let file = client.write("pair.yml", &task("pair", &commands))?;
    let out = client.output(&["apply", "-y", "-f", &file]).await?;
    let said = text(&out);
    ensure!(out.status.success(), "{}: {said}", out.status);
    ensure!(said.contains("rank 0 of 2"), "{said}");
    let run = client.run(&["run", "get", "pair", "--json"]).await?;
    let run: serde_json::Value = serde_json::from_str(&run)?;
    for job in run["jobs"].as_array().into_iter().flatten() {
        let tries = job["job_submissions"].as_array().map_or(0, Vec::len);
        ensure!(
            tries == 2,
            "{tries} tries of {}",
            job["job_spec"]["job_name"]
        );
    }
    let other = client.run(&["logs", "pair", "--job", "1"]).await?;
    ensure!(other.contains("rank 1 of 2"), "{other}");
    Ok(())
}
