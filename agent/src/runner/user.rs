//! Who the job runs as.
//!
//! `/etc/passwd` and `/etc/group` are read as files: the binary is linked statically, and a static
//! libc that asks name services would load the image's shared libraries, which may be of another
//! libc or absent.

use std::fs;
use std::path::PathBuf;

use dstack_api::agent_job::OrderUser;
use serde::{Deserialize, Serialize};

/// The user a command is executed as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub name: String,
    pub home: PathBuf,
    /// Their login shell.
    pub shell: PathBuf,
    /// Whether the runner has to change to it.
    pub switch: bool,
}

/// The two files, as text.
#[derive(Debug, Default)]
pub struct Accounts {
    passwd: String,
    group: String,
}

#[derive(Debug, Clone)]
struct Passwd {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
    shell: PathBuf,
}

impl Accounts {
    pub fn read() -> Self {
        Self {
            passwd: fs::read_to_string("/etc/passwd").unwrap_or_default(),
            group: fs::read_to_string("/etc/group").unwrap_or_default(),
        }
    }

    fn users(&self) -> impl Iterator<Item = Passwd> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, rest @ ..] = fields.as_slice() else {
                return None;
            };
            Some(Passwd {
                name: (*name).to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: PathBuf::from(home),
                shell: rest.first().map(PathBuf::from).unwrap_or_default(),
            })
        })
    }

    fn gid_of(&self, group: &str) -> Option<u32> {
        self.group_lines()
            .find(|(name, ..)| *name == group)
            .map(|(_, gid, _)| gid)
    }

    fn groups_of(&self, user: &str) -> Vec<u32> {
        self.group_lines()
            .filter(|(.., members)| members.split(',').any(|member| member == user))
            .map(|(_, gid, _)| gid)
            .collect()
    }

    fn group_lines(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let gid = fields.nth(1)?.parse().ok()?;
            Some((name, gid, fields.next().unwrap_or_default()))
        })
    }

    /// The user an order asks for, else the image's, else the one the runner already is.
    pub fn resolve(
        &self,
        wanted: Option<&OrderUser>,
        image_user: Option<&str>,
        own_uid: u32,
        own_gid: u32,
    ) -> Result<Identity, String> {
        let from_image = image_user
            .filter(|text| !text.is_empty())
            .map(parse_image_user);
        let wanted = wanted
            .filter(|user| **user != OrderUser::default())
            .or(from_image.as_ref());
        let Some(wanted) = wanted else {
            return Ok(self.own(own_uid, own_gid));
        };
        let account = match (&wanted.username, wanted.uid) {
            (Some(name), _) => Some(self.users().find(|user| user.name == *name).ok_or_else(
                || format!("there is no user {name} in /etc/passwd; create it or give its number"),
            )?),
            (None, Some(uid)) => self.users().find(|user| user.uid == uid),
            (None, None) => None,
        };
        let uid = account
            .as_ref()
            .map(|a| a.uid)
            .or(wanted.uid)
            .unwrap_or(own_uid);
        let gid = match (&wanted.groupname, wanted.gid) {
            (Some(name), _) => self.gid_of(name).ok_or_else(|| {
                format!("there is no group {name} in /etc/group; create it or give its number")
            })?,
            (None, Some(gid)) => gid,
            (None, None) => account.as_ref().map_or(0, |a| a.gid),
        };
        if own_uid != 0 && uid != own_uid {
            return Err(format!(
                "the job asks for user {}, but jobs on this host run as user {own_uid} and cannot change; \
                 leave `user` out, or run the agent as root",
                wanted.username.clone().unwrap_or_else(|| uid.to_string())
            ));
        }
        Ok(self.identity(uid, gid, own_uid, account))
    }

    fn own(&self, uid: u32, gid: u32) -> Identity {
        let account = self.users().find(|user| user.uid == uid);
        let mut own = self.identity(uid, gid, uid, account);
        own.switch = false;
        own
    }

    fn identity(&self, uid: u32, gid: u32, own_uid: u32, account: Option<Passwd>) -> Identity {
        let name = account
            .as_ref()
            .map_or_else(|| uid.to_string(), |a| a.name.clone());
        let mut groups = self.groups_of(&name);
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        Identity {
            uid,
            gid,
            groups,
            shell: account
                .as_ref()
                .map(|a| a.shell.clone())
                .filter(|shell| shell.is_absolute() && shell.exists())
                .unwrap_or_else(|| "/bin/sh".into()),
            home: account
                .map(|a| a.home)
                .filter(|h| h.is_absolute())
                .unwrap_or_else(|| "/".into()),
            name,
            switch: own_uid == 0 && uid != 0,
        }
    }
}

/// The home of a user of this machine; of whoever runs this when none is named.
pub fn login_home(user: Option<&str>) -> Option<PathBuf> {
    let own = nix::unistd::geteuid().as_raw();
    let accounts = Accounts::read();
    let account = match user {
        Some(name) => accounts.users().find(|account| account.name == name),
        None => accounts.users().find(|account| account.uid == own),
    };
    account
        .map(|account| account.home)
        .filter(|home| home.is_dir())
}

/// `user[:group]`, names or numbers.
fn parse_image_user(text: &str) -> OrderUser {
    let (user, group) = text.split_once(':').map_or((text, ""), |(u, g)| (u, g));
    let mut parsed = OrderUser::default();
    match user.parse() {
        Ok(uid) => parsed.uid = Some(uid),
        Err(_) => parsed.username = Some(user.to_owned()),
    }
    match group.parse() {
        Ok(gid) => parsed.gid = Some(gid),
        Err(_) if group.is_empty() => {}
        Err(_) => parsed.groupname = Some(group.to_owned()),
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd:
                "root:x:0:0:root:/root:/bin/bash\nbroken line\nann:x:1000:1001::/home/ann:/bin/sh\n"
                    .into(),
            group: "root:x:0:\nstaff:x:50:bob,ann\nann:x:1001:\nvideo:x:44:ann\n".into(),
        }
    }

    fn user(name: &str) -> OrderUser {
        OrderUser {
            username: Some(name.into()),
            ..OrderUser::default()
        }
    }

    #[test]
    fn nobody_asked_for_means_the_runners_own() {
        let own = accounts().resolve(None, None, 0, 0).unwrap();
        assert_eq!(
            (own.uid, own.home.to_str().unwrap(), own.switch),
            (0, "/root", false)
        );
        let own = accounts()
            .resolve(Some(&OrderUser::default()), Some(""), 1000, 1001)
            .unwrap();
        assert_eq!((own.name.as_str(), own.switch), ("ann", false));
    }

    #[test]
    fn a_named_user_brings_its_home_and_groups() {
        let ann = accounts()
            .resolve(Some(&user("ann")), Some("0"), 0, 0)
            .unwrap();
        assert_eq!((ann.uid, ann.gid, ann.switch), (1000, 1001, true));
        assert_eq!(ann.groups, [44, 50, 1001]);
        assert_eq!(ann.home.to_str(), Some("/home/ann"));
    }

    #[test]
    fn the_images_user_counts_when_the_order_names_none() {
        let ann = accounts().resolve(None, Some("1000:staff"), 0, 0).unwrap();
        assert_eq!((ann.name.as_str(), ann.gid), ("ann", 50));
        let stranger = accounts().resolve(None, Some("4242"), 0, 0).unwrap();
        assert_eq!(
            (stranger.uid, stranger.gid, stranger.home.to_str()),
            (4242, 0, Some("/"))
        );
    }

    #[test]
    fn what_cannot_be_is_said() {
        let missing = accounts()
            .resolve(Some(&user("eve")), None, 0, 0)
            .unwrap_err();
        assert!(missing.contains("no user eve"), "{missing}");
        let not_root = accounts()
            .resolve(Some(&user("root")), None, 1000, 1001)
            .unwrap_err();
        assert!(not_root.contains("cannot change"), "{not_root}");
        assert!(
            accounts()
                .resolve(Some(&user("ann")), None, 1000, 1001)
                .is_ok()
        );
    }
}
