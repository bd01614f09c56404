//! One replica of the control plane: the only room where the doors of the other crates meet.
//!
//! A request enters by `http`, becomes a command at the [`door`], is ordered by `raft`, applied by the
//! [`machine`] and shown by a [`view`]. The leader's [`reconcile`] loop asks `domain` what the world still lacks
//! and hands the answer to the hands. If a file here gets clever, the cleverness belongs in `domain`.

mod act;
pub mod args;
pub mod bulk;
pub mod clouds;
pub mod cluster;
mod config_file;
pub mod context;
pub mod credentials;
pub mod door;
pub mod env;
pub mod failure;
pub mod first_start;
pub mod hands;
pub mod hash_watch;
pub mod hosts;
pub mod http;
mod introduce;
pub mod limits;
pub mod listen;
pub mod liveness;
pub mod logs;
pub mod machine;
pub mod membership;
pub mod mesh;
#[cfg(test)]
mod mesh_fake;
pub mod reconcile;
pub mod replica;
mod retention;
pub mod sealing;
pub mod serve;
pub mod settings;
pub mod ssh_keys;
mod sweep;
pub mod telemetry;
pub mod view;
pub mod watchdog;
