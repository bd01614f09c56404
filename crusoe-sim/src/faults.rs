//! What goes wrong, by plan or by chance.

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use std::collections::VecDeque;
use std::time::Duration;

/// One misfortune of one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// A 503, and nothing happened.
    ErrorBefore,
    /// It happened, and the answer is a 500.
    ErrorAfter,
    /// It happened, and the connection breaks before the answer is whole.
    LostAnswer,
    /// 429: not looked at. Seconds to wait.
    TooMany(u64),
    /// The answer takes so long.
    Slow(Duration),
    /// The operation this call starts ends as failed, with this code.
    FailsLate(&'static str),
}

/// How often things go wrong, out of a thousand calls.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Faults {
    pub error_before: u32,
    pub error_after: u32,
    pub lost_answer: u32,
    pub too_many: u32,
    pub fails_late: u32,
}

/// Faults that were ordered, then those of chance.
#[derive(Debug)]
pub struct Fate {
    planned: Mutex<VecDeque<(String, Fault)>>,
    chance: Mutex<StdRng>,
    rates: Mutex<Faults>,
}

impl Fate {
    pub fn new(seed: u64, rates: Faults) -> Self {
        Self {
            planned: Mutex::default(),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            rates: Mutex::new(rates),
        }
    }

    /// From now on things go wrong so often.
    pub fn set(&self, rates: Faults) {
        *self.rates.lock() = rates;
    }

    /// The next call whose `METHOD path` contains `calls` meets this.
    pub fn plan(&self, calls: &str, fault: Fault) {
        self.planned.lock().push_back((calls.to_owned(), fault));
    }

    /// What this call meets.
    pub fn of(&self, call: &str) -> Option<Fault> {
        let mut planned = self.planned.lock();
        if let Some(at) = planned.iter().position(|(calls, _)| call.contains(calls)) {
            return planned.remove(at).map(|(_, fault)| fault);
        }
        drop(planned);
        let changes = !call.starts_with("GET");
        let mut luck = self.chance.lock().random_range(0..1000);
        let mut hit = |rate: u32| {
            let hit = luck < rate;
            luck = luck.saturating_sub(rate);
            hit
        };
        let rates = *self.rates.lock();
        match () {
            () if hit(rates.error_before) => Some(Fault::ErrorBefore),
            () if hit(rates.error_after) => Some(Fault::ErrorAfter),
            () if hit(rates.lost_answer) => Some(Fault::LostAnswer),
            () if hit(rates.too_many) => Some(Fault::TooMany(1)),
            () if changes && hit(rates.fails_late) => Some(Fault::FailsLate("out_of_stock")),
            () => None,
        }
    }
}
