//! Tests of the whole: properties over many seeds, and scenarios one can read.

// Helpers of tests fail like tests.
#![allow(clippy::expect_used)]

mod e2e;
mod properties;
mod scenarios;
mod tidy;
