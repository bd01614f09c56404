//! Flags and variables turned into plain, checked values.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use dstack_raft::{parse_members, tls::check_name};
use zeroize::Zeroizing;

use crate::args::Serve;
use crate::failure::{Failure, Kind};

/// What one replica is told.
#[derive(Debug, Clone)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub dir: PathBuf,
    pub token: Option<Token>,
    /// The home folder, if there is one.
    pub home: Option<PathBuf>,
    /// Whether ~/.dstack/config.yml may be led away from another server.
    pub may_change_configuration: bool,
    pub log: LogSettings,
    pub node_name: String,
    pub peer_listen: SocketAddr,
    pub peer_advertise: Option<String>,
    /// Empty: a single voter, unless it joins.
    pub initial: Vec<(String, String)>,
    /// Members of a running cluster that this replica is to be added to.
    pub join: Vec<(String, String)>,
    /// Other addresses to dial peers at: the hook by which chaos puts a proxy into every link.
    pub dial: Vec<(String, String)>,
    /// None: credentials are made on the first start, which only a single voter may do.
    pub tls_dir: Option<PathBuf>,
    /// DSTACK_AGENT_BINARY: the agent to bring to hosts, when it is not beside this program.
    pub agent_binary: Option<PathBuf>,
    /// DSTACK_SERVER_EVENTS_TTL_SECONDS. With 0 an event goes with the next sweep, a second later.
    pub events_kept: Duration,
    pub http: HttpSettings,
}

/// A secret that no `{:?}` shows.
#[derive(Clone)]
pub struct Token(pub Zeroizing<String>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<token>")
    }
}

#[derive(Debug, Clone)]
pub struct LogSettings {
    pub filter: String,
    pub json: bool,
}

/// What shapes the answers of the API.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The version of upstream's API that is spoken, shown in `get_info`.
    pub version: String,
    /// DSTACK_SERVER_CODE_UPLOAD_LIMIT, bytes; 0 is no limit.
    pub code_upload_limit: u64,
    /// DSTACK_SERVER_LOG_QUOTA_PER_JOB_HOUR, bytes; 0 is no limit.
    pub log_quota_per_job_hour: u64,
    /// DSTACK_USER_PROJECT_DEFAULT_QUOTA.
    pub project_quota: u32,
}

impl Settings {
    /// Checks the flags; `variable` reads one environment variable.
    pub fn resolve(
        args: Serve,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Settings, Failure> {
        let dir = server_dir(args.server_dir, &variable)?;
        let initial = members("--initial-cluster", args.initial_cluster.as_deref())?;
        let join = members("--join", args.join.as_deref())?;
        let node_name = node_name(args.node_name, &initial, !join.is_empty())?;
        let own = initial
            .iter()
            .find(|(name, _)| *name == node_name)
            .map(|(_, addr)| addr.clone());
        let peer_advertise = args.peer_advertise.or_else(|| own.clone());
        if !join.is_empty() && args.peer_listen.is_none() {
            return Err(Failure::new(
                Kind::Usage,
                "--join is given, but not where the others reach this replica",
            )
            .hint("say so with --peer-listen IP:PORT"));
        }
        let peer_listen = peer_listen(args.peer_listen, own.as_deref())?;
        if !(initial.is_empty() && join.is_empty())
            && args.tls_dir.is_none()
            && !dir.join("tls").is_dir()
        {
            return Err(Failure::new(
                Kind::Usage,
                "replicas of a cluster prove to each other who they are, but --tls-dir is missing",
            )
            .hint("make the certificates once with `dstack-server init-ca`, then name this replica's folder with --tls-dir"));
        }
        Ok(Settings {
            host: args.host,
            port: args.port,
            token: args
                .token
                .filter(|token| !token.is_empty())
                .map(|token| Token(Zeroizing::new(token))),
            home: variable("HOME")
                .filter(|home| !home.is_empty())
                .map(PathBuf::from),
            may_change_configuration: args.yes,
            log: log_settings(&args.log_level, &args.log_format)?,
            node_name,
            peer_listen,
            peer_advertise,
            tls_dir: args.tls_dir,
            dial: members(
                "DSTACK_SERVER_PEER_DIAL",
                variable("DSTACK_SERVER_PEER_DIAL").as_deref(),
            )?,
            initial,
            join,
            dir,
            agent_binary: variable("DSTACK_AGENT_BINARY").map(PathBuf::from),
            events_kept: Duration::from_secs(number(
                &variable,
                "DSTACK_SERVER_EVENTS_TTL_SECONDS",
                30 * 24 * 3600,
            )?),
            http: http_settings(&variable)?,
        })
    }
}

impl Settings {
    /// Where peers reach this replica, as far as it was told.
    pub fn peer_address(&self) -> Option<String> {
        let listen = (self.peer_listen.port() != 0).then(|| self.peer_listen.to_string());
        self.peer_advertise.clone().or(listen)
    }
}

fn server_dir(
    flag: Option<PathBuf>,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<PathBuf, Failure> {
    if let Some(dir) = flag {
        return Ok(dir);
    }
    let home = variable("HOME")
        .filter(|home| !home.is_empty())
        .ok_or_else(|| {
            Failure::new(
                Kind::Usage,
                "there is no home folder to keep the server's files in",
            )
            .hint("name a folder with --server-dir or DSTACK_SERVER_DIR")
        })?;
    Ok(PathBuf::from(home).join(".dstack").join("server"))
}

fn members(flag: &str, list: Option<&str>) -> Result<Vec<(String, String)>, Failure> {
    let Some(list) = list else {
        return Ok(Vec::new());
    };
    let bad = |what: String| {
        Failure::new(Kind::Usage, format!("{flag}: {what}")).hint(
            "the form is a=10.0.0.1:3001,b=10.0.0.2:3001,c=10.0.0.3:3001, the same on all replicas",
        )
    };
    let members = parse_members(list).map_err(|error| bad(error.to_string()))?;
    let (mut names, mut addrs) = (BTreeSet::new(), BTreeSet::new());
    for (name, addr) in &members {
        if !names.insert(name) {
            return Err(bad(format!("`{name}` is named twice")));
        }
        if !addrs.insert(addr) {
            return Err(bad(format!("`{addr}` is given to two replicas")));
        }
    }
    if members.is_empty() {
        return Err(bad("the list is empty".into()));
    }
    Ok(members)
}

fn node_name(
    flag: Option<String>,
    initial: &[(String, String)],
    joins: bool,
) -> Result<String, Failure> {
    let Some(name) = flag else {
        if initial.is_empty() && !joins {
            return Ok("replica-1".into());
        }
        return Err(Failure::new(
            Kind::Usage,
            "a cluster is named, but not which replica of it this is",
        )
        .hint("say so with --node-name"));
    };
    check_name(&name).map_err(|why| Failure::new(Kind::Usage, format!("--node-name: {why}")))?;
    if !initial.is_empty() && !initial.iter().any(|(member, _)| *member == name) {
        let names: Vec<_> = initial.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Failure::new(
            Kind::Usage,
            format!(
                "--node-name {name} is not in --initial-cluster, which names {}",
                names.join(", ")
            ),
        ));
    }
    Ok(name)
}

fn peer_listen(flag: Option<SocketAddr>, own: Option<&str>) -> Result<SocketAddr, Failure> {
    match (flag, own) {
        (Some(listen), _) => Ok(listen),
        // A single voter has nobody to listen to; a free loopback port lets it grow on this machine.
        (None, None) => Ok(SocketAddr::from(([127, 0, 0, 1], 0))),
        (None, Some(own)) => own.parse().map_err(|_| {
            Failure::new(
                Kind::Usage,
                format!("cannot tell on which address to listen for {own}"),
            )
            .hint("give it with --peer-listen IP:PORT, for example --peer-listen 0.0.0.0:3001")
        }),
    }
}

fn log_settings(level: &str, format: &str) -> Result<LogSettings, Failure> {
    let json = match format.to_ascii_lowercase().as_str() {
        "standard" | "rich" => false,
        "json" => true,
        other => {
            return Err(Failure::new(
                Kind::Usage,
                format!("--log-format {other} is neither standard nor json"),
            ));
        }
    };
    // Upstream's level names are Python's.
    let filter = match level.to_ascii_lowercase().as_str() {
        "critical" | "error" => "error".into(),
        "warning" | "warn" => "warn".into(),
        plain @ ("info" | "debug" | "trace") => plain.to_owned(),
        _ => level.to_owned(),
    };
    Ok(LogSettings { filter, json })
}

fn http_settings(variable: &impl Fn(&str) -> Option<String>) -> Result<HttpSettings, Failure> {
    Ok(HttpSettings {
        version: variable("DSTACK_VERSION").unwrap_or_else(|| "0.22.5".into()),
        code_upload_limit: number(variable, "DSTACK_SERVER_CODE_UPLOAD_LIMIT", 2 * 1024 * 1024)?,
        log_quota_per_job_hour: number(
            variable,
            "DSTACK_SERVER_LOG_QUOTA_PER_JOB_HOUR",
            50 * 1024 * 1024,
        )?,
        project_quota: number(variable, "DSTACK_USER_PROJECT_DEFAULT_QUOTA", 10)?,
    })
}

fn number<T: FromStr>(
    variable: &impl Fn(&str) -> Option<String>,
    name: &str,
    default: T,
) -> Result<T, Failure> {
    match variable(name) {
        None => Ok(default),
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| Failure::new(Kind::Usage, format!("{name}={text} is not a whole number"))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    fn resolve(flags: &[&str]) -> Result<Settings, Failure> {
        let args = Args::parse_from(["dstack-server"].iter().chain(flags));
        Settings::resolve(args.serve, |name| {
            (name == "HOME").then(|| "/home/somebody".into())
        })
    }

    #[test]
    fn without_flags_it_is_a_single_voter_in_the_home_folder() {
        let settings = resolve(&[]).unwrap();
        assert!(settings.initial.is_empty());
        assert_eq!(settings.dir, PathBuf::from("/home/somebody/.dstack/server"));
        assert_eq!((settings.host.as_str(), settings.port), ("127.0.0.1", 3000));
        assert!(settings.peer_listen.ip().is_loopback());
    }

    #[test]
    fn a_member_listens_where_the_list_says() {
        let list = "a=127.0.0.1:7001,b=127.0.0.1:7002";
        let settings = resolve(&[
            "--node-name",
            "b",
            "--initial-cluster",
            list,
            "--tls-dir",
            "/x",
        ])
        .unwrap();
        assert_eq!(settings.peer_listen, "127.0.0.1:7002".parse().unwrap());
        assert_eq!(settings.peer_advertise.as_deref(), Some("127.0.0.1:7002"));
    }

    #[test]
    fn lists_that_cannot_form_a_cluster_are_refused_with_what_to_do() {
        for (list, says) in [
            ("a=h:1,a=h:2", "named twice"),
            ("a=h:1,b=h:1", "two replicas"),
            ("a", "name=host:port"),
            ("a=h", "name=host:port"),
            ("A=h:1", "name=host:port"),
            (",", "empty"),
        ] {
            let error = resolve(&["--node-name", "a", "--initial-cluster", list]).unwrap_err();
            assert!(error.message.contains(says), "{list}: {}", error.message);
            assert_eq!(error.kind.code(), 2);
        }
        let stranger = resolve(&["--node-name", "z", "--initial-cluster", "a=h:1"]).unwrap_err();
        assert!(
            stranger.message.contains("which names a"),
            "{}",
            stranger.message
        );
        let nameless = resolve(&["--initial-cluster", "a=h:1"]).unwrap_err();
        assert!(nameless.report().contains("--node-name"));
        let bare =
            resolve(&["--node-name", "a", "--initial-cluster", "a=127.0.0.1:1"]).unwrap_err();
        assert!(bare.report().contains("init-ca"));
    }

    #[test]
    fn a_token_is_not_shown() {
        let settings = resolve(&["--token", "hunter2"]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
