//! CPU time and memory, from the job's own cgroup where it has one, else from its processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::processes;

/// Where a container sees its own group.
const OWN: &str = "/sys/fs/cgroup";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Microseconds of CPU since the start.
    pub cpu_us: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes that cannot be taken back without a cost: without the page cache that nobody needs.
    pub working_set: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Unified(PathBuf),
    Split { cpu: PathBuf, memory: PathBuf },
    Processes,
}

impl Source {
    /// `groups` were made for this job alone; in a container the whole of it is the job.
    pub fn find(groups: &[PathBuf], in_container: bool) -> Self {
        let own = Path::new(OWN);
        let mut choices: Vec<Self> = groups.iter().cloned().map(Self::Unified).collect();
        if in_container {
            choices.push(Self::Unified(own.to_owned()));
            choices.push(Self::Split {
                cpu: own.join("cpuacct"),
                memory: own.join("memory"),
            });
        }
        let readable = choices.into_iter().find(|choice| choice.read().is_ok());
        readable.unwrap_or(Self::Processes)
    }

    pub fn read(&self) -> io::Result<Usage> {
        match self {
            Self::Unified(group) => unified(group),
            Self::Split { cpu, memory } => split(cpu, memory),
            Self::Processes => Ok(processes::usage()),
        }
    }
}

fn unified(group: &Path) -> io::Result<Usage> {
    let cpu_us = field(&group.join("cpu.stat"), "usage_usec")?;
    let memory = number(&group.join("memory.current"))?;
    let idle = field(&group.join("memory.stat"), "inactive_file")?;
    Ok(Usage {
        cpu_us,
        memory,
        working_set: memory.saturating_sub(idle),
    })
}

fn split(cpu: &Path, memory: &Path) -> io::Result<Usage> {
    let cpu_us = number(&cpu.join("cpuacct.usage"))? / 1000;
    let used = number(&memory.join("memory.usage_in_bytes"))?;
    let idle = field(&memory.join("memory.stat"), "total_inactive_file")?;
    Ok(Usage {
        cpu_us,
        memory: used,
        working_set: used.saturating_sub(idle),
    })
}

fn number(path: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| unknown(path))
}

/// The value of a line `name value`.
fn field(path: &Path, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.ok_or_else(|| unknown(path))
}

fn unknown(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{} has an unknown form", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn a_group_of_the_unified_hierarchy() {
        let group = folder(&[
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
            ("memory.current", "4096\n"),
            ("memory.stat", "anon 1\ninactive_file 1000\n"),
        ]);
        let source = Source::find(&[group.path().to_owned()], false);
        let wanted = Usage {
            cpu_us: 1500,
            memory: 4096,
            working_set: 3096,
        };
        assert_eq!(source.read().unwrap(), wanted);
    }

    #[test]
    fn groups_of_the_older_hierarchies() {
        let cpu = folder(&[("cpuacct.usage", "2000000\n")]);
        let memory = folder(&[
            ("memory.usage_in_bytes", "100\n"),
            ("memory.stat", "cache 5\ntotal_inactive_file 300\n"),
        ]);
        let source = Source::Split {
            cpu: cpu.path().to_owned(),
            memory: memory.path().to_owned(),
        };
        let wanted = Usage {
            cpu_us: 2000,
            memory: 100,
            working_set: 0,
        };
        assert_eq!(source.read().unwrap(), wanted);
    }

    #[test]
    fn without_a_group_the_processes_are_counted() {
        let empty = tempfile::tempdir().unwrap();
        let source = Source::find(&[empty.path().to_owned()], false);
        assert_eq!(source, Source::Processes);
    }
}
