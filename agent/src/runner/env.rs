//! The environment of a job: the container's own variables, then `DSTACK_*`, then what the fleet
//! and the user set. A later layer wins, so a user may override any `DSTACK_*`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use dstack_api::agent_job::{Cluster, JobOrder};

use super::places::Places;
use super::user::Identity;
use crate::record::Layout;

pub type Env = BTreeMap<String, String>;

/// Variables of the agent's own service or login that are none of a job's business.
const NOT_FOR_JOBS: [&str; 8] = [
    "NOTIFY_SOCKET",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDS",
    "LISTEN_PID",
    "SYSTEMD_EXEC_PID",
    "OLDPWD",
    "RUST_LOG",
];

/// Where the job finds itself.
#[derive(Debug)]
pub struct Whereabouts<'a> {
    pub places: &'a Places,
    pub identity: &'a Identity,
    pub working_dir: &'a Path,
    pub repo_dir: &'a Path,
    pub hostfile: &'a Path,
}

/// All layers, the lowest first.
pub fn job_env(base: Env, order: &JobOrder, secrets: &Env, at: &Whereabouts<'_>) -> Env {
    let mut env = inherited(base, at.places.layout());
    env.extend(dstack(order, at));
    if at.identity.switch || !env.contains_key("USER") {
        env.insert("USER".into(), at.identity.name.clone());
        env.insert("LOGNAME".into(), at.identity.name.clone());
    }
    env.extend(order.env.clone());
    env.extend(secrets.clone());
    env
}

/// What a job sees of the variables the runner was started with.
fn inherited(base: Env, layout: Layout) -> Env {
    let host = layout == Layout::Host;
    let mut env = base;
    env.retain(|name, _| {
        let of_the_agent = name.starts_with("DSTACK_")
            || name.starts_with("SSH_")
            || name.starts_with("XDG_SESSION");
        let unwanted = name.starts_with("BASH_FUNC_") || NOT_FOR_JOBS.contains(&name.as_str());
        !(unwanted || host && of_the_agent)
    });
    env.entry("TERM".into())
        .or_insert_with(|| "xterm-256color".into());
    env.entry("PATH".into())
        .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    env
}

fn dstack(order: &JobOrder, at: &Whereabouts<'_>) -> Env {
    let cluster = &order.cluster;
    let text = |path: &Path| path.display().to_string();
    let nodes = cluster.job_ips.len().max(1);
    let venv = has_python_environments(order, at.places)
        .then(|| ("DSTACK_VENV_DIR", text(&at.places.dstack().join("venv"))));
    let gpus = gpus_in_all(cluster, nodes);
    [
        ("DSTACK_RUN_ID", order.run_id.clone()),
        ("DSTACK_JOB_ID", order.submission_id.clone()),
        ("DSTACK_RUN_NAME", order.run_name.clone()),
        ("DSTACK_REPO_ID", order.repo_id.clone().unwrap_or_default()),
        ("DSTACK_REPO_DIR", text(at.repo_dir)),
        ("DSTACK_WORKING_DIR", text(at.working_dir)),
        ("DSTACK_NODES_IPS", cluster.job_ips.join("\n")),
        ("DSTACK_MASTER_NODE_IP", cluster.master_ip.clone()),
        ("DSTACK_NODE_RANK", order.node_rank.to_string()),
        ("DSTACK_NODES_NUM", nodes.to_string()),
        ("DSTACK_GPUS_PER_NODE", cluster.gpus_per_node.to_string()),
        ("DSTACK_GPUS_NUM", gpus.to_string()),
        ("DSTACK_MPI_HOSTFILE", text(at.hostfile)),
        ("HOME", text(&at.identity.home)),
    ]
    .into_iter()
    .chain(venv)
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Whether the image is the default one (`dstackai/base`, from whatever registry), whose scripts
/// make a Python environment for the job. On a bare host nobody asked for one.
fn has_python_environments(order: &JobOrder, places: &Places) -> bool {
    let default = |image: &String| {
        let mut parts = image.rsplit('/');
        let last = parts.next().and_then(|last| last.split(['@', ':']).next());
        last == Some("base") && parts.next() == Some("dstackai")
    };
    places.layout() == Layout::Container && order.image_name.as_ref().is_some_and(default)
}

fn gpus_in_all(cluster: &Cluster, nodes: usize) -> u64 {
    if cluster.gpus_per_job.is_empty() {
        return nodes as u64 * u64::from(cluster.gpus_per_node);
    }
    cluster.gpus_per_job.iter().map(|n| u64::from(*n)).sum()
}

/// The MPI hostfile: a line per node, with slots where there are GPUs. Empty when an address is
/// missing: half a list would start half a job.
pub fn hostfile(cluster: &Cluster) -> String {
    let mut text = String::new();
    if cluster.job_ips.iter().any(|ip| ip.is_empty()) {
        return text;
    }
    for (rank, ip) in cluster.job_ips.iter().enumerate() {
        let gpus = match cluster.gpus_per_job.get(rank) {
            Some(gpus) => *gpus,
            None => cluster.gpus_per_node,
        };
        let _ = match gpus {
            0 => writeln!(text, "{ip}"),
            gpus => writeln!(text, "{ip} slots={gpus}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn cluster() -> Cluster {
        Cluster {
            job_ips: vec!["10.0.0.1".into(), "10.0.0.2".into()],
            master_ip: "10.0.0.1".into(),
            gpus_per_job: vec![8, 0],
            gpus_per_node: 8,
        }
    }

    fn map(pairs: &[(&str, &str)]) -> Env {
        pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect()
    }

    fn build(
        base: &[(&str, &str)],
        order: &JobOrder,
        secrets: &[(&str, &str)],
        layout: Layout,
    ) -> Env {
        let places = Places::new(layout, Path::new("/j/root"), Path::new("/home/ann"));
        let identity = Identity {
            uid: 1000,
            gid: 1000,
            groups: vec![],
            name: "ann".into(),
            home: PathBuf::from("/home/ann"),
            shell: PathBuf::from("/bin/sh"),
            switch: true,
        };
        let at = Whereabouts {
            places: &places,
            identity: &identity,
            working_dir: Path::new("/w"),
            repo_dir: Path::new("/r"),
            hostfile: Path::new("/dstack/mpi/hostfile"),
        };
        job_env(map(base), order, &map(secrets), &at)
    }

    #[test]
    fn every_documented_variable_is_there() {
        let order = JobOrder {
            run_id: "rid".into(),
            submission_id: "sid".into(),
            run_name: "train".into(),
            repo_id: Some("repo".into()),
            image_name: Some("dstackai/base:0.16-base-ubuntu24.04".into()),
            node_rank: 1,
            cluster: cluster(),
            ..JobOrder::default()
        };
        let env = build(&[], &order, &[], Layout::Container);
        for (name, value) in [
            ("DSTACK_RUN_ID", "rid"),
            ("DSTACK_JOB_ID", "sid"),
            ("DSTACK_RUN_NAME", "train"),
            ("DSTACK_REPO_ID", "repo"),
            ("DSTACK_REPO_DIR", "/r"),
            ("DSTACK_WORKING_DIR", "/w"),
            ("DSTACK_NODES_IPS", "10.0.0.1\n10.0.0.2"),
            ("DSTACK_MASTER_NODE_IP", "10.0.0.1"),
            ("DSTACK_NODE_RANK", "1"),
            ("DSTACK_NODES_NUM", "2"),
            ("DSTACK_GPUS_PER_NODE", "8"),
            ("DSTACK_GPUS_NUM", "8"),
            ("DSTACK_MPI_HOSTFILE", "/dstack/mpi/hostfile"),
            ("DSTACK_VENV_DIR", "/dstack/venv"),
            ("HOME", "/home/ann"),
            ("USER", "ann"),
        ] {
            assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn only_the_default_image_has_a_python_environment() {
        for (image, layout, has) in [
            ("dstackai/base:1", Layout::Container, true),
            (
                "registry.example:5000/dstackai/base:1",
                Layout::Container,
                true,
            ),
            ("dstackai/base:1", Layout::Host, false),
            ("ubuntu", Layout::Container, false),
            ("notdstackai/base", Layout::Container, false),
        ] {
            let order = JobOrder {
                image_name: Some(image.into()),
                ..JobOrder::default()
            };
            let env = build(&[], &order, &[], layout);
            assert_eq!(env.contains_key("DSTACK_VENV_DIR"), has, "{image}");
        }
    }

    #[test]
    fn later_layers_win() {
        let order = JobOrder {
            env: map(&[("A", "job"), ("DSTACK_NODE_RANK", "mine")]),
            ..JobOrder::default()
        };
        let env = build(
            &[("A", "os"), ("B", "os")],
            &order,
            &[("S", "secret")],
            Layout::Container,
        );
        assert_eq!(env["A"], "job");
        assert_eq!(env["B"], "os");
        assert_eq!(env["DSTACK_NODE_RANK"], "mine");
        assert_eq!(env["S"], "secret");
    }

    #[test]
    fn what_is_the_agents_does_not_reach_a_job() {
        let base = [
            ("BASH_FUNC_x%%", "() { :; }"),
            ("DSTACK_AGENT_RUNTIME", "process"),
            ("SSH_AUTH_SOCK", "/s"),
            ("NOTIFY_SOCKET", "/n"),
            ("LD_LIBRARY_PATH", "/opt"),
        ];
        let env = build(&base, &JobOrder::default(), &[], Layout::Host);
        for name in [
            "BASH_FUNC_x%%",
            "DSTACK_AGENT_RUNTIME",
            "SSH_AUTH_SOCK",
            "NOTIFY_SOCKET",
        ] {
            assert!(!env.contains_key(name), "{name}");
        }
        assert_eq!(env["LD_LIBRARY_PATH"], "/opt");
        assert!(env.contains_key("PATH") && env.contains_key("TERM"));
    }

    #[test]
    fn the_hostfile_counts_slots_and_is_empty_rather_than_half() {
        assert_eq!(hostfile(&cluster()), "10.0.0.1 slots=8\n10.0.0.2\n");
        let unknown = Cluster {
            job_ips: vec!["10.0.0.1".into(), String::new()],
            ..cluster()
        };
        assert_eq!(hostfile(&unknown), "");
        assert_eq!(hostfile(&Cluster::default()), "");
    }
}
