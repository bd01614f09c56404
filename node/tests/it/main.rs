//! Real replicas as child processes, judged from outside by what their clients were promised.

// Clippy's leave for tests ends at the test functions; helpers here are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backends;
mod clustered;
mod golden;
mod growing;
mod hosts;
mod http;
mod lab;
mod single;
mod sshd;
mod writers;
