//! With the real binaries, where no crate alone can.

mod differential;
mod local_backend;
