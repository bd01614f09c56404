//! The job as the sum of its processes, where it has no cgroup to itself.

use std::fs;

use super::usage::Usage;
use crate::process_table;

/// Everything below this process, which is the runner.
pub fn usage() -> Usage {
    let own = nix::unistd::getpid().as_raw();
    let mut total = Usage::default();
    let mut ticks = read(own).map_or(0, |stat| stat.reaped);
    for pid in process_table::descendants(own) {
        let Some(stat) = read(pid) else { continue };
        ticks += stat.own + stat.reaped;
        total.memory += stat.resident_pages * page_bytes();
    }
    total.cpu_us = ticks * 1_000_000 / ticks_per_second();
    total.working_set = total.memory;
    total
}

struct Stat {
    /// Ticks of the process itself, and of children it has collected.
    own: u64,
    reaped: u64,
    resident_pages: u64,
}

fn read(pid: i32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command name is in brackets and may hold anything, so fields count from the last one.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // `man 5 proc`: field 3 is the first here.
    let number = |field: usize| -> Option<u64> { fields.get(field - 3)?.parse().ok() };
    Some(Stat {
        own: number(14)? + number(15)?,
        reaped: number(16)? + number(17)?,
        resident_pages: number(24)?,
    })
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_manual() {
        let tail: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = parse(&format!("42 (a) b) S {}", tail.join(" "))).unwrap();
        assert_eq!((stat.own, stat.reaped, stat.resident_pages), (29, 33, 24));
    }

    #[test]
    fn a_child_counts_while_it_lives_and_after() {
        let before = usage().cpu_us;
        let mut busy = std::process::Command::new("sh")
            .args(["-c", "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done"])
            .spawn()
            .unwrap();
        busy.wait().unwrap();
        assert!(usage().cpu_us > before, "what a child used is not lost");
    }
}
