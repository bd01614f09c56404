//! The rendered scripts, read by eye (golden files) and run for real by this machine's `sh`.

mod golden;
mod run;
