//! The SSH server inside a job: what `ssh <run>`, scp, rsync, IDEs and MPI reach, without an sshd in the image.
//!
//! It is a process of its own, `dstack-agent sshd`, started by the runner beside the job's command: its sessions
//! are its children, so that the runner never confuses them with the job, and whatever a client does to it, the
//! job goes on. The runner gives it a [`Plan`] on its standard input, gets the port back on the output, and ends
//! it by closing the input: then those who follow the job's output still get the rest of it.
//!
//! Only keys of the plan open it. Port 10999 of localhost is answered here, in process, with the job's output
//! (`logs`): clients look for it there, and nobody else can reach it.

mod activity;
mod agent_socket;
mod connection;
mod forward;
mod incoming;
mod keys;
mod logs;
mod plan;
mod process;
mod program;
mod serve;
mod session;
mod sftp;
mod terminal;

pub use activity::Activity;
pub use plan::{Listen, Plan, Told};
pub use process::{Companion, run};
pub use serve::{Late, late};
pub use sftp::serve_stdio;

/// Where clients expect the job's SSH server.
pub const SSH_PORT: u16 = 10022;
/// Where clients expect the job's output, on localhost of the job.
pub const LOGS_PORT: u32 = 10999;
