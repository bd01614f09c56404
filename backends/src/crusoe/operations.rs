//! Waiting for what goes on behind an accepted call.

use super::client::Client;
use super::wire::{ApiError, Operation, OperationAnswer};
use crate::backend::Outcome;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(5);

impl Client {
    /// Follows an operation of a collection (`compute/vms/instances`) to its end. One that cannot be read, or takes
    /// longer than `patience`, says nothing about the thing itself: whoever asked has to look.
    pub(super) async fn follow(
        &self,
        collection: &str,
        answer: OperationAnswer,
        patience: Duration,
    ) -> Outcome<Value> {
        let mut operation = answer.into_inner();
        let path = self.project(&format!(
            "{collection}/operations/{}",
            operation.operation_id
        ));
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            match operation.state.as_str() {
                "SUCCEEDED" => return Outcome::Done(operation.result),
                "FAILED" => return Outcome::Refused(failure(&operation)),
                _ => {}
            }
            if Instant::now() >= deadline {
                return Outcome::Unknown(format!(
                    "operation {} takes longer than {} s",
                    operation.operation_id,
                    patience.as_secs()
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
            match self.get::<OperationAnswer>(&path, &[]).await {
                Outcome::Done(newer) => operation = newer.into_inner(),
                Outcome::Unknown(why) => tracing::debug!(why, "an operation was not read"),
                // It may have been read once already and be gone by now.
                Outcome::Refused(why) => {
                    return Outcome::Unknown(format!(
                        "operation {} cannot be read: {why}",
                        operation.operation_id
                    ));
                }
                Outcome::Absent => {
                    return Outcome::Unknown(format!(
                        "operation {} is not there any more",
                        operation.operation_id
                    ));
                }
            }
        }
    }
}

/// `out_of_stock: …`, or whatever else it ended with.
fn failure(operation: &Operation) -> String {
    let error: ApiError = serde_json::from_value(operation.result.clone()).unwrap_or_default();
    let code = match error.code.as_str() {
        "" => "failed",
        code => code,
    };
    match error.message.rsplit("desc = ").next().unwrap_or_default() {
        "" => code.to_owned(),
        message => format!("{code}: {message}"),
    }
}
