//! Hosts of one's own, reached over SSH: they exist already, so there is nothing to offer, to make or to end.
//! How they are reached is the business of the `node` crate; what they are is in the instance's record.

use crate::backend::{Backend, Capabilities, Key, Machine, Outcome, Plan};
use async_trait::async_trait;
use dstack_domain::model::InstanceOffer;
use dstack_domain::spec::Requirements;

/// How upstream names it in answers.
pub const KIND: &str = "remote";

#[derive(Clone, Copy, Debug, Default)]
pub struct Ssh;

#[async_trait]
impl Backend for Ssh {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            clusters: true,
            ..Capabilities::default()
        }
    }

    async fn offers(&self, _wanted: &Requirements) -> Outcome<Vec<InstanceOffer>> {
        Outcome::Done(Vec::new())
    }

    async fn create(&self, key: &Key, _offer: &InstanceOffer, _plan: &Plan) -> Outcome<Machine> {
        Outcome::Refused(format!(
            "{key}: hosts of an SSH fleet are not made but listed; add one to `ssh_config.hosts` and apply the fleet"
        ))
    }

    async fn find(&self, _key: &Key) -> Outcome<Machine> {
        Outcome::Absent
    }

    async fn list(&self, _owner: &str) -> Outcome<Vec<Machine>> {
        Outcome::Done(Vec::new())
    }

    async fn terminate(&self, _key: &Key) -> Outcome<()> {
        Outcome::Done(())
    }
}
