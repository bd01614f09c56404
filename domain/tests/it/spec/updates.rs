//! What can be changed in place.

use dstack_domain::spec::{
    AnyConfiguration, FleetSpec, Profile, Update, effective_run, fleet_update, host_changes,
    parse_yaml, run_update,
};

use super::expansion::spec;

fn paths(update: &Update) -> Vec<&str> {
    match update {
        Update::Unchanged => vec![],
        Update::InPlace(changes) | Update::Impossible(changes) => {
            changes.iter().map(|change| change.path.as_str()).collect()
        }
    }
}

#[test]
fn specs_that_mean_the_same_are_unchanged() {
    let written = spec("type: task\ncommands: [a]\nname: train\n");
    let stored = effective_run(&written, Some("ssh-rsa AAAA"));
    assert_eq!(run_update(&stored, &written), Update::Unchanged);
    assert!(run_update(&stored, &written).is_possible());
    let mut renamed = stored.clone();
    renamed.run_name = None;
    assert_eq!(run_update(&stored, &renamed), Update::Unchanged);
}

#[test]
fn a_task_can_change_its_priority_only() {
    let old = spec("type: task\ncommands: [a]\n");
    let urgent = run_update(&old, &spec("type: task\ncommands: [a]\npriority: 90\n"));
    assert!(matches!(urgent, Update::InPlace(_)));
    assert_eq!(paths(&urgent), ["configuration.priority"]);
    let other = run_update(
        &old,
        &spec("type: task\ncommands: [b]\npriority: 90\nresources: {memory: 1TB..}\n"),
    );
    assert!(matches!(other, Update::Impossible(_)));
    assert_eq!(
        paths(&other),
        [
            "configuration.commands",
            "configuration.resources.memory.min"
        ]
    );
    let service = run_update(&old, &spec("type: service\nport: 80\ncommands: [a]\n"));
    assert_eq!(paths(&service), ["configuration.type"]);
}

#[test]
fn a_service_can_change_most_things() {
    let old = spec("type: service\nport: 80\ncommands: [a]\n");
    let scaled = run_update(
        &old,
        &spec("type: service\nport: 80\ncommands: [a]\nreplicas: 3\nhttps: true\n"),
    );
    let Update::InPlace(changes) = &scaled else {
        panic!("{scaled:?}")
    };
    assert!(!dstack_domain::spec::diff::needs_redeploy(changes));
    let redeployed = run_update(
        &old,
        &spec("type: service\nport: 80\ncommands: [b]\nenv: [A=1]\n"),
    );
    let Update::InPlace(changes) = &redeployed else {
        panic!("{redeployed:?}")
    };
    assert!(dstack_domain::spec::diff::needs_redeploy(changes));
    let limited = run_update(
        &old,
        &spec("type: service\nport: 80\ncommands: [a]\nauth: false\n"),
    );
    assert!(matches!(limited, Update::Impossible(_)));
}

#[test]
fn routers_stay_as_they_are() {
    let service = |router: &str| {
        spec(&format!(
            "type: service\nport: 80\ngroups:\n  - {{replicas: 1, commands: [r]{router}}}\n  - {{replicas: 1, commands: [w]}}\n"
        ))
    };
    let without = service("");
    let with = service(", router: {type: dynamo}");
    assert!(matches!(run_update(&without, &with), Update::Impossible(_)));
    assert!(matches!(
        run_update(&with, &service(", router: {type: dynamo}, image: x")),
        Update::Impossible(_)
    ));
    assert_eq!(run_update(&with, &with), Update::Unchanged);
}

fn fleet(text: &str) -> FleetSpec {
    let AnyConfiguration::Fleet(configuration) =
        parse_yaml("fleet.yml", text).unwrap_or_else(|error| panic!("{error}"))
    else {
        panic!("not a fleet")
    };
    FleetSpec {
        configuration: *configuration,
        configuration_path: None,
        profile: Profile::default(),
        autocreated: false,
    }
}

#[test]
fn hosts_come_and_go() {
    let old = fleet("type: fleet\nssh_config: {user: u, hosts: [a, b, {hostname: c, port: 1}]}\n");
    let new = fleet("type: fleet\nssh_config: {user: u, hosts: [b, {hostname: c, port: 2}, d]}\n");
    assert!(matches!(fleet_update(&old, &new), Update::InPlace(_)));
    let changes = host_changes(&old, &new);
    let named = |hosts: &[dstack_domain::spec::ResolvedHost]| -> Vec<(String, u16)> {
        hosts
            .iter()
            .map(|host| (host.hostname.clone(), host.port))
            .collect()
    };
    assert_eq!(
        named(&changes.added),
        [("c".to_owned(), 2), ("d".to_owned(), 22)]
    );
    assert_eq!(
        named(&changes.removed),
        [("a".to_owned(), 22), ("c".to_owned(), 1)]
    );

    let altered = fleet(
        "type: fleet\nssh_config: {user: u, hosts: [a, b, {hostname: c, port: 1, user: x}, d]}\n",
    );
    assert!(!fleet_update(&old, &altered).is_possible());

    let user = fleet("type: fleet\nssh_config: {user: v, hosts: [a, b, {hostname: c, port: 1}]}\n");
    assert_eq!(
        paths(&fleet_update(&old, &user)),
        ["configuration.ssh_config.user"]
    );
    assert!(!fleet_update(&old, &user).is_possible());
}

#[test]
fn keys_do_not_count_as_a_difference() {
    let bare = fleet("type: fleet\nssh_config: {user: u, identity_file: k, hosts: [a]}\n");
    let mut keyed = bare.clone();
    if let Some(params) = &mut keyed.configuration.ssh_config {
        params.ssh_key = Some(dstack_domain::spec::SshKey {
            public: "p".to_owned(),
            private: Some("s".to_owned()),
        });
    }
    assert_eq!(fleet_update(&bare, &keyed), Update::Unchanged);
    assert_eq!(host_changes(&bare, &keyed), Default::default());
}

#[test]
fn cloud_fleets_change_what_new_machines_are_asked_for() {
    let old = fleet("type: fleet\nnodes: 2\nspot_policy: spot\n");
    assert!(
        fleet_update(
            &old,
            &fleet("type: fleet\nnodes: 1..4\nspot_policy: auto\nresources: {gpu: H100:8}\n")
        )
        .is_possible()
    );
    assert!(
        !fleet_update(
            &old,
            &fleet("type: fleet\nnodes: 2\nspot_policy: spot\nplacement: cluster\n")
        )
        .is_possible()
    );
    assert!(!fleet_update(&old, &fleet("type: fleet\nssh_config: {hosts: [a]}\n")).is_possible());
}
