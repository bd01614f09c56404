//! One replica of the control plane: the only room where the doors of the other crates meet.
//!
//! A request enters by [`http`], becomes a command at the [`door`], is ordered by `raft`, applied by the
//! [`machine`] and shown by a [`view`]. The leader's [`reconcile`] loop asks `domain` what the world still lacks
//! and hands the answer to the hands. If a file here gets clever, the cleverness belongs in `domain`.

pub mod args;
pub mod cluster;
pub mod context;
pub mod door;
pub mod env;
pub mod failure;
pub mod limits;
pub mod machine;
pub mod sealing;
pub mod settings;
pub mod view;
