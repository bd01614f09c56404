//! Measures how long writes pause: a new write every few milliseconds, in parallel, to the replicas
//! given, each with its own deadline (a serial prober would measure its own timeout instead).

use anyhow::{Context, Result};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, JoinSet};

/// A new write starts this often.
const EVERY: Duration = Duration::from_millis(10);
/// A write that is not answered by then has failed.
const DEADLINE: Duration = Duration::from_secs(35);

/// One write as its client saw it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Counter; also the value written.
    pub number: u64,
    /// When it was sent.
    pub sent: Instant,
    /// When it was answered, whatever the answer.
    pub answered: Instant,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A running prober.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<tokio::sync::Notify>,
    task: JoinHandle<Vec<Attempt>>,
    answered: Arc<Mutex<u64>>,
}

impl Prober {
    /// Starts writing to `urls`, one after the other in turn.
    pub fn start(urls: Vec<String>, token: String) -> Self {
        let stop = Arc::new(tokio::sync::Notify::new());
        let answered = Arc::new(Mutex::new(0));
        let task = tokio::spawn(probe(urls, token, stop.clone(), answered.clone()));
        Self {
            stop,
            task,
            answered,
        }
    }

    /// Waits until `more` further writes have been acknowledged.
    pub async fn wait_acknowledged(&self, more: u64) {
        let start = self.acknowledged();
        while self.acknowledged() < start + more {
            crate::lab::pause().await;
        }
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.answered.lock().map(|count| *count).unwrap_or_default()
    }

    /// Stops sending, waits for the writes in flight, and returns all attempts by send order.
    pub async fn finish(self) -> Result<Vec<Attempt>> {
        self.stop.notify_one();
        self.task.await.context("the prober ended badly")
    }
}

async fn probe(
    urls: Vec<String>,
    token: String,
    stop: Arc<tokio::sync::Notify>,
    answered: Arc<Mutex<u64>>,
) -> Vec<Attempt> {
    let client = crate::lab::http();
    let mut flying = JoinSet::new();
    let mut done = Vec::new();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.notified() => break,
        }
        let index = usize::try_from(number).unwrap_or_default() % urls.len();
        flying.spawn(write(
            client.clone(),
            urls[index].clone(),
            token.clone(),
            number,
            answered.clone(),
        ));
        while let Some(result) = flying.try_join_next() {
            done.extend(result.ok());
        }
    }
    while let Some(result) = flying.join_next().await {
        done.extend(result.ok());
    }
    done.sort_by_key(|attempt| attempt.number);
    done
}

async fn write(
    client: reqwest::Client,
    url: String,
    token: String,
    number: u64,
    answered: Arc<Mutex<u64>>,
) -> Attempt {
    let sent = Instant::now();
    let result = client
        .post(format!("{url}/api/project/main/secrets/create_or_update"))
        .bearer_auth(token)
        .header("X-Request-Id", uuid::Uuid::new_v4().to_string())
        .json(&serde_json::json!({ "name": format!("probe-{}", number % 16), "value": number.to_string() }))
        .timeout(DEADLINE)
        .send()
        .await;
    let error = match result {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => {
            let status = answer.status();
            Some(format!(
                "{status}: {}",
                answer.text().await.unwrap_or_default()
            ))
        }
        Err(error) => Some(error.to_string()),
    };
    if error.is_none()
        && let Ok(mut count) = answered.lock()
    {
        *count += 1;
    }
    Attempt {
        number,
        sent,
        answered: Instant::now(),
        error,
    }
}

/// The longest time without an acknowledged write between `from` and the last answer.
pub fn longest_pause(attempts: &[Attempt], from: Instant) -> Duration {
    let mut answers: Vec<Instant> = attempts
        .iter()
        .filter(|one| one.error.is_none())
        .map(|one| one.answered)
        .filter(|at| *at >= from)
        .collect();
    answers.sort();
    let mut last = from;
    let mut longest = Duration::ZERO;
    for at in answers {
        longest = longest.max(at - last);
        last = at;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u64, start: Instant, answered_ms: u64, failed: bool) -> Attempt {
        Attempt {
            number,
            sent: start,
            answered: start + Duration::from_millis(answered_ms),
            error: failed.then(|| "no".to_owned()),
        }
    }

    #[test]
    fn the_pause_is_the_longest_gap_between_acknowledged_writes() {
        let start = Instant::now();
        let attempts = [
            attempt(0, start, 5, false),
            attempt(1, start, 300, true),
            attempt(2, start, 700, false),
            attempt(3, start, 710, false),
        ];
        assert_eq!(longest_pause(&attempts, start), Duration::from_millis(695));
    }

    #[test]
    fn answers_before_the_moment_of_interest_do_not_count() {
        let start = Instant::now();
        let attempts = [attempt(0, start, 5, false), attempt(1, start, 120, false)];
        assert_eq!(
            longest_pause(&attempts, start + Duration::from_millis(100)),
            Duration::from_millis(20)
        );
    }
}
