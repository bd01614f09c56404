//! What jobs use, at the latest sample.

use super::Table;
use super::resources::size;
use dstack_api::http::metrics::JobMetrics;

pub fn table(jobs: &[((u32, u32), JobMetrics)]) -> Table {
    let mut table = Table::new(&["JOB", "", "UTILIZATION", "MEMORY"]);
    for ((replica, job), metrics) in jobs {
        let name = format!("replica={replica} job={job}");
        let of = |name: &str| latest(metrics, name);
        let Some(cpu) = of("cpu_usage_percent") else {
            table.row([
                name,
                "cpu".to_owned(),
                "no data".to_owned(),
                "no data".to_owned(),
            ]);
            continue;
        };
        let cpus = of("cpus_detected_num").unwrap_or(1).max(1);
        let memory = used(of("memory_working_set_bytes"), of("memory_total_bytes"));
        let cpu = format!("{}%", cpu / cpus);
        table.row([name, "cpu".to_owned(), cpu, memory]);
        for card in 0..of("gpus_detected_num").unwrap_or_default() {
            let percent = of(&format!("gpu_util_percent_gpu{card}")).unwrap_or_default();
            let memory = used(
                of(&format!("gpu_memory_usage_bytes_gpu{card}")),
                of("gpu_memory_total_bytes"),
            );
            table.row([
                String::new(),
                format!("gpu={card}"),
                format!("{percent}%"),
                memory,
            ]);
        }
    }
    table
}

fn latest(metrics: &JobMetrics, name: &str) -> Option<u64> {
    let found = metrics.metrics.iter().find(|metric| metric.name == name);
    found.and_then(|metric| metric.values.first().copied())
}

fn used(bytes: Option<u64>, of: Option<u64>) -> String {
    let text = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| size(bytes >> 20));
    format!("{}/{}", text(bytes), text(of))
}
