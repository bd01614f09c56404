//! Who is alive: processes by number *and* start time, because numbers are used again.

use std::fs;
use std::io;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// One process, for as long as the machine is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    /// Clock ticks since boot, from `/proc/<pid>/stat`.
    pub started: u64,
    pub boot: String,
}

impl ProcessId {
    /// The process that now has this number.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = Stat::read(pid)?;
        Ok(Self {
            pid,
            started: stat.started,
            boot: boot_id(),
        })
    }

    /// This process.
    pub fn own() -> io::Result<Self> {
        Self::of(nix::unistd::getpid().as_raw())
    }

    /// Whether it still runs. A zombie does not: it has nothing left to do.
    pub fn is_alive(&self) -> bool {
        self.boot == boot_id()
            && Stat::read(self.pid)
                .is_ok_and(|stat| stat.started == self.started && stat.state != 'Z')
    }

    /// Whether the machine has been started again since.
    pub fn is_from_another_boot(&self) -> bool {
        self.boot != boot_id()
    }

    /// Kills everything below it. Never below process 1: a number from inside a container, taken
    /// for one outside, would mean the whole machine.
    pub fn kill_descendants(&self) {
        if self.pid > 1 && self.is_alive() {
            kill_below(self.pid, None, || self.is_alive());
        }
    }

    /// Sends a signal if the number still means the same process.
    pub fn signal(&self, signal: Signal) {
        if self.pid > 1 && self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// Changes with every start of the machine.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// All processes below `root`, deepest last. Taken once: call again until it is empty.
pub fn descendants(root: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut queue = vec![root];
    while let Some(pid) = queue.pop() {
        for child in children(pid) {
            found.push(child);
            queue.push(child);
        }
    }
    found
}

/// Kills everything below this process, again and again while new ones appear; `but` is spared, what is below it is
/// not.
pub fn kill_own_descendants(but: Option<i32>) {
    kill_below(nix::unistd::getpid().as_raw(), but, || true);
}

fn kill_below(root: i32, but: Option<i32>, still_meant: impl Fn() -> bool) {
    // Each round catches what was forked during the one before; a fork bomb is the cgroup's case.
    for _ in 0..20 {
        let alive: Vec<i32> = descendants(root)
            .into_iter()
            .filter(|pid| Some(*pid) != but && is_running(*pid))
            .collect();
        if alive.is_empty() || !still_meant() {
            return;
        }
        for pid in alive {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn is_running(pid: i32) -> bool {
    Stat::read(pid).is_ok_and(|stat| stat.state != 'Z')
}

/// The direct children, of every thread.
pub fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

/// Children of `parent` that have ended and wait to be collected.
pub fn zombies(parent: i32) -> Vec<i32> {
    children(parent)
        .into_iter()
        .filter(|pid| Stat::read(*pid).is_ok_and(|stat| stat.state == 'Z'))
        .collect()
}

/// Processes whose environment has `NAME=value`, as far as this user may look.
pub fn with_variable(assignment: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|env| {
                env.split(|b| *b == 0)
                    .any(|variable| variable == assignment.as_bytes())
            })
        })
        .collect()
}

/// What the kernel says of one process. Times are in clock ticks.
pub struct Stat {
    state: char,
    /// Since boot.
    started: u64,
    /// CPU time of its own, and of the children it has collected.
    pub own: u64,
    pub reaped: u64,
    pub resident_pages: u64,
}

impl Stat {
    pub fn read(pid: i32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat has an unknown form"),
            )
        })
    }

    /// The command name is in brackets and may hold anything, so fields count from the last one.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // `man 5 proc`: field 3 is the first here.
        let number = |field: usize| -> Option<u64> { fields.get(field - 3)?.parse().ok() };
        Some(Self {
            state: fields.first()?.chars().next()?,
            started: number(22)?,
            own: number(14)? + number(15)?,
            reaped: number(16)? + number(17)?,
            resident_pages: number(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_brackets_does_not_shift_the_fields() {
        let tail: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let text = format!("42 (a) Z (b)) S {}", tail.join(" "));
        let stat = Stat::parse(&text).unwrap();
        assert_eq!((stat.state, stat.started), ('S', 22));
        assert_eq!((stat.own, stat.reaped, stat.resident_pages), (29, 33, 24));
    }

    #[test]
    fn a_number_used_again_is_another_process() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive());
        let other = ProcessId {
            started: own.started + 1,
            ..own.clone()
        };
        assert!(!other.is_alive());
        let before = ProcessId {
            boot: "x".into(),
            ..own
        };
        assert!(!before.is_alive() && before.is_from_another_boot());
    }
}
