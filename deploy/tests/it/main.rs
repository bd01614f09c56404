//! The rendered scripts, read by eye (golden files) and run for real by this machine's `sh`.

// Clippy's leave for tests ends at the test functions; helpers here are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod first_boot;
mod golden;
mod run;
