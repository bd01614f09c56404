//! The agent from outside: the real binary, real processes, a server's end of the link.

// The allowance for tests does not reach the functions they share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod docker;
mod life;
mod links;
mod logs;
mod orders;
mod reconciler;
mod ssh;
mod support;
