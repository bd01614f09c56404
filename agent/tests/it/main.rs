//! The agent from outside: the real binary, real processes, a server's end of the link.

mod docker;
mod life;
mod links;
mod logs;
mod orders;
mod reconciler;
mod support;
