//! Which port here leads to which port of the job.

use crate::failure::{Failure, Outcome};
use dstack_domain::spec::{AppSpec, PortMapping};
use std::net::TcpListener;

/// One forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// On this machine; none means the same number, or the next free one.
    pub local: Option<u16>,
    /// In the job.
    pub remote: u16,
}

/// `8000`, `8001:8000` or `*:8000`, as in a configuration.
pub fn parse(text: &str) -> Outcome<Forward> {
    let mapping = text.parse::<PortMapping>().map_err(Failure::refused)?;
    Ok(Forward {
        local: mapping.local_port,
        remote: mapping.container_port,
    })
}

/// The job's ports as it declares them, changed and added to by what was typed.
pub fn wanted(apps: &[AppSpec], typed: &[Forward]) -> Vec<Forward> {
    let mut all: Vec<Forward> = apps
        .iter()
        .map(|app| Forward {
            local: app.map_to_port,
            remote: app.port,
        })
        .collect();
    for forward in typed {
        all.retain(|other| other.remote != forward.remote);
        all.push(*forward);
    }
    all
}

/// Local and remote numbers. A local port that was asked for by number and is taken is an error.
pub fn reserve(bind: &str, wanted: &[Forward]) -> Outcome<Vec<(u16, u16)>> {
    let mut chosen: Vec<(u16, u16)> = Vec::new();
    for forward in wanted {
        let local = match forward.local.filter(|port| *port != 0) {
            Some(port) if is_free(bind, port) => port,
            Some(port) => {
                return Err(Failure::with_hint(
                    format!("port {port} of this machine is taken"),
                    format!("Forward another one: -p PORT:{}", forward.remote),
                ));
            }
            None => next_free(bind, forward.remote, &chosen)?,
        };
        chosen.push((local, forward.remote));
    }
    Ok(chosen)
}

fn next_free(bind: &str, from: u16, taken: &[(u16, u16)]) -> Outcome<u16> {
    // Ports below 1024 are for root alone.
    let start = if from < 1024 {
        from.saturating_add(8000)
    } else {
        from
    };
    (start..=u16::MAX)
        .find(|port| taken.iter().all(|(other, _)| other != port) && is_free(bind, *port))
        .ok_or_else(|| Failure::refused(format!("no free port for the job's port {from}")))
}

fn is_free(bind: &str, port: u16) -> bool {
    TcpListener::bind((bind, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_replaces_what_is_declared() {
        let app = AppSpec {
            port: 8000,
            map_to_port: None,
            app_name: "app_0".into(),
            url_path: None,
            url_query_params: None,
        };
        let typed = [parse("9000:8000").unwrap(), parse("7000").unwrap()];
        let all = wanted(&[app], &typed);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].local, all[0].remote), (Some(9000), 8000));
        assert!(parse("nonsense").is_err());
    }

    #[test]
    fn a_taken_port_is_refused_if_named_and_avoided_if_not() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let named = Forward {
            local: Some(port),
            remote: 80,
        };
        assert!(reserve("127.0.0.1", &[named]).is_err());
        let any = Forward {
            local: None,
            remote: port,
        };
        assert_ne!(reserve("127.0.0.1", &[any]).unwrap()[0].0, port);
    }
}
