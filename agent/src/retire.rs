//! The end of an agent and of everything it keeps: what a machine does before it is given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use uuid::Uuid;

use crate::durable;
use crate::home::Home;
use crate::record::JobRecord;
use crate::runtime::{Runtime, Task};
use crate::serve::{AlreadyServed, HomeLock, lock_home};

/// An agent that was told to leave is waited for this long, then killed: it leaves its jobs as they are either way.
const LEAVE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// Stops the agent that serves the home and takes its place, so that nothing new is started.
pub fn take_over(home: &Home) -> anyhow::Result<HomeLock> {
    let (since, mut told) = (Instant::now(), false);
    loop {
        let served = match lock_home(home) {
            Ok(lock) => return Ok(lock),
            Err(error) => error.downcast::<AlreadyServed>()?,
        };
        // Empty for the moment between the lock and the writing of the number.
        if let Ok(pid) = served.pid.parse().map(Pid::from_raw) {
            let late = since.elapsed() > LEAVE;
            if late || !told {
                let signal = if late {
                    Signal::SIGKILL
                } else {
                    Signal::SIGTERM
                };
                let _ = kill(pid, signal); // gone already is as good
                told = true;
            }
        }
        if since.elapsed() > 2 * LEAVE {
            anyhow::bail!("{served} and does not end");
        }
        std::thread::sleep(LOOK);
    }
}

/// Kills every job of the home, then removes the home. Called again, it goes on where it failed.
pub async fn retire(home: &Home, runtime: Arc<dyn Runtime>, _lock: HomeLock) -> anyhow::Result<()> {
    for submission in home.submissions()? {
        end(home, runtime.as_ref(), submission)
            .await
            .with_context(|| format!("the job {submission} is still there"))?;
    }
    durable::remove_dir(home.root())
        .with_context(|| format!("cannot remove {}", home.root().display()))
}

async fn end(home: &Home, runtime: &dyn Runtime, submission: Uuid) -> anyhow::Result<()> {
    let job = home.job(submission);
    let record: Option<JobRecord> = durable::read_json(&job.record()).unwrap_or_default();
    let task = Task {
        submission,
        job,
        order: Arc::default(),
    };
    // One that was started and not noted down yet is found by its name.
    let noted = record.and_then(|record| record.handle);
    let handle = match noted {
        Some(handle) => Some(handle),
        None => runtime.find(&task).await?.map(|started| started.handle),
    };
    if let Some(handle) = &handle {
        runtime.kill(&task, handle).await?;
        runtime.gone(&task, handle).await;
    }
    runtime.remove(&task, handle.as_ref()).await?;
    Ok(())
}
