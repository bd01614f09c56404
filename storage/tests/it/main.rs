//! One suite over both implementations, then what only one of them can show: crashes at every operation
//! on the modelled disk; killed processes, damaged files and a full disk on the real one.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should say where

#[macro_use]
mod home;

mod crash;
mod damage;
mod full_disk;
mod identity;
mod kill;
mod log;
mod state;
