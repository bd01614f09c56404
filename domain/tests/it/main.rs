//! Integration tests of the pure core, one binary.

mod spec;
