//! This very machine, for trying things out without any other: each "machine" is an agent of its own with a home
//! of its own, as many as are asked for.

mod machine;
mod place;

pub use machine::Local;
