//! Login shells see what the job sees: the variables in a profile, and the working folder.

use std::fmt::Write;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

use super::env::Env;
use super::unpack::Ownership;
use crate::record::Layout;

/// Variables that a login sets for itself.
const OF_THE_LOGIN: [&str; 8] = [
    "HOME", "USER", "LOGNAME", "SHELL", "TERM", "PWD", "SHLVL", "_",
];
const SYSTEM_PROFILE: &str = "/etc/profile";

/// Writes `<dstack>/profile`; in a container also includes it from `/etc/profile`. On a host that
/// others share it is for the job's user alone, because secrets are among the variables.
pub fn write(
    dstack: &Path,
    layout: Layout,
    owner: Ownership,
    env: &Env,
    working_dir: &Path,
) -> io::Result<()> {
    let path = dstack.join("profile");
    let mode = if layout == Layout::Container {
        0o644
    } else {
        0o600
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&path)?;
    file.write_all(render(env, working_dir).as_bytes())?;
    if let Some((uid, gid)) = owner {
        fchown(&file, Some(uid), Some(gid))?;
    }
    if layout == Layout::Container && nix::unistd::geteuid().is_root() {
        include(&path)?;
    }
    Ok(())
}

fn render(env: &Env, working_dir: &Path) -> String {
    let mut text = String::new();
    for (name, value) in env {
        if is_name(name) && !OF_THE_LOGIN.contains(&name.as_str()) {
            let _ = writeln!(text, "export {name}={}", quote(value));
        }
    }
    let _ = writeln!(
        text,
        "cd {} 2>/dev/null || :",
        quote(&working_dir.display().to_string())
    );
    text
}

fn include(profile: &Path) -> io::Result<()> {
    let line = format!(". {}", profile.display());
    let present = fs::read_to_string(SYSTEM_PROFILE).unwrap_or_default();
    if present.lines().any(|known| known == line) {
        return Ok(());
    }
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(SYSTEM_PROFILE)?;
    file.write_all(format!("\n{line}\n").as_bytes())
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// As a shell takes it for one word.
pub fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_set() {
        let env: Env = [
            ("A", "it's $HOME\nand `more`"),
            ("HOME", "/x"),
            ("BAD-NAME", "1"),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        let script = format!(
            "{}\nprintf %s \"$A|${{BAD:-none}}|$PWD\"",
            render(&env, Path::new("/tmp"))
        );
        let shown = std::process::Command::new("/bin/sh")
            .arg("-c")
            .arg(script)
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(shown.stdout).unwrap(),
            "it's $HOME\nand `more`|none|/tmp"
        );
    }
}
