//! From samples to the series clients draw.

use std::iter::repeat_n;

use dstack_api::agent_metrics::Sample;
use dstack_api::http::metrics::{JobMetrics, Metric};
use dstack_api::http::offers::Resources;
use dstack_api::http::time::Moment;
use jiff::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub at: Timestamp,
    pub sample: Sample,
}

/// `points` are oldest first; the oldest only serves as what the next one is compared with.
pub fn series(points: &[Point], resources: Option<&Resources>) -> JobMetrics {
    let pairs: Vec<(&Point, &Point)> = points.iter().zip(points.iter().skip(1)).rev().collect();
    if pairs.is_empty() {
        return JobMetrics::default();
    }
    let mut drawing = Drawing {
        timestamps: pairs.iter().map(|(_, new)| new.at.into()).collect(),
        metrics: Vec::new(),
    };
    drawing.line(
        "cpu_usage_percent",
        pairs.iter().map(|(old, new)| cpu(old, new)),
    );
    let samples = || pairs.iter().map(|(_, new)| &new.sample);
    drawing.line("memory_usage_bytes", samples().map(|sample| sample.memory));
    drawing.line(
        "memory_working_set_bytes",
        samples().map(|sample| sample.working_set),
    );
    if let Some(resources) = resources {
        drawing.constant("cpus_detected_num", u64::from(resources.cpus));
        drawing.constant("memory_total_bytes", resources.memory_mib << 20);
    }
    // Which card is which is known by its place alone: when their number changes, nothing is.
    let number = samples().next().map_or(0, |sample| sample.gpus.len());
    if samples().any(|sample| sample.gpus.len() != number) {
        return drawing.done();
    }
    drawing.constant("gpus_detected_num", number as u64);
    if let Some(gpu) = resources.and_then(|resources| resources.gpus.first()) {
        drawing.constant("gpu_memory_total_bytes", gpu.memory_mib << 20);
    }
    for card in 0..number {
        let gpus = || samples().filter_map(|sample| sample.gpus.get(card));
        drawing.line(
            &format!("gpu_memory_usage_bytes_gpu{card}"),
            gpus().map(|gpu| gpu.memory),
        );
        drawing.line(
            &format!("gpu_util_percent_gpu{card}"),
            gpus().map(|gpu| u64::from(gpu.percent)),
        );
    }
    drawing.done()
}

struct Drawing {
    timestamps: Vec<Moment>,
    metrics: Vec<Metric>,
}

impl Drawing {
    fn line(&mut self, name: &str, values: impl Iterator<Item = u64>) {
        self.metrics.push(Metric {
            name: name.to_owned(),
            timestamps: self.timestamps.clone(),
            values: values.collect(),
        });
    }

    fn constant(&mut self, name: &str, value: u64) {
        self.line(name, repeat_n(value, self.timestamps.len()));
    }

    fn done(self) -> JobMetrics {
        JobMetrics {
            metrics: self.metrics,
        }
    }
}

/// Percent of one core, so that four busy cores are 400.
fn cpu(old: &Point, new: &Point) -> u64 {
    let window = new.at.as_microsecond() - old.at.as_microsecond();
    let used = new.sample.cpu_us.saturating_sub(old.sample.cpu_us);
    match u64::try_from(window) {
        Ok(window) if window > 0 => (used.saturating_mul(100) + window / 2) / window,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dstack_api::agent_metrics::GpuSample;

    fn point(second: i64, cpu_us: u64, gpus: usize) -> Point {
        Point {
            at: Timestamp::from_second(second).unwrap(),
            sample: Sample {
                cpu_us,
                memory: 100 + cpu_us,
                working_set: 50,
                gpus: vec![
                    GpuSample {
                        memory: 7,
                        percent: 9
                    };
                    gpus
                ],
            },
        }
    }

    fn values(metrics: &JobMetrics, name: &str) -> Option<Vec<u64>> {
        let found = metrics.metrics.iter().find(|metric| metric.name == name);
        found.map(|metric| metric.values.clone())
    }

    #[test]
    fn one_point_says_nothing() {
        assert_eq!(series(&[point(1, 0, 0)], None), JobMetrics::default());
    }

    #[test]
    fn the_latest_comes_first_and_cpu_is_a_difference() {
        let points = [
            point(0, 0, 1),
            point(10, 5_000_000, 1),
            point(20, 25_000_000, 1),
        ];
        let metrics = series(&points, None);
        assert_eq!(values(&metrics, "cpu_usage_percent"), Some(vec![200, 50]));
        assert_eq!(
            values(&metrics, "memory_usage_bytes"),
            Some(vec![25_000_100, 5_000_100])
        );
        assert_eq!(values(&metrics, "gpu_util_percent_gpu0"), Some(vec![9, 9]));
        assert_eq!(values(&metrics, "gpus_detected_num"), Some(vec![1, 1]));
        let shown = metrics.metrics[0].timestamps[0].to_string();
        assert_eq!(shown, "1970-01-01T00:00:20Z");
    }

    #[test]
    fn a_changing_number_of_cards_hides_them_all() {
        let metrics = series(&[point(0, 0, 1), point(1, 0, 1), point(2, 0, 2)], None);
        assert_eq!(values(&metrics, "gpus_detected_num"), None);
        assert_eq!(values(&metrics, "gpu_util_percent_gpu0"), None);
        assert!(values(&metrics, "cpu_usage_percent").is_some());
    }
}
