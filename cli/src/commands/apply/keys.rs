//! Private keys named by an SSH fleet travel in its plan: read here, sealed by the server.

use crate::failure::{Failure, Outcome};
use crate::paths::expand;
use anyhow::Context;
use dstack_domain::spec::{SshHost, SshKey, SshParams};
use std::path::Path;
use std::process::Command;

/// Fills in every key whose file is named.
pub fn fill(ssh: &mut SshParams) -> Outcome {
    if let Some(file) = &ssh.identity_file {
        ssh.ssh_key = Some(read(file)?);
    }
    if let Some(jump) = &mut ssh.proxy_jump {
        jump.ssh_key = Some(read(&jump.identity_file)?);
    }
    for host in &mut ssh.hosts {
        let SshHost::Params(host) = host else {
            continue;
        };
        if let Some(file) = &host.identity_file {
            host.ssh_key = Some(read(file)?);
        }
        if let Some(jump) = &mut host.proxy_jump {
            jump.ssh_key = Some(read(&jump.identity_file)?);
        }
    }
    Ok(())
}

fn read(file: &str) -> Outcome<SshKey> {
    let path = expand(file, Path::new(""));
    let private = std::fs::read_to_string(&path).map_err(|error| {
        Failure::refused(format!(
            "identity_file {} cannot be read: {error}",
            path.display()
        ))
    })?;
    Ok(SshKey {
        public: public_half(&path)?,
        private: Some(private),
    })
}

/// The `.pub` file beside the key, else what OpenSSH derives from it.
fn public_half(path: &Path) -> Outcome<String> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    if let Ok(text) = std::fs::read_to_string(&beside) {
        return Ok(text);
    }
    // -P '' makes a key with a passphrase an error instead of a question.
    let out = Command::new("ssh-keygen")
        .args(["-y", "-P", "", "-f"])
        .arg(path)
        .output()
        .context("running ssh-keygen")?;
    if !out.status.success() {
        return Err(Failure::refused(format!(
            "identity_file {} cannot be used: {}",
            path.display(),
            String::from_utf8_lossy(&out.stderr).trim()
        )));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
