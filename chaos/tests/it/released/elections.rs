//! The client at work while leaders die.

use anyhow::{Result, ensure};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

use super::{Setting, setting, task};

/// The client's own address must live, because it knows no other: leaders die, the follower it asks does not.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_while_the_leader_is_killed_again_and_again() -> Result<()> {
    let Setting {
        client,
        mut lab,
        folder: _folder,
    } = setting().await?;
    let asked = client.url().to_owned();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let until = stop.clone();
    let work: JoinHandle<Result<usize>> = tokio::spawn(async move {
        let mut rounds = 0;
        while !until.load(std::sync::atomic::Ordering::Acquire) {
            let name = format!("round-{rounds}");
            let yaml = task(&name, &format!("commands: [\"echo this is {name}\"]\n"));
            let file = client.write("round.yml", &yaml)?;
            let said = client.run(&["apply", "-y", "-f", &file]).await?;
            ensure!(said.contains(&format!("this is {name}")), "{said}");
            let said = client.run(&["ps", "-a", "-n", "5"]).await?;
            ensure!(said.contains(&name), "its own write is not read: {said}");
            client.run(&["secret", "set", "round", &name]).await?;
            let said = client.run(&["secret", "get", "round"]).await?;
            ensure!(said.contains(&name), "its own write is not read: {said}");
            rounds += 1;
        }
        Ok(rounds)
    });
    let end = Instant::now() + Duration::from_secs(20);
    let mut killed = 0;
    while Instant::now() < end && !work.is_finished() {
        let leader = lab.cluster.wait_leader(Duration::from_secs(30)).await?;
        let dies = if lab.cluster.replicas[leader].url() == asked {
            (leader + 1) % lab.cluster.replicas.len()
        } else {
            killed += 1;
            leader
        };
        lab.cluster.replicas[dies].kill()?;
        lab.cluster.replicas[dies].start()?;
        lab.cluster.replicas[dies]
            .wait_answers(Duration::from_secs(30))
            .await?;
        tokio::time::sleep(Duration::from_secs(3)).await; // the schedule's own rhythm
    }
    stop.store(true, std::sync::atomic::Ordering::Release);
    let rounds = work.await??;
    ensure!(
        rounds > 0 && killed > 0,
        "{rounds} rounds, {killed} leaders"
    );
    Ok(())
}
