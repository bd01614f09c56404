//! The last step before the command: a short-lived process of this binary that becomes it.
//!
//! A new session, the terminal, the limits and the user have to be set between fork and exec.
//! Doing it in a program of its own needs no unsafe code after a fork, and no name service.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::fcntl::{OFlag, open};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, getppid, setgid, setgroups, setsid, setuid, ttyname};

/// What to become.
#[derive(Debug, Clone)]
pub struct ExecPlan {
    /// The runner; if it is gone already, so is the job.
    pub parent: i32,
    pub tty: bool,
    /// User, group and supplementary groups; `None` keeps the runner's.
    pub user: Option<(u32, u32, Vec<u32>)>,
    pub working_dir: PathBuf,
    pub argv: Vec<OsString>,
}

/// Becomes the command; returns only what went wrong.
pub fn exec(plan: &ExecPlan) -> io::Error {
    match prepare(plan) {
        Ok(mut command) => {
            let error = command.exec();
            let name = plan
                .argv
                .first()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            io::Error::new(
                error.kind(),
                format!(
                    "cannot execute {name} in {}: {error}",
                    plan.working_dir.display()
                ),
            )
        }
        Err(error) => error,
    }
}

fn prepare(plan: &ExecPlan) -> io::Result<Command> {
    let (program, args) = plan
        .argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the order has no command"))?;
    setsid()?;
    if plan.tty {
        // The first terminal that a session leader opens becomes its controlling terminal.
        let name = ttyname(io::stdin())?;
        open(&name, OFlag::O_RDWR, Mode::empty())?;
    }
    // Fabrics register memory; without the right to raise it the limit stays what it is.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    if let Some((uid, gid, groups)) = &plan.user {
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        setgroups(&groups)?;
        setgid(Gid::from_raw(*gid))?;
        setuid(Uid::from_raw(*uid))?;
    }
    // After the change of user, which clears it.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw() != plan.parent {
        return Err(io::Error::other("the runner is gone"));
    }
    let mut command = Command::new(program);
    command.args(args).current_dir(&plan.working_dir);
    Ok(command)
}
