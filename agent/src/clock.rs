//! The agent's only clock. Everything that decides takes the time as a value.

use jiff::Timestamp;

/// The wall clock.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The wall clock in the unit of log frames.
pub fn now_micros() -> i64 {
    now().as_microsecond()
}
