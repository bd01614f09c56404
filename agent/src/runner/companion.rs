//! What stands beside the job's command: its SSH server, and the keys with which the nodes of a replica reach
//! each other.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use dstack_api::agent_job::{JobOrder, NetworkMode};
use nix::unistd::{getegid, geteuid};

use super::env::Env;
use super::places::Places;
use super::sshd::{Companion, Listen, Plan, SSH_PORT};
use super::unpack::{self, Ownership};
use super::user::{Accounts, Identity};
use crate::home::JobDir;
use crate::record::Layout;
use crate::runner::prepare::Prepared;

/// Starts the job's SSH server. A job that nobody may log in to has none.
pub fn start(
    job: &JobDir,
    order: &JobOrder,
    prepared: &Prepared,
) -> anyhow::Result<Option<Companion>> {
    let replica = order.replica_ssh_key.as_ref().map(|key| key.public.clone());
    let authorized_keys: Vec<String> = order
        .authorized_keys
        .iter()
        .cloned()
        .chain(replica)
        .collect();
    if authorized_keys.is_empty() {
        return Ok(None);
    }
    let own = geteuid();
    let container = prepared.layout == Layout::Container;
    let root = (container && own.is_root())
        .then(|| Accounts::read().resolve(None, None, own.as_raw(), getegid().as_raw()));
    let plan = Plan {
        listen: listen(order, prepared.layout),
        authorized_keys,
        user: prepared.identity.clone(),
        root: root.and_then(Result::ok),
        env: prepared.env.clone(),
        working_dir: prepared.working_dir.clone(),
        confined: !container && prepared.identity.switch,
    };
    Companion::start(job, &plan).map(Some)
}

/// Without a container there is no other network, whatever the order says.
pub fn on_host_network(order: &JobOrder, layout: Layout) -> bool {
    layout != Layout::Container || order.network_mode == NetworkMode::Host
}

fn listen(order: &JobOrder, layout: Layout) -> Listen {
    if !on_host_network(order, layout) {
        return Listen::Everywhere;
    }
    let ips = &order.cluster.job_ips;
    let own = usize::try_from(order.node_rank)
        .ok()
        .and_then(|rank| ips.get(rank));
    let node = own.filter(|_| ips.len() > 1).and_then(|ip| ip.parse().ok());
    Listen::Host { node }
}

/// Lets `ssh` and `mpirun` of this job reach its other nodes. In a container the key and the configuration are the
/// user's own; on a host that others share they lie in the job's folder, and the launchers of MPI are told so.
pub fn connect_nodes(
    order: &JobOrder,
    places: &Places,
    identity: &Identity,
    owner: Ownership,
    env: &mut Env,
) -> io::Result<()> {
    let (Some(key), [_, _, ..]) = (&order.replica_ssh_key, order.cluster.job_ips.as_slice()) else {
        return Ok(());
    };
    let own = places.layout() == Layout::Container;
    let folder = if own {
        identity.home.join(".ssh")
    } else {
        places.dstack().join("ssh")
    };
    unpack::make_dirs(&folder, owner)?;
    let secret = folder.join("dstack_job");
    write(&secret, &key.private, owner, false)?;
    write(&folder.join("dstack_job.pub"), &key.public, owner, false)?;
    let config = folder.join("config");
    let text = hosts(&order.cluster.job_ips, &secret);
    let known = fs::read_to_string(&config).unwrap_or_default();
    if !known.contains(&text) {
        write(&config, &text, owner, true)?;
    }
    if !own {
        for (name, value) in launchers(&config) {
            env.entry(name.to_owned()).or_insert(value);
        }
    }
    Ok(())
}

/// A block for each node.
fn hosts(ips: &[String], secret: &Path) -> String {
    ips.iter()
        .filter(|ip| ip.parse::<IpAddr>().is_ok())
        .map(|ip| {
            format!(
                "Host {ip}\n  Port {SSH_PORT}\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
                 StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n",
                secret.display()
            )
        })
        .collect()
}

/// How Open MPI (4, 5) and the Hydra launchers (MPICH, Intel) are told another configuration.
fn launchers(config: &Path) -> [(&'static str, String); 3] {
    let option = format!("-F {}", config.display());
    [
        ("OMPI_MCA_plm_rsh_args", option.clone()),
        ("PRTE_MCA_plm_ssh_args", option.clone()),
        ("HYDRA_LAUNCHER_EXTRA_ARGS", option),
    ]
}

fn write(path: &PathBuf, text: &str, owner: Ownership, append: bool) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .append(append)
        .truncate(!append)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    if let Some((uid, gid)) = owner {
        chown(path, Some(uid), Some(gid))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dstack_api::agent_job::{Cluster, SshKeyPair};
    use std::os::unix::fs::PermissionsExt;

    fn order() -> JobOrder {
        JobOrder {
            cluster: Cluster {
                job_ips: vec!["10.0.0.1".into(), "10.0.0.2".into()],
                ..Cluster::default()
            },
            replica_ssh_key: Some(SshKeyPair {
                private: "PRIVATE\n".into(),
                public: "ssh-ed25519 AAAA\n".into(),
            }),
            node_rank: 1,
            ..JobOrder::default()
        }
    }

    fn identity(home: &Path) -> Identity {
        Identity {
            uid: 0,
            gid: 0,
            groups: vec![],
            name: "root".into(),
            home: home.into(),
            shell: "/bin/sh".into(),
            switch: false,
        }
    }

    #[test]
    fn a_shared_hosts_own_ssh_configuration_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let places = Places::new(Layout::Host, &dir.path().join("root"), &home);
        let mut env = Env::new();
        connect_nodes(&order(), &places, &identity(&home), None, &mut env).unwrap();
        assert!(!home.exists());
        let config = places.dstack().join("ssh/config");
        assert_eq!(
            env["OMPI_MCA_plm_rsh_args"],
            format!("-F {}", config.display())
        );
        let text = fs::read_to_string(config).unwrap();
        assert!(text.contains("Host 10.0.0.2\n  Port 10022\n"), "{text}");
        let key = places.dstack().join("ssh/dstack_job");
        assert_eq!(
            fs::metadata(key).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_containers_user_keeps_what_the_image_configured() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir_all(home.join(".ssh")).unwrap();
        fs::write(home.join(".ssh/config"), "Host x\n  Port 1\n").unwrap();
        let places = Places::new(Layout::Container, &dir.path().join("root"), &home);
        for _ in 0..2 {
            connect_nodes(&order(), &places, &identity(&home), None, &mut Env::new()).unwrap();
        }
        let text = fs::read_to_string(home.join(".ssh/config")).unwrap();
        assert!(text.starts_with("Host x\n"));
        assert_eq!(text.matches("Host 10.0.0.1").count(), 1);
    }

    #[test]
    fn only_nodes_listen_for_nodes() {
        let node = Some("10.0.0.2".parse().unwrap());
        assert_eq!(listen(&order(), Layout::Host), Listen::Host { node });
        let alone = JobOrder {
            cluster: Cluster::default(),
            ..order()
        };
        assert_eq!(listen(&alone, Layout::Host), Listen::Host { node: None });
        let bridged = JobOrder {
            network_mode: NetworkMode::Bridge,
            ..order()
        };
        assert_eq!(listen(&bridged, Layout::Container), Listen::Everywhere);
    }
}
