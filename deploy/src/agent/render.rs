//! Script text. The bodies are files of their own beside this one, so that they can be read and linted as
//! shell; only assignments are put in front of them.

use super::plan::{Binary, Plan};
use crate::shell::{command, is_variable, quote};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The agent listens here, in its home.
pub const SOCKET_NAME: &str = "agent.sock";

/// The first command on a host: changes nothing, says what is there. Only `DSTACK_AGENT_HOME` of the fleet's
/// environment matters here, and it wins over the host's own.
pub fn probe(env: &BTreeMap<String, String>) -> String {
    let mut script = String::new();
    if let Some(home) = env.get("DSTACK_AGENT_HOME") {
        let _ = writeln!(script, "DSTACK_AGENT_HOME={}", quote(home));
    }
    script.push_str(include_str!("probe.sh"));
    command(&script, false)
}

/// Reads the binary from standard input.
pub fn place(plan: &Plan, binary: &Binary) -> String {
    let head = preamble(plan, Some(binary));
    command(&format!("{head}{}", include_str!("place.sh")), plan.sudo)
}

/// Reads the environment (`env_file`) from standard input: values may be secrets and must not show in a
/// process list. Ends once the socket is there.
pub fn start(plan: &Plan, binary: &Binary) -> String {
    let head = preamble(plan, Some(binary));
    command(
        &format!(
            "{head}{}{}",
            include_str!("common.sh"),
            include_str!("start.sh")
        ),
        plan.sudo,
    )
}

/// Stops the agent and removes its home. Refuses a folder that our start did not make.
pub fn remove(plan: &Plan) -> String {
    let head = preamble(plan, None);
    command(
        &format!(
            "{head}{}{}",
            include_str!("common.sh"),
            include_str!("remove.sh")
        ),
        plan.sudo,
    )
}

/// What `start` reads: one assignment a line, in shell words.
pub fn env_file(env: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in env.iter().filter(|(name, _)| is_variable(name)) {
        let _ = writeln!(text, "{name}={}", quote(value));
    }
    text
}

fn preamble(plan: &Plan, binary: Option<&Binary>) -> String {
    let mut text = String::from("set -u\n");
    let _ = writeln!(text, "AGENT_HOME={}", quote(&plan.home));
    let _ = writeln!(text, "MODE={}", plan.mode.word());
    let _ = writeln!(text, "LOGIN={}", quote(&plan.user));
    if let Some(binary) = binary {
        let _ = writeln!(text, "SHA256={}", quote(&binary.sha256));
        let _ = writeln!(text, "SHORT={}", quote(binary.short()));
        let _ = writeln!(text, "SIZE={}", binary.size);
    }
    text
}
