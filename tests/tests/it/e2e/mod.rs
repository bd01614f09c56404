//! With the real binaries, where no crate alone can.

mod local_backend;
