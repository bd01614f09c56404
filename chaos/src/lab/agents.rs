//! Finding one host's agent among the processes of this machine.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;

/// SIGKILLs every `dstack-agent serve` of the agent home; returns how many there were.
pub fn kill_agent(home: &Path) -> Result<usize> {
    let mut killed = 0;
    for pid in agents_of(home)? {
        if kill(pid, Signal::SIGKILL).is_ok() {
            killed += 1;
        }
    }
    Ok(killed)
}

/// Process ids of the agent that serves `home`.
pub fn agents_of(home: &Path) -> Result<Vec<Pid>> {
    let home = home.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")
        .context("reading /proc")?
        .flatten()
    {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
            continue;
        };
        let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let is_agent = args
            .first()
            .is_some_and(|arg| String::from_utf8_lossy(arg).contains("dstack-agent"));
        let serves = args.get(1) == Some(&b"serve".as_slice());
        if is_agent
            && serves
            && args
                .iter()
                .any(|arg| String::from_utf8_lossy(arg).contains(&home))
        {
            found.push(Pid::from_raw(pid));
        }
    }
    Ok(found)
}
