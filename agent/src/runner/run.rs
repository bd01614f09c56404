//! `dstack-agent run --dir DIR`: the life of a runner.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use dstack_api::agent::stream;
use dstack_api::agent_job::JobOrder;
use nix::sys::prctl;

use super::companion;
use super::metrics::{self, Source};
use super::outcome::outcome;
use super::output::Output;
use super::prepare::{Prepared, Unfit, prepare};
use super::sshd::{Companion, SSH_PORT};
use super::supervise::{DEFAULT_GRACE, Limits, Signals, Supervisor};
use crate::home::JobDir;
use crate::process_table::ProcessId;
use crate::record::{Claim, ExitRecord, Launch, Running, Secrets, StopOrder, reason};
use crate::spool::{Owner, SpoolWriter};
use crate::{clock, durable};

/// Another runner has, or had, this order.
const TAKEN: i32 = 75;

/// Takes the order in `dir` and brings it to an end. The result is the process's exit status.
pub fn run(dir: &Path) -> anyhow::Result<i32> {
    let job = JobDir::at(
        dir.canonicalize()
            .with_context(|| format!("no job folder at {}", dir.display()))?,
    );
    // A leader of a group cannot, and need not, leave its session: process 1 of a container.
    let _ = nix::unistd::setsid();
    let owner = owner_of(job.root())?;
    if !claim(&job, owner)? {
        return Ok(TAKEN);
    }
    // Orphans of the job come to the runner and end with it, as they would in a container.
    prctl::set_child_subreaper(true)?;
    let mut log = Log {
        spool: SpoolWriter::open(&job.spool(), stream::RUNNER, owner)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let record = match read_order(&job) {
        Ok(order) => runtime.block_on(execute(&job, &order, owner, &mut log)),
        Err(error) => ExitRecord::without_status(
            reason::EXECUTOR,
            format!("the runner cannot read its order: {error}"),
            clock::now(),
        ),
    };
    log.say(&format!("ended: {}", first_line(&record)));
    let _ = log.spool.sync();
    write_exit(&job, &record, owner)?;
    Ok(record.exit_status.unwrap_or(1))
}

/// Diagnostics, for `dstack logs -d`.
struct Log {
    spool: SpoolWriter,
}

impl Log {
    fn say(&mut self, line: &str) {
        // A disk that is full must not end the job.
        let _ = self.spool.say(clock::now_micros(), line);
    }
}

async fn execute(job: &JobDir, order: &JobOrder, owner: Owner, log: &mut Log) -> ExitRecord {
    match try_execute(job, order, owner, log).await {
        Ok(record) => record,
        Err(unfit) => ExitRecord::without_status(unfit.reason, unfit.message, clock::now()),
    }
}

async fn try_execute(
    job: &JobDir,
    order: &JobOrder,
    owner: Owner,
    log: &mut Log,
) -> Result<ExitRecord, Unfit> {
    // From here on a stop no longer ends the runner itself.
    let signals = Signals::catch().map_err(executor("cannot catch signals"))?;
    let prepared = ready(job, order, log)?;
    let spool = SpoolWriter::open(&job.spool(), stream::JOB, owner)
        .map_err(executor("cannot open the job's spool"))?;
    let output = Output::new(spool, order.log_quota_hour_bytes);
    let companion = companion::start(job, order, &prepared).unwrap_or_else(|error| {
        log.say(&format!("no SSH to this job: {error:#}"));
        None
    });
    let beside = companion.as_ref().map(Companion::pid);
    let supervisor = Supervisor::start(job, &prepared, output, limits(order), beside)
        .map_err(executor("cannot start the job's command"))?;
    let running = Running {
        started_at: clock::now(),
        user: prepared.identity.name.clone(),
        working_dir: prepared.working_dir.display().to_string(),
        ports: own_ports(companion.as_ref(), order, &prepared),
    };
    log.say(&format!(
        "started as {} in {}",
        running.user, running.working_dir
    ));
    if let Err(error) = write_owned(&job.running(), &running, owner) {
        log.say(&format!(
            "cannot write {}: {error}",
            job.running().display()
        ));
    }
    let source = Source::find(&prepared.cgroups, std::process::id() == 1);
    let ended = supervisor
        .run(signals, metrics::watch(job, &source, order, owner))
        .await
        .map_err(executor("the runner lost its job"))?;
    if let Some(companion) = companion {
        companion.finish();
    }
    Ok(outcome(
        ended.status,
        ended.cause,
        &ended.output.tail(),
        clock::now(),
    ))
}

/// Everything before the command; a stop that comes meanwhile is obeyed at its end.
fn ready(job: &JobDir, order: &JobOrder, log: &mut Log) -> Result<Prepared, Unfit> {
    let launch: Launch = durable::read_json(&job.launch())
        .map_err(executor("cannot read how to launch the job"))?
        .unwrap_or_default();
    log.say(&format!(
        "dstack-agent {} runs {}",
        env!("CARGO_PKG_VERSION"),
        order.job_name
    ));
    for note in &launch.notes {
        log.say(note);
    }
    enter_cgroups(&launch, log);
    let secrets = take_secrets(job).map_err(executor("cannot read the job's secrets"))?;
    let prepared = prepare(job, order, &launch, &secrets, &mut |line| log.say(line))?;
    if stopped(job) {
        return Err(Unfit {
            reason: reason::BY_SERVER,
            message: "stopped before it started".into(),
        });
    }
    Ok(prepared)
}

/// On the host's network the SSH server may have had to take another port.
fn own_ports(
    companion: Option<&Companion>,
    order: &JobOrder,
    prepared: &Prepared,
) -> BTreeMap<u16, u16> {
    companion
        .filter(|_| companion::on_host_network(order, prepared.layout))
        .map(|companion| (SSH_PORT, companion.port))
        .into_iter()
        .collect()
}

fn limits(order: &JobOrder) -> Limits {
    Limits {
        max_duration: order.max_duration_s.map(Duration::from_secs),
        // `stop_duration` bounds what comes after a job (volumes); it can only shorten this.
        grace: order.stop_duration_s.map_or(DEFAULT_GRACE, |seconds| {
            DEFAULT_GRACE.min(Duration::from_secs(seconds))
        }),
    }
}

fn executor(what: &'static str) -> impl Fn(io::Error) -> Unfit {
    move |error| Unfit {
        reason: reason::EXECUTOR,
        message: format!("{what}: {error}"),
    }
}

/// Takes the order, unless somebody has.
fn claim(job: &JobDir, owner: Owner) -> anyhow::Result<bool> {
    let text = serde_json::to_vec(&Claim {
        process: ProcessId::own()?,
    })?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(job.claim());
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            eprintln!("another runner has taken {}", job.root().display());
            return Ok(false);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot claim {}", job.root().display()));
        }
    };
    file.write_all(&text)?;
    file.sync_all()?;
    give(&job.claim(), owner)?;
    durable::sync_dir(job.root())?;
    Ok(true)
}

fn read_order(job: &JobDir) -> anyhow::Result<JobOrder> {
    let text = fs::read_to_string(job.order())?;
    Ok(JobOrder::from_json(&text)?)
}

/// Reads the secrets and removes them from the disk.
fn take_secrets(job: &JobDir) -> io::Result<Secrets> {
    let secrets: Option<Secrets> = durable::read_json(&job.secrets())?;
    durable::remove_file(&job.secrets())?;
    Ok(secrets.unwrap_or_default())
}

fn stopped(job: &JobDir) -> bool {
    matches!(durable::read_json::<StopOrder>(&job.stop()), Ok(Some(_)))
}

fn enter_cgroups(launch: &Launch, log: &mut Log) {
    for group in &launch.cgroups {
        // "0" is the writer itself.
        if let Err(error) = fs::write(group.join("cgroup.procs"), "0") {
            log.say(&format!(
                "the job's limits are not enforced: cannot enter {}: {error}",
                group.display()
            ));
        }
    }
}

/// The end must get onto the disk even if the disk is full right now.
fn write_exit(job: &JobDir, record: &ExitRecord, owner: Owner) -> anyhow::Result<()> {
    let mut attempts = 0;
    loop {
        match write_owned(&job.exit(), record, owner) {
            Ok(()) => return Ok(()),
            Err(error) if attempts >= 60 => {
                return Err(error).context("cannot write the exit record");
            }
            Err(_) => {
                attempts += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

fn write_owned<T: serde::Serialize>(path: &Path, value: &T, owner: Owner) -> io::Result<()> {
    durable::write_json(path, value)?;
    give(path, owner)
}

/// Who owns the job's folder, where that is somebody else and this process may give files away.
fn owner_of(root: &Path) -> io::Result<Owner> {
    let meta = fs::metadata(root)?;
    let own = nix::unistd::geteuid();
    Ok((own.is_root() && meta.uid() != own.as_raw()).then(|| (meta.uid(), meta.gid())))
}

fn give(path: &Path, owner: Owner) -> io::Result<()> {
    match owner {
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

fn first_line(record: &ExitRecord) -> String {
    let message = record.message.lines().next().unwrap_or_default();
    let separator = if message.is_empty() { "" } else { ": " };
    format!("{}{separator}{message}", record.reason)
}
