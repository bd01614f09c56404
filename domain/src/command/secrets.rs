//! Secrets. Values arrive sealed.

use super::{Outcome, Reply, events};
use crate::access;
use crate::ids::{ProjectId, SecretId};
use crate::model::{ProjectRole, Sealed, Secret};
use crate::rejection::Rejection;
use crate::state::Draft;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetSecret {
    pub project: ProjectId,
    /// Used when the secret is new.
    pub id: SecretId,
    pub name: String,
    pub value: Sealed,
}

impl SetSecret {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::Admin)?;
        let name_is_good = (1..=200).contains(&self.name.len())
            && self
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !name_is_good {
            return Err(Rejection::error(format!(
                "Secret name {:?} is not valid: 1 to 200 letters, digits, dashes and underscores",
                self.name
            )));
        }
        let old = draft.secret(self.project, &self.name).cloned();
        let secret = Secret {
            id: old.as_ref().map_or(self.id, |old| old.id),
            project_id: self.project,
            name: self.name.clone(),
            value: self.value.clone(),
            created_at: old.as_ref().map_or(draft.at, |old| old.created_at),
            updated_at: draft.at,
        };
        let (id, target) = (secret.id, events::secret(draft, &secret));
        draft.put_secret(secret);
        draft.emit(
            if old.is_some() {
                "Secret updated"
            } else {
                "Secret created"
            },
            vec![target],
            &[],
        );
        Ok(Reply::Secret(id))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeleteSecrets {
    pub project: ProjectId,
    pub names: Vec<String>,
}

impl DeleteSecrets {
    pub(super) fn run(&self, draft: &mut Draft) -> Outcome {
        access::require(draft, draft.actor, self.project, ProjectRole::Admin)?;
        for name in &self.names {
            let found = draft.secret(self.project, name).cloned();
            let secret =
                found.ok_or_else(|| Rejection::not_exists(format!("Secret {name} not found")))?;
            let target = events::secret(draft, &secret);
            draft.remove_secret(self.project, name);
            draft.emit("Secret deleted", vec![target], &[]);
        }
        Ok(Reply::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rejection::Code;
    use crate::testing::Lab;

    fn set(lab: &Lab, number: u8, name: &str, value: &str) -> SetSecret {
        let id = SecretId::from_random([number; 16]);
        SetSecret {
            project: lab.project,
            id,
            name: name.into(),
            value: Sealed(value.into()),
        }
    }

    #[test]
    fn a_secret_keeps_its_id_when_its_value_changes() {
        let mut lab = Lab::new();
        let first = set(&lab, 1, "TOKEN", "a");
        let second = set(&lab, 2, "TOKEN", "b");
        let created = lab.admin(first).unwrap();
        assert_eq!(lab.admin(second).unwrap(), created);
        assert_eq!(
            lab.state.secret(lab.project, "TOKEN").unwrap().value,
            Sealed("b".into())
        );
        assert!(lab.admin(set(&lab, 3, "no spaces", "c")).is_err());
    }

    #[test]
    fn secrets_are_for_administrators() {
        let mut lab = Lab::new();
        lab.join(ProjectRole::Manager);
        let command = set(&lab, 1, "TOKEN", "a");
        assert_eq!(lab.ann(command).unwrap_err().code, Code::Forbidden);
        let delete = DeleteSecrets {
            project: lab.project,
            names: vec!["TOKEN".into()],
        };
        assert_eq!(lab.admin(delete).unwrap_err().code, Code::ResourceNotExists);
    }
}
