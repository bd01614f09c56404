//! From a run to its jobs.

use dstack_domain::spec::{
    AnyConfiguration, JobSpec, RunConfiguration, RunSpec, expand_jobs, parse_yaml, plan_jobs,
};
use serde_json::json;

pub(crate) fn spec(text: &str) -> RunSpec {
    let AnyConfiguration::Run(run) =
        parse_yaml("run.yml", text).unwrap_or_else(|error| panic!("{error}"))
    else {
        panic!("not a run")
    };
    RunSpec::new(run)
}

fn jobs(text: &str) -> Vec<JobSpec> {
    expand_jobs("run", &spec(text))
}

#[test]
fn a_task_on_the_default_image_as_the_released_server_describes_it() {
    let jobs = jobs(
        "type: task\ncommands: [echo hello]\nports: [8000]\nenv: [A=1]\nresources: {gpu: H100:8}\n",
    );
    let mut job = serde_json::to_value(&jobs[0]).unwrap();
    let script = job["commands"][3].take();
    assert!(
        script.as_str().unwrap().ends_with(" && echo hello"),
        "{script}"
    );
    assert_eq!(
        job,
        json!({
            "replica_num": 0, "job_num": 0, "job_name": "run-0-0", "jobs_per_replica": 1, "replica_group": "0",
            "app_specs": [{"port": 8000, "map_to_port": 8000, "app_name": "app_0", "url_path": null, "url_query_params": null}],
            "user": null, "commands": ["/bin/bash", "-i", "-c", null], "env": {"A": "1"}, "home_dir": "/root",
            "image_name": "dstackai/base:0.16-base-ubuntu24.04", "privileged": false, "single_branch": true,
            "max_duration": null, "stop_duration": 300, "utilization_policy": null, "registry_auth": null,
            "requirements": {
                "resources": {
                    "cpu": {"arch": "x86", "count": {"min": 2, "max": null}}, "memory": {"min": 8.0, "max": null}, "shm_size": null,
                    "gpu": {"vendor": "nvidia", "name": ["H100"], "count": {"min": 8, "max": 8}, "memory": null, "total_memory": null, "compute_capability": null},
                    "disk": {"size": {"min": 100.0, "max": null}},
                },
                "max_price": null, "spot": false, "reservation": null, "multinode": false, "backend_options": null,
            },
            "retry": null, "volumes": [], "ssh_key": null, "working_dir": null, "repo_data": null, "repo_code_hash": null,
            "repo_dir": "/workflow", "repo_exists_action": null, "file_archives": [], "service_port": null, "probes": [],
            "node_group_index": 0, "node_group_name": "0", "node_group_job_index": 0,
        })
    );
    let again: JobSpec = serde_json::from_value(serde_json::to_value(&jobs[0]).unwrap()).unwrap();
    assert_eq!(again, jobs[0]);
}

#[test]
fn one_job_per_node() {
    let jobs = jobs(
        "type: task\nnodes: 3\nimage: x\ncommands: [a, b]\nvolumes: [\"data-${{ dstack.node_rank }}:/data\"]\nspot_policy: auto\n",
    );
    let names: Vec<_> = jobs.iter().map(|job| job.job_name.as_str()).collect();
    assert_eq!(names, ["run-0-0", "run-1-0", "run-2-0"]);
    for (rank, job) in jobs.iter().enumerate() {
        assert_eq!(job.jobs_per_replica, 3);
        assert_eq!(job.requirements.multinode, Some(true));
        assert_eq!(job.requirements.spot, None);
        assert_eq!(job.commands, ["/bin/sh", "-i", "-c", "a && b"]);
        assert_eq!(
            serde_json::to_value(&job.volumes).unwrap(),
            json!([{"name": format!("data-{rank}"), "path": "/data"}])
        );
        assert_eq!(job.node_group_job_index as usize, rank);
    }
}

#[test]
fn job_numbers_run_through_the_groups() {
    let jobs = jobs(
        "type: task\nimage: x\ngroups:\n  - name: head\n    commands: [h]\n    ports: [80]\n  - nodes: 2\n    commands: [w]\n    resources: {gpu: 1}\n",
    );
    let seen: Vec<_> = jobs
        .iter()
        .map(|job| {
            (
                job.job_num,
                job.node_group_index,
                job.node_group_name.as_str(),
                job.node_group_job_index,
                job.app_specs.len(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [(0, 0, "head", 0, 1), (1, 1, "1", 0, 0), (2, 1, "1", 1, 0)]
    );
    assert!(jobs.iter().all(|job| job.jobs_per_replica == 3));
}

#[test]
fn commands_entrypoint_shell_and_image() {
    let argv = |text: &str| jobs(text)[0].commands.clone();
    assert_eq!(argv("type: task\nimage: x\n"), Vec::<String>::new());
    assert_eq!(
        argv("type: task\nimage: x\nentrypoint: python -c 'a b'\ncommands: [x]\n"),
        ["python", "-c", "a b", "x"]
    );
    assert_eq!(
        argv("type: task\nimage: x\nshell: bash\ncommands: [a]\n")[0],
        "/bin/bash"
    );
    assert_eq!(
        argv("type: task\nimage: x\nshell: /bin/zsh\ncommands: [a]\n")[0],
        "/bin/zsh"
    );
    let docker = &jobs("type: task\ndocker: true\ncommands: [docker ps]\n")[0];
    assert!(docker.privileged && docker.image_name.contains("dind"));
    assert_eq!(docker.commands[3], "start-dockerd && docker ps");
    assert!(
        jobs("type: task\nnvcc: true\ncommands: [a]\n")[0]
            .image_name
            .contains("devel")
    );
}

#[test]
fn policies_come_from_the_configuration_and_then_from_the_profile() {
    let mut run = spec(
        "type: task\nimage: x\nretry: {on_events: [error]}\nmax_duration: 1h\nstop_duration: off\nuser: \"1000:video\"\n",
    );
    run.profile = Some(
        serde_json::from_value(
            json!({"name": "p", "max_price": 2.5, "max_duration": 60, "spot_policy": "spot"}),
        )
        .unwrap(),
    );
    let job = &expand_jobs("run", &run)[0];
    assert_eq!((job.max_duration, job.stop_duration), (Some(3600), None));
    assert_eq!(
        (job.requirements.max_price, job.requirements.spot),
        (Some(2.5), Some(true))
    );
    assert_eq!(
        serde_json::to_value(&job.retry).unwrap(),
        json!({"on_events": ["error"], "duration": 3600})
    );
    assert_eq!(
        serde_json::to_value(&job.user).unwrap(),
        json!({"uid": 1000, "gid": null, "username": null, "groupname": "video"})
    );
}

#[test]
fn reserved_ports_are_dropped() {
    let job = &jobs("type: task\nimage: x\nports: [10022, 8000, 10999]\n")[0];
    assert_eq!(
        job.app_specs.iter().map(|app| app.port).collect::<Vec<_>>(),
        [8000]
    );
}

#[test]
fn replicas_of_a_service() {
    let text = "type: service\nport: 8000\nmodel: m\ngroups:\n  - {name: router, replicas: 1, commands: [r], router: {type: smg}}\n  - {replicas: 2..4, commands: [w], scaling: {metric: rps, target: 1}, spot_policy: spot}\n";
    let jobs = jobs(text);
    let seen: Vec<_> = jobs
        .iter()
        .map(|job| {
            (
                job.job_name.as_str(),
                job.replica_group.as_str(),
                job.probes.len(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("run-0-0", "router", 1),
            ("run-0-1", "1", 0),
            ("run-0-2", "1", 0)
        ]
    );
    assert_eq!(jobs[2].requirements.spot, Some(true));
    assert_eq!(jobs[0].service_port, Some(8000));

    let idle = spec(
        "type: service\nport: 80\nimage: x\nreplicas: 0..2\nscaling: {metric: rps, target: 1}\n",
    );
    assert!(expand_jobs("run", &idle).is_empty());
    assert_eq!(plan_jobs("run", &idle).len(), 1);
}

#[test]
fn a_dev_environment_is_one_job_that_stays() {
    let jobs = jobs("type: dev-environment\nide: vscode\ninit: [pip install x]\n");
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].single_branch, Some(false));
    assert!(
        jobs[0].commands[3].contains(" && pip install x && ")
            && jobs[0].commands[3].ends_with("/dev/null")
    );
}

/// The script is what `/bin/sh` must understand, whatever stands in its items.
#[test]
fn scripts_are_shell() {
    use std::process::Command;
    let items = [
        "true",
        "sleep 0 &",
        "echo a # b",
        "echo c;",
        "cat <<E\nx\nE",
        "if true; then echo d; fi",
        "{ echo e; }",
    ];
    for first in items {
        for second in items {
            let mut run = spec("type: task\nimage: x\n");
            if let RunConfiguration::Task(task) = &mut run.configuration {
                task.commands = vec![first.to_owned(), second.to_owned(), "echo end".to_owned()];
            }
            let script = &expand_jobs("run", &run)[0].commands[3];
            let output = Command::new("/bin/sh")
                .args(["-c", script])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && said.ends_with("end\n"),
                "{script}\n{output:?}"
            );
        }
    }
    // On a bare host the prelude of the default image does nothing.
    let script = &jobs("type: task\ncommands: [echo end]\n")[0].commands[3];
    let output = Command::new("/bin/sh")
        .args(["-c", script])
        .env_remove("DSTACK_VENV_DIR")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "end\n",
        "{script}\n{output:?}"
    );
}
