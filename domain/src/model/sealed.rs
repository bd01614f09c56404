//! Ciphertext. The domain only carries it; the key lives in the node.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A secret sealed with the cluster key before it entered the log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<sealed>")
    }
}
