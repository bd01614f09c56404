//! The first entry of a new cluster: its admin user and the project `main`.
//!
//! Every replica watches, the first leader proposes, and applying takes it only once, so it does not matter
//! how many leaders there are before it is committed.

use dstack_domain::command::{CreateProject, InitCluster, NewUser};
use dstack_domain::ids::{ClusterId, ProjectId, UserId};
use dstack_domain::model::GlobalRole;
use dstack_raft::Handle;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::door::{Door, DoorError};
use crate::sealing::{SealError, Sealer};
use crate::settings::Token;
use crate::ssh_keys::{self, KeyError};
use crate::view::Views;
use crate::{env, limits};

/// Upstream's names for what a server has from the beginning.
pub const ADMIN: &str = "admin";
pub const PROJECT: &str = "main";

/// Why the cluster could not be founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    #[error("the admin's secrets cannot be sealed")]
    Seal(#[from] SealError),
    #[error("the admin's SSH key cannot be made")]
    Key(#[from] KeyError),
    #[error(transparent)]
    NoEntropy(#[from] env::NoEntropy),
    #[error("the first entry was not taken")]
    Door(#[source] DoorError),
}

/// Returns once the cluster is founded; with the admin's token if this replica's proposal founded it.
pub async fn found(
    raft: &Handle,
    door: &Door,
    views: &Views,
    sealer: &Sealer,
    token: Option<Token>,
) -> Result<Option<Zeroizing<String>>, FoundingError> {
    let mut leadership = raft.leadership();
    loop {
        leadership.mark_unchanged();
        if views.now().founded() {
            return Ok(None);
        }
        let now = leadership.borrow().clone();
        if now.established && now.leader == Some(now.me) {
            match propose(door, views, sealer, token.clone(), now.term).await {
                Ok(Some(token)) => return Ok(Some(token)),
                Ok(None) => {}
                Err(FoundingError::Door(DoorError::Deposed { .. } | DoorError::Unavailable(_))) => {
                    tokio::time::sleep(limits::RETRY_LAST).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        tokio::select! {
            _ = leadership.changed() => {}
            _ = views.first() => return Ok(None),
        }
    }
}

async fn propose(
    door: &Door,
    views: &Views,
    sealer: &Sealer,
    token: Option<Token>,
    term: u64,
) -> Result<Option<Zeroizing<String>>, FoundingError> {
    let token = match token {
        Some(token) => token.0,
        None => Zeroizing::new(env::uuid().to_string()),
    };
    let cluster = ClusterId(env::uuid());
    let command = InitCluster {
        cluster,
        admin: admin(sealer, &token)?,
        project: new_project(sealer, PROJECT)?,
    };
    match door.propose_as_leader(term, command.into()).await {
        // Another leader may have been first; the state tells whose token it is.
        Ok(_) | Err(DoorError::Rejected(_)) => {
            let view = views.now();
            let ours = view
                .state
                .cluster()
                .is_some_and(|founded| founded.id == cluster);
            Ok(ours.then_some(token))
        }
        Err(error) => Err(FoundingError::Door(error)),
    }
}

fn admin(sealer: &Sealer, token: &str) -> Result<NewUser, FoundingError> {
    let keys = ssh_keys::generate(&format!("{ADMIN}@dstack"))?;
    Ok(NewUser {
        id: UserId(env::uuid()),
        username: ADMIN.into(),
        global_role: GlobalRole::Admin,
        email: None,
        active: true,
        token_hash: hash_token(token),
        token: sealer.seal(token)?,
        ssh_public_key: Some(keys.public),
        ssh_private_key: Some(sealer.seal(&keys.private)?),
    })
}

/// A project with a key pair of its own.
pub fn new_project(sealer: &Sealer, name: &str) -> Result<CreateProject, FoundingError> {
    let keys = ssh_keys::generate(&format!("{name}@dstack"))?;
    Ok(CreateProject {
        id: ProjectId(env::uuid()),
        name: name.to_owned(),
        is_public: false,
        ssh_public_key: keys.public,
        ssh_private_key: sealer.seal(&keys.private)?,
    })
}

/// The form in which tokens are kept and looked up.
pub fn hash_token(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}
