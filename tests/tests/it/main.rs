//! Tests of the whole: properties over many seeds, and scenarios one can read.

mod properties;
mod scenarios;
mod tidy;
