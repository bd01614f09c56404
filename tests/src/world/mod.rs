//! The world: one replicated state with its log and rows, a leader with hands, hosts with agents.

mod cloud;
mod host;
mod leader;
mod memory;
mod people;
mod running;

pub use people::order;

pub use cloud::{Cloud, Misfortune, Slip};
pub use host::{Agent, AgentJob, End, Host, Process, Script};
pub use leader::Leader;
pub use memory::Memory;
pub use running::{Faults, World, after};
