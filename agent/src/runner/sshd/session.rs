//! A session channel: what is asked before, the program, and its streams.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelMsg, Sig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::watch;

use super::agent_socket::AgentSocket;
use super::incoming::{Backlog, Incoming};
use super::plan::Plan;
use super::program::{self, Program, Running, Setting};
use super::terminal::{Control, Size};
use crate::runner::user::Identity;

/// How long a terminal is read on after the program that had it.
const AFTERWARDS: Duration = Duration::from_millis(300);
/// Between hanging up on a program whose client is gone, and killing it.
const PATIENCE: Duration = Duration::from_secs(5);
const CANNOT_START: u32 = 126;

pub struct Context {
    pub handle: Handle,
    pub plan: Arc<Plan>,
    pub user: Identity,
    pub peer: String,
    pub backlog: Arc<Backlog>,
    /// Closed with the connection.
    pub connected: watch::Receiver<()>,
}

/// The whole life of one session.
pub async fn run(mut channel: Channel<Msg>, context: Context) {
    let id = channel.id();
    let mut setting = Setting {
        peer: context.peer.clone(),
        ..Setting::default()
    };
    let mut agent = None;
    let Some(program) = negotiate(&mut channel, &context, &mut setting, &mut agent).await else {
        return;
    };
    match program::start(&program, &setting, &context.plan, &context.user) {
        Ok(running) => {
            let _ = context.handle.channel_success(id).await;
            let status = attend(channel, running, &context).await;
            if let Some(status) = status {
                report(&context.handle, id, status).await;
            }
        }
        Err(error) => {
            let _ = context.handle.channel_success(id).await;
            let text = format!("dstack: cannot start a session: {error}\r\n");
            let _ = context.handle.extended_data(id, 1, text.into_bytes()).await;
            let _ = context.handle.exit_status_request(id, CANNOT_START).await;
        }
    }
    let _ = context.handle.eof(id).await;
    let _ = context.handle.close(id).await;
}

/// Answers until a program is asked for; `None` when the channel closes before.
async fn negotiate(
    channel: &mut Channel<Msg>,
    context: &Context,
    setting: &mut Setting,
    agent: &mut Option<AgentSocket>,
) -> Option<Program> {
    let id = channel.id();
    loop {
        let done = match channel.wait().await? {
            ChannelMsg::RequestPty {
                term,
                col_width,
                row_height,
                ..
            } => {
                let size = Size {
                    columns: col_width,
                    rows: row_height,
                };
                setting.terminal = Some((term, size));
                true
            }
            ChannelMsg::SetEnv {
                variable_name,
                variable_value,
                ..
            } => {
                let allowed = program::may_set(&variable_name);
                if allowed {
                    setting.env.insert(variable_name, variable_value);
                }
                allowed
            }
            ChannelMsg::AgentForward { .. } => {
                *agent = AgentSocket::open(context.handle.clone(), &context.user).ok();
                setting.agent = agent.as_ref().map(AgentSocket::path);
                continue; // answered by the connection
            }
            ChannelMsg::WindowChange {
                col_width,
                row_height,
                ..
            } => {
                if let Some((_, size)) = &mut setting.terminal {
                    (size.columns, size.rows) = (col_width, row_height);
                }
                continue;
            }
            ChannelMsg::RequestShell { .. } => return Some(Program::Shell),
            ChannelMsg::Exec { command, .. } => return Some(Program::Command(command.to_vec())),
            ChannelMsg::RequestSubsystem { name, .. } if name == "sftp" => {
                return Some(Program::Sftp);
            }
            ChannelMsg::RequestSubsystem { .. } | ChannelMsg::RequestX11 { .. } => false,
            ChannelMsg::Close => return None,
            _ => continue,
        };
        let _ = if done {
            context.handle.channel_success(id).await
        } else {
            context.handle.channel_failure(id).await
        };
    }
}

/// Carries the streams until the program is gone and its output delivered; `None` when the client went first.
async fn attend(channel: Channel<Msg>, running: Running, context: &Context) -> Option<ExitStatus> {
    let mut connected = context.connected.clone();
    let Running {
        mut child,
        pid,
        input,
        output,
        errors,
        control,
    } = running;
    let has_terminal = control.is_some();
    let (incoming, outgoing) = channel.split();
    let incoming = Incoming::new(incoming, context.backlog.clone());
    let (stdout, stderr) = (outgoing.make_writer(), outgoing.make_writer_ext(Some(1)));
    let copying = async {
        tokio::join!(carry(output, stdout), async {
            if let Some(errors) = errors {
                carry(errors, stderr).await;
            }
        })
    };
    tokio::pin!(copying);
    let mut client = tokio::spawn(listen(incoming, input, control, pid));
    let (mut status, mut delivered) = (None, false);
    while status.is_none() || !delivered {
        tokio::select! {
            ended = child.wait(), if status.is_none() => status = ended.ok().or(Some(ExitStatus::from_raw(0))),
            _ = &mut copying, if !delivered => delivered = true,
            // Others may hold the terminal open; what this program wrote has been read by then.
            () = tokio::time::sleep(AFTERWARDS), if status.is_some() && has_terminal => delivered = true,
            _ = &mut client => break,
            gone = connected.changed() => if gone.is_err() { break },
        }
    }
    client.abort();
    if status.is_none() || !delivered {
        end(&mut child, pid, status.is_none()).await;
        return None;
    }
    status
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        use tokio::io::AsyncReadExt;
        // A terminal whose program is gone answers with an error, a pipe with nothing.
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                if to.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What the client says to a running program. Returns when it has closed the channel.
async fn listen(
    mut incoming: Incoming,
    input: Box<dyn AsyncWrite + Send + Unpin>,
    control: Option<Control>,
    pid: i32,
) {
    let mut input = Some(input);
    while let Some(message) = incoming.next().await {
        match message {
            ChannelMsg::Data { data } => {
                if let Some(open) = &mut input
                    && open.write_all(&data).await.is_err()
                {
                    input = None; // it does not read any more; it may still have much to say
                }
            }
            // A terminal has no end of input but the one that is typed.
            ChannelMsg::Eof if control.is_none() => input = None,
            ChannelMsg::WindowChange {
                col_width,
                row_height,
                ..
            } => {
                if let Some(control) = &control {
                    control.resize(Size {
                        columns: col_width,
                        rows: row_height,
                    });
                }
            }
            ChannelMsg::Signal { signal } => {
                if let Some(signal) = number(&signal) {
                    let _ = killpg(Pid::from_raw(pid), signal);
                }
            }
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

/// Hangs up on what a client left behind.
async fn end(child: &mut Child, pid: i32, alive: bool) {
    let group = Pid::from_raw(pid);
    let _ = killpg(group, Signal::SIGHUP);
    let _ = killpg(group, Signal::SIGCONT);
    if alive && tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        let _ = killpg(group, Signal::SIGKILL);
        let _ = child.wait().await;
    }
}

async fn report(handle: &Handle, id: ChannelId, status: ExitStatus) {
    match status.signal() {
        Some(signal) => {
            let core = status.core_dumped();
            let name = name(signal);
            let _ = handle
                .exit_signal_request(id, name, core, String::new(), String::new())
                .await;
        }
        None => {
            let code = u32::try_from(status.code().unwrap_or(1)).unwrap_or(1);
            let _ = handle.exit_status_request(id, code).await;
        }
    }
}

fn number(signal: &Sig) -> Option<Signal> {
    let number = match signal {
        Sig::ABRT => Signal::SIGABRT,
        Sig::ALRM => Signal::SIGALRM,
        Sig::FPE => Signal::SIGFPE,
        Sig::HUP => Signal::SIGHUP,
        Sig::ILL => Signal::SIGILL,
        Sig::INT => Signal::SIGINT,
        Sig::KILL => Signal::SIGKILL,
        Sig::PIPE => Signal::SIGPIPE,
        Sig::QUIT => Signal::SIGQUIT,
        Sig::SEGV => Signal::SIGSEGV,
        Sig::TERM => Signal::SIGTERM,
        Sig::USR1 => Signal::SIGUSR1,
        Sig::Custom(_) => return None,
    };
    Some(number)
}

fn name(number: i32) -> Sig {
    match Signal::try_from(number) {
        Ok(Signal::SIGABRT) => Sig::ABRT,
        Ok(Signal::SIGALRM) => Sig::ALRM,
        Ok(Signal::SIGFPE) => Sig::FPE,
        Ok(Signal::SIGHUP) => Sig::HUP,
        Ok(Signal::SIGILL) => Sig::ILL,
        Ok(Signal::SIGINT) => Sig::INT,
        Ok(Signal::SIGKILL) => Sig::KILL,
        Ok(Signal::SIGPIPE) => Sig::PIPE,
        Ok(Signal::SIGQUIT) => Sig::QUIT,
        Ok(Signal::SIGSEGV) => Sig::SEGV,
        Ok(Signal::SIGTERM) => Sig::TERM,
        Ok(Signal::SIGUSR1) => Sig::USR1,
        _ => Sig::Custom(format!("SIG{number}@dstack")),
    }
}
