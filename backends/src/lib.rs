//! Sources of machines. Each is translation plus one call site per verb: no state, no ranking, no retries, those
//! live in `domain`.
//!
//! What matters most here is honesty about outcomes (see [`Outcome`]): a machine that may exist costs money until
//! somebody looks, and one that is thought gone while it is not costs it for ever.

pub mod backend;
pub mod contract;
pub mod crusoe;
pub mod fake;
pub mod local;
pub mod ssh;

pub use backend::{Backend, Capabilities, Fabric, Found, Key, Machine, Outcome, Plan};
