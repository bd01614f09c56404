//! Hosts over a real OpenSSH server.

use crate::sshd::{Sshd, me};
use dstack_api::agent::{HelloRequest, ShutdownRequest};
use dstack_node::hosts::binary::AgentBinary;
use dstack_node::hosts::bring_up::{bring_up, look, take_down};
use dstack_node::hosts::channel;
use dstack_node::hosts::failure::{Address, HostError};
use dstack_node::hosts::ssh::{Session, Target};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

const LIMIT: Duration = Duration::from_secs(60);

fn target(sshd: &Sshd) -> Target {
    Target {
        at: Address {
            user: me(),
            hostname: "127.0.0.1".into(),
            port: sshd.port,
        },
        key: Some(Arc::new(Zeroizing::new(sshd.user_key()))),
        host_key: None,
        proxy: None,
    }
}

async fn refused(target: &Target) -> HostError {
    match Session::connect(target).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn commands_run_with_input_output_and_status() {
    let sshd = Sshd::start();
    let session = Session::connect(&target(&sshd)).await.unwrap();
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let out = session
        .run("wc -c; echo oops >&2; exit 3", &big, LIMIT)
        .await
        .unwrap();
    assert_eq!(
        (out.status, out.stdout.trim_ascii(), &*out.stderr),
        (Some(3), b"3000000".as_slice(), b"oops\n".as_slice())
    );
    // Several at once over the one connection, more than sshd's MaxSessions.
    let many = (0..20).map(|n| {
        let session = &session;
        async move {
            session
                .run(&format!("sleep 0.05; echo {n}"), b"", LIMIT)
                .await
                .unwrap()
                .stdout
        }
    });
    let answers = futures::future::join_all(many).await;
    assert_eq!(answers[19], b"19\n");
    // A command that does not read its input, and one that floods.
    assert_eq!(
        session.run("exit 7", &big, LIMIT).await.unwrap().status,
        Some(7)
    );
    let flood = session
        .run("head -c 20000000 /dev/zero", b"", LIMIT)
        .await
        .unwrap();
    assert_eq!((flood.status, flood.stdout.len()), (Some(0), 1 << 20));
    let slow = session
        .run("sleep 60", b"", Duration::from_millis(200))
        .await
        .unwrap_err();
    assert!(matches!(slow, HostError::Lost { .. }));
    assert!(
        !session.is_closed(),
        "one slow command does not cost the connection"
    );
}

#[tokio::test]
async fn the_usual_kinds_of_keys_log_in() {
    let sshd = Sshd::start();
    let kinds: [(&str, &str, &[&str]); 5] = [
        ("rsa", "rsa", &["-b", "2048"]),
        ("rsapem", "rsa", &["-b", "2048", "-m", "PEM"]),
        ("ecdsa", "ecdsa", &[]),
        ("ecdsa384", "ecdsa", &["-b", "384", "-m", "PKCS8"]),
        ("ed", "ed25519", &[]),
    ];
    for (name, kind, more) in kinds {
        let key = sshd.key(name, kind, more);
        sshd.authorize(name);
        let target = Target {
            key: Some(Arc::new(Zeroizing::new(key))),
            ..target(&sshd)
        };
        let session = Session::connect(&target)
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            session.run("echo hi", b"", LIMIT).await.unwrap().stdout,
            b"hi\n",
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_wrong_key_names_the_user_and_the_key() {
    let sshd = Sshd::start();
    let stranger = Target {
        key: Some(Arc::new(Zeroizing::new(sshd.key("other", "ed25519", &[])))),
        ..target(&sshd)
    };
    let error = refused(&stranger).await;
    assert!(matches!(error, HostError::Auth { .. }), "{error}");
    assert!(
        error.to_string().contains("SHA256:") && error.to_string().contains(&me()),
        "{error}"
    );

    let garbage = Target {
        key: Some(Arc::new(Zeroizing::new("not a key".into()))),
        ..target(&sshd)
    };
    assert!(matches!(refused(&garbage).await, HostError::BadKey { .. }));
    let locked = sshd.path("locked");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "secret", "-f"])
        .arg(&locked)
        .status()
        .unwrap();
    assert!(made.success());
    let locked = std::fs::read_to_string(locked).unwrap();
    let error = refused(&Target {
        key: Some(Arc::new(Zeroizing::new(locked))),
        ..target(&sshd)
    })
    .await;
    assert!(error.to_string().contains("without passphrase"), "{error}");
    assert!(matches!(
        refused(&Target {
            key: None,
            ..target(&sshd)
        })
        .await,
        HostError::NoKey { .. }
    ));
}

#[tokio::test]
async fn a_changed_host_key_is_refused() {
    let mut sshd = Sshd::start();
    let first = Session::connect(&target(&sshd)).await.unwrap();
    let known = Target {
        host_key: Some(first.host_key().to_owned()),
        ..target(&sshd)
    };
    Session::connect(&known).await.unwrap();
    sshd.down();
    sshd.new_host_key();
    sshd.up();
    let error = refused(&known).await;
    assert!(matches!(error, HostError::HostKeyChanged { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("remove the host from the fleet and add it again"),
        "{error}"
    );
}

#[tokio::test]
async fn a_host_that_gets_a_second_kind_of_key_is_still_the_same() {
    let mut sshd = Sshd::with("");
    let known = Session::connect(&target(&sshd))
        .await
        .unwrap()
        .host_key()
        .to_owned();
    sshd.down();
    sshd.key("host_ecdsa", "ecdsa", &[]);
    let config = std::fs::read_to_string(sshd.path("sshd_config")).unwrap();
    let line = format!("HostKey {}\n", sshd.path("host_ecdsa").display());
    std::fs::write(sshd.path("sshd_config"), line + &config).unwrap();
    sshd.up();
    Session::connect(&Target {
        host_key: Some(known),
        ..target(&sshd)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn hosts_that_are_not_there_say_how() {
    let mut sshd = Sshd::start();
    let mut gone = target(&sshd);
    sshd.down();
    assert!(matches!(refused(&gone).await, HostError::Refused { .. }));
    gone.at.hostname = "no-such-host.invalid".into();
    assert!(matches!(refused(&gone).await, HostError::Dns { .. }));
    // Something answers, but not SSH.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut web = target(&sshd);
    web.at.port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = refused(&web).await;
    assert!(matches!(error, HostError::Handshake { .. }), "{error}");
}

#[tokio::test]
async fn through_a_proxy_jump() {
    let (inner, outer) = (Sshd::start(), Sshd::start());
    let through = Target {
        proxy: Some(Box::new(target(&outer))),
        ..target(&inner)
    };
    let session = Session::connect(&through).await.unwrap();
    let home = session
        .run("echo $DSTACK_AGENT_HOME", b"", LIMIT)
        .await
        .unwrap()
        .stdout;
    assert_eq!(
        String::from_utf8(home).unwrap().trim(),
        inner.agent_home().display().to_string()
    );

    let mut nobody = through.clone();
    nobody.at.port = 1;
    assert!(matches!(refused(&nobody).await, HostError::Jump { .. }));
    let stranger = Target {
        key: Some(Arc::new(Zeroizing::new(outer.key("x", "ed25519", &[])))),
        ..target(&outer)
    };
    let error = refused(&Target {
        proxy: Some(Box::new(stranger)),
        ..target(&inner)
    })
    .await;
    assert!(
        matches!(&error, HostError::Proxy(inner) if matches!(**inner, HostError::Auth { .. })),
        "{error}"
    );
}

#[tokio::test]
async fn a_lost_connection_is_noticed() {
    let mut sshd = Sshd::start();
    let session = Session::connect(&target(&sshd)).await.unwrap();
    sshd.down();
    let error = session.run("true", b"", LIMIT).await;
    assert!(error.is_err());
    assert!(session.is_closed());
}

#[tokio::test]
async fn streams_to_unix_sockets() {
    let sshd = Sshd::start();
    let path = sshd.path("echo.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (mut read, mut write) = tokio::io::split(stream);
            tokio::spawn(async move { tokio::io::copy(&mut read, &mut write).await });
        }
    });
    let session = Session::connect(&target(&sshd)).await.unwrap();
    let stream = session.socket(&path.display().to_string()).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..5_000_000_u32).map(|n| (n / 7) as u8).collect();
    let expected = sent.clone();
    let writer = tokio::spawn(async move { write.write_all(&sent).await.map(|()| write) });
    let mut got = vec![0; expected.len()];
    read.read_exact(&mut got).await.unwrap();
    assert!(got == expected);
    writer.await.unwrap().unwrap();
    let error = session
        .socket("/nowhere/agent.sock")
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, HostError::Socket { .. }), "{error}");
}

/// A stand-in that opens the socket and stays: how it is brought there is what is tested here.
const FAKE_AGENT: &str = "#!/usr/bin/perl\nuse Socket;\nif ($ARGV[0] eq '--version') { print \"fake\\n\"; exit 0 }\n\
    my $home = $ARGV[2];\nopen(my $f, '>>', \"$home/starts\"); print $f ($ENV{FLAVOUR} // '-'), \"\\n\"; close $f;\n\
    socket(my $s, PF_UNIX, SOCK_STREAM, 0); bind($s, sockaddr_un(\"$home/agent.sock\")) or die \"bind: $!\"; listen($s, 5);\n\
    sleep 1 while 1;\n";

#[tokio::test]
async fn an_agent_is_brought_up_once_and_taken_down() {
    let sshd = Sshd::start();
    let path = sshd.path("dstack-agent");
    std::fs::write(&path, FAKE_AGENT).unwrap();
    let binary = AgentBinary::at(path);
    let session = Session::connect(&target(&sshd)).await.unwrap();
    let env = BTreeMap::from([("FLAVOUR".to_owned(), "x y".to_owned())]);
    let plan = bring_up(&session, &binary, &env).await.unwrap();
    assert_eq!(plan.home, sshd.agent_home().display().to_string());
    session.socket(&plan.socket()).await.unwrap();
    // Another server does the same, over its own connection.
    let other = Session::connect(&target(&sshd)).await.unwrap();
    assert_eq!(bring_up(&other, &binary, &env).await.unwrap(), plan);
    assert_eq!(
        std::fs::read_to_string(sshd.agent_home().join("starts")).unwrap(),
        "x y\n"
    );
    let (probe, _) = look(&session, &env).await.unwrap();
    assert!(probe.running.is_some());
    take_down(&session, &plan).await.unwrap();
    assert!(!sshd.agent_home().exists());
    take_down(&session, &plan).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_cannot_start_says_why() {
    let sshd = Sshd::start();
    let path = sshd.path("dstack-agent");
    std::fs::write(
        &path,
        "#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'no runtime here' >&2\nexit 1\n",
    )
    .unwrap();
    let session = Session::connect(&target(&sshd)).await.unwrap();
    let error = bring_up(&session, &AgentBinary::at(path), &BTreeMap::new())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, HostError::Bootstrap { .. })
            && error.to_string().contains("no runtime here"),
        "{error}"
    );
}

/// The real agent, where it has been built: `scripts/build-agent.sh debug`, or named by DSTACK_AGENT_BINARY.
fn real_agent() -> Option<AgentBinary> {
    let named = std::env::var_os("DSTACK_AGENT_BINARY").map(std::path::PathBuf::from);
    let beside = std::path::Path::new(env!("CARGO_BIN_EXE_dstack-server"))
        .parent()
        .map(|dir| dir.join("dstack-agent"));
    let found = named.or(beside).filter(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: there is no agent binary; build it with scripts/build-agent.sh debug");
    }
    found.map(AgentBinary::at)
}

#[tokio::test]
async fn the_real_agent_answers_through_the_connection() {
    let Some(binary) = real_agent() else { return };
    let sshd = Sshd::start();
    let session = Arc::new(Session::connect(&target(&sshd)).await.unwrap());
    let env = BTreeMap::from([("DSTACK_AGENT_RUNTIME".to_owned(), "process".to_owned())]);
    let plan = bring_up(&session, &binary, &env).await.unwrap();
    let mut client = channel::agent(session.clone(), plan.socket())
        .await
        .unwrap();
    let hello = HelloRequest {
        epoch: 1,
        cluster_id: "7e3e3f0e-3f6c-4c39-9b7e-1a2b3c4d5e6f".to_owned(),
        instance_id: "7e3e3f0e-3f6c-4c39-9b7e-1a2b3c4d5e60".to_owned(),
        server_version: String::new(),
    };
    let reply = client.hello(hello).await.unwrap().into_inner();
    assert_eq!(reply.runtime, "process");
    assert!(reply.facts.unwrap().cpus > 0);
    let left = client
        .shutdown(ShutdownRequest { force: false })
        .await
        .unwrap()
        .into_inner();
    assert!(left.accepted, "{}", left.why);
    take_down(&session, &plan).await.unwrap();
    assert!(!sshd.agent_home().exists());
}
