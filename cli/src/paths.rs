//! Paths as people write them in configurations.

use std::path::{Path, PathBuf};

/// `~/x` lies in the home, anything relative in `here`.
pub fn expand(path: &str, here: &Path) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => here.join(path),
    }
}
