//! The comparison as a Markdown table and as JSON. Ratios are to upstream, so that above 1 is better.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write;

#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    sides: Vec<&'static str>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    what: String,
    values: Vec<f64>,
    lower_is_better: bool,
}

impl Row {
    pub fn new(what: String, values: Vec<f64>, lower_is_better: bool) -> Self {
        Self {
            what,
            values,
            lower_is_better,
        }
    }

    /// How many times better than the first value.
    fn ratio(&self, value: f64) -> f64 {
        let first = self.values.first().copied().unwrap_or_default();
        if self.lower_is_better {
            first / value
        } else {
            value / first
        }
    }
}

impl Report {
    pub fn new(sides: [&'static str; 3]) -> Self {
        Self {
            machine: machine(),
            sides: sides.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n| |", self.machine);
        for side in &self.sides {
            let _ = write!(text, " {side} |");
        }
        text.push_str("\n| --- |");
        text.push_str(&" ---: |".repeat(self.sides.len()));
        for row in &self.rows {
            let _ = write!(text, "\n| {} |", row.what);
            for (at, value) in row.values.iter().enumerate() {
                let _ = match at {
                    0 => write!(text, " {} |", short(*value)),
                    _ => write!(text, " {} ({}×) |", short(*value), short(row.ratio(*value))),
                };
            }
        }
        text
    }

    pub fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("writing the report as JSON")
    }
}

/// Three figures say enough.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores, {model}; all servers and the client on it, fsync on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_is_above_one_whichever_way() {
        let wait = Row::new("wait".into(), vec![10.0, 2.0], true);
        let rate = Row::new("rate".into(), vec![10.0, 50.0], false);
        assert_eq!(wait.ratio(2.0), 5.0);
        assert_eq!(rate.ratio(50.0), 5.0);
    }

    #[test]
    fn the_table_has_a_column_per_side() {
        let mut report = Report::new(["a", "b", "c"]);
        report.push(Row::new("x".into(), vec![100.0, 10.0, 1.0], true));
        let text = report.markdown();
        assert!(
            text.ends_with("| x | 100 | 10.0 (10.0×) | 1.00 (100×) |"),
            "{text}"
        );
    }
}
