//! End to end: real replicas, real sshd, real agents, the real CLI.

mod attach;
mod clone;
mod clouds;
mod hosts;
mod nemeses;
mod released;
mod runs;
mod single;
mod verbs;
mod wait;
