//! Which path is answered by what.

mod calls;
mod discovery;

pub use calls::answer;
