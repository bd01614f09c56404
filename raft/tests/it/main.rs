//! Real replicas on loopback, openraft's own storage suite, and the simulator.

// Clippy's leave for tests ends at the test functions; helpers here are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod formation;
mod lab;
mod links;
mod replicas;
mod sim;
mod store_suite;
