//! Everything between the order and the command: user, folders, archives, code, environment.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use dstack_api::agent_job::JobOrder;
use nix::unistd::{getegid, geteuid};

use super::env::{self, Env, Whereabouts};
use super::places::Places;
use super::repo_access::Access;
use super::unpack::{self, Ownership};
use super::user::{Accounts, Identity};
use super::{companion, profile, repo};
use crate::home::{JobDir, is_sha256};
use crate::record::{Launch, Layout, RepoCreds, Secrets, reason};

/// A job that is ready to be started.
#[derive(Debug)]
pub struct Prepared {
    pub argv: Vec<String>,
    pub env: Env,
    pub working_dir: PathBuf,
    pub identity: Identity,
    pub layout: Layout,
    /// The job's own cgroups, where the host let us make them.
    pub cgroups: Vec<PathBuf>,
}

/// Why a job cannot be started.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    pub reason: &'static str,
    pub message: String,
}

impl Unfit {
    fn executor(message: impl Into<String>) -> Self {
        Self {
            reason: reason::EXECUTOR,
            message: message.into(),
        }
    }
}

/// Prepares the job. `say` gets what the user may want to read later.
pub fn prepare(
    job: &JobDir,
    order: &JobOrder,
    launch: &Launch,
    secrets: &Secrets,
    say: &mut dyn FnMut(&str),
) -> Result<Prepared, Unfit> {
    let argv = if order.commands.is_empty() {
        launch.image_command.clone()
    } else {
        order.commands.clone()
    };
    if argv.is_empty() {
        return Err(Unfit::executor(
            "the order has no commands, and there is no image with an entrypoint",
        ));
    }
    let identity = Accounts::read()
        .resolve(
            order.user.as_ref(),
            launch.image_user.as_deref(),
            geteuid().as_raw(),
            getegid().as_raw(),
        )
        .map_err(Unfit::executor)?;
    let owner = identity.switch.then_some((identity.uid, identity.gid));
    let places = Places::new(launch.layout, &job.chroot(), &identity.home);
    make_home(&identity, launch.layout).map_err(Unfit::executor)?;
    open_way(job, &places, owner).map_err(Unfit::executor)?;

    let working_dir = working_dir(order, &places, owner).map_err(Unfit::executor)?;
    unpack_archives(job, order, &places, &working_dir, owner).map_err(Unfit::executor)?;
    let repo_dir = repo_dir(order, &places, &working_dir).map_err(Unfit::executor)?;
    place_repo(job, order, secrets.repo.as_ref(), &repo_dir, owner, say)?;

    let hostfile = write_hostfile(order, &places).map_err(Unfit::executor)?;
    let at = Whereabouts {
        places: &places,
        identity: &identity,
        working_dir: &working_dir,
        repo_dir: &repo_dir,
        hostfile: &hostfile,
    };
    let mut env = env::job_env(own_env(), order, &secrets.env, &at);
    if let Err(error) = companion::connect_nodes(order, &places, &identity, owner, &mut env) {
        say(&format!(
            "the nodes of this job cannot reach each other over SSH: {error}"
        ));
    }
    if let Err(error) = profile::write(&places.dstack(), launch.layout, owner, &env, &working_dir) {
        say(&format!("no profile for login shells: {error}"));
    }
    Ok(Prepared {
        argv,
        env,
        working_dir,
        identity,
        layout: launch.layout,
        cgroups: launch.cgroups.clone(),
    })
}

/// The runner's own variables; in a container these are the container's.
fn own_env() -> Env {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn make_home(identity: &Identity, layout: Layout) -> Result<(), String> {
    if layout == Layout::Container && !identity.home.exists() {
        let owner = identity.switch.then_some((identity.uid, identity.gid));
        unpack::make_dirs(&identity.home, owner).map_err(|error| {
            format!(
                "cannot create the home {}: {error}",
                identity.home.display()
            )
        })?;
    }
    Ok(())
}

/// The folders of the job are the runner's alone; another user must be able to walk through.
fn open_way(job: &JobDir, places: &Places, owner: Ownership) -> Result<(), String> {
    let dstack = places.dstack();
    let mpi = dstack.join("mpi");
    unpack::make_dirs(&mpi, None)
        .map_err(|error| format!("cannot create {}: {error}", mpi.display()))?;
    if let (Layout::Host, Some((uid, gid))) = (places.layout(), owner) {
        // Only the way to root/, and only for passing: orders, spools and secrets stay closed.
        for path in [job.root(), &job.chroot()] {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(path, fs::Permissions::from_mode(0o711))
                .map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        }
        chown(job.chroot(), Some(uid), Some(gid)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn working_dir(order: &JobOrder, places: &Places, owner: Ownership) -> Result<PathBuf, String> {
    let workflow = places.workflow();
    let dir = match (&order.working_dir, places.layout()) {
        (Some(path), _) => places.resolve(path, &workflow)?,
        (None, Layout::Container) => std::env::current_dir().unwrap_or_else(|_| "/".into()),
        (None, Layout::Host) => workflow,
    };
    unpack::make_dirs(&dir, owner).map_err(|error| {
        format!(
            "the working folder {} is not there and cannot be created: {error}; set working_dir to another",
            dir.display()
        )
    })?;
    if !dir.is_dir() {
        return Err(format!("working_dir {} is not a folder", dir.display()));
    }
    Ok(dir)
}

fn unpack_archives(
    job: &JobDir,
    order: &JobOrder,
    places: &Places,
    working_dir: &Path,
    owner: Ownership,
) -> Result<(), String> {
    for archive in &order.archives {
        let source = job_archive(job, &archive.sha256)?;
        let target = places.resolve(&archive.path, working_dir)?;
        unpack::unpack(&source, &target, owner).map_err(|error| match places.layout() {
            Layout::Host => format!(
                "{error}; this host runs jobs without containers, so {} is the host's own path",
                archive.path
            ),
            Layout::Container => error,
        })?;
    }
    Ok(())
}

fn job_archive(job: &JobDir, sha256: &str) -> Result<PathBuf, String> {
    if !is_sha256(sha256) {
        return Err(format!("{sha256} is not the digest of an archive"));
    }
    let path = job.archives().join(sha256);
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("archive {sha256} is not on this host"))
    }
}

fn repo_dir(order: &JobOrder, places: &Places, working_dir: &Path) -> Result<PathBuf, String> {
    match order.repo.as_ref().and_then(|repo| repo.dir.as_deref()) {
        Some(dir) => places.resolve(dir, working_dir),
        None => Ok(places.workflow()),
    }
}

fn place_repo(
    job: &JobDir,
    order: &JobOrder,
    creds: Option<&RepoCreds>,
    dir: &Path,
    owner: Ownership,
    say: &mut dyn FnMut(&str),
) -> Result<(), Unfit> {
    let Some(order_repo) = &order.repo else {
        return Ok(());
    };
    let code = match &order.code_archive {
        Some(code) => Some(job_archive(job, &code.sha256).map_err(Unfit::executor)?),
        None => None,
    };
    let url = order_repo.clone_url.as_deref().unwrap_or_default();
    let access = Access::new(url, creds, job.root())
        .map_err(|error| Unfit::executor(format!("cannot use the repo's key: {error}")))?;
    repo::place(order_repo, &access, code.as_deref(), dir, owner, say).map_err(|message| Unfit {
        reason: reason::EXITED_WITH_ERROR,
        message,
    })
}

fn write_hostfile(order: &JobOrder, places: &Places) -> Result<PathBuf, String> {
    let path = places.dstack().join("mpi/hostfile");
    fs::write(&path, env::hostfile(&order.cluster))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}
