//! A lab: real replicas, real sshd hosts, real agents, all on loopback and below one folder.

pub mod agents;
mod binaries;
mod cli;
mod cloud;
mod cluster;
mod http;
mod ports;
mod process;
mod released;
mod replica;
mod sshd;

pub use binaries::Binaries;
pub use cli::Cli;
pub use cloud::{Cloud, LastWords, Truth};
pub use cluster::{Cluster, Status};
pub use http::http;
pub use ports::free_port;
pub use process::{Process, tail};
pub use released::{Released, released_python, text};
pub use replica::{Replica, ReplicaPlan};
pub use sshd::{Host, current_user, keygen};

use std::time::Duration;

/// How often a condition is looked at again while it is awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One look's distance; every loop that uses it has a deadline of its own.
pub async fn pause() {
    tokio::time::sleep(LOOK_AGAIN).await;
}
