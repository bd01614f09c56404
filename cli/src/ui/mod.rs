//! The only voice of the CLI: data to stdout, talk to stderr, no colour or prompt off a terminal.

mod confirm;
mod resources;
mod table;
mod time;

pub mod cluster;
pub mod events;
pub mod fleets;
pub mod metrics;
pub mod offers;
pub mod places;
pub mod plan;
pub mod runs;

pub use confirm::{agree, confirm};
pub use table::Table;
pub use time::{ago, duration};

use std::io::{IsTerminal, Write};

/// One line of data. A closed pipe (`dstack ps | head`) ends the program quietly.
pub fn data(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Raw bytes of data, flushed: log output.
pub fn raw(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// A value as indented JSON.
pub fn json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => data(&text),
        Err(error) => talk(&format!("this cannot be shown as JSON: {error}")),
    }
}

/// A line for the person, not for scripts.
pub fn talk(line: &str) {
    eprintln!("{line}");
}

/// A live status line on a terminal; nothing elsewhere.
pub fn status(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K{line}");
    }
}

/// Ends the live status line.
pub fn status_done() {
    status("");
}

/// Clears the screen before a watched table is drawn again; only on a terminal.
pub fn redraw() {
    if std::io::stdout().is_terminal() {
        raw(b"\x1b[2J\x1b[H");
    }
}

/// An enum as it stands on the wire.
pub fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}
