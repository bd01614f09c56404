//! The verbs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use dstack_domain::decide::fits;
use dstack_domain::model::{
    Availability, Disk, Gpu, InstanceOffer, InstanceRuntime, InstanceType, Resources,
};
use dstack_domain::spec::{BackendType, Requirements};
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::place::{Place, Record};
use crate::backend::{Backend, Capabilities, Key, Machine, Outcome, Plan};

/// How long an agent may take until it answers.
const START: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// The backend. Machines lie below `root`; `agent` is the binary that serves them.
#[derive(Clone, Debug)]
pub struct Local {
    owner: String,
    root: PathBuf,
    agent: PathBuf,
}

/// What the agent's `facts` say, as far as an offer needs it.
#[derive(Debug, Deserialize)]
struct Facts {
    cpus: u32,
    memory_mib: u64,
    disk_mib: u64,
    arch: String,
    #[serde(default)]
    gpus: Vec<Gpu>,
}

impl Local {
    pub fn new(owner: &str, root: PathBuf, agent: PathBuf) -> Self {
        Self {
            owner: owner.to_owned(),
            root,
            agent,
        }
    }

    fn place(&self, key: &Key) -> Place {
        Place::of(&self.root, key)
    }

    async fn facts(&self) -> io::Result<Facts> {
        std::fs::create_dir_all(&self.root)?;
        let said = self.ask("facts", &self.root).await?;
        serde_json::from_slice(&said).map_err(io::Error::from)
    }

    /// Runs one of the agent's commands about a home to its end; what it says.
    async fn ask(&self, command: &str, home: &Path) -> io::Result<Vec<u8>> {
        let mut agent = Command::new(&self.agent);
        agent.arg(command).arg("--home").arg(home);
        let out = agent.stdin(Stdio::null()).output().await?;
        if !out.status.success() {
            let why = String::from_utf8_lossy(&out.stderr).trim().to_owned();
            return Err(io::Error::other(why));
        }
        Ok(out.stdout)
    }

    /// Why a machine that is there is not to be touched.
    fn foreign<T>(&self, key: &Key, record: &Record) -> Option<Outcome<T>> {
        let why = || Outcome::Refused(format!("{key} is a machine of {}", record.owner));
        (record.owner != self.owner).then(why)
    }

    /// Starts the machine's agent, detached; one that serves already makes a second one leave at once.
    async fn start(&self, place: &Place) -> io::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(place.log())?;
        let mut command = Command::new(&self.agent);
        command
            .arg("serve")
            .arg("--home")
            .arg(place.home())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        drop(command.spawn()?); // reaped in the background, not killed
        let answers = async {
            while UnixStream::connect(place.socket()).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(START, answers).await.map_err(|_| {
            io::Error::other(format!(
                "its agent does not answer; see {}",
                place.log().display()
            ))
        })
    }

    async fn make(&self, key: &Key, offer: &InstanceOffer) -> io::Result<Outcome<Machine>> {
        let place = self.place(key);
        let record = match place.read()? {
            Some(record) => {
                if let Some(refused) = self.foreign(key, &record) {
                    return Ok(refused);
                }
                record
            }
            None => {
                let record = Record {
                    owner: self.owner.clone(),
                    product: offer.instance.name.clone(),
                    region: offer.region.clone(),
                };
                place.write(&record)?;
                record
            }
        };
        self.start(&place).await?;
        Ok(Outcome::Done(place.machine(record)))
    }

    async fn end(&self, key: &Key) -> io::Result<Outcome<()>> {
        let place = self.place(key);
        if let Some(refused) = place.read()?.and_then(|there| self.foreign(key, &there)) {
            return Ok(refused);
        }
        self.ask("retire", &place.home()).await?;
        place.remove()?;
        Ok(Outcome::Done(()))
    }
}

#[async_trait]
impl Backend for Local {
    fn kind(&self) -> &'static str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            creates: true,
            ..Capabilities::default()
        }
    }

    async fn offers(&self, wanted: &Requirements) -> Outcome<Vec<InstanceOffer>> {
        match self.facts().await {
            Ok(facts) => {
                let offer = offer(facts);
                let usable = fits(wanted, &offer.instance.resources, 1, 1);
                Outcome::Done(usable.then_some(offer).into_iter().collect())
            }
            Err(error) => Outcome::Unknown(format!("what this machine has is not known: {error}")),
        }
    }

    async fn create(&self, key: &Key, offer: &InstanceOffer, _plan: &Plan) -> Outcome<Machine> {
        or_unknown(self.make(key, offer).await)
    }

    async fn find(&self, key: &Key) -> Outcome<Machine> {
        let place = self.place(key);
        or_unknown(place.read().map(|record| match record {
            Some(record) => Outcome::Done(place.machine(record)),
            None => Outcome::Absent,
        }))
    }

    async fn list(&self, owner: &str) -> Outcome<Vec<Machine>> {
        let listed = Place::all(&self.root).and_then(|places| {
            let mut machines = Vec::new();
            for place in places {
                let record = place.read()?.filter(|record| record.owner == owner);
                machines.extend(record.map(|record| place.machine(record)));
            }
            Ok(Outcome::Done(machines))
        });
        or_unknown(listed)
    }

    async fn terminate(&self, key: &Key) -> Outcome<()> {
        or_unknown(self.end(key).await)
    }
}

/// A disk that fails says nothing about the machine.
fn or_unknown<T>(result: io::Result<Outcome<T>>) -> Outcome<T> {
    result.unwrap_or_else(|error| Outcome::Unknown(error.to_string()))
}

fn offer(facts: Facts) -> InstanceOffer {
    InstanceOffer {
        // Clients know no other word for a machine of one's own.
        backend: BackendType::Remote,
        instance: InstanceType {
            name: "local".to_owned(),
            resources: Resources {
                cpus: facts.cpus,
                memory_mib: facts.memory_mib,
                gpus: facts.gpus,
                spot: false,
                disk: Disk {
                    size_mib: facts.disk_mib,
                },
                cpu_arch: Some(facts.arch),
                description: String::new(),
            },
        },
        region: "local".to_owned(),
        price: 0.0,
        backend_data: BTreeMap::new(),
        availability: Availability::Available,
        availability_zones: None,
        instance_runtime: InstanceRuntime::Shim,
        blocks: 1,
        total_blocks: 1,
    }
}
