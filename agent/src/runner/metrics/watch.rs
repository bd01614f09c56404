//! A sample now and then, for as long as the job runs.

use std::convert::Infallible;
use std::time::Duration;

use dstack_api::agent::stream;
use dstack_api::agent_job::GpuSelection;
use dstack_api::agent_metrics::Sample;

use super::gpus::Gpus;
use super::usage::Source;
use crate::clock;
use crate::home::JobDir;
use crate::spool::{Owner, SpoolWriter};

const EVERY: Duration = Duration::from_secs(10);

/// Ends only by being dropped. What cannot be read or written is left out: the job matters more.
pub async fn watch(job: &JobDir, source: &Source, gpus: &GpuSelection, owner: Owner) -> Infallible {
    let mut spool = SpoolWriter::open(&job.spool(), stream::METRICS, owner).ok();
    let mut gpus = Gpus::new(gpus);
    let mut round = tokio::time::interval(EVERY);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        round.tick().await;
        let used = gpus.read().await;
        let (Some(spool), Ok(usage)) = (&mut spool, source.read()) else {
            continue;
        };
        let sample = Sample {
            cpu_us: usage.cpu_us,
            memory: usage.memory,
            working_set: usage.working_set,
            gpus: used,
        };
        if let Ok(line) = serde_json::to_string(&sample) {
            let _ = spool.say(clock::now_micros(), &line);
        }
    }
}
