//! Who a request claims to come from and to be for, and whether that may be believed.

use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::NodeId;
use crate::context::Context;
use crate::tls::Subject;
use crate::types::StoredMembership;

const CLUSTER: &str = "dstack-cluster-id";
const NODE: &str = "dstack-node-id";
const NAME: &str = "dstack-node-name";
const TARGET: &str = "dstack-target-id";

/// A caller whose claims were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub id: NodeId,
    pub name: String,
}

/// A request that carries who sends it; `target` is the id of the replica it is meant for.
pub fn stamped<T>(ctx: &Context, target: Option<NodeId>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let mut put = |key: &'static str, value: String| {
        // Ids and names are plain ASCII; a value that is not would be refused by the other side.
        if let Ok(value) = value.parse() {
            request.metadata_mut().insert(key, value);
        }
    };
    put(NAME, ctx.name.clone());
    if let Some(identity) = ctx.identity() {
        put(CLUSTER, identity.cluster_id.clone());
        put(NODE, identity.node_id.to_string());
    }
    if let Some(target) = target {
        put(TARGET, target.to_string());
    }
    request
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata.get(key).and_then(|value| value.to_str().ok())
}

fn number(metadata: &MetadataMap, key: &str) -> Option<u64> {
    text(metadata, key).and_then(|value| value.parse().ok())
}

/// The name in the caller's certificate, if the request claims no other.
pub fn name<T>(ctx: &Context, request: &Request<T>) -> Result<String, Status> {
    let subject = request
        .extensions()
        .get::<Subject>()
        .ok_or_else(|| Status::unauthenticated("the connection carries no replica certificate"))?;
    if subject.cluster != ctx.cluster_label {
        return Err(Status::permission_denied(format!(
            "the certificate is for the cluster {:?}, this is {:?}",
            subject.cluster, ctx.cluster_label
        )));
    }
    match text(request.metadata(), NAME) {
        Some(name) if name == subject.node_name => Ok(subject.node_name.clone()),
        claimed => Err(Status::permission_denied(format!(
            "the certificate is for {:?}, the request claims to come from {:?}",
            subject.node_name,
            claimed.unwrap_or("nobody")
        ))),
    }
}

/// Checks name, cluster, claimed id and target of a request.
pub fn checked<T>(
    ctx: &Context,
    membership: &StoredMembership,
    request: &Request<T>,
) -> Result<Caller, Status> {
    let name = name(ctx, request)?;
    let metadata = request.metadata();
    let identity = ctx
        .identity()
        .ok_or_else(|| Status::unavailable("this replica has no identity yet"))?;
    let cluster = text(metadata, CLUSTER).unwrap_or("");
    if cluster != identity.cluster_id {
        return Err(Status::failed_precondition(format!(
            "this replica belongs to cluster {}, the caller to {cluster:?}",
            identity.cluster_id
        )));
    }
    if let Some(target) = number(metadata, TARGET).filter(|target| *target != identity.node_id) {
        return Err(Status::failed_precondition(format!(
            "this is replica {} ({}), the request is for replica {target}",
            identity.node_id, ctx.name
        )));
    }
    let id = number(metadata, NODE)
        .ok_or_else(|| Status::permission_denied("the caller names no replica id"))?;
    admit(membership, id, &name)?;
    Ok(Caller { id, name })
}

/// Whether a replica of this id and name may speak, as far as this replica's membership tells.
///
/// A membership can be old: an id that was given out after it is not known here and is let in (its
/// certificate stands for it). An id that is older and missing was removed.
fn admit(membership: &StoredMembership, id: NodeId, name: &str) -> Result<(), Status> {
    let Some(at) = membership.log_id() else {
        return Ok(());
    };
    match membership.membership().get_node(&id) {
        Some(member) if member.name == name => Ok(()),
        Some(member) => Err(Status::permission_denied(format!(
            "replica {id} is {:?} here, the certificate is for {name:?}",
            member.name
        ))),
        None if id > crate::formation::id_at(at.index) => Ok(()),
        None => Err(Status::permission_denied(format!(
            "replica {id} ({name}) is not a member of this cluster any more"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Member, Membership, log_id};
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn members_are_bound_to_their_names_and_removed_ones_stay_out() {
        let nodes = BTreeMap::from([(
            1,
            Member {
                name: "a".into(),
                addr: String::new(),
            },
        )]);
        let membership = Membership::new(vec![BTreeSet::from([1])], nodes).unwrap();
        let known = StoredMembership::new(Some(log_id(1, 50)), membership);
        assert!(admit(&known, 1, "a").is_ok());
        assert!(
            admit(&known, 1, "b")
                .unwrap_err()
                .message()
                .contains("is \"a\" here")
        );
        assert!(
            admit(&known, 2, "b")
                .unwrap_err()
                .message()
                .contains("not a member")
        );
        // Added at log index 51, of which this replica has not heard yet.
        assert!(admit(&known, crate::formation::id_at(51), "c").is_ok());
        assert!(admit(&StoredMembership::default(), 9, "x").is_ok());
    }
}
