//! The only place of this crate that asks the operating system for time and chance.
//!
//! Everything else gets both from here, so that what depends on them can be found by one search.

use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

/// The wall clock.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A clock that never goes back, for deadlines and ages within this process.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// The operating system refused to give random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoEntropy(#[source] getrandom::Error);

/// Bytes nobody can guess.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoEntropy> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoEntropy)?;
    Ok(bytes)
}

/// A version 4 UUID. Identifiers must be unique but need not be secret, so when the operating system has no
/// entropy (which Linux only does in its first moments) hashing time and a counter is good enough.
pub fn uuid() -> Uuid {
    let bytes = random_bytes::<16>().unwrap_or_else(|_| fallback());
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// A number for whoever derives more from it, such as a generated name.
pub fn seed() -> u64 {
    let (high, low) = uuid().as_u64_pair();
    high ^ low
}

fn fallback() -> [u8; 16] {
    use sha2::{Digest, Sha256};
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let digest = Sha256::new()
        .chain_update(now().as_nanosecond().to_le_bytes())
        .chain_update(std::process::id().to_le_bytes())
        .chain_update(COUNTER.fetch_add(1, Ordering::Relaxed).to_le_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes
}
