//! Starts replicas on loopback and talks to them as a client would.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use serde_json::{Value, json};

pub const TOKEN: &str = "token-of-the-tests";

/// However slow the machine is, nothing takes longer than this unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An address nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub struct Replica {
    pub name: String,
    pub port: u16,
    pub dir: PathBuf,
    flags: Vec<String>,
    /// Variables of its environment.
    pub variables: Vec<(&'static str, String)>,
    child: Option<Child>,
    pub output: Arc<Mutex<Vec<String>>>,
}

impl Replica {
    pub fn new(dir: &Path, name: &str, flags: &[&str]) -> Replica {
        Replica {
            name: name.to_owned(),
            port: free_port(),
            dir: dir.join(name),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            variables: Vec::new(),
            child: None,
            output: Arc::default(),
        }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dstack-server"));
        command.args([
            "--host",
            "127.0.0.1",
            "--port",
            &self.port.to_string(),
            "-y",
        ]);
        command.arg("--server-dir").arg(&self.dir).args(&self.flags);
        // A home of its own: a server alone writes into its user's configuration.
        command.env("HOME", self.dir.with_extension("home"));
        command.envs(self.variables.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn start(&mut self) {
        let mut child = self.command().spawn().unwrap();
        let name = self.name.clone();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .for_each(|line| eprintln!("[{name}] {line}"))
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let output = self.output.clone();
        std::thread::spawn(move || {
            stdout
                .lines()
                .map_while(Result::ok)
                .for_each(|line| output.lock().push(line))
        });
        self.child = Some(child);
    }

    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the replica runs");
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    }

    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.take().unwrap().wait().unwrap();
    }

    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let mut child = self.child.take().unwrap();
        tokio::task::spawn_blocking(move || child.wait().unwrap())
            .await
            .unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn api(&self) -> Api {
        Api::new(self.port)
    }

    /// The token in what the replica printed.
    pub async fn printed_token(&self) -> String {
        until("the token is printed", async || {
            let lines = self.output.lock().clone();
            lines.iter().find_map(|line| {
                Some(
                    line.strip_prefix("The admin token is \"")?
                        .strip_suffix('"')?
                        .to_owned(),
                )
            })
        })
        .await
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Tries until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A client of one replica.
#[derive(Clone)]
pub struct Api {
    port: u16,
    token: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Api {
    pub fn new(port: u16) -> Api {
        Api {
            port,
            token: TOKEN.into(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    pub fn with_token(mut self, token: &str) -> Api {
        self.token = token.to_owned();
        self
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<(StatusCode, Value), String> {
        self.send(path, body, None).await
    }

    pub async fn send(
        &self,
        path: &str,
        body: Value,
        request: Option<&str>,
    ) -> Result<(StatusCode, Value), String> {
        let mut builder = Request::builder()
            .method(Method::POST)
            .uri(format!("http://127.0.0.1:{}{path}", self.port))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.token));
        if let Some(request) = request {
            builder = builder.header("x-request-id", request);
        }
        let body = Full::new(Bytes::from(body.to_string()));
        let answer = self
            .client
            .request(builder.body(body).unwrap())
            .await
            .map_err(|e| format!("{e:?}"))?;
        let status = answer.status();
        let bytes = answer
            .into_body()
            .collect()
            .await
            .map_err(|e| format!("{e:?}"))?
            .to_bytes();
        Ok((
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        ))
    }

    /// Waits until the replica answers and the cluster is founded.
    pub async fn ready(&self) {
        until("the replica is ready", async || {
            self.post("/api/users/get_my_user", json!({}))
                .await
                .ok()
                .filter(|(status, _)| status.is_success())
        })
        .await;
    }

    pub async fn secrets(&self) -> Vec<String> {
        let (status, list) = self
            .post("/api/project/main/secrets/list", json!({}))
            .await
            .unwrap();
        assert_eq!(status, StatusCode::OK, "{list}");
        let list = list.as_array().unwrap();
        list.iter()
            .map(|secret| secret["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Three replicas with keys of their own.
pub struct Lab {
    pub replicas: Vec<Replica>,
    pub dir: tempfile::TempDir,
}

impl Lab {
    pub fn new(names: &[&str]) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let tls = dir.path().join("keys");
        let made = Command::new(env!("CARGO_BIN_EXE_dstack-server"))
            .arg("init-ca")
            .arg("--dir")
            .arg(&tls)
            .args(["--nodes", &names.join(",")])
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let list: Vec<String> = names
            .iter()
            .map(|name| format!("{name}=127.0.0.1:{}", free_port()))
            .collect();
        let list = list.join(",");
        let replicas = names.iter().map(|name| {
            let own = tls.join(name);
            let flags = [
                "--token",
                TOKEN,
                "--node-name",
                name,
                "--initial-cluster",
                &list,
                "--tls-dir",
                own.to_str().unwrap(),
            ];
            Replica::new(dir.path(), name, &flags)
        });
        Lab {
            replicas: replicas.collect(),
            dir,
        }
    }

    pub async fn started(names: &[&str]) -> Lab {
        let mut lab = Lab::new(names);
        lab.replicas.iter_mut().for_each(Replica::start);
        for replica in &lab.replicas {
            replica.api().ready().await;
        }
        lab
    }

    /// The place of the leader in the list, asked of a replica that runs.
    pub async fn leader(&self) -> usize {
        let running: Vec<&Replica> = self
            .replicas
            .iter()
            .filter(|replica| replica.child.is_some())
            .collect();
        until("there is a leader", async || {
            for replica in &running {
                let answer = replica.api().post("/api/cluster/status", json!({})).await;
                if let Ok((StatusCode::OK, status)) = answer
                    && let Some(leader) = status["leader"].as_str()
                    && running.iter().any(|replica| replica.name == leader)
                {
                    return self
                        .replicas
                        .iter()
                        .position(|replica| replica.name == leader);
                }
            }
            None
        })
        .await
    }
}
