//! What is asked, of whom, in which order.

use super::report::{Report, Row};
use super::side::{self, Side};
use super::{load, questions};
use crate::lab::Binaries;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

/// Finished runs in the database when lists are read.
const PASTS: [usize; 3] = [0, 1_000, 5_000];
/// Clients at a time.
const CROWDS: [usize; 2] = [1, 16];
/// `dstack ps` is run this often for its median.
const PS_RUNS: usize = 7;

/// Prints the table, and writes it as JSON to `out` when given. `venv` holds upstream's server.
pub async fn compare(venv: &Path, length: Duration, out: Option<&Path>) -> Result<()> {
    let binaries = Binaries::find()?;
    let folder = tempfile::Builder::new()
        .prefix("dstack-compare-")
        .tempdir()
        .context("a folder for the bench")?;
    let sides = [
        side::upstream(folder.path(), venv).await?,
        side::ours(folder.path(), "one replica", 1, &binaries).await?,
        side::ours(folder.path(), "three replicas", 3, &binaries).await?,
    ];
    let mut report = Report::new(sides.each_ref().map(|side| side.name));
    report.push(memory("memory when idle, MB per process", &sides)?);
    for past in PASTS {
        for side in &sides {
            eprintln!("compare: {} gets {past} past runs", side.name);
            side.age(past).await?;
        }
        for crowd in CROWDS {
            let what = format!("runs/list, {past} past runs");
            report.extend(measure(&what, &sides, &questions::list_runs(), crowd, length).await?);
        }
    }
    report.push(ps(&sides)?);
    for crowd in CROWDS {
        for (what, question) in [
            ("get_my_user", questions::my_user()),
            ("runs/get_plan", questions::plan()),
            ("runs/apply", questions::apply()),
        ] {
            report.extend(measure(what, &sides, &question, crowd, length).await?);
        }
    }
    report.push(memory("memory after the load, MB per process", &sides)?);
    println!("{}", report.markdown());
    if let Some(path) = out {
        std::fs::write(path, report.json()?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Two rows: how long one waits, and how many are served.
async fn measure(
    what: &str,
    sides: &[Side; 3],
    question: &load::Question,
    crowd: usize,
    length: Duration,
) -> Result<[Row; 3]> {
    eprintln!("compare: {what}, {crowd} at a time");
    let mut answers = Vec::new();
    for side in sides {
        answers.push(load::ask(&side.urls, &side.token, question, crowd, length).await?);
    }
    let row = |unit: &str, lower: bool, value: fn(&load::Answered) -> f64| {
        Row::new(
            format!("{what}, {crowd} at a time: {unit}"),
            answers.iter().map(value).collect(),
            lower,
        )
    };
    Ok([
        row("p50 ms", true, |one| one.p50_ms),
        row("p99 ms", true, |one| one.p99_ms),
        row("answers/s", false, |one| one.per_second),
    ])
}

fn memory(what: &str, sides: &[Side; 3]) -> Result<Row> {
    let mut largest = Vec::new();
    for side in sides {
        largest.push(side.memory()?.into_iter().fold(0.0, f64::max));
    }
    Ok(Row::new(what.to_owned(), largest, true))
}

fn ps(sides: &[Side; 3]) -> Result<Row> {
    let mut medians = Vec::new();
    for side in sides {
        let mut times = (0..PS_RUNS)
            .map(|_| side.ps())
            .collect::<Result<Vec<_>>>()?;
        times.sort();
        medians.push(times[PS_RUNS / 2].as_secs_f64() * 1e3);
    }
    Ok(Row::new(
        "`dstack ps -a`, their CLI and ours: median ms".to_owned(),
        medians,
        true,
    ))
}
