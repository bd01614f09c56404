//! What a session runs: a login shell, a command, or the sftp server, as the job's user in the job's environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, io};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::{Child, Command};

use super::plan::Plan;
use super::terminal::{Control, Size, Terminal};
use crate::runner::user::Identity;

/// What the client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    Shell,
    Command(Vec<u8>),
    Sftp,
}

/// What it asked for before.
#[derive(Default)]
pub struct Setting {
    pub env: BTreeMap<String, String>,
    pub terminal: Option<(String, Size)>,
    pub agent: Option<PathBuf>,
    pub peer: String,
}

/// A started program and its ends.
pub struct Running {
    pub child: Child,
    /// Also its process group and session.
    pub pid: i32,
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    pub errors: Option<Box<dyn AsyncRead + Send + Unpin>>,
    pub control: Option<Control>,
}

pub fn start(
    program: &Program,
    setting: &Setting,
    plan: &Plan,
    user: &Identity,
) -> io::Result<Running> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("exec")
        .args(["--parent", &std::process::id().to_string()]);
    if user.switch {
        let groups: Vec<String> = user.groups.iter().map(u32::to_string).collect();
        command
            .args(["--uid", &user.uid.to_string()])
            .args(["--gid", &user.gid.to_string()])
            .args(["--groups", &groups.join(",")]);
    }
    let terminal = match &setting.terminal {
        Some((_, size)) => Some(Terminal::open(*size)?),
        None => None,
    };
    if terminal.is_some() {
        command.arg("--tty");
    }
    command
        .arg("--cwd")
        .arg(folder(plan, user))
        .arg("--")
        .args(argv(program, &user.shell))
        .env_clear()
        .envs(environment(setting, plan, user));
    match terminal {
        Some(terminal) => with_terminal(command, terminal),
        None => with_pipes(command),
    }
}

fn with_terminal(mut command: Command, terminal: Terminal) -> io::Result<Running> {
    let [stdin, stdout, stderr] = terminal.program;
    let child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn()?;
    Ok(Running {
        pid: pid(&child),
        child,
        input: Box::new(terminal.keyboard),
        output: Box::new(terminal.screen),
        errors: None,
        control: Some(terminal.control),
    })
}

fn with_pipes(mut command: Command) -> io::Result<Running> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let missing = || io::Error::other("a pipe to the program is missing");
    let input = child.stdin.take().ok_or_else(missing)?;
    let output = child.stdout.take().ok_or_else(missing)?;
    let errors = child.stderr.take().ok_or_else(missing)?;
    Ok(Running {
        pid: pid(&child),
        child,
        input: Box::new(input),
        output: Box::new(output),
        errors: Some(Box::new(errors)),
        control: None,
    })
}

fn pid(child: &Child) -> i32 {
    child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .unwrap_or_default()
}

fn argv(program: &Program, shell: &Path) -> Vec<OsString> {
    match program {
        Program::Shell => vec![shell.into(), "-l".into()],
        Program::Command(line) => vec![shell.into(), "-c".into(), OsString::from_vec(line.clone())],
        Program::Sftp => vec!["/proc/self/exe".into(), "sftp".into()],
    }
}

/// The job's working folder, or the next best.
fn folder(plan: &Plan, user: &Identity) -> PathBuf {
    [&plan.working_dir, &user.home]
        .into_iter()
        .find(|path| path.is_dir())
        .cloned()
        .unwrap_or_else(|| "/".into())
}

fn environment(setting: &Setting, plan: &Plan, user: &Identity) -> BTreeMap<String, String> {
    let mut env = plan.env.clone();
    env.remove("TERM");
    let text = |path: &Path| path.display().to_string();
    env.extend([
        ("HOME".to_owned(), text(&user.home)),
        ("USER".to_owned(), user.name.clone()),
        ("LOGNAME".to_owned(), user.name.clone()),
        ("SHELL".to_owned(), text(&user.shell)),
        ("SSH_CONNECTION".to_owned(), setting.peer.clone()),
    ]);
    env.extend(setting.env.clone());
    if let Some((term, _)) = &setting.terminal {
        env.insert("TERM".into(), term.clone());
    }
    if let Some(socket) = &setting.agent {
        env.insert("SSH_AUTH_SOCK".into(), text(socket));
    }
    if let Ok(zone) = env::var("TZ") {
        env.entry("TZ".into()).or_insert(zone);
    }
    env
}

/// Variables a client may set, as sshd's defaults have it, and our own.
pub fn may_set(name: &str) -> bool {
    name == "LANG"
        || name == "COLORTERM"
        || ["LC_", "DSTACK_", "GIT_PROTOCOL", "TERM_PROGRAM"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}
