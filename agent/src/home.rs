//! Where things lie under the agent's home, and in the folder of one job.
//!
//! ```text
//! agent.sock  agent.lock  ledger.json
//! archives/<sha256>                      what PutArchive brought
//! jobs/<submission>/
//!   order.json    what to run                        (agent writes, runner reads)
//!   launch.json   how this runtime runs it           (agent writes, runner reads)
//!   secrets.json  values of secrets; gone once read  (agent writes, runner reads and removes)
//!   job.json      the agent's record of the job      (agent)
//!   stop.json     stop now, and how patiently        (agent writes, runner reads)
//!   claim.json    which process took the order       (runner, once only)
//!   running.json  the command has been started       (runner)
//!   exit.json     how it ended                       (runner)
//!   spool/        output, in log frames              (runner)
//!   ssh/          host key and activity of the job's SSH server (runner)
//!   archives/     hard links to what the job needs
//!   root/         what a container has under /dstack and /workflow, for the process runtime
//! ```

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The agent's home.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// Makes the folders that are missing. Others may pass through to a job's own folder (jobs can
    /// have users of their own) and see nothing.
    pub fn open(root: &Path) -> io::Result<Self> {
        make(root, 0o711)?;
        let root = root.canonicalize()?;
        let home = Self { root };
        make(&home.jobs(), 0o711)?;
        make(&home.archives(), 0o700)?;
        Ok(home)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("agent.lock")
    }

    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.json")
    }

    pub fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    pub fn job(&self, submission: Uuid) -> JobDir {
        JobDir::at(self.jobs().join(submission.to_string()))
    }

    pub fn archives(&self) -> PathBuf {
        self.root.join("archives")
    }

    /// Where an archive lies; `None` for anything that is not a SHA-256 in lower-case hex, so that
    /// no name from outside ever becomes a path.
    pub fn archive(&self, sha256: &str) -> Option<PathBuf> {
        is_sha256(sha256).then(|| self.archives().join(sha256))
    }

    /// The submissions that have a folder.
    pub fn submissions(&self) -> io::Result<Vec<Uuid>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.jobs())? {
            let name = entry?.file_name();
            found.extend(name.to_str().and_then(|name| Uuid::parse_str(name).ok()));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Whether a text is a SHA-256 in lower-case hex.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The folder of one job.
#[derive(Debug, Clone)]
pub struct JobDir {
    root: PathBuf,
}

impl JobDir {
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes the folder and its inner ones.
    pub fn create(&self) -> io::Result<()> {
        make(&self.root, 0o700)?;
        make(&self.spool(), 0o700)?;
        make(&self.archives(), 0o700)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn order(&self) -> PathBuf {
        self.root.join("order.json")
    }

    pub fn launch(&self) -> PathBuf {
        self.root.join("launch.json")
    }

    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets.json")
    }

    pub fn record(&self) -> PathBuf {
        self.root.join("job.json")
    }

    pub fn stop(&self) -> PathBuf {
        self.root.join("stop.json")
    }

    pub fn claim(&self) -> PathBuf {
        self.root.join("claim.json")
    }

    pub fn running(&self) -> PathBuf {
        self.root.join("running.json")
    }

    pub fn exit(&self) -> PathBuf {
        self.root.join("exit.json")
    }

    /// The job's SSH server: its key, and who is connected.
    pub fn ssh(&self) -> PathBuf {
        self.root.join("ssh")
    }

    pub fn activity(&self) -> PathBuf {
        self.ssh().join("activity.json")
    }

    pub fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    pub fn archives(&self) -> PathBuf {
        self.root.join("archives")
    }

    /// Stands for `/` where a container would have its own.
    pub fn chroot(&self) -> PathBuf {
        self.root.join("root")
    }

    /// What the runner itself says when it cannot say it in the spool.
    pub fn stray_output(&self) -> PathBuf {
        self.root.join("runner.err")
    }

    /// The runner's binary, for runtimes that show the job only this folder.
    pub fn binary(&self) -> PathBuf {
        self.root.join("dstack-agent")
    }
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_digest_names_an_archive() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let digest = "a".repeat(64);
        assert!(home.archive(&digest).unwrap().ends_with(&digest));
        for bad in [
            "",
            "../../etc/passwd",
            &"A".repeat(64),
            &"a".repeat(63),
            &format!("{}/", "a".repeat(63)),
        ] {
            assert!(home.archive(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn folders_that_are_no_submissions_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let id = Uuid::from_u128(7);
        home.job(id).create().unwrap();
        fs::create_dir(home.jobs().join("lost+found")).unwrap();
        assert_eq!(home.submissions().unwrap(), [id]);
    }
}
