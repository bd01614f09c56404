//! The pure core: what users write, what we remember, which changes are lawful, what the world still lacks.
//!
//! No clock, chance, files, network or threads: every function can be called in a test with values alone.

pub mod access;
pub mod check;
pub mod command;
pub mod decide;
pub mod encoding;
pub mod facts;
pub mod history;
pub mod ids;
pub mod model;
pub mod rejection;
pub mod spec;
pub mod state;
pub mod step;

#[cfg(test)]
mod testing;
