//! GPUs that nobody uses: what `utilization_policy` of a run is about.

use std::collections::VecDeque;
use std::time::Duration;

use dstack_api::agent_job::UtilizationPolicy;
use dstack_api::agent_metrics::GpuSample;

/// Samples need not fill the window to the last second.
const SLACK: Duration = Duration::from_secs(60);

/// The samples of the last window.
#[derive(Debug)]
pub struct Unused {
    least: u32,
    window: Duration,
    samples: VecDeque<(Duration, Vec<u32>)>,
}

impl Unused {
    pub fn new(policy: &UtilizationPolicy) -> Self {
        Self {
            least: policy.min_gpu_utilization,
            window: Duration::from_secs(policy.time_window_s),
            samples: VecDeque::new(),
        }
    }

    /// Takes a sample, `at` since the start. True when some GPU was below the least at every sample of a window that
    /// is known in full.
    pub fn is_it(&mut self, at: Duration, gpus: &[GpuSample]) -> bool {
        let percents = gpus.iter().map(|gpu| gpu.percent).collect();
        self.samples.push_back((at, percents));
        let begin = at.saturating_sub(self.window);
        while self.samples.front().is_some_and(|(at, _)| *at < begin) {
            self.samples.pop_front();
        }
        let known = self
            .samples
            .front()
            .map_or(Duration::ZERO, |(first, _)| at - *first);
        // A driver that did not answer says nothing about use.
        let number = gpus.len();
        let whole = self
            .samples
            .iter()
            .all(|(_, percents)| percents.len() == number);
        known + SLACK >= self.window
            && whole
            && (0..number).any(|card| {
                let mut of_card = self.samples.iter().filter_map(|(_, all)| all.get(card));
                of_card.all(|percent| *percent < self.least)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(samples: impl Iterator<Item = Vec<u32>>) -> Vec<bool> {
        let policy = UtilizationPolicy {
            min_gpu_utilization: 10,
            time_window_s: 300,
        };
        let mut unused = Unused::new(&policy);
        let mut at = Duration::ZERO;
        let mut said = Vec::new();
        for percents in samples {
            let gpus: Vec<GpuSample> = percents
                .into_iter()
                .map(|percent| GpuSample { memory: 0, percent })
                .collect();
            said.push(unused.is_it(at, &gpus));
            at += Duration::from_secs(10);
        }
        said
    }

    #[test]
    fn one_idle_card_is_enough_but_a_window_must_be_known() {
        let said = judge((0..31).map(|_| vec![90, 3]));
        assert_eq!(
            said.iter().position(|over| *over),
            Some(24),
            "after four of five minutes"
        );
    }

    #[test]
    fn a_card_that_worked_once_in_the_window_is_used() {
        let said = judge((0..40).map(|n| vec![if n % 20 == 0 { 50 } else { 0 }]));
        assert!(said.iter().all(|over| !over));
        let idle_later = judge((0..60).map(|n| vec![if n < 10 { 50 } else { 0 }]));
        assert!(idle_later.iter().any(|over| *over));
    }

    #[test]
    fn a_driver_that_is_silent_ends_nothing() {
        assert!(judge((0..60).map(|_| Vec::new())).iter().all(|over| !over));
        let said = judge((0..60).map(|n| if n == 50 { Vec::new() } else { vec![0] }));
        assert!(!said[51]);
    }
}
