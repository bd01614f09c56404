//! Where the binaries under test lie: beside this one, or in the target folder of the test run.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The binaries a lab starts.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// One replica.
    pub server: PathBuf,
    /// The CLI.
    pub cli: PathBuf,
    /// The simulated cloud; built for what needs it.
    pub cloud: PathBuf,
    /// The statically linked agent, uploaded to hosts.
    pub agent: PathBuf,
}

impl Binaries {
    /// Looks beside the running executable, then in its parents (test executables live in `deps/`).
    pub fn find() -> Result<Self> {
        let here = std::env::current_exe().context("where this executable lies")?;
        for folder in here.ancestors().skip(1).take(3) {
            if folder.join("dstack-server").is_file() {
                return Self::in_folder(folder);
            }
        }
        bail!(
            "dstack-server was not found beside {}; run scripts/build-for-tests.sh first",
            here.display()
        )
    }

    fn in_folder(folder: &Path) -> Result<Self> {
        let agent = ["static/dstack-agent", "dstack-agent"]
            .map(|name| folder.join(name))
            .into_iter()
            .find(|path| path.is_file())
            .with_context(|| {
                format!(
                    "no dstack-agent in {}; run scripts/build-agent.sh",
                    folder.display()
                )
            })?;
        Ok(Self {
            server: folder.join("dstack-server"),
            cli: folder.join("dstack"),
            cloud: folder.join("crusoe-sim"),
            agent,
        })
    }
}
