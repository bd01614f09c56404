//! A sample now and then, for as long as the job runs.

use std::time::{Duration, Instant};

use dstack_api::agent::stream;
use dstack_api::agent_job::JobOrder;
use dstack_api::agent_metrics::Sample;

use super::gpus::Gpus;
use super::unused::Unused;
use super::usage::Source;
use crate::clock;
use crate::home::JobDir;
use crate::spool::{Owner, SpoolWriter};

const EVERY: Duration = Duration::from_secs(10);

/// Ends when the job's GPUs are not used as its owner wants; else only by being dropped. What cannot be read or written
/// is left out: the job matters more.
pub async fn watch(job: &JobDir, source: &Source, order: &JobOrder, owner: Owner) {
    let mut spool = SpoolWriter::open(&job.spool(), stream::METRICS, owner).ok();
    let mut gpus = Gpus::new(&order.gpus);
    let mut unused = order.utilization_policy.as_ref().map(Unused::new);
    let start = Instant::now();
    let mut round = tokio::time::interval(EVERY);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        round.tick().await;
        let used = gpus.read().await;
        if unused
            .as_mut()
            .is_some_and(|unused| unused.is_it(start.elapsed(), &used))
        {
            return;
        }
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
