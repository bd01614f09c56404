//! `dstack server …`: becomes the `dstack-server` that lies beside this binary or on PATH.

use crate::failure::{Failure, Outcome};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Replaces this process, so that signals and exit codes are the server's own.
pub fn server(args: &[OsString]) -> Outcome {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(|folder| folder.join("dstack-server")))
        .filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| "dstack-server".into());
    let error = Command::new(&program).args(args).exec();
    Err(Failure::with_hint(
        format!("{} cannot be started: {error}", program.display()),
        "Put dstack-server beside dstack or on PATH; `make build` makes both in target/release",
    ))
}
