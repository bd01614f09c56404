//! Identities. Every id is a UUID of version 4, because upstream's client checks the version,
//! also when we derive it: a derived id is a pure function of the record it belongs to, so that
//! each replica and each retry names the same thing the same way.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id as row-key bytes.
            pub fn bytes(&self) -> [u8; 16] {
                *self.0.as_bytes()
            }

            /// From 16 bytes of entropy supplied by the caller; the version bits are set here.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(version_4(bytes))
            }

            /// A version-4 shaped id that depends on the parts alone.
            pub fn derived(kind: &str, parts: &[&[u8]]) -> Self {
                Self(derive(kind, parts))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(value: Uuid) -> Self {
                Self(value)
            }
        }
    )+};
}

id! {
    /// The cluster of replicas.
    ClusterId,
    UserId,
    ProjectId,
    FleetId,
    InstanceId,
    RunId,
    /// One attempt of one job; upstream calls it the job id too (`DSTACK_JOB_ID`).
    SubmissionId,
    SecretId,
    /// An uploaded code or file archive.
    ArchiveId,
    EventId,
    /// One record of the ledger.
    IntentId,
    /// A client's write, stable over its retries.
    RequestId,
}

impl SubmissionId {
    /// The id of one attempt of one job.
    pub fn of(run: RunId, replica: u32, job: u32, attempt: u32) -> Self {
        Self::derived(
            "submission",
            &[
                &run.bytes(),
                &replica.to_be_bytes(),
                &job.to_be_bytes(),
                &attempt.to_be_bytes(),
            ],
        )
    }
}

impl EventId {
    /// The id of the n-th event of a log entry.
    pub fn of(index: u64, ordinal: u16) -> Self {
        Self::derived("event", &[&index.to_be_bytes(), &ordinal.to_be_bytes()])
    }
}

fn derive(kind: &str, parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    version_4(bytes)
}

fn version_4(mut bytes: [u8; 16]) -> Uuid {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_are_version_4_and_stable() {
        let run = RunId::from_random([7; 16]);
        let id = SubmissionId::of(run, 0, 1, 2);
        assert_eq!(id.0.get_version_num(), 4);
        assert_eq!(id, SubmissionId::of(run, 0, 1, 2));
        assert_ne!(id, SubmissionId::of(run, 0, 2, 1));
        assert_eq!(id.to_string().parse::<SubmissionId>().unwrap(), id);
    }
}
