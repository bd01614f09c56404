//! A server that is alone puts its project into the configuration of whoever started it, as upstream's does: the next
//! thing typed may be `dstack apply`.

use std::path::Path;

use dstack_api::client::{ConfigFile, ConfigFileError, Entry};

/// What became of the entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Introduced {
    /// It says so already.
    Known,
    Written,
    /// It leads elsewhere, and was left so.
    Left,
}

/// Adds the entry of this server's first project. One that leads elsewhere is changed only if that was said (-y):
/// nobody is asked, because a server has other things to do than to wait for an answer.
pub fn introduce(
    home: &Path,
    project: &str,
    url: String,
    token: &str,
    may_change: bool,
) -> Result<Introduced, ConfigFileError> {
    let path = ConfigFile::path_in(home);
    let mut file = ConfigFile::read(&path)?;
    let known = file.projects.iter().find(|entry| entry.name == project);
    if let Some(known) = known {
        if known.token == token && known.url.split(',').any(|one| one == url) {
            return Ok(Introduced::Known);
        }
        if !may_change {
            return Ok(Introduced::Left);
        }
    }
    file.put(Entry {
        name: project.to_owned(),
        url,
        token: token.to_owned(),
        default: false,
    });
    file.write(&path)?;
    Ok(Introduced::Written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_writes_the_entry_and_another_server_only_if_told() {
        let home = tempfile::tempdir().unwrap();
        let go = |url: &str, may_change| {
            introduce(home.path(), "main", url.to_owned(), "token", may_change).unwrap()
        };
        assert_eq!(go("http://127.0.0.1:3000", false), Introduced::Written);
        assert_eq!(go("http://127.0.0.1:3000", false), Introduced::Known);
        assert_eq!(go("http://127.0.0.1:4000", false), Introduced::Left);
        let url = || {
            let file = ConfigFile::read(&ConfigFile::path_in(home.path())).unwrap();
            let entry = file.projects.into_iter().next().unwrap();
            (entry.url, entry.default)
        };
        assert_eq!(url(), ("http://127.0.0.1:3000".to_owned(), true));
        assert_eq!(go("http://127.0.0.1:4000", true), Introduced::Written);
        assert_eq!(url(), ("http://127.0.0.1:4000".to_owned(), true));
    }
}
