//! A machine that a cloud made: logged into, it may still be getting its disks ready.

use super::failure::HostError;
use super::ssh::Session;
use dstack_deploy::first_boot::BOOTED;
use std::time::Duration;

/// Formatting several disks and moving Docker there takes a while.
const LIMIT_SECONDS: u64 = 300;

/// Waits until the startup script has run to its end since this boot.
pub async fn booted(session: &Session) -> Result<(), HostError> {
    let wait = format!(
        "for _ in $(seq {LIMIT_SECONDS}); do if [ -e {BOOTED} ]; then exit 0; fi; sleep 1; done; exit 1"
    );
    let limit = Duration::from_secs(LIMIT_SECONDS + 30);
    let output = session.run(&wait, b"", limit).await?;
    match output.status {
        Some(0) => Ok(()),
        _ => Err(HostError::Bootstrap {
            at: session.at().clone(),
            step: "awaited",
            said: format!("the startup script did not end within {LIMIT_SECONDS} s"),
        }),
    }
}
