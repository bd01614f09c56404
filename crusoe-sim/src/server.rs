//! The door: who may enter, what goes wrong today, and then the call itself.

use crate::auth::{Account, Signed, pairs};
use crate::faults::{Fate, Fault};
use crate::guests::{self, Inside};
use crate::routes::answer;
use crate::stage;
use crate::things::Phase;
use crate::world::{No, Options, World};
use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Both are served: what differs is what is signed.
const VERSIONS: [&str; 2] = ["/v1alpha5", "/v1"];
const LARGEST_BODY: usize = 1 << 20;

pub(crate) struct Shared {
    account: Account,
    pub(crate) world: Mutex<World>,
    pub(crate) fate: Fate,
    calls: AtomicU64,
    too_many: AtomicU64,
    recent: Mutex<VecDeque<Instant>>,
}

impl Shared {
    pub(crate) fn counted(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.calls), read(&self.too_many))
    }

    /// What is to be there by now, by the machine's id.
    pub(crate) fn running(&self, now: Instant) -> BTreeMap<String, Inside> {
        let mut world = self.world.lock();
        world.pass(now);
        let running = world
            .machines
            .values()
            .filter(|machine| machine.phase == Phase::Running);
        running
            .map(|machine| (machine.id.clone(), machine.inside()))
            .collect()
    }
}

/// A running cloud; it ends when this goes.
pub struct Sim {
    addr: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Sim {
    /// Serves on this address; port 0 takes a free one.
    pub async fn start(
        listen: SocketAddr,
        account: Account,
        options: Options,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listening on {listen}"))?;
        let addr = listener.local_addr().context("its own address")?;
        let staged = options.staged;
        let folder = options.guests.clone();
        if folder.is_some() {
            guests::check()?;
        }
        let shared = Arc::new(Shared {
            account,
            fate: Fate::new(options.seed, options.faults),
            world: Mutex::new(World::new(options)),
            recent: Mutex::default(),
            calls: AtomicU64::new(0),
            too_many: AtomicU64::new(0),
        });
        if let Some(folder) = folder {
            let weak = Arc::downgrade(&shared);
            std::thread::spawn(move || guests::follow(weak, folder));
        }
        let stage = match staged {
            true => stage::router(),
            false => Router::new(),
        };
        let router = stage.fallback(call).with_state(shared.clone());
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            addr,
            shared,
            serving,
        })
    }

    /// What a client is to be told, of the newer version.
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    pub fn account(&self) -> &Account {
        &self.shared.account
    }

    /// The next call whose `METHOD path` contains `calls` meets this.
    pub fn plan(&self, calls: &str, fault: Fault) {
        self.shared.fate.plan(calls, fault);
    }

    /// Looks into the cloud, past its doors, after what is due has happened.
    pub fn look<T>(&self, at: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.shared.world.lock();
        world.pass(Instant::now());
        at(&mut world)
    }

    /// Calls that were answered.
    pub fn calls(&self) -> u64 {
        self.shared.counted().0
    }

    /// Dollars so far.
    pub fn bill(&self) -> f64 {
        self.look(|world| world.bill(Instant::now()))
    }

    /// Resolves when it no longer serves.
    pub async fn ended(&mut self) {
        let _ = (&mut self.serving).await;
    }
}

async fn call(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, LARGEST_BODY).await else {
        return no(&No(400, "bad_request", "the body is too large".into()));
    };
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let query = parts.uri.query().unwrap_or_default();
    if let Err(why) = admit(&shared, &parts.headers, method, path, query) {
        return no(&No(401, "bad_credential", why.into()));
    }
    if let Some(refused) = throttle(&shared) {
        shared.too_many.fetch_add(1, Ordering::Relaxed);
        return refused;
    }
    shared.calls.fetch_add(1, Ordering::Relaxed);
    let Some(rest) = VERSIONS
        .iter()
        .find_map(|version| path.strip_prefix(*version))
    else {
        return no(&No(404, "not_found", "no such version".into()));
    };
    let fault = shared.fate.of(&format!("{method} {rest}"));
    match fault {
        Some(Fault::ErrorBefore) => return no(&No(503, "unavailable", "try again later".into())),
        Some(Fault::TooMany(seconds)) => return too_many(seconds),
        Some(Fault::Slow(duration)) => tokio::time::sleep(duration).await,
        _ => {}
    }
    let fails = match fault {
        Some(Fault::FailsLate(code)) => Some(code),
        _ => None,
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let done = answer(
        &mut shared.world.lock(),
        method,
        rest,
        &pairs(query),
        &body,
        fails,
    );
    match (fault, done) {
        (Some(Fault::ErrorAfter), Ok(_)) => {
            let text = "rpc error: code = Internal desc = internal error";
            no(&No(500, "internal_error", text.into()))
        }
        (Some(Fault::LostAnswer), Ok(_)) => lost(),
        (_, Ok(Some(value))) => axum::Json(value).into_response(),
        (_, Ok(None)) => StatusCode::OK.into_response(),
        (_, Err(refusal)) => no(&refusal),
    }
}

fn admit(
    shared: &Shared,
    headers: &HeaderMap,
    method: &str,
    path: &str,
    query: &str,
) -> Result<(), &'static str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let signed = Signed {
        method,
        path,
        query,
        timestamp: header("x-crusoe-timestamp"),
        authorization: header("authorization"),
    };
    shared.account.check(signed, Timestamp::now())
}

fn throttle(shared: &Shared) -> Option<Response> {
    let most = shared.world.lock().options.calls_per_second as usize;
    let mut recent = shared.recent.lock();
    let now = Instant::now();
    while recent
        .front()
        .is_some_and(|at| now - *at >= Duration::from_secs(1))
    {
        recent.pop_front();
    }
    if recent.len() >= most {
        return Some(too_many(1));
    }
    recent.push_back(now);
    None
}

fn too_many(seconds: u64) -> Response {
    let mut response = no(&No(429, "too_many_requests", "slow down".into()));
    if let Ok(value) = seconds.to_string().parse() {
        response.headers_mut().insert("retry-after", value);
    }
    response
}

fn no(No(status, code, message): &No) -> Response {
    let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"code": code, "message": message, "error_id": "", "reason": ""});
    (status, axum::Json(body)).into_response()
}

/// A success whose body breaks off.
fn lost() -> Response {
    let half: Result<Bytes, std::io::Error> = Ok(Bytes::from_static(b"{\"oper"));
    let torn = Err(std::io::ErrorKind::ConnectionReset.into());
    Body::from_stream(stream::iter([half, torn])).into_response()
}
