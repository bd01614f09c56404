//! The job as the sum of its processes, where it has no cgroup to itself.

use super::usage::Usage;
use crate::process_table::{Stat, descendants};

/// Everything below this process, which is the runner.
pub fn usage() -> Usage {
    let own = nix::unistd::getpid().as_raw();
    let mut total = Usage::default();
    let mut ticks = Stat::read(own).map_or(0, |stat| stat.reaped);
    for pid in descendants(own) {
        let Ok(stat) = Stat::read(pid) else {
            continue;
        };
        ticks += stat.own + stat.reaped;
        total.memory += stat.resident_pages * page_bytes();
    }
    total.cpu_us = ticks * 1_000_000 / ticks_per_second();
    total.working_set = total.memory;
    total
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
