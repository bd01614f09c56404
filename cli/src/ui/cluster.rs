//! The table of `dstack cluster status`.

use super::{Table, ago};
use dstack_api::http::cluster::{ClusterMember, ClusterStatus, MemberRole};
use jiff::Timestamp;

/// What stands above the table.
pub fn headline(status: &ClusterStatus, now: Timestamp) -> String {
    let leader = match (&status.leader, status.leader_since) {
        (Some(leader), Some(since)) => {
            format!("{leader} leads since {}", ago(since.timestamp(), now))
        }
        (Some(leader), None) => format!("{leader} leads"),
        (None, _) => "no leader; requests wait until one is elected".into(),
    };
    format!(
        "cluster {}, term {}, {leader}; answered by {}",
        status.cluster_id, status.term, status.answered_by
    )
}

/// One row a member.
pub fn members(status: &ClusterStatus) -> Table {
    let mut table = Table::new(&[
        "NAME", "ROLE", "STATUS", "ADDRESS", "COMMIT", "APPLIED", "LAG", "VERSION",
    ]);
    for member in &status.members {
        table.row([
            member.name.clone(),
            role(member),
            if member.reachable {
                "up".into()
            } else {
                "unreachable".to_owned()
            },
            member.address.clone(),
            number(member.commit_index),
            number(member.applied_index),
            number(member.lag),
            member.version.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    table
}

fn role(member: &ClusterMember) -> String {
    match (member.leader, member.role) {
        (true, _) => "leader".into(),
        (false, MemberRole::Voter) => "follower".into(),
        (false, MemberRole::Learner) => "learner".into(),
    }
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}
