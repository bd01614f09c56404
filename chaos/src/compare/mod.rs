//! Upstream's server beside ours: the same requests, on one machine, in one run, taking turns.

mod load;
mod questions;
mod report;
mod run;
mod side;

pub use run::compare;
