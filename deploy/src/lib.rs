//! Making machines ready: what runs on a host before, and apart from, our own agent.
//!
//! Everything here is rendering: values in, script text out, nothing executed. Whoever holds a connection
//! to the host (the `node` crate) runs the text and hands the answer back to be parsed here.

pub mod agent;
pub mod first_boot;
pub mod shell;
