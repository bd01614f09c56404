//! The scripts at work, in a folder of their own, with a stand-in for the agent: a script that opens the
//! socket and records its environment.

use dstack_deploy::agent::{self, Binary, Plan, Probe};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const FAKE: &str = r#"#!/usr/bin/perl
use Socket;
if ($ARGV[0] eq '--version') { print "fake\n"; exit 0 }
my $home = $ARGV[2];
open(my $f, '>>', "$home/starts"); print $f ($ENV{FLAVOUR} // '-'), "\n"; close $f;
socket(my $s, PF_UNIX, SOCK_STREAM, 0); bind($s, sockaddr_un("$home/agent.sock")) or die "bind: $!"; listen($s, 5);
sleep 1 while 1;
"#;

struct Host {
    dir: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("agent").display().to_string();
        Self {
            dir,
            env: BTreeMap::from([("DSTACK_AGENT_HOME".to_owned(), home)]),
        }
    }

    fn sh(&self, line: &str, stdin: &[u8]) -> Output {
        let mut child = Command::new("sh")
            .args(["-c", line])
            .env("HOME", self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }

    fn ok(&self, line: &str, stdin: &[u8]) -> String {
        let out = self.sh(line, stdin);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{}: {said}", out.status);
        String::from_utf8(out.stdout).unwrap()
    }

    fn probe(&self) -> Probe {
        Probe::parse(&self.ok(&agent::probe(&self.env), b"")).unwrap()
    }

    fn plan(&self) -> Plan {
        Plan::of(&self.probe())
    }

    fn start(&self, binary: &Binary, flavour: &str) -> String {
        let env = BTreeMap::from([("FLAVOUR".to_owned(), flavour.to_owned())]);
        self.ok(
            &agent::start(&self.plan(), binary),
            agent::env_file(&env).as_bytes(),
        )
    }

    fn starts(&self) -> String {
        std::fs::read_to_string(self.home().join("starts")).unwrap()
    }

    fn home(&self) -> std::path::PathBuf {
        self.dir.path().join("agent")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.sh(&agent::remove(&self.plan()), b"");
    }
}

fn fake() -> (Binary, Vec<u8>) {
    (Binary::of(FAKE.as_bytes()), FAKE.as_bytes().to_vec())
}

#[test]
fn a_bare_host_gets_an_agent_and_is_left_clean() {
    let host = Host::new();
    let probe = host.probe();
    assert!(
        probe.explicit_home && probe.installed.is_empty() && probe.running.is_none(),
        "{probe:?}"
    );
    assert!(probe.free_kib.is_some());
    let (binary, bytes) = fake();
    let plan = host.plan();
    host.ok(&agent::place(&plan, &binary), &bytes);
    assert_eq!(host.probe().installed, [binary.short()]);

    let told = host.start(&binary, "it's \"a\" $value");
    assert!(
        told.contains("agent=started") && told.contains(&format!("socket={}", plan.socket())),
        "{told}"
    );
    assert!(Path::new(&plan.socket()).exists());
    assert_eq!(host.probe().running.as_deref(), Some(binary.short()));
    assert_eq!(host.starts(), "it's \"a\" $value\n");

    assert!(
        host.ok(&agent::remove(&plan), b"")
            .contains("agent=removed")
    );
    assert!(!host.home().exists());
    assert!(
        host.ok(&agent::remove(&plan), b"").contains("agent=absent"),
        "a second removal is harmless"
    );
}

#[test]
fn a_second_start_changes_nothing_and_another_environment_restarts() {
    let host = Host::new();
    let (binary, bytes) = fake();
    host.ok(&agent::place(&host.plan(), &binary), &bytes);
    host.start(&binary, "one");
    assert!(host.start(&binary, "one").contains("agent=running"));
    assert_eq!(host.starts(), "one\n");
    assert!(host.start(&binary, "two").contains("agent=started"));
    assert_eq!(host.starts(), "one\ntwo\n");
}

#[test]
fn two_servers_starting_at_once_make_one_agent() {
    let host = Host::new();
    let (binary, bytes) = fake();
    host.ok(&agent::place(&host.plan(), &binary), &bytes);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| host.start(&binary, "same"));
        }
    });
    assert_eq!(host.starts(), "same\n");
}

#[test]
fn a_killed_agent_comes_back() {
    let host = Host::new();
    let (binary, bytes) = fake();
    host.ok(&agent::place(&host.plan(), &binary), &bytes);
    host.start(&binary, "x");
    let pid = || std::fs::read_to_string(host.home().join("agent.pid")).unwrap();
    let first = pid();
    host.ok(&format!("kill -9 {first}"), b"");
    host.ok(
        &format!("n=0; until [ \"$(wc -l <{}/starts)\" = 2 ]; do sleep 0.1; n=$((n+1)); [ $n -lt 300 ] || exit 1; done", host.home().display()),
        b"",
    );
    assert_ne!(pid(), first);
}

#[test]
fn a_torn_upload_is_refused_and_leaves_nothing() {
    let host = Host::new();
    let (binary, bytes) = fake();
    let short = host.sh(&agent::place(&host.plan(), &binary), &bytes[..20]);
    assert!(!short.status.success());
    assert!(String::from_utf8_lossy(&short.stderr).contains("20 bytes instead of"));
    let mut bent = bytes.clone();
    bent[30] ^= 1;
    assert!(
        !host
            .sh(&agent::place(&host.plan(), &binary), &bent)
            .status
            .success()
    );
    assert!(host.probe().installed.is_empty());
    assert_eq!(
        std::fs::read_dir(host.home().join("bin")).unwrap().count(),
        0
    );
}

#[test]
fn somebody_elses_folder_is_neither_used_nor_removed() {
    let host = Host::new();
    std::fs::create_dir(host.home()).unwrap();
    std::fs::write(host.home().join("thesis.tex"), "x").unwrap();
    let (binary, bytes) = fake();
    let out = host.sh(&agent::place(&host.plan(), &binary), &bytes);
    assert!(String::from_utf8_lossy(&out.stderr).contains("not made by dstack"));
    assert!(
        host.ok(&agent::remove(&host.plan()), b"")
            .contains("absent")
    );
    assert!(host.home().join("thesis.tex").exists());
}

#[test]
fn an_agent_that_dies_at_once_is_quoted() {
    let host = Host::new();
    let script =
        b"#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'no such runtime' >&2; exit 1\n"
            .to_vec();
    let binary = Binary::of(&script);
    host.ok(&agent::place(&host.plan(), &binary), &script);
    let out = host.sh(&agent::start(&host.plan(), &binary), b"");
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("no such runtime"));
}
