//! The simulated world, tier one: the pure core with fake hosts, fake agents and a leader that may
//! die between any two steps. No async, no clock, no sockets: one seed is one history.

// A library for tests: a broken expectation is a failed test, as it should be.
#![allow(clippy::expect_used)]

pub mod rng;
pub mod storm;
pub mod world;
