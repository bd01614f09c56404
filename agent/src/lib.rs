//! The agent: hands on one instance, and the runner inside each job.
//!
//! One static binary with two lives. `serve` keeps the host's jobs as the server wants them: it
//! holds a ledger (`ledger`), decides with a pure function (`decide`), acts through a runtime
//! (`runtime`: docker or plain processes) and speaks to the server over a local socket (`serve`).
//! `run` is the runner (`runner`): it prepares one job, executes it and writes what came out into
//! the job's folder (`home`, `spool`), so that neither the agent's death nor the server's costs
//! a line of output or an exit status.

pub mod args;
pub mod clock;
pub mod decide;
pub mod durable;
pub mod facts;
pub mod home;
pub mod ledger;
pub mod process_table;
pub mod record;
pub mod retire;
pub mod runner;
pub mod runtime;
pub mod serve;
pub mod spool;
