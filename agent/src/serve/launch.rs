//! Work that takes its time, beside the reconciler: starting, watching, killing, removing.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::reconciler::Message;
use crate::durable;
use crate::home::Home;
use crate::record::{Handle, Running, StopOrder};
use crate::runtime::{Fuel, Progress, Runtime, StartError, Started, Task};

/// How long a runner that is told to end at once may take to store the last output.
const LAST_WORDS: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);
const AGAIN: Duration = Duration::from_secs(2);

/// Pulls, asks the reconciler whether the job is still wanted, and starts the runner.
pub async fn start(
    runtime: Arc<dyn Runtime>,
    home: Home,
    task: Task,
    fuel: Fuel,
    progress: Progress,
    inbox: mpsc::Sender<Message>,
) {
    let submission = task.submission;
    let result = try_start(runtime.as_ref(), &home, &task, &fuel, &progress, &inbox).await;
    if let Some(result) = result {
        let _ = inbox.send(Message::Started { submission, result }).await;
    }
}

/// `None`: the reconciler no longer wants it, and has said so in the record.
async fn try_start(
    runtime: &dyn Runtime,
    home: &Home,
    task: &Task,
    fuel: &Fuel,
    progress: &Progress,
    inbox: &mpsc::Sender<Message>,
) -> Option<Result<Started, StartError>> {
    let launch = match runtime.prepare(task, fuel, progress).await {
        Ok(launch) => launch,
        Err(error) => return Some(Err(error)),
    };
    let (go, wanted) = oneshot::channel();
    inbox
        .send(Message::Prepared {
            submission: task.submission,
            go,
        })
        .await
        .ok()?;
    wanted.await.ok()?;
    let written = bring_archives(home, task)
        .and_then(|()| durable::write_json(&task.job.launch(), &launch))
        .and_then(|()| durable::write_json(&task.job.secrets(), fuel.secrets.as_ref()));
    if let Err(error) = written {
        return Some(Err(StartError::executor(format!(
            "cannot write to the job's folder: {error}"
        ))));
    }
    Some(runtime.start(task, &launch).await)
}

/// The job sees only its own folder, so its archives have to be there.
fn bring_archives(home: &Home, task: &Task) -> io::Result<()> {
    let order = &task.order;
    let names = order.archives.iter().map(|archive| &archive.sha256);
    for sha256 in names.chain(order.code_archive.iter().map(|code| &code.sha256)) {
        let Some(source) = home.archive(sha256) else {
            continue;
        };
        let target = task.job.archives().join(sha256);
        match fs::hard_link(&source, &target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

/// Looks, until there is an answer, for a runner that was started and not noted down.
pub async fn adopt(runtime: Arc<dyn Runtime>, task: Task, inbox: mpsc::Sender<Message>) {
    loop {
        match runtime.find(&task).await {
            Ok(found) => {
                let _ = inbox
                    .send(Message::Found {
                        submission: task.submission,
                        found,
                    })
                    .await;
                return;
            }
            Err(error) => {
                tracing::warn!(submission = %task.submission, %error, "cannot look for the job's runner")
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reports when the command runs and when the runner is gone.
pub async fn watch(
    runtime: Arc<dyn Runtime>,
    task: Task,
    handle: Handle,
    inbox: mpsc::Sender<Message>,
) {
    let submission = task.submission;
    let gone = runtime.gone(&task, &handle);
    tokio::pin!(gone);
    let mut running = false;
    let gone = loop {
        tokio::select! {
            gone = &mut gone => break gone,
            () = tokio::time::sleep(LOOK), if !running => {
                if let Ok(Some(started)) = durable::read_json::<Running>(&task.job.running()) {
                    running = true;
                    let _ = inbox.send(Message::Running { submission, started }).await;
                }
            }
        }
    };
    let _ = inbox.send(Message::Gone { submission, gone }).await;
}

/// Passes a stop on. The order lies on disk, so a runner that misses the signal still finds it.
pub async fn stop(runtime: Arc<dyn Runtime>, task: Task, handle: Handle, grace_s: u32) {
    if let Err(error) = durable::write_json(&task.job.stop(), &StopOrder { grace_s }) {
        tracing::error!(submission = %task.submission, %error, "cannot write the stop order");
    }
    if let Err(error) = runtime.nudge(&task, &handle).await {
        tracing::warn!(submission = %task.submission, %error, "cannot reach the runner");
    }
}

/// Ends a job at once, but lets a runner that is well store the last output first.
pub async fn kill(runtime: Arc<dyn Runtime>, task: Task, handle: Handle) {
    stop(runtime.clone(), task.clone(), handle.clone(), 0).await;
    let last = tokio::time::Instant::now() + LAST_WORDS;
    while !task.job.exit().exists() && tokio::time::Instant::now() < last {
        tokio::time::sleep(LOOK).await;
    }
    if let Err(error) = runtime.kill(&task, &handle).await {
        tracing::warn!(submission = %task.submission, %error, "cannot kill the job");
    }
}

/// Removes what is left of a job, outside and inside its folder.
pub async fn forget(
    runtime: Arc<dyn Runtime>,
    task: Task,
    handle: Option<Handle>,
    inbox: mpsc::Sender<Message>,
) {
    let removed = match runtime.remove(&task, handle.as_ref()).await {
        Ok(()) => durable::remove_dir(task.job.root()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let removed = removed.map_err(|error| {
        tracing::warn!(submission = %task.submission, error, "cannot remove what is left of the job");
    });
    if removed.is_err() {
        tokio::time::sleep(AGAIN).await;
    }
    let _ = inbox
        .send(Message::Forgotten {
            submission: task.submission,
            removed: removed.is_ok(),
        })
        .await;
}
