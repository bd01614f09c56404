//! Hosts: reaching them over SSH, bringing up their agents, and the links to those.
//!
//! One multiplexed connection per host carries everything: the commands of the bootstrap, the upload of the
//! binary, and the agent protocol as a stream to the agent's socket. Nothing on a host has to reach a server.

pub mod binary;
pub mod bring_up;
pub mod channel;
pub mod failure;
pub mod ssh;

pub(crate) mod first_contact;
pub(crate) mod greet;
mod intake;
mod link;
pub(crate) mod links;
mod orders;
pub(crate) mod pool;
mod reporter;
pub(crate) mod reports;
mod status;
pub(crate) mod target;
pub(crate) mod tools;
mod uploads;
