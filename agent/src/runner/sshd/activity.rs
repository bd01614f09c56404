//! Since when nobody is connected: what `inactivity_duration` of a dev environment counts from.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{clock, durable};

/// A connection counts when it has lasted this long: a check of the port is no work.
const COUNTS_AFTER: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(2_500);

/// `ssh/activity.json`, for the agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Absent while somebody is connected.
    pub inactive_since: Option<Timestamp>,
}

/// Open connections, by when they came.
#[derive(Debug, Default)]
pub struct Presence(Mutex<Vec<Instant>>);

/// One open connection; dropped with it.
#[derive(Debug)]
pub struct Guest {
    house: Arc<Presence>,
    came: Instant,
}

impl Presence {
    pub fn enter(self: &Arc<Self>) -> Guest {
        let came = Instant::now();
        self.guests().push(came);
        Guest {
            house: self.clone(),
            came,
        }
    }

    pub fn count(&self) -> usize {
        self.guests().len()
    }

    fn guests(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_used(&self) -> bool {
        self.guests()
            .iter()
            .any(|came| came.elapsed() >= COUNTS_AFTER)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = self.house.guests();
        if let Some(at) = guests.iter().position(|came| *came == self.came) {
            guests.swap_remove(at);
        }
    }
}

/// Keeps `activity.json` true; writes it only when somebody comes or the last one goes.
pub async fn watch(presence: Arc<Presence>, path: PathBuf) {
    let mut shown = Activity {
        inactive_since: Some(clock::now()),
    };
    let mut written = write(&path, shown);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = match (presence.is_used(), shown.inactive_since) {
            (true, _) => None,
            (false, None) => Some(clock::now()),
            (false, since) => since,
        };
        if now != shown.inactive_since || !written {
            shown.inactive_since = now;
            written = write(&path, shown);
        }
    }
}

fn write(path: &Path, activity: Activity) -> bool {
    durable::write_json(path, &activity).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_leave_as_they_came() {
        let house = Arc::new(Presence::default());
        let one = house.enter();
        let two = house.enter();
        assert_eq!(house.count(), 2);
        drop(one);
        assert_eq!(house.count(), 1);
        assert!(!house.is_used(), "nobody has stayed long enough");
        drop(two);
        assert_eq!(house.count(), 0);
    }
}
