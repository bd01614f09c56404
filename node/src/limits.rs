//! Every limit of a replica, in one place, with the reason for its value.

use std::time::Duration;

/// Nothing larger enters the log: entries are kept in memory by every replica and sent between heartbeats.
pub const ENTRY_BYTES: usize = 256 * 1024;

/// How long a request waits for a leader before it is refused. The released client has no timeout of its own
/// but gives up on the first 5xx, so waiting is always better than refusing.
pub const PARK: Duration = Duration::from_secs(30);

/// Requests inside the door at once, parked ones included. Each holds at most one entry.
pub const DOOR_IN_FLIGHT: usize = 4_096;

/// How long a forwarded request may take on the leader before it is sent again under the same request id.
pub const FORWARD: Duration = Duration::from_secs(10);

/// First and longest pause between attempts while there is no leader to send to.
pub const RETRY_FIRST: Duration = Duration::from_millis(10);
/// See [`RETRY_FIRST`].
pub const RETRY_LAST: Duration = Duration::from_millis(250);

/// How long an accepted write waits for this replica to have applied it, so that its caller reads it back.
pub const READ_YOUR_WRITES: Duration = Duration::from_secs(5);

/// Proposals of the leader's own loop that are in flight at once.
pub const STEPS_IN_FLIGHT: usize = 64;

/// The leader's loop looks at least this often, whatever it is told.
pub const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Shortest time between two passes of the loop when passes keep finding work: a decision that never comes to
/// rest must not eat a core.
pub const PASS_GAP: Duration = Duration::from_millis(50);
/// How many passes in a row may find work before [`PASS_GAP`] is kept.
pub const BUSY_PASSES: u32 = 50;

/// A leader whose loop has not come round for so long gives its leadership away.
pub const STALL_TRANSFER: Duration = Duration::from_secs(20);
/// And when that does not help, ends its process.
pub const STALL_EXIT: Duration = Duration::from_secs(45);

/// Time for open requests to finish after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(10);
/// Time for leadership to move after SIGTERM.
pub const TRANSFER: Duration = Duration::from_secs(5);

/// Pause between two comparisons of state hashes.
pub const HASH_WATCH: Duration = Duration::from_secs(5);
/// Applied entries whose state hash is remembered for comparison.
pub const HASH_RING: usize = 4_096;
/// Hashes asked about in one comparison.
pub const HASH_SAMPLES: usize = 64;

/// How long a question to another replica about its state may take.
pub const PEER_QUESTION: Duration = Duration::from_secs(2);

/// Largest body of an HTTP request (code uploads have their own, smaller limit).
pub const HTTP_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Idle connections are kept longer than any client's polling interval, or both sides race to close them.
pub const HTTP_KEEP_ALIVE: Duration = Duration::from_secs(90);
/// Largest header section of an HTTP request.
pub const HTTP_HEADER_BYTES: usize = 64 * 1024;
/// How long a client may take to send its request headers.
pub const HTTP_HEADER_TIME: Duration = Duration::from_secs(30);
