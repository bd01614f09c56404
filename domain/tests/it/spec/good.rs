//! Every shorthand against the normal form it stands for.

use dstack_domain::spec::{AnyConfiguration, RunConfiguration, parse_profiles, parse_yaml};
use serde_json::{Value, json};

fn read(text: &str) -> AnyConfiguration {
    parse_yaml("good.yml", text).unwrap_or_else(|error| panic!("{error}\nin\n{text}"))
}

fn written(text: &str) -> Value {
    serde_json::to_value(read(text)).unwrap()
}

/// The normal form of one key of a task.
fn task_key(yaml: &str) -> Value {
    let key = yaml.split(':').next().unwrap();
    written(&format!("type: task\ncommands: [a]\n{yaml}\n"))[key].clone()
}

fn resources_key(yaml: &str) -> Value {
    let key = yaml.split(':').next().unwrap();
    written(&format!("type: task\nimage: x\nresources:\n  {yaml}\n"))["resources"][key].clone()
}

#[track_caller]
fn check_all(read: fn(&str) -> Value, cases: &[(&str, Value)]) {
    for (yaml, expected) in cases {
        assert_eq!(&read(yaml), expected, "{yaml}");
    }
}

#[test]
fn durations() {
    check_all(
        task_key,
        &[
            ("max_duration: 2h", json!(7200)),
            ("max_duration: 2 h", json!(7200)),
            ("max_duration: 90", json!(90)),
            ("max_duration: \"90\"", json!(90)),
            ("max_duration: off", json!("off")),
            ("max_duration: \"off\"", json!("off")),
            ("max_duration: false", json!("off")),
            ("max_duration: true", json!(null)),
            ("max_duration:", json!(null)),
            ("idle_duration: 3d", json!(259_200)),
            ("idle_duration: off", json!(-1)),
            ("idle_duration: -1", json!(-1)),
            ("idle_duration: -7", json!(-1)),
            ("idle_duration: true", json!(null)),
        ],
    );
}

#[test]
fn cpus_memory_and_disks() {
    let cpu = |arch: Value, min: Value, max: Value| json!({"arch": arch, "count": {"min": min, "max": max}});
    check_all(
        resources_key,
        &[
            ("cpu: 4", cpu(json!(null), json!(4), json!(4))),
            ("cpu: 4..8", cpu(json!(null), json!(4), json!(8))),
            ("cpu: x86:8..", cpu(json!("x86"), json!(8), json!(null))),
            ("cpu: \"..8:arm\"", cpu(json!("arm"), json!(null), json!(8))),
            ("cpu: arm", cpu(json!("arm"), json!(2), json!(null))),
            ("cpu: {min: 2}", cpu(json!(null), json!(2), json!(null))),
            (
                "cpu: {arch: x86, count: 2..}",
                cpu(json!("x86"), json!(2), json!(null)),
            ),
            ("memory: 8", json!({"min": 8.0, "max": 8.0})),
            ("memory: 512MB", json!({"min": 0.5, "max": 0.5})),
            ("memory: 0.5..1.5TB", json!({"min": 0.5, "max": 1536.0})),
            ("memory: {min: 8GB}", json!({"min": 8.0, "max": null})),
            ("shm_size: 16 gb", json!(16.0)),
            ("disk: 200GB", json!({"size": {"min": 200.0, "max": 200.0}})),
            (
                "disk: 200GB..",
                json!({"size": {"min": 200.0, "max": null}}),
            ),
            (
                "disk: {size: 200GB..1TB}",
                json!({"size": {"min": 200.0, "max": 1024.0}}),
            ),
            ("disk: null", json!(null)),
            ("gpu: null", json!(null)),
        ],
    );
}

#[test]
fn gpus() {
    let gpu = |vendor: Value, name: Value, memory: Value, min: Value, max: Value| {
        json!({
            "vendor": vendor, "name": name, "count": {"min": min, "max": max}, "memory": memory,
            "total_memory": null, "compute_capability": null,
        })
    };
    let null = || json!(null);
    let exactly_80 = json!({"min": 80.0, "max": 80.0});
    check_all(
        resources_key,
        &[
            ("gpu: 8", gpu(null(), null(), null(), json!(8), json!(8))),
            ("gpu: 0", gpu(null(), null(), null(), json!(0), json!(0))),
            (
                "gpu: H100",
                gpu(null(), json!(["H100"]), null(), json!(1), null()),
            ),
            (
                "gpu: H100:8",
                gpu(null(), json!(["H100"]), null(), json!(8), json!(8)),
            ),
            (
                "gpu: \"8:H100:80GB\"",
                gpu(
                    null(),
                    json!(["H100"]),
                    exactly_80.clone(),
                    json!(8),
                    json!(8),
                ),
            ),
            (
                "gpu: nvidia:24GB..:2",
                gpu(
                    json!("nvidia"),
                    null(),
                    json!({"min": 24.0, "max": null}),
                    json!(2),
                    json!(2),
                ),
            ),
            (
                "gpu: A10G,A100:1..4",
                gpu(null(), json!(["A10G", "A100"]), null(), json!(1), json!(4)),
            ),
            (
                "gpu: tpu:v5litepod-8",
                gpu(
                    json!("google"),
                    json!(["v5litepod-8"]),
                    null(),
                    json!(1),
                    null(),
                ),
            ),
            (
                "gpu: tpu-v2-8",
                gpu(null(), json!(["v2-8"]), null(), json!(1), null()),
            ),
            (
                "gpu: TT:2",
                gpu(json!("tenstorrent"), null(), null(), json!(2), json!(2)),
            ),
            (
                "gpu: {name: \"A100,H100\", count: 2}",
                gpu(null(), json!(["A100", "H100"]), null(), json!(2), json!(2)),
            ),
        ],
    );
    for capability in ["7.5", "\"7.5\"", "[7, 5]"] {
        let read = resources_key(&format!("gpu: {{compute_capability: {capability}}}"));
        assert_eq!(read["compute_capability"], json!([7, 5]), "{capability}");
    }
}

#[test]
fn ports_env_and_mounts() {
    check_all(
        task_key,
        &[
            (
                "ports: [8000]",
                json!([{"local_port": 8000, "container_port": 8000}]),
            ),
            (
                "ports: [\"80:8000\"]",
                json!([{"local_port": 80, "container_port": 8000}]),
            ),
            (
                "ports: [\"*:8000\"]",
                json!([{"local_port": null, "container_port": 8000}]),
            ),
            (
                "env: [A=1, B=, C]",
                json!({"A": "1", "B": "", "C": {"key": "C"}}),
            ),
            ("env: {A: 1, B: \"\"}", json!({"A": "1", "B": ""})),
            (
                "env: {V: 1.10, N: 007, Y: yes, H: 0x1F, B: true}",
                json!({"V": "1.10", "N": "007", "Y": "yes", "H": "0x1F", "B": "true"}),
            ),
            (
                "volumes: [data:/data]",
                json!([{"name": "data", "path": "/data"}]),
            ),
            (
                "volumes: [/srv:/data]",
                json!([{"instance_path": "/srv", "path": "/data", "optional": false}]),
            ),
            (
                "volumes: [{name: [a, b], path: /data}]",
                json!([{"name": ["a", "b"], "path": "/data"}]),
            ),
            (
                "files: [~/.netrc]",
                json!([{"local_path": "~/.netrc", "path": "~/.netrc"}]),
            ),
            ("files: [a:/b]", json!([{"local_path": "a", "path": "/b"}])),
            (
                "files: ['C:\\a:/b']",
                json!([{"local_path": "C:\\a", "path": "/b"}]),
            ),
            ("python: 3.10", json!("3.10")),
            ("nodes: \"2\"", json!(2)),
            ("priority: 5.0", json!(5)),
            (
                "schedule: {cron: \"0 8 last * *\"}",
                json!({"cron": ["0 8 last * *"]}),
            ),
            ("env: {my.option: 1}", json!({"my.option": "1"})),
            ("python: 3.1", json!("3.10")),
            ("python: \"3.12\"", json!("3.12")),
            ("retry: true", json!(true)),
            (
                "retry: {duration: 1h}",
                json!({"on_events": null, "duration": 3600}),
            ),
            (
                "fleets: [lab, other/lab]",
                json!([{"project": null, "name": "lab"}, {"project": "other", "name": "lab"}]),
            ),
            ("instances: [lab-0]", json!([{"name": "lab-0"}])),
            (
                "schedule: {cron: \"0 8 * * 0\"}",
                json!({"cron": ["0 8 * * 0"]}),
            ),
        ],
    );
}

#[test]
fn repositories() {
    let repo = |local: Value, url: Value, path: &str| json!([{"local_path": local, "url": url, "branch": null, "hash": null, "path": path, "if_exists": "error"}]);
    let null = || json!(null);
    check_all(
        task_key,
        &[
            ("repos: [.]", repo(json!("."), null(), ".")),
            ("repos: [../r:/code]", repo(json!("../r"), null(), "/code")),
            (
                "repos: [https://github.com/o/r]",
                repo(null(), json!("https://github.com/o/r"), "."),
            ),
            (
                "repos: [https://github.com/o/r:/code]",
                repo(null(), json!("https://github.com/o/r"), "/code"),
            ),
            (
                "repos: [https://git.corp:8443/o/r.git]",
                repo(null(), json!("https://git.corp:8443/o/r.git"), "."),
            ),
            (
                "repos: [git@github.com:o/r.git]",
                repo(null(), json!("git@github.com:o/r.git"), "."),
            ),
            (
                "repos: [git@github.com:o/r.git:src]",
                repo(null(), json!("git@github.com:o/r.git"), "src"),
            ),
        ],
    );
}

#[test]
fn a_task_without_resources_gets_the_defaults_of_the_wire() {
    assert_eq!(
        written("type: task\ncommands: [a]\n")["resources"],
        json!({
            "cpu": {"arch": null, "count": {"min": 2, "max": null}},
            "memory": {"min": 8.0, "max": null},
            "shm_size": null,
            "gpu": {"vendor": null, "name": null, "count": {"min": 0, "max": null}, "memory": null, "total_memory": null, "compute_capability": null},
            "disk": {"size": {"min": 100.0, "max": null}},
        })
    );
}

#[test]
fn the_complete_task() {
    let task = read(include_str!("everything.dstack.yml"));
    let AnyConfiguration::Run(RunConfiguration::Task(task)) = task else {
        panic!("not a task")
    };
    assert_eq!(task.run.env.unresolved(), ["HF_TOKEN"]);
    assert_eq!(task.run.volumes.len(), 4);
    assert_eq!(task.profile.instances.as_ref().unwrap().len(), 3);
}

#[test]
fn fleets() {
    let lab = written(
        "type: fleet\nname: lab\nplacement: cluster\nssh_config:\n  user: ubuntu\n  identity_file: ~/.ssh/id\n  hosts: [10.0.0.1, {hostname: h2, port: 2222, blocks: auto}]\n",
    );
    assert_eq!(lab["ssh_config"]["hosts"][0], json!("10.0.0.1"));
    assert_eq!(lab["ssh_config"]["hosts"][1]["blocks"], json!("auto"));
    assert_eq!(lab["blocks"], json!(1));
    assert_eq!(lab["env"], json!({}));
    for (nodes, expected) in [
        ("2", json!({"min": 2, "max": 2})),
        ("0..2", json!({"min": 0, "max": 2})),
        ("1..", json!({"min": 1, "max": null})),
        (
            "{min: 1, target: 2, max: 4}",
            json!({"min": 1, "target": 2, "max": 4}),
        ),
    ] {
        assert_eq!(
            written(&format!("type: fleet\nnodes: {nodes}\n"))["nodes"],
            expected,
            "{nodes}"
        );
    }
}

#[test]
fn services() {
    let service =
        written("type: service\nport: 8000\ncommands: [a]\nmodel: meta/llama\ngateway: other/gw\n");
    assert_eq!(
        service["port"],
        json!({"local_port": 80, "container_port": 8000})
    );
    assert_eq!(
        service["model"],
        json!({"type": "chat", "name": "meta/llama", "format": "openai", "prefix": "/v1"})
    );
    assert_eq!(
        service["gateway"],
        json!({"project": "other", "name": "gw"})
    );
    assert_eq!(service["auth"], json!(true));

    // The older way to write groups, and the older name of the router.
    let groups = written(
        "type: service\nport: 8000\nreplicas:\n  - count: 1\n    commands: [a]\n    router: {type: sglang}\n  - {replicas: 0..4, commands: [b], scaling: {metric: rps, target: 5}}\n",
    );
    assert_eq!(groups["replicas"], json!(null));
    assert_eq!(groups["groups"][0]["router"], json!({"type": "sglang"}));
    assert_eq!(groups["groups"][1]["replicas"], json!({"min": 0, "max": 4}));
    assert_eq!(
        groups["groups"][1]["scaling"],
        json!({"metric": "rps", "target": 5.0, "window": null, "scale_up_delay": 300, "scale_down_delay": 600})
    );
}

#[test]
fn other_types() {
    let dev = written("type: dev-environment\nide: vscode\ninactivity_duration: off\n");
    assert_eq!(
        (&dev["ide"], &dev["inactivity_duration"]),
        (&json!("vscode"), &json!(null))
    );
    let volume = written("type: volume\nbackend: kubernetes\nregion: ctx\nsize: 10GB\n");
    assert_eq!(
        volume,
        json!({
            "type": "volume", "backend": "kubernetes", "name": null, "auto_cleanup_duration": null, "tags": null, "size": 10.0,
            "region": "ctx", "claim_name": null, "storage_class_name": null, "access_modes": ["ReadWriteOnce"], "read_only": false,
        })
    );
    let gateway = written("type: gateway\nbackend: aws\nregion: eu-west-1\ndomain: example.com\n");
    assert_eq!(gateway["certificate"], json!({"type": "lets-encrypt"}));
    let bare = written("type: gateway\nbackend: aws\nregion: eu-west-1\ncertificate: null\n");
    assert_eq!(bare["certificate"], json!(null));
}

#[test]
fn profiles() {
    let text = "profiles:\n  - name: cheap\n    spot_policy: auto\n    max_price: 2\n  - name: big\n    default: true\n    retry: true\n";
    let file = parse_profiles("profiles.yml", text).unwrap();
    assert_eq!(
        file.select(None)
            .unwrap()
            .map(|profile| profile.name.as_str()),
        Some("big")
    );
    assert_eq!(
        file.select(Some("cheap"))
            .unwrap()
            .unwrap()
            .params
            .max_price,
        Some(2.0)
    );
    assert_eq!(
        file.select(Some("x")).unwrap_err().one_line(),
        "there is no profile `x`; allowed: cheap, big"
    );
    let twice =
        parse_profiles("profiles.yml", "profiles:\n  - name: a\n  - name: a\n").unwrap_err();
    assert_eq!(twice.position().map(|position| position.line), Some(3));
}

const COMPLETE: [&str; 7] = [
    include_str!("everything.dstack.yml"),
    "type: task\nimage: x\ngroups:\n  - {name: head, nodes: 1, commands: [a], ports: [80], resources: {gpu: 8}}\n  - {nodes: 4, commands: [b]}\n",
    "type: dev-environment\nide: windsurf\nversion: 1.2@abc\ninit: [a]\nports: [8888]\ninactivity_duration: 2h\n",
    "type: service\nport: 8000:80\nimage: x\ngateway: false\nstrip_prefix: false\nmodel: {type: chat, name: m, format: tgi, eos_token: e}\nhttps: auto\nauth: false\nreplicas: 1..4\nscaling: {metric: rps, target: 0.5, window: 5m, scale_up_delay: 1m, scale_down_delay: 2m}\nrate_limits:\n  - {prefix: /api, rps: 0.5, burst: 3, key: {type: header, header: X-Key}}\n  - {rps: 4}\nprobes:\n  - {type: http, url: /h, method: post, headers: [{name: A, value: b}], body: x, timeout: 5s, interval: 1m, ready_after: 2, until_ready: true}\n",
    "type: fleet\nname: lab\nplacement: cluster\nblocks: auto\nenv: {A: 1}\nssh_config:\n  user: u\n  port: 2222\n  identity_file: k\n  proxy_jump: {hostname: j, user: u, identity_file: k, port: 1}\n  network: 10.0.0.0/16\n  hosts: [a, {hostname: b, user: v, port: 3, identity_file: l, blocks: 2, proxy_jump: {hostname: i, user: u, identity_file: k}}]\n",
    "type: fleet\nnodes: {min: 1, target: 2, max: 3}\nreservation: r\nresources: {gpu: H100:8}\nbackends: [aws]\nregions: [a]\navailability_zones: [b]\ninstance_types: [c]\nspot_policy: auto\nretry: {duration: 1h}\nmax_price: 3\nidle_duration: off\ntags: {a: b}\n",
    "type: gateway\nname: gw\nbackend: gcp\nregion: r\ninstance_type: i\ndomain: '*.${{ run.project_name }}.example.com'\npublic_ip: false\nload_balancer: {type: alb}\ncertificate: {type: gcp-cm, name: c}\nreplicas: 3\ntags: {a: b}\n",
];

#[test]
fn what_yaml_says_a_request_carries() {
    for text in COMPLETE {
        let from_yaml = read(text);
        let on_the_wire = serde_json::to_string(&from_yaml).unwrap();
        let from_json: AnyConfiguration = dstack_domain::spec::parse_json(on_the_wire.as_bytes())
            .unwrap_or_else(|error| panic!("{error}\n{on_the_wire}"));
        assert_eq!(from_json, from_yaml, "{on_the_wire}");
        dstack_domain::spec::validate::configuration(&from_json).unwrap();
    }
}
