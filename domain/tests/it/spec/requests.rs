//! Specs inside requests: what the released client sends is taken, what nobody sends is refused with its path.

use dstack_domain::spec::{
    FleetSpec, RunConfiguration, RunSpec, effective_run, parse_json, parse_json_value, read_stored,
};
use serde_json::{Value, json};

fn task_spec() -> Value {
    json!({
        "run_name": "t2",
        "repo_id": "none",
        "repo_data": {"repo_type": "virtual"},
        "file_archives": [{"id": "05a20db9-c964-4e90-a5b6-90e1e72f018a", "path": "/mnt/data"}],
        "configuration_path": "t2.dstack.yml",
        "configuration": {
            "ports": [{"local_port": 8000, "container_port": 8000}],
            "commands": ["echo hello"],
            "type": "task",
            "name": "t2",
            "privileged": false,
            "home_dir": "/root",
            "env": {"A": "1"},
            "resources": {
                "cpu": {"count": {"min": 2}}, "memory": {"min": 8.0},
                "gpu": {"name": ["H100"], "count": {"min": 8, "max": 8}},
                "disk": {"size": {"min": 100.0}},
            },
            "files": [{"local_path": "/home/u/w/data", "path": "/mnt/data"}],
            "dstack": false,
        },
        "profile": {"name": "default", "default": false},
    })
}

#[test]
fn a_captured_run_spec_survives_the_echo() {
    let sent: RunSpec = parse_json_value(task_spec()).unwrap();
    let echoed = serde_json::to_value(&sent).unwrap();
    contains(&echoed, &task_spec(), "");
    let again: RunSpec = parse_json_value(echoed).unwrap();
    assert_eq!(again, sent);
}

/// The answer may have more members, never other values.
fn contains(answer: &Value, asked: &Value, path: &str) {
    match (answer, asked) {
        (Value::Object(answer), Value::Object(asked)) => {
            for (key, value) in asked {
                contains(
                    answer
                        .get(key)
                        .unwrap_or_else(|| panic!("{path}.{key} is lost")),
                    value,
                    &format!("{path}.{key}"),
                );
            }
        }
        (Value::Array(answer), Value::Array(asked)) => {
            assert_eq!(answer.len(), asked.len(), "{path}");
            answer
                .iter()
                .zip(asked)
                .for_each(|(answer, asked)| contains(answer, asked, path));
        }
        _ => assert_eq!(answer, asked, "{path}"),
    }
}

#[test]
fn a_captured_fleet_spec_survives_and_loses_its_keys_when_shown() {
    let spec = json!({
        "configuration": {
            "type": "fleet", "name": "lab", "blocks": 1,
            "ssh_config": {
                "user": "ubuntu", "port": 39999, "identity_file": "/home/u/fk",
                "ssh_key": {"public": "ssh-ed25519 AAAA", "private": "-----BEGIN"},
                "hosts": ["127.0.0.1"],
            },
        },
        "configuration_path": "fleet.dstack.yml",
        "profile": {"name": "default", "default": false},
    });
    let sent: FleetSpec = parse_json_value(spec.clone()).unwrap();
    contains(&serde_json::to_value(&sent).unwrap(), &spec, "");
    let shown = serde_json::to_string(&sent.without_keys()).unwrap();
    assert!(!shown.contains("BEGIN") && shown.contains("\"ssh_key\":null"));
    assert!(!format!("{sent:?}").contains("BEGIN"));
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let refused = |change: fn(&mut Value)| {
        let mut spec = task_spec();
        change(&mut spec);
        let body = serde_json::to_vec(&json!({ "run_spec": spec })).unwrap();
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Body {
            #[allow(dead_code)]
            run_spec: RunSpec,
        }
        parse_json::<Body>(&body).unwrap_err()
    };
    let gpus = refused(|spec| spec["configuration"]["resources"]["gpus"] = json!(8));
    assert_eq!(
        gpus.path_steps(),
        ["run_spec", "configuration", "resources", "gpus"]
    );
    assert_eq!(
        gpus.one_line(),
        "run_spec.configuration.resources.gpus: unknown key `gpus`; allowed: cpu, memory, shm_size, gpu, disk; did you mean `gpu`?"
    );
    let nodes = refused(|spec| spec["configuration"]["nodes"] = json!("two"));
    assert_eq!(
        nodes.one_line(),
        "run_spec.configuration.nodes: expected a whole number, found `two`"
    );
    let kind = refused(|spec| spec["configuration"]["type"] = json!("fleet"));
    assert_eq!(
        kind.one_line(),
        "run_spec.configuration: unknown type `fleet`, expected one of `dev-environment`, `task`, `service`"
    );
    let top = refused(|spec| spec["zzz"] = json!(1));
    assert_eq!(top.path(), "run_spec.zzz");
    assert!(
        parse_json::<RunSpec>(b"{")
            .unwrap_err()
            .message()
            .starts_with("not JSON")
    );
}

#[test]
fn a_key_in_the_wrong_place_is_not_repeated() {
    let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----{}", "s3cret".repeat(50));
    let spec = json!({
        "configuration": {"type": "fleet", "ssh_config": {"hosts": ["a"], "ssh_key": key}},
        "profile": {"name": "default"},
    });
    let error = parse_json_value::<FleetSpec>(spec).unwrap_err();
    assert_eq!(error.path(), "configuration.ssh_config.ssh_key");
    assert!(error.one_line().len() < 200, "{}", error.one_line());
}

#[test]
fn rows_of_a_newer_version_are_read() {
    let mut row = task_spec();
    row["hologram"] = json!({"x": 1});
    row["configuration"]["resources"]["fabric"] = json!("roce");
    row["configuration"]["resources"]["gpu"]["nvlink"] = json!(true);
    row["configuration"]["ports"][0]["name"] = json!("http");
    assert!(parse_json_value::<RunSpec>(row.clone()).is_err());
    let read: RunSpec = read_stored(row).unwrap();
    assert_eq!(read, parse_json_value::<RunSpec>(task_spec()).unwrap());
    assert!(
        read_stored::<RunSpec>(json!({"configuration": {"type": "task", "nodes": "x"}})).is_err()
    );
}

#[test]
fn defaults_are_filled_in_as_the_released_server_does() {
    let sent: RunSpec =
        parse_json_value(json!({"configuration": {"type": "task", "commands": ["a"]}})).unwrap();
    let effective = effective_run(&sent, Some("ssh-rsa AAAA admin\n"));
    assert_eq!(effective.repo_id.as_deref(), Some("none"));
    assert_eq!(
        effective.ssh_key_pub.as_deref(),
        Some("ssh-rsa AAAA admin\n")
    );
    let RunConfiguration::Task(task) = &effective.configuration else {
        panic!("not a task")
    };
    assert_eq!((task.nodes, task.run.priority), (Some(1), Some(0)));
    assert_eq!(
        serde_json::to_value(&task.run.resources.gpu).unwrap()["vendor"],
        json!("nvidia")
    );
    assert_eq!(effective_run(&effective, None), effective);
}

#[test]
fn vendors_are_inferred_from_names_and_images() {
    let vendor = |configuration: Value| {
        let sent: RunSpec = parse_json_value(json!({ "configuration": configuration })).unwrap();
        let resources = &effective_run(&sent, None)
            .configuration
            .common()
            .resources
            .clone();
        serde_json::to_value(resources).unwrap()["gpu"]["vendor"].clone()
    };
    let task = |image: Option<&str>, gpu: &str| json!({"type": "task", "commands": ["a"], "image": image, "resources": {"gpu": gpu}});
    assert_eq!(vendor(task(Some("x"), "MI300X:8")), json!("amd"));
    assert_eq!(vendor(task(Some("x"), "H100,A100")), json!("nvidia"));
    assert_eq!(vendor(task(Some("x"), "H100,MI300X")), json!(null));
    assert_eq!(vendor(task(Some("x"), "24GB..")), json!(null));
    assert_eq!(vendor(task(None, "24GB..")), json!("nvidia"));
    assert_eq!(vendor(task(None, "v5litepod-8")), json!("google"));
    assert_eq!(vendor(task(None, "0")), json!(null));
}
