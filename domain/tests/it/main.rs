//! Integration tests of the pure core, one binary.

// Helpers of tests may fail a test as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod spec;
