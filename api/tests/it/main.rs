//! One binary for the integration tests of this crate.

// Helpers of tests may fail as loudly as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod captured;
mod client;
