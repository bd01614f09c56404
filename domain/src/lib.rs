//! The pure core: what users write, what we remember, which changes are lawful, what the world still lacks.
//!
//! No clock, chance, files, network or threads: every function can be called in a test with values alone.

pub mod spec;
