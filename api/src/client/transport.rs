//! Sending, failing over, and reading what came back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::error::ApiError;
use crate::http::cluster::REQUEST_ID_HEADER;
use crate::http::errors::{DenialBody, MalformedBody, PlainBody, RefusalBody};

/// The version of upstream's API this client speaks.
pub const API_VERSION: &str = "0.22.5";

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How to reach the replicas.
#[derive(Clone)]
pub struct ClientOptions {
    /// Base addresses, tried in this order.
    pub urls: Vec<String>,
    pub token: Option<String>,
    /// How long to go on when nobody answers.
    pub patience: Duration,
    /// How long to wait for one connection.
    pub connect_timeout: Duration,
    /// How long to wait for one answer when there is another replica to ask.
    pub answer_timeout: Duration,
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

impl ClientOptions {
    pub fn new<S: Into<String>>(urls: impl IntoIterator<Item = S>, token: Option<String>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            token,
            patience: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(3),
            answer_timeout: Duration::from_secs(10),
        }
    }
}

/// A client of one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    options: ClientOptions,
    /// The replica that answered last.
    preferred: AtomicUsize,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

/// One request, before it is known which replica will take it.
pub(super) struct Call {
    path: String,
    body: Option<(String, Bytes)>,
    /// GET in place of POST.
    get: bool,
    write: bool,
    /// Time the server may legitimately take beyond the usual.
    extra: Duration,
}

impl Call {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            body: None,
            get: false,
            write: false,
            extra: Duration::ZERO,
        }
    }

    /// A GET; the query is part of the path.
    pub(super) fn query(path: impl Into<String>) -> Self {
        Self {
            get: true,
            ..Self::get(path)
        }
    }

    pub(super) fn json(path: impl Into<String>, body: &impl Serialize) -> Self {
        // Our own types serialise; a map with keys that are not text would be a mistake in them.
        let bytes = serde_json::to_vec(body).unwrap_or_default();
        Self {
            path: path.into(),
            body: Some(("application/json".to_owned(), bytes.into())),
            get: false,
            write: false,
            extra: Duration::ZERO,
        }
    }

    pub(super) fn form(path: impl Into<String>, content_type: String, body: Bytes) -> Self {
        Self {
            path: path.into(),
            body: Some((content_type, body)),
            get: false,
            write: true,
            extra: Duration::from_secs(50),
        }
    }

    /// Marks a change, which gets a request id.
    pub(super) fn write(mut self) -> Self {
        self.write = true;
        self
    }

    pub(super) fn extra(mut self, extra: Duration) -> Self {
        self.extra = extra;
        self
    }
}

enum Attempt {
    Answer(StatusCode, Bytes),
    /// Nobody there, or somebody who cannot help now: ask another.
    Elsewhere(String),
}

impl Client {
    pub fn new(mut options: ClientOptions) -> Result<Self, ApiError> {
        // One provider per process; whoever came first has installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        for url in &mut options.urls {
            while url.ends_with('/') {
                url.pop();
            }
            let parsed = reqwest::Url::parse(url).ok();
            if !parsed.is_some_and(|parsed| {
                matches!(parsed.scheme(), "http" | "https") && parsed.has_host()
            }) {
                return Err(ApiError::BadUrl { url: url.clone() });
            }
        }
        if options.urls.is_empty() {
            return Err(ApiError::BadUrl { url: String::new() });
        }
        let http = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(60))
            .build()
            .map_err(ApiError::Setup)?;
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                options,
                preferred: AtomicUsize::new(0),
            }),
        })
    }

    /// The same replicas with another token.
    pub fn with_token(&self, token: impl Into<String>) -> Result<Self, ApiError> {
        Self::new(ClientOptions {
            token: Some(token.into()),
            ..self.inner.options.clone()
        })
    }

    /// The address of the replica that answered last.
    pub fn url(&self) -> &str {
        let urls = &self.inner.options.urls;
        let at = self.inner.preferred.load(Ordering::Relaxed);
        urls.get(at)
            .or(urls.first())
            .map(String::as_str)
            .unwrap_or_default()
    }

    /// Sends, and reads the answer as `T`.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call) -> Result<T, ApiError> {
        let (url, status, body) = self.send(&call).await?;
        if !status.is_success() {
            return Err(refusal(url, status, &body));
        }
        serde_json::from_slice(&body).map_err(|source| ApiError::Unreadable { url, source })
    }

    /// Sends, and expects no answer but that it was done.
    pub(super) async fn call_void(&self, call: Call) -> Result<(), ApiError> {
        let (url, status, body) = self.send(&call).await?;
        if status.is_success() {
            Ok(())
        } else {
            Err(refusal(url, status, &body))
        }
    }

    async fn send(&self, call: &Call) -> Result<(String, StatusCode, Bytes), ApiError> {
        let inner = &self.inner;
        let urls = &inner.options.urls;
        let request = call.write.then(Uuid::new_v4);
        let deadline = Instant::now() + inner.options.patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let first = inner.preferred.load(Ordering::Relaxed);
            let mut tried = Vec::with_capacity(urls.len());
            for step in 0..urls.len() {
                let at = (first + step) % urls.len();
                let url = format!("{}{}", urls[at], call.path);
                match self.attempt(&url, call, request).await {
                    Attempt::Answer(status, body) => {
                        inner.preferred.store(at, Ordering::Relaxed);
                        return Ok((url, status, body));
                    }
                    Attempt::Elsewhere(reason) => tried.push((urls[at].clone(), reason)),
                }
            }
            if Instant::now() + pause >= deadline {
                return Err(ApiError::Unavailable { tried });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, url: &str, call: &Call, request: Option<Uuid>) -> Attempt {
        let options = &self.inner.options;
        let mut builder = match &call.body {
            None if call.path == "/healthcheck" => self.inner.http.get(url),
            None if call.get => self.inner.http.get(url),
            None => self.inner.http.post(url).header("Content-Length", "0"),
            Some((content_type, body)) => self
                .inner
                .http
                .post(url)
                .header(CONTENT_TYPE, content_type)
                .body(body.clone()),
        };
        builder = builder.header("X-API-VERSION", API_VERSION).header(
            USER_AGENT,
            concat!("dstack-cli/", env!("CARGO_PKG_VERSION")),
        );
        if let Some(token) = &options.token {
            builder = builder.bearer_auth(token);
        }
        if let Some(request) = request {
            builder = builder.header(REQUEST_ID_HEADER, request.to_string());
        }
        // A server alone is waited for: it parks requests while its cluster elects a leader.
        let limit = if options.urls.len() > 1 {
            options.answer_timeout
        } else {
            options.patience
        };
        let answer = match builder.timeout(limit + call.extra).send().await {
            Ok(answer) => answer,
            Err(error) => return Attempt::Elsewhere(reason(&error)),
        };
        let status = answer.status();
        if matches!(status.as_u16(), 502..=504) {
            return Attempt::Elsewhere(format!("answered {status}"));
        }
        match answer.bytes().await {
            Ok(body) => Attempt::Answer(status, body),
            Err(error) => Attempt::Elsewhere(reason(&error)),
        }
    }
}

/// The innermost cause: "connection refused" says more than "error sending request".
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn refusal(url: String, status: StatusCode, body: &[u8]) -> ApiError {
    let unexpected = || {
        let text: String = String::from_utf8_lossy(body).chars().take(400).collect();
        ApiError::Unexpected {
            url: url.clone(),
            status: status.as_u16(),
            body: text,
        }
    };
    match status.as_u16() {
        400 => match serde_json::from_slice::<RefusalBody>(body) {
            Ok(refusal) if !refusal.detail.is_empty() => {
                let messages: Vec<&str> = refusal
                    .detail
                    .iter()
                    .map(|detail| detail.msg.as_str())
                    .collect();
                ApiError::Refused {
                    code: refusal.detail[0].code,
                    message: messages.join("\n"),
                    fields: refusal.detail[0].fields.clone(),
                }
            }
            _ => unexpected(),
        },
        401 | 403 => ApiError::Denied {
            message: message(body),
            url,
        },
        404 | 405 => ApiError::NotFound {
            message: message(body),
            url,
        },
        422 => match serde_json::from_slice::<MalformedBody>(body) {
            Ok(malformed) => ApiError::Malformed {
                details: malformed.detail,
            },
            Err(_) => unexpected(),
        },
        _ => unexpected(),
    }
}

fn message(body: &[u8]) -> String {
    if let Ok(denial) = serde_json::from_slice::<DenialBody>(body) {
        return denial.detail.msg;
    }
    match serde_json::from_slice::<PlainBody>(body) {
        Ok(plain) => plain.detail,
        Err(_) => String::from_utf8_lossy(body).chars().take(200).collect(),
    }
}
