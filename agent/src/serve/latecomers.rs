//! For clients that come when their job is over. One that is attached to a short job may find it done before its
//! tunnel stands; so for a while the agent answers in the job's place, at its port and with its host key, and has
//! nothing but its output to give.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use uuid::Uuid;

use super::entry::Entry;
use super::guest_keys::Grant;
use crate::home::Home;
use crate::record::reason;
use crate::runner::sshd::{self, Late, SSH_PORT};

/// Clients look every five seconds, then try for ten or so.
const WHILE: Duration = Duration::from_secs(60);
/// Jobs that are answered for at a time.
const MOST: usize = 64;

pub struct Latecomers {
    root: PathBuf,
    jobs: BTreeMap<Uuid, Job>,
}

struct Job {
    until: Instant,
    grants: Vec<Grant>,
    serving: AbortHandle,
}

impl Latecomers {
    /// What an earlier life kept for them is given up.
    pub fn new(home: &Home) -> Self {
        let root = home.root().join("late");
        let _ = fs::remove_dir_all(&root);
        Self {
            root,
            jobs: BTreeMap::new(),
        }
    }

    /// Answers for a job that has just ended well; of others the client asks nothing.
    pub fn answer_for(&mut self, entry: &Entry) {
        let record = &entry.record;
        let done = record
            .exit
            .as_ref()
            .is_some_and(|exit| exit.reason == reason::DONE);
        let grants = entry.grants();
        if !done || grants.is_empty() || self.jobs.len() >= MOST {
            return;
        }
        let folder = self.root.join(record.submission.to_string());
        let kept = [
            (entry.task.job.spool(), "spool"),
            (entry.task.job.ssh(), "ssh"),
        ]
        .iter()
        .try_for_each(|(from, name)| keep(from, &folder.join(name)));
        if let Err(error) = kept {
            tracing::warn!(submission = %record.submission, %error, "those who attach late will not find the job's output");
            return;
        }
        let late = Late {
            port: entry.ssh_port().unwrap_or(SSH_PORT),
            keys: folder.join("ssh"),
            authorized_keys: entry.task.order.authorized_keys.clone(),
            spool: folder.join("spool"),
        };
        let serving = tokio::spawn(async move {
            if let Err(error) = sshd::late(late).await {
                tracing::debug!(%error, "nobody can attach late");
            }
        });
        let job = Job {
            until: Instant::now() + WHILE,
            grants,
            serving: serving.abort_handle(),
        };
        self.jobs.insert(record.submission, job);
    }

    /// Ends what has lasted long enough.
    pub fn round(&mut self) {
        let now = Instant::now();
        self.jobs.retain(|submission, job| {
            let stays = job.until > now;
            if !stays {
                job.serving.abort();
                let _ = fs::remove_dir_all(self.root.join(submission.to_string()));
            }
            stays
        });
    }

    /// Who must still be let through the host.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.jobs.values().flat_map(|job| &job.grants)
    }
}

/// The job's own folder goes when the server has its output; links stay.
fn keep(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        match fs::hard_link(entry.path(), to.join(entry.file_name())) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}
