//! Crusoe Cloud. Facts and where they come from: `spec/crusoe-kubernetes-nccl.md` sections 1 to 3.
//!
//! The API knows no tags and no idempotency keys: whose a thing is stands in its name, and whether it exists is asked
//! of the list with a filter by name, whose healthy and empty answer alone means that it does not.

mod catalogue;
mod client;
mod done;
mod lookout;
mod machines;
mod names;
mod offers;
mod operations;
mod partitions;
mod shapes;
mod sign;
mod wire;

pub use catalogue::Catalogue;
pub use client::{Account, Client};
pub use machines::{Crusoe, LOGIN};
pub use names::Owner;
pub use shapes::{Shape, image};
pub use sign::{AccessKey, BadKey};
