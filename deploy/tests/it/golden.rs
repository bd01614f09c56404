//! What is sent to a host, byte for byte. A change here is a change on every host of every user.

use dstack_deploy::agent::{self, Binary, Mode, Plan};
use std::collections::BTreeMap;

fn plan(mode: Mode, sudo: bool) -> Plan {
    Plan {
        home: "/var/lib/dstack-agent".into(),
        mode,
        sudo,
        user: "ubuntu".into(),
    }
}

fn binary() -> Binary {
    Binary::of(b"the agent")
}

fn golden(name: &str, text: String) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn scripts() {
    golden("probe", agent::probe(&BTreeMap::new()));
    golden("place", agent::place(&plan(Mode::Systemd, true), &binary()));
    golden("start", agent::start(&plan(Mode::Systemd, true), &binary()));
    golden("remove", agent::remove(&plan(Mode::Supervised, false)));
}

#[test]
fn env_file_quotes_values_and_leaves_out_what_no_shell_can_name() {
    let env = BTreeMap::from(
        [
            ("A", "it's"),
            ("B-C", "x"),
            ("D", "$(id)\nE=1"),
            ("PLAIN", "1"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    assert_eq!(
        agent::env_file(&env),
        "A='it'\\''s'\nD='$(id)\nE=1'\nPLAIN=1\n"
    );
}

#[test]
fn nothing_secret_is_in_a_command_line() {
    let text = agent::start(&plan(Mode::Supervised, false), &binary());
    assert!(
        !text.contains("TOKEN"),
        "the environment travels by standard input only"
    );
}

#[test]
fn the_way_is_chosen_by_what_the_host_has() {
    let probe = |uid, sudo, systemd, explicit_home| agent::Probe {
        uid,
        sudo,
        systemd,
        explicit_home,
        user: "u".into(),
        home: "/x".into(),
        ..Default::default()
    };
    let way = |p: agent::Probe| (Plan::of(&p).mode, Plan::of(&p).sudo);
    assert_eq!(way(probe(0, false, true, false)), (Mode::Systemd, false));
    assert_eq!(way(probe(1000, true, true, false)), (Mode::Systemd, true));
    assert_eq!(
        way(probe(1000, true, false, false)),
        (Mode::Supervised, true)
    );
    assert_eq!(
        way(probe(1000, false, true, false)),
        (Mode::Supervised, false)
    );
    // A home somebody chose: nothing outside it is touched.
    assert_eq!(way(probe(0, false, true, true)), (Mode::Supervised, false));
    assert_eq!(
        way(probe(1000, true, true, true)),
        (Mode::Supervised, false)
    );
}
