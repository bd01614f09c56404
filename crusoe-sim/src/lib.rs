//! A cloud that answers as Crusoe's does, for tests and for who wants to try without an account.
//!
//! It knows nothing of our client: what it checks and how it answers is written from the recorded facts
//! (`spec/crusoe-kubernetes-nccl.md` sections 1 and 3), so that a mistake in the one is not in the other.

mod auth;
mod catalogue;
mod faults;
mod guests;
mod routes;
mod server;
mod stage;
mod things;
mod world;

pub use auth::Account;
pub use faults::{Fault, Faults};
pub use guests::check as check_guests;
pub use server::Sim;
pub use world::{Options, World};
