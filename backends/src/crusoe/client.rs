//! One call: signed, paced, and its answer sorted into the four outcomes.

use super::done::done;
use super::sign::{AccessKey, canonical};
use super::wire::{ApiError, Items};
use crate::backend::Outcome;
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a call is held back because there were too many. Nothing has happened then, so it is simply sent later.
const HELD_BACK: Duration = Duration::from_secs(120);
/// Between two calls, unless the account is told otherwise: how many are allowed is not documented.
const PACE: Duration = Duration::from_millis(200);
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Where and as whom.
#[derive(Clone, Debug)]
pub struct Account {
    /// With the version: `https://api.cloud.crusoe.ai/v1`.
    pub endpoint: String,
    pub project: String,
    pub key: AccessKey,
    /// Least time between two calls.
    pub pace: Duration,
}

impl Account {
    pub const ENDPOINT: &'static str = "https://api.cloud.crusoe.ai/v1";

    pub fn new(endpoint: impl Into<String>, project: impl Into<String>, key: AccessKey) -> Self {
        Self {
            endpoint: endpoint.into().trim_end_matches('/').to_owned(),
            project: project.into(),
            key,
            pace: PACE,
        }
    }
}

#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    account: Account,
    /// What of a path comes before ours: it is signed with it.
    prefix: String,
    /// When the next call may go out.
    next: Mutex<Instant>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("{0} is not an http or https address")]
    Endpoint(String),
    #[error("the HTTP client cannot be set up")]
    Http(#[source] reqwest::Error),
}

impl Client {
    pub fn new(account: Account) -> Result<Self, SetupError> {
        // One provider per process; whoever came first has installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = reqwest::Url::parse(&account.endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| SetupError::Endpoint(account.endpoint.clone()))?;
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .map_err(SetupError::Http)?;
        Ok(Self {
            http,
            prefix: url.path().trim_end_matches('/').to_owned(),
            account,
            next: Mutex::new(Instant::now()),
        })
    }

    /// A path within the project.
    pub(super) fn project(&self, rest: &str) -> String {
        format!("/projects/{}/{rest}", self.account.project)
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Outcome<T> {
        parsed(self.send(Method::GET, path, query, None).await)
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Outcome<T> {
        parsed(self.send(Method::POST, path, &[], Some(body)).await)
    }

    /// What a deletion answers is a thing, or nothing.
    pub(super) async fn delete(&self, path: &str) -> Outcome<Value> {
        match self.send(Method::DELETE, path, &[], None).await {
            Outcome::Done(text) if text.trim().is_empty() => Outcome::Done(Value::Null),
            other => parsed(other),
        }
    }

    /// Every page of a list.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Outcome<Vec<T>> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let mut query = query.to_vec();
            if !token.is_empty() {
                query.push(("next_token", &token));
            }
            let page = self.get::<Items<T>>(path, &query).await;
            // A list is there, whatever is in it: no such path is nonsense.
            let absent = || Outcome::Unknown(format!("{path} does not exist"));
            let page = done!(page.if_absent(absent));
            all.extend(page.items);
            match page
                .next_page_token
                .filter(|next| !next.is_empty() && *next != token)
            {
                Some(next) => token = next,
                None => return Outcome::Done(all),
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Outcome<String> {
        let deadline = Instant::now() + HELD_BACK;
        let mut pause = FIRST_PAUSE;
        loop {
            self.turn().await;
            match self.attempt(&method, path, query, body).await {
                Attempt::Outcome(outcome) => return outcome,
                Attempt::TooMany(_) if Instant::now() >= deadline => {
                    return Outcome::Unknown("Crusoe takes no more requests for now".to_owned());
                }
                Attempt::TooMany(after) => self.hold(after.unwrap_or(pause)),
            }
            pause = (pause * 2).min(PATIENCE);
        }
    }

    /// Waits until a call could go out at once.
    pub(super) async fn ready(&self) {
        let at = *self.next.lock();
        tokio::time::sleep_until(at).await;
    }

    /// Waits for this call's turn.
    async fn turn(&self) {
        let at = {
            let mut next = self.next.lock();
            let at = (*next).max(Instant::now());
            *next = at + self.account.pace;
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// Nobody sends before that.
    fn hold(&self, pause: Duration) {
        let mut next = self.next.lock();
        *next = (*next).max(Instant::now() + pause.min(HELD_BACK));
    }

    async fn attempt(
        &self,
        method: &Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Attempt {
        let timestamp = jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let signed = format!("{}{path}", self.prefix);
        let authorization =
            self.account
                .key
                .authorization(method.as_str(), &signed, query, &timestamp);
        let mut url = format!("{}{path}", self.account.endpoint);
        if !query.is_empty() {
            url = format!("{url}?{}", canonical(query));
        }
        let mut request = self
            .http
            .request(method.clone(), url)
            .header("X-Crusoe-Timestamp", timestamp)
            .header("Authorization", authorization);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            // Not even a connection: nobody can have heard it.
            Err(error) if error.is_connect() => {
                return Attempt::Outcome(Outcome::Unknown(format!(
                    "Crusoe cannot be reached: {}",
                    chain(&error)
                )));
            }
            Err(error) => return Attempt::Outcome(Outcome::Unknown(chain(&error))),
        };
        let status = answer.status();
        let after = retry_after(&answer);
        match answer.text().await {
            Ok(text) => judge(status, after, text),
            Err(error) => Attempt::Outcome(Outcome::Unknown(chain(&error))),
        }
    }
}

enum Attempt {
    Outcome(Outcome<String>),
    /// It was not looked at; perhaps with how long to wait.
    TooMany(Option<Duration>),
}

fn judge(status: StatusCode, after: Option<Duration>, text: String) -> Attempt {
    if status.is_success() {
        return Attempt::Outcome(Outcome::Done(text));
    }
    let error: ApiError = serde_json::from_str(&text).unwrap_or_default();
    let said = said(status, &error);
    Attempt::Outcome(match status.as_u16() {
        429 => return Attempt::TooMany(after),
        404 => Outcome::Absent,
        // Another operation on the same thing is under way, or the server is not well: nobody knows.
        409 | 408 | 500.. => Outcome::Unknown(said),
        _ => Outcome::Refused(said),
    })
}

/// In words for people: the code, what follows the wrapping of the message, and the number to ask support with.
fn said(status: StatusCode, error: &ApiError) -> String {
    let message = error.message.rsplit("desc = ").next().unwrap_or_default();
    let code = match error.code.as_str() {
        "" => status.as_str(),
        code => code,
    };
    let mut said = match message {
        "" => code.to_owned(),
        message => format!("{code}: {message}"),
    };
    if !error.error_id.is_empty() {
        said.push_str(&format!(" (error {})", error.error_id));
    }
    if status == StatusCode::UNAUTHORIZED {
        said.push_str("; check the access key, the secret key and this machine's clock");
    }
    said
}

fn retry_after(answer: &reqwest::Response) -> Option<Duration> {
    let text = answer.headers().get("retry-after")?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn parsed<T: DeserializeOwned>(outcome: Outcome<String>) -> Outcome<T> {
    outcome.and_then(|text| match serde_json::from_str(&text) {
        Ok(value) => Outcome::Done(value),
        Err(error) => Outcome::Unknown(format!("an answer cannot be read: {error}")),
    })
}

/// An error with its causes, which reqwest keeps to itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, body: &str) -> Option<Outcome<String>> {
        match judge(StatusCode::from_u16(status).unwrap(), None, body.to_owned()) {
            Attempt::Outcome(outcome) => Some(outcome),
            Attempt::TooMany(_) => None,
        }
    }

    #[test]
    fn answers_are_sorted_into_the_four_outcomes() {
        assert_eq!(outcome(200, "{}"), Some(Outcome::Done("{}".into())));
        assert_eq!(outcome(404, ""), Some(Outcome::Absent));
        assert_eq!(outcome(429, ""), None, "it is sent again");
        for status in [408, 409, 500, 502, 503, 504] {
            assert!(
                matches!(outcome(status, "<html>"), Some(Outcome::Unknown(_))),
                "{status}"
            );
        }
        for status in [400, 401, 403, 422] {
            assert!(
                matches!(outcome(status, ""), Some(Outcome::Refused(_))),
                "{status}"
            );
        }
    }

    #[test]
    fn what_was_said_is_unwrapped() {
        let body = r#"{"code":"bad_request","message":"rpc error: code = InvalidArgument desc = unknown image","error_id":"","reason":""}"#;
        assert_eq!(
            outcome(400, body),
            Some(Outcome::Refused("bad_request: unknown image".into()))
        );
        let body = r#"{"code":"internal_error","message":"internal error","error_id":"c0ffee"}"#;
        let Some(Outcome::Unknown(said)) = outcome(500, body) else {
            panic!("not unknown")
        };
        assert_eq!(said, "internal_error: internal error (error c0ffee)");
        let Some(Outcome::Refused(said)) = outcome(
            401,
            r#"{"code":"bad_credential","message":"invalid signature"}"#,
        ) else {
            panic!("not refused")
        };
        assert!(said.contains("clock"), "{said}");
    }
}
