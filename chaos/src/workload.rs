//! Runs in flight: small tasks that leave a trace of every start, and numbered log lines.

use crate::lab::Cli;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Lines each job prints, one every fifth of a second.
pub const LINES: usize = 60;

/// The runs of one campaign and where their jobs left their traces.
#[derive(Debug)]
pub struct Workload {
    /// Names of the runs submitted and acknowledged.
    pub runs: Vec<String>,
    /// Every job appends its submission id here once, at its start.
    pub starts: PathBuf,
}

impl Workload {
    /// Submits `count` runs through `cli`; each is acknowledged before the next.
    pub async fn submit(cli: &Cli, prefix: &str, count: usize, folder: &Path) -> Result<Self> {
        let starts = folder.join(format!("{prefix}-starts"));
        std::fs::write(&starts, "").context("creating the file of starts")?;
        let mut runs = Vec::new();
        for number in 0..count {
            let name = format!("{prefix}-{number}");
            let file = cli.home().join(format!("{name}.dstack.yml"));
            std::fs::write(&file, task(&name, &starts)).context("writing a task")?;
            let path = file.display().to_string();
            cli.run(&["apply", "-f", &path, "-y", "-d"]).await?;
            runs.push(name);
        }
        Ok(Self { runs, starts })
    }
}

/// Each task waits for room when the hosts are busy, and must never be started twice.
fn task(name: &str, starts: &Path) -> String {
    format!(
        "type: task\nname: {name}\nimage: debian:12\ncommands:\n  - |\n    \
         echo \"$DSTACK_JOB_ID\" >> {starts}\n    \
         i=0; while [ $i -lt {LINES} ]; do printf 'line %03d\\n' $i; i=$((i+1)); sleep 0.2; done\n\
         retry:\n  on_events: [no-capacity]\n  duration: 1h\n\
         resources:\n  cpu: 1..\n  memory: 0.1GB..\n  disk: 0.1GB..\n",
        starts = starts.display(),
    )
}
