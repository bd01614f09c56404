//! The SSH server inside a job, as OpenSSH's own clients find it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use dstack_api::agent_job::JobOrder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use uuid::Uuid;

use crate::support::{Agent, PATIENCE, Server, order, run, until};

/// A job that waits, and a client with its key.
struct Lab {
    agent: Agent,
    server: Server,
    id: Uuid,
    port: u32,
    dir: tempfile::TempDir,
}

impl Lab {
    async fn start(script: &str, more: impl FnOnce(&mut JobOrder)) -> Self {
        let dir = tempfile::Builder::new().prefix("ssh-").tempdir().unwrap();
        for name in ["key", "stranger"] {
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(dir.path().join(name))
                .status()
                .unwrap();
            assert!(made.success());
        }
        let id = Uuid::new_v4();
        let mut order = order(id, script);
        order.authorized_keys = vec![fs::read_to_string(dir.path().join("key.pub")).unwrap()];
        more(&mut order);
        let agent = Agent::start().await;
        let mut server = agent.link().await;
        server.want(1, 1, vec![run(&order)]).await;
        let job = server.phase(id, "running").await;
        let port = *job.ports.get(&10022).unwrap();
        Self {
            agent,
            server,
            id,
            port,
            dir,
        }
    }

    async fn waiting() -> Self {
        Self::start("sleep 600", |_| {}).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn options(&self, key: &str) -> Vec<String> {
        let identity = self.path(key).display().to_string();
        let options = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            "BatchMode=yes",
        ];
        let mut args = vec!["-F".into(), "/dev/null".into(), "-i".into(), identity];
        for option in options {
            args.extend(["-o".into(), option.into()]);
        }
        args
    }

    fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command
            .args(self.options("key"))
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// `ssh HOST args…`, to its end.
    async fn exec(&self, args: &[&str]) -> Output {
        self.ssh()
            .arg("127.0.0.1")
            .args(args)
            .output()
            .await
            .unwrap()
    }

    async fn says(&self, args: &[&str]) -> String {
        let out = self.exec(args).await;
        assert!(out.status.success(), "{args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn commands_run_where_the_job_runs_and_end_as_they_end() {
    let lab = Lab::start("sleep 600", |order| {
        order.env.insert("GREETING".into(), "it's me".into());
    })
    .await;
    assert_eq!(lab.says(&["echo", "$GREETING"]).await, "it's me\n");
    assert!(lab.says(&["pwd"]).await.ends_with("/workflow\n"));
    assert_eq!(
        lab.says(&["echo $DSTACK_JOB_ID"]).await,
        format!("{}\n", lab.id)
    );
    for (script, status) in [("exit 0", 0), ("exit 3", 3), ("no-such-command", 127)] {
        assert_eq!(
            lab.exec(&[script]).await.status.code(),
            Some(status),
            "{script}"
        );
    }
    // OpenSSH's client shows a death by signal as 255.
    assert_eq!(lab.exec(&["kill -9 $$"]).await.status.code(), Some(255));
    let out = lab.exec(&["echo out; echo err >&2"]).await;
    assert_eq!(
        (text(&out.stdout), text(&out.stderr)),
        ("out\n".into(), "err\n".into())
    );
    let any_name = lab
        .ssh()
        .arg("root@127.0.0.1")
        .arg("id -u")
        .output()
        .await
        .unwrap();
    assert_eq!(
        text(&any_name.stdout),
        format!("{}\n", nix::unistd::getuid())
    );
}

#[tokio::test]
async fn only_the_right_key_opens_it() {
    let lab = Lab::waiting().await;
    let out = Command::new("ssh")
        .args(lab.options("stranger"))
        .args(["-p", &lab.port.to_string(), "127.0.0.1", "true"])
        .output()
        .await
        .unwrap();
    assert_eq!(out.status.code(), Some(255));
    assert!(
        text(&out.stderr).contains("Permission denied (publickey)"),
        "{out:?}"
    );
}

#[tokio::test]
async fn a_lot_of_data_goes_both_ways_unharmed() {
    let lab = Lab::waiting().await;
    // More than is queued for a program that does not read: `cat` stops reading when nobody takes what it says.
    let data: Vec<u8> = (0..40_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut child = lab
        .ssh()
        .args(["127.0.0.1", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut back = Vec::new();
    let (sent, received) = tokio::join!(
        async {
            input.write_all(&data).await.unwrap();
            drop(input);
        },
        output.read_to_end(&mut back)
    );
    let ((), _) = (sent, received.unwrap());
    assert!(back == data, "{} of {} bytes", back.len(), data.len());
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_terminal_is_one() {
    let lab = Lab::waiting().await;
    let out = lab.exec_tty(&["tty && stty size && echo $TERM"]).await;
    assert!(out.starts_with("/dev/pts/"), "{out}");
    // A login shell reads what is typed, to its `exit`.
    let mut child = lab
        .ssh()
        .args(["-tt", "127.0.0.1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(b"echo $((6*7))-answer\nexit 5\n")
        .await
        .unwrap();
    let out = child.wait_with_output().await.unwrap();
    assert!(text(&out.stdout).contains("42-answer"), "{out:?}");
    assert_eq!(out.status.code(), Some(5));
}

impl Lab {
    async fn exec_tty(&self, args: &[&str]) -> String {
        let out = self
            .ssh()
            .arg("-tt")
            .arg("127.0.0.1")
            .args(args)
            .output()
            .await
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        text(&out.stdout)
    }

    /// `ssh -N` with forwards, once it is up.
    async fn tunnel(&self, args: &[&str]) -> tokio::process::Child {
        let control = self.path("control");
        let child = self
            .ssh()
            .args(["-N", "-M", "-S"])
            .arg(&control)
            .args(["-o", "ExitOnForwardFailure=yes"])
            .args(args)
            .arg("root@127.0.0.1")
            .spawn()
            .unwrap();
        until("the tunnel", async || {
            let up = Command::new("ssh")
                .args(["-S"])
                .arg(&control)
                .args(["-O", "check", "x"])
                .output();
            up.await.unwrap().status.success().then_some(())
        })
        .await;
        child
    }
}

/// An echo server; answers its port.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    port
}

async fn is_echoed(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let (mut read, mut write) = tokio::io::split(stream);
    write.write_all(b"ping").await.unwrap();
    write.shutdown().await.unwrap();
    let mut back = Vec::new();
    read.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"ping");
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test]
async fn ports_and_sockets_are_forwarded_both_ways() {
    let lab = Lab::waiting().await;
    let (there, local, remote) = (echo().await, free_port().await, free_port().await);
    let (near, far) = (lab.path("near.sock"), lab.path("far.sock"));
    let _tunnel = lab
        .tunnel(&[
            "-L",
            &format!("{local}:localhost:{there}"),
            "-R",
            &format!("{remote}:127.0.0.1:{there}"),
            "-L",
            &format!("{}:127.0.0.1:{there}", near.display()),
            "-R",
            &format!("{}:127.0.0.1:{there}", far.display()),
        ])
        .await;
    is_echoed(TcpStream::connect(("127.0.0.1", local)).await.unwrap()).await;
    is_echoed(TcpStream::connect(("127.0.0.1", remote)).await.unwrap()).await;
    is_echoed(tokio::net::UnixStream::connect(&near).await.unwrap()).await;
    is_echoed(tokio::net::UnixStream::connect(&far).await.unwrap()).await;
    let second = lab.path("second.sock");
    let over_socket = format!("{}:{}", second.display(), far.display());
    let forwarded = Command::new("ssh")
        .arg("-S")
        .arg(lab.path("control"))
        .args(["-O", "forward", "-L", &over_socket, "x"])
        .status();
    assert!(forwarded.await.unwrap().success());
    is_echoed(tokio::net::UnixStream::connect(&second).await.unwrap()).await;
}

#[tokio::test]
async fn the_clients_agent_answers_inside() {
    let lab = Lab::waiting().await;
    let socket = lab.path("agent.sock");
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("the agent", async || socket.exists().then_some(())).await;
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(lab.path("key"))
        .env("SSH_AUTH_SOCK", &socket)
        .status();
    assert!(added.await.unwrap().success());
    let out = lab
        .ssh()
        .args(["-A", "127.0.0.1", "test -S $SSH_AUTH_SOCK && ssh-add -l"])
        .env("SSH_AUTH_SOCK", &socket)
        .output()
        .await
        .unwrap();
    assert!(text(&out.stdout).contains("(ED25519)"), "{out:?}");
    agent.kill().await.unwrap();
}

#[tokio::test]
async fn files_go_in_and_out() {
    let lab = Lab::waiting().await;
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    fs::create_dir(lab.path("tree")).unwrap();
    fs::write(lab.path("tree/one"), &data).unwrap();
    fs::write(lab.path("tree/empty"), b"").unwrap();
    std::os::unix::fs::symlink("one", lab.path("tree/link")).unwrap();
    let there = lab.path("there").display().to_string();
    let copied = Command::new("scp")
        .args(lab.options("key"))
        .args(["-q", "-p", "-r", "-P", &lab.port.to_string()])
        .arg(lab.path("tree"))
        .arg(format!("127.0.0.1:{there}"))
        .output()
        .await
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    assert!(fs::read(lab.path("there/one")).unwrap() == data);
    let batch = format!(
        "cd {there}\nrename empty named\nmkdir sub\nput {} sub/again\nchmod 600 sub/again\nln -s again sub/link\n\
         ls -l sub\nget sub/again {}\nrm named\n-rmdir missing\n",
        lab.path("tree/one").display(),
        lab.path("back").display()
    );
    fs::write(lab.path("batch"), batch).unwrap();
    let done = Command::new("sftp")
        .args(lab.options("key"))
        .args(["-q", "-P", &lab.port.to_string(), "-b"])
        .arg(lab.path("batch"))
        .arg("127.0.0.1")
        .output()
        .await
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    assert!(text(&done.stdout).contains("-rw-------"), "{done:?}");
    assert!(fs::read(lab.path("back")).unwrap() == data);
    assert_eq!(
        fs::read_link(lab.path("there/sub/link")).unwrap(),
        Path::new("again")
    );
    assert!(!lab.path("there/named").exists() && !lab.path("there/empty").exists());
}

/// An IDE's remote extension: a script on the standard input of a plain shell, behind a SOCKS tunnel, that leaves
/// a server running; then a connection to that server through the tunnel.
#[tokio::test]
async fn an_ide_sets_itself_up() {
    let lab = Lab::waiting().await;
    let (socks, port) = (free_port().await, echo().await);
    let mut child = lab
        .ssh()
        .args(["-T", "-D", &socks.to_string(), "127.0.0.1", "bash"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let script = format!(
        "echo start-of-script; uname -s; (nohup sleep 300 >/dev/null 2>&1 </dev/null & echo pid=$!)\nprintf 'listeningOn=={port}==\\n'\n"
    );
    input.write_all(script.as_bytes()).await.unwrap();
    let mut output = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("listeningOn==") {
        use tokio::io::AsyncBufReadExt;
        assert!(output.read_line(&mut said).await.unwrap() > 0, "{said}");
    }
    assert!(said.contains("start-of-script\nLinux\npid="), "{said}");
    let mut stream = TcpStream::connect(("127.0.0.1", socks)).await.unwrap();
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.unwrap();
    let mut connect = vec![5, 1, 0, 1, 127, 0, 0, 1];
    connect.extend(port.to_be_bytes());
    stream.write_all(&connect).await.unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[1], 0, "connected");
    is_echoed(stream).await;
}

#[tokio::test]
async fn many_at_once_and_none_left_behind() {
    let lab = Lab::waiting().await;
    let many = (0..20).map(|n| {
        let lab = &lab;
        async move { lab.says(&[&format!("sleep 0.2; echo {n}")]).await }
    });
    let said = futures::future::join_all(many).await;
    assert_eq!(said, (0..20).map(|n| format!("{n}\n")).collect::<Vec<_>>());

    let mark = lab.path("mark");
    let script = format!("echo $$ > {}; exec sleep 1000", mark.display());
    let mut child = lab.ssh().args(["127.0.0.1", &script]).spawn().unwrap();
    let pid = until("the command", async || {
        fs::read_to_string(&mark).ok()?.trim().parse::<i32>().ok()
    })
    .await;
    child.kill().await.unwrap();
    until("its end with its client", async || {
        (!crate::support::is_alive(pid)).then_some(())
    })
    .await;
}

/// Follows the job's output over the websocket until it is closed; `heard` is called with each message.
async fn websocket(port: u16, query: &str, mut heard: impl FnMut()) -> String {
    use futures::StreamExt;
    use tokio_tungstenite::tungstenite::Message;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let url = format!("ws://localhost:{port}/logs_ws{query}");
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let mut said = Vec::new();
    let all = async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => said.extend_from_slice(&bytes),
                Message::Close(_) => break,
                _ => {}
            }
            heard();
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn the_output_is_followed_to_its_end() {
    let mut go = Some(tempfile::NamedTempFile::new().unwrap());
    let path = go.as_ref().unwrap().path().display().to_string();
    let script = format!("echo one; while [ -e {path} ]; do sleep 0.05; done; echo two");
    let mut lab = Lab::start(&script, |_| {}).await;
    let local = free_port().await;
    let forward = format!("{local}:localhost:10999");
    let _tunnel = lab.tunnel(&["-L", &forward]).await;
    // The job may end once its first line is here.
    let said = websocket(local, "", || drop(go.take())).await;
    assert_eq!(said, "one\ntwo\n");
    let job = lab.server.exit(lab.id).await;
    assert_eq!(job.reason, "done_by_runner");
}

#[tokio::test]
async fn who_comes_late_still_finds_the_output_and_nothing_else() {
    let mut lab = Lab::start("echo all of it", |order| {
        order.host_keys.clone_from(&order.authorized_keys);
    })
    .await;
    let job = lab.server.exit(lab.id).await;
    assert_eq!(job.reason, "done_by_runner");
    // The server has everything, and forgets the job.
    lab.server.want(1, 2, vec![]).await;
    let folder = lab.agent.job(lab.id).root().to_owned();
    until("the job's folder to go", async || {
        (!folder.exists()).then_some(())
    })
    .await;
    let guests = fs::read_to_string(lab.agent.guests()).unwrap();
    assert!(
        guests.contains(&lab.id.to_string()),
        "still let through: {guests}"
    );
    let local = free_port().await;
    let forward = format!("{local}:localhost:10999");
    let _tunnel = lab.tunnel(&["-L", &forward]).await;
    assert_eq!(websocket(local, "", || {}).await, "all of it\n");
    assert_ne!(
        lab.exec(&["true"]).await.status.code(),
        Some(0),
        "no sessions any more"
    );
}

#[tokio::test]
async fn a_job_lets_its_users_through_the_host_while_it_is_there() {
    let mut lab = Lab::start("exit 1", |order| {
        order.host_keys.clone_from(&order.authorized_keys);
    })
    .await;
    let id = lab.id.to_string();
    lab.server.exit(lab.id).await;
    let guests = lab.agent.guests();
    until("nobody to be let through", async || {
        (!fs::read_to_string(&guests).unwrap().contains(&id)).then_some(())
    })
    .await;
}
