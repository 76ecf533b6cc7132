//! The user that a program runs as.

use std::fmt;

/// A user as the system's files know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) ids: Ids,
    pub(crate) home: String,
}

/// What the kernel knows of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// Its own group.
    pub gid: u32,
    /// All groups, `gid` among them.
    pub groups: Vec<u32>,
}

/// Why a program cannot run as a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserError {
    /// No such user.
    Unknown(String),
    /// No such group.
    UnknownGroup(String),
    /// Only root may become another user.
    NotRoot(String),
    /// The system's files cannot be read.
    Unreadable(String),
}

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// What a process must become to be `user` in `group` (the user's own unless given). `None`: nothing is asked, or it
/// is that user already.
///
/// # Errors
/// There is no such user or group, or this process may not become it.
pub fn ids_to_become(user: Option<&str>, group: Option<&str>) -> Result<Option<Ids>, UserError> {
    let Some(user) = user else { return Ok(None) };
    let Some(mut ids) = User::to_become(user)?.map(|user| user.ids) else {
        return Ok(None);
    };
    if let Some(group) = group {
        let gid = find_group(group, &system(GROUPS)?);
        ids.gid = gid.ok_or_else(|| UserError::UnknownGroup(group.into()))?;
        if !ids.groups.contains(&ids.gid) {
            ids.groups.push(ids.gid);
        }
    }
    Ok(Some(ids))
}

/// Whom a file is given to: a user and a group, each by its name or its number.
///
/// # Errors
/// There is no such user or group, or the system's files cannot be read.
pub fn ids_of_file(
    user: Option<&str>,
    group: Option<&str>,
) -> Result<(Option<u32>, Option<u32>), UserError> {
    let mut ids = (None, None);
    if let Some(name) = user {
        ids.0 = Some(match name.parse() {
            Ok(uid) => uid,
            Err(_) => {
                let user = find(name, &system(USERS)?, &system(GROUPS)?);
                let user = user.ok_or_else(|| UserError::Unknown(name.into()))?;
                user.ids.uid
            }
        });
    }
    if let Some(name) = group {
        ids.1 = Some(match name.parse() {
            Ok(gid) => gid,
            Err(_) => find_group(name, &system(GROUPS)?)
                .ok_or_else(|| UserError::UnknownGroup(name.into()))?,
        });
    }
    Ok(ids)
}

/// One of the system's files.
fn system(path: &str) -> Result<String, UserError> {
    let bytes = std::fs::read(path).map_err(|error| UserError::Unreadable(error.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Looks a name up in group(5).
fn find_group(name: &str, group: &str) -> Option<u32> {
    let mut lines = group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields[0] == name)?.get(2)?.parse().ok()
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(
                    f,
                    "there is no user \"{name}\" in /etc/passwd: create it or correct `user`"
                )
            }
            Self::UnknownGroup(name) => write!(
                f,
                "there is no group \"{name}\" in /etc/group: create it or correct `group`"
            ),
            Self::NotRoot(name) => write!(
                f,
                "only root can run a program as \"{name}\": start Tandem as root or as \"{name}\", or leave `user` out"
            ),
            Self::Unreadable(why) => write!(f, "/etc/passwd and /etc/group cannot be read: {why}"),
        }
    }
}

impl User {
    /// A user, if the system's files know it.
    pub(crate) fn known(name: &str) -> Option<Self> {
        find(name, &system(USERS).ok()?, &system(GROUPS).ok()?)
    }

    /// Finds a user, and that this process can become it. `None`: it is that user already.
    pub(crate) fn to_become(name: &str) -> Result<Option<Self>, UserError> {
        let user = find(name, &system(USERS)?, &system(GROUPS)?);
        let user = user.ok_or_else(|| UserError::Unknown(name.into()))?;
        let own = rustix::process::geteuid();
        if own.is_root() && user.ids.uid != 0 {
            Ok(Some(user))
        } else if own.as_raw() == user.ids.uid {
            Ok(None)
        } else {
            Err(UserError::NotRoot(name.into()))
        }
    }
}

/// Looks a name up in passwd(5) and group(5).
fn find(name: &str, passwd: &str, group: &str) -> Option<User> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            [found, _, uid, gid, _, home, ..] if found == name => {
                Some((uid.parse().ok()?, gid.parse().ok()?, home.to_owned()))
            }
            _ => None,
        }
    };
    let (uid, gid, home): (u32, u32, String) = passwd.lines().find_map(entry)?;
    let mut groups = vec![gid];
    for line in group.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, id, members] = fields[..]
            && members.split(',').any(|member| member == name)
            && let Ok(id) = id.parse()
            && !groups.contains(&id)
        {
            groups.push(id);
        }
    }
    Some(User {
        name: name.into(),
        ids: Ids { uid, gid, groups },
        home,
    })
}

impl fmt::Display for Ids {
    /// `uid:gid:group,group`, as `Ids::read` reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        write!(f, "{}:{}:{}", self.uid, self.gid, groups.join(","))
    }
}

impl Ids {
    /// Reads what is shown.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (uid, rest) = text.split_once(':')?;
        let (gid, groups) = rest.split_once(':')?;
        Some(Self {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            groups: groups
                .split(',')
                .map(|id| id.parse().ok())
                .collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\nwww:x:33:33:www:/var/www:/bin/false\n";
    const GROUP: &str =
        "root:x:0:\nredis:x:110:other,www\nwww:x:33:www\nwwwx:x:7:wwwx\nbroken:x:x:www\n";

    #[test]
    fn a_file_is_given_to_names_and_to_numbers() {
        assert_eq!(
            ids_of_file(Some("root"), Some("33")),
            Ok((Some(0), Some(33)))
        );
        assert_eq!(ids_of_file(None, Some("root")), Ok((None, Some(0))));
        assert_eq!(ids_of_file(None, None), Ok((None, None)));
        let unknown = UserError::UnknownGroup("no-such-group".into());
        assert_eq!(ids_of_file(None, Some("no-such-group")), Err(unknown));
    }

    #[test]
    fn a_user_has_its_own_group_and_those_it_is_a_member_of() {
        let user = find("www", PASSWD, GROUP).unwrap();
        assert_eq!(
            user.ids,
            Ids {
                uid: 33,
                gid: 33,
                groups: vec![33, 110]
            }
        );
        assert_eq!(user.home, "/var/www");
        assert_eq!(find("ww", PASSWD, GROUP), None);
        assert_eq!(find("broken", PASSWD, GROUP), None);
        let shown = user.ids.to_string();
        assert_eq!(shown, "33:33:33,110");
        assert_eq!(Ids::read(&shown), Some(user.ids));
        for wrong in ["", "1", "1:2", "1:2:", "a:2:3", "1:2:3,"] {
            assert_eq!(Ids::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_unknown_user_is_said_with_the_remedy() {
        let error = User::to_become("nobody-of-this-name")
            .unwrap_err()
            .to_string();
        assert!(error.contains("create it or correct `user`"), "{error}");
    }
}
