//! A server that is alone puts its project into the configuration of whoever started it, as upstream's does: the next
//! thing typed may be `dstack apply`.

use std::io::{IsTerminal, Write};
use std::path::Path;

use dstack_api::client::{ConfigFile, ConfigFileError, Entry};

/// What was said on the command line about changing an entry that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// -y
    Yes,
    /// -n
    No,
    /// Neither: asked, if there is somebody to ask.
    Ask,
}

/// What became of the entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Introduced {
    /// It says so already.
    Known,
    Written,
    /// It leads elsewhere, and was left so.
    Left,
}

/// Adds or corrects the entry of this server's first project.
pub fn introduce(
    home: &Path,
    project: &str,
    url: String,
    token: &str,
    consent: Consent,
) -> Result<Introduced, ConfigFileError> {
    let path = ConfigFile::path_in(home);
    let mut file = ConfigFile::read(&path)?;
    let known = file.projects.iter().find(|entry| entry.name == project);
    if let Some(known) = known {
        if known.token == token && known.url.split(',').any(|one| one == url) {
            return Ok(Introduced::Known);
        }
        if !agreed(consent, project, &known.url) {
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

fn agreed(consent: Consent, project: &str, url: &str) -> bool {
    match consent {
        Consent::Yes => true,
        Consent::No => false,
        Consent::Ask => std::io::stdin().is_terminal() && ask(project, url),
    }
}

fn ask(project: &str, url: &str) -> bool {
    eprint!(
        "The project {project} of your configuration is at {url}. Let it be this server? [y/N] "
    );
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_writes_the_entry_and_another_server_only_with_consent() {
        let home = tempfile::tempdir().unwrap();
        let go = |url: &str, consent| {
            introduce(home.path(), "main", url.to_owned(), "token", consent).unwrap()
        };
        assert_eq!(
            go("http://127.0.0.1:3000", Consent::No),
            Introduced::Written
        );
        assert_eq!(go("http://127.0.0.1:3000", Consent::No), Introduced::Known);
        assert_eq!(go("http://127.0.0.1:4000", Consent::No), Introduced::Left);
        let url = || {
            let file = ConfigFile::read(&ConfigFile::path_in(home.path())).unwrap();
            let entry = file.projects.into_iter().next().unwrap();
            (entry.url, entry.default)
        };
        assert_eq!(url(), ("http://127.0.0.1:3000".to_owned(), true));
        assert_eq!(
            go("http://127.0.0.1:4000", Consent::Yes),
            Introduced::Written
        );
        assert_eq!(url(), ("http://127.0.0.1:4000".to_owned(), true));
    }
}
