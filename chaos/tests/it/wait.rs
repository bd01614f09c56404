//! Waiting for the world to be as it should.

use anyhow::{Result, ensure};
use dstack_chaos::lab::pause;
use std::time::{Duration, Instant};

/// How long anything may take here.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        pause().await;
    }
    Ok(())
}

/// Whether something answers well at that address.
pub async fn answers(url: &str) -> bool {
    let answer = dstack_chaos::lab::http().get(url).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
