//! Limits for jobs without a container, where the host lets us set them: cgroup v2, else v1.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dstack_api::agent_job::JobOrder;
use uuid::Uuid;

const MOUNT: &str = "/sys/fs/cgroup";
const FOLDER: &str = "dstack-agent";
const PERIOD_US: u64 = 100_000;

/// The groups made for a job, and what could not be done.
#[derive(Debug, Default)]
pub struct Made {
    pub groups: Vec<PathBuf>,
    pub notes: Vec<String>,
}

/// Makes the groups the order's limits ask for; the runner enters them by itself.
pub fn make(submission: Uuid, order: &JobOrder) -> Made {
    let mut made = Made::default();
    if order.cpu_limit.is_none() && order.memory_limit_bytes.is_none() {
        return made;
    }
    if let Err(error) = try_make(Path::new(MOUNT), submission, order, &mut made) {
        made.notes.push(format!(
            "the job's CPU and memory limits are not enforced on this host: {error}"
        ));
        for group in made.groups.drain(..) {
            let _ = fs::remove_dir(group);
        }
    }
    made
}

/// Removes a job's groups. The kernel refuses while a process of the job is still going away.
pub fn remove(submission: Uuid) -> io::Result<()> {
    candidates(Path::new(MOUNT), submission)
        .iter()
        .try_for_each(fs::remove_dir)
}

/// Kills what is in the job's group, where the kernel can.
pub fn kill(submission: Uuid) {
    for group in candidates(Path::new(MOUNT), submission) {
        let _ = fs::write(group.join("cgroup.kill"), "1");
    }
}

fn try_make(mount: &Path, submission: Uuid, order: &JobOrder, made: &mut Made) -> io::Result<()> {
    if mount.join("cgroup.controllers").exists() {
        return make_v2(mount, submission, order, made);
    }
    if let Some(bytes) = order.memory_limit_bytes {
        let group = group(&mount.join("memory"), submission, made)?;
        fs::write(group.join("memory.limit_in_bytes"), bytes.to_string())?;
    }
    if let Some(cores) = order.cpu_limit {
        let group = group(&mount.join("cpu"), submission, made)?;
        fs::write(group.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
        fs::write(group.join("cpu.cfs_quota_us"), quota_us(cores).to_string())?;
    }
    Ok(())
}

fn make_v2(mount: &Path, submission: Uuid, order: &JobOrder, made: &mut Made) -> io::Result<()> {
    let controllers = "+cpu +memory";
    fs::write(mount.join("cgroup.subtree_control"), controllers)?;
    let group = group(mount, submission, made)?;
    if let Some(parent) = group.parent() {
        fs::write(parent.join("cgroup.subtree_control"), controllers)?;
    }
    if let Some(bytes) = order.memory_limit_bytes {
        fs::write(group.join("memory.max"), bytes.to_string())?;
    }
    if let Some(cores) = order.cpu_limit {
        fs::write(
            group.join("cpu.max"),
            format!("{} {PERIOD_US}", quota_us(cores)),
        )?;
    }
    Ok(())
}

fn group(hierarchy: &Path, submission: Uuid, made: &mut Made) -> io::Result<PathBuf> {
    if !hierarchy.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is not there", hierarchy.display()),
        ));
    }
    let group = hierarchy.join(FOLDER).join(submission.to_string());
    fs::create_dir_all(&group)?;
    made.groups.push(group.clone());
    Ok(group)
}

fn quota_us(cores: f64) -> u64 {
    // Below 1 ms the kernel refuses; `as` saturates and turns NaN into zero.
    ((cores * PERIOD_US as f64) as u64).max(1_000)
}

fn candidates(mount: &Path, submission: Uuid) -> Vec<PathBuf> {
    [mount.to_owned(), mount.join("memory"), mount.join("cpu")]
        .into_iter()
        .map(|hierarchy| hierarchy.join(FOLDER).join(submission.to_string()))
        .filter(|group| group.is_dir())
        .collect()
}
