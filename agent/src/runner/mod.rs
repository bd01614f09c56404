//! The runner: takes one order, once, and brings it to an end.
//!
//! It is process 1 of a container, or a detached process on the host. It needs nobody: output
//! goes to the spool, the end to `exit.json`, a stop comes through `stop.json` and SIGTERM. The
//! agent may die and come back meanwhile.

mod companion;
mod env;
mod exec;
mod metrics;
mod outcome;
mod output;
mod places;
mod prepare;
mod profile;
mod repo;
mod repo_access;
mod run;
pub mod sshd;
mod supervise;
mod terminal;
mod unpack;
mod user;

pub use env::{hostfile, job_env};
pub use exec::{ExecPlan, exec};
pub use places::Places;
pub use run::run;
pub use unpack::unpack;
pub use user::login_home;
