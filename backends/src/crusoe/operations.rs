//! Waiting for what goes on behind an accepted call.

use super::client::Client;
use super::done::done;
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
        let deadline = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(ended) = operation.ended() {
                return ended;
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
            operation = done!(self.operation(collection, operation).await);
        }
    }

    /// The operation as it is by now. One that nobody answers for just now is as it was; one that is not there any more
    /// may have been read once already, and tells nothing.
    pub(super) async fn operation(&self, collection: &str, known: Operation) -> Outcome<Operation> {
        let id = &known.operation_id;
        let path = self.project(&format!("{collection}/operations/{id}"));
        match self.get::<OperationAnswer>(&path, &[]).await {
            Outcome::Done(newer) => Outcome::Done(newer.into_inner()),
            Outcome::Unknown(why) => {
                tracing::debug!(why, "an operation was not read");
                Outcome::Done(known)
            }
            Outcome::Refused(why) => {
                Outcome::Unknown(format!("operation {id} cannot be read: {why}"))
            }
            Outcome::Absent => Outcome::Unknown(format!("operation {id} is not there any more")),
        }
    }
}

impl Operation {
    /// What it came to, once it has.
    pub(super) fn ended(&self) -> Option<Outcome<Value>> {
        match self.state.as_str() {
            "SUCCEEDED" => Some(Outcome::Done(self.result.clone())),
            "FAILED" => Some(Outcome::Refused(failure(self))),
            _ => None,
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
