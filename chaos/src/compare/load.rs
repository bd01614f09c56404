//! A closed loop of workers that ask the same thing again and again, and what they waited.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// One kind of request; `body` gets a number that is different each time.
pub struct Question {
    /// Path below the server's URL.
    pub path: &'static str,
    /// Its body; `None` sends none.
    pub body: Arc<dyn Fn(u64) -> Option<Value> + Send + Sync>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered {
    /// Half of the answers came within this.
    pub p50_ms: f64,
    /// All but one in a hundred.
    pub p99_ms: f64,
    /// Answers per second, all workers together.
    pub per_second: f64,
}

/// Numbers never repeat within one bench, so that names made from them do not either.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Asks with `workers` at a time for `length`; the addresses take turns, one per worker.
pub async fn ask(
    urls: &[String],
    token: &str,
    question: &Question,
    workers: usize,
    length: Duration,
) -> Result<Answered> {
    let start = Instant::now();
    let mut crowd = JoinSet::new();
    for worker in 0..workers {
        let url = format!("{}{}", urls[worker % urls.len()], question.path);
        crowd.spawn(one_worker(
            url,
            token.to_owned(),
            question.body.clone(),
            start + length,
        ));
    }
    let mut waits = Vec::new();
    while let Some(done) = crowd.join_next().await {
        waits.extend(done.context("a worker ended badly")??);
    }
    summary(waits, start.elapsed())
}

async fn one_worker(
    url: String,
    token: String,
    body: Arc<dyn Fn(u64) -> Option<Value> + Send + Sync>,
    until: Instant,
) -> Result<Vec<Duration>> {
    let client = crate::lab::http();
    let mut waits = Vec::new();
    while waits.is_empty() || Instant::now() < until {
        let mut request = client.post(&url).bearer_auth(&token);
        if let Some(body) = body(NUMBER.fetch_add(1, Ordering::Relaxed)) {
            request = request.json(&body);
        }
        let sent = Instant::now();
        let answer = request
            .send()
            .await
            .with_context(|| format!("asking {url}"))?;
        let status = answer.status();
        let text = answer
            .text()
            .await
            .with_context(|| format!("reading {url}"))?;
        if !status.is_success() {
            bail!("{url} answered {status}: {text}");
        }
        waits.push(sent.elapsed());
    }
    Ok(waits)
}

fn summary(mut waits: Vec<Duration>, took: Duration) -> Result<Answered> {
    if waits.is_empty() {
        bail!("nothing was answered");
    }
    waits.sort();
    let at = |percent: usize| {
        let index = (waits.len() * percent).div_ceil(100).saturating_sub(1);
        waits[index].as_secs_f64() * 1e3
    };
    Ok(Answered {
        p50_ms: at(50),
        p99_ms: at(99),
        per_second: waits.len() as f64 / took.as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_waits() {
        let waits = (1..=100).map(Duration::from_millis).collect();
        let got = summary(waits, Duration::from_secs(2)).unwrap();
        assert_eq!(got.p50_ms, 50.0);
        assert_eq!(got.p99_ms, 99.0);
        assert_eq!(got.per_second, 50.0);
        assert!(summary(Vec::new(), Duration::from_secs(1)).is_err());
    }
}
