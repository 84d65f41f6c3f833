//! The user database: looked up and changed as text.
//!
//! Read by us, because the C library would load name-service plugins into PID 1. Changed by us, because `usermod` walks
//! the whole home and cannot be interrupted safely: here each file is replaced whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::atomic_file;

/// `passwd` and `group` of one folder, `/etc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    passwd: String,
    group: String,
}

/// An entry of `passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home folder.
    pub home: PathBuf,
}

const UID: usize = 2;
const GID: usize = 3;
const HOME: usize = 5;
const GROUP_GID: usize = 2;
const MEMBERS: usize = 3;

impl Accounts {
    /// Reads the files in `folder`. A missing one counts as empty: images without users exist.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let read = |name| String::from_utf8_lossy(&fs::read(folder.join(name)).unwrap_or_default()).into_owned();
        Self { passwd: read("passwd"), group: read("group") }
    }

    /// Writes what differs from `before` to `folder`, groups first: a user's group must exist.
    pub fn write(&self, before: &Self, folder: &Path) -> io::Result<()> {
        let files = [("group", &before.group, &self.group), ("passwd", &before.passwd, &self.passwd)];
        let changed = || files.into_iter().filter(|(_, old, new)| old != new);
        // Read as text with stand-ins for what is none; written back, those would replace the original.
        if let Some((name, ..)) = changed().find(|(_, old, _)| old.contains(char::REPLACEMENT_CHARACTER)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name} is not UTF-8")));
        }
        for (name, _, new) in changed() {
            atomic_file::replace(&folder.join(name), new.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// The user with this name.
    pub fn user(&self, name: &str) -> Option<User> {
        self.passwd.lines().filter_map(parse_user).find(|user| user.name == name)
    }

    /// The first user with this id.
    pub fn user_with_id(&self, uid: u32) -> Option<User> {
        self.passwd.lines().filter_map(parse_user).find(|user| user.uid == uid)
    }

    /// The ids of all groups of `user`, its primary one included, sorted.
    pub fn groups_of(&self, user: &User) -> Vec<u32> {
        let is_member = |line: &&str| field(line, MEMBERS).split(',').any(|member| member == user.name);
        let groups = self.group.lines().filter(is_member).filter_map(|line| field(line, GROUP_GID).parse().ok());
        let mut groups: Vec<u32> = groups.chain([user.gid]).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Gives `user` these ids; every other line stays as it is.
    ///
    /// A user id that somebody has already is shared, with `user` first, so that look-ups by id (`sudo`'s) find it. A
    /// group id that a group has already is used under that group's name; otherwise the user's own group gets it.
    #[must_use]
    pub fn with_ids(&self, user: &str, uid: u32, gid: u32) -> Self {
        let Some(at) = self.passwd.lines().position(|line| field(line, 0) == user) else { return self.clone() };
        let mut lines: Vec<String> = self.passwd.lines().map(str::to_owned).collect();
        let entry = replaced(&replaced(&lines.remove(at), UID, &uid.to_string()), GID, &gid.to_string());
        let holder = lines.iter().position(|line| field(line, UID) == uid.to_string());
        lines.insert(holder.map_or(at, |holder| holder.min(at)), entry);
        Self { passwd: joined(&lines), group: self.group_file_with(user, gid) }
    }

    /// Makes `user` a member of the group with this id: the one that has it, else the one called `name`, else a new one.
    #[must_use]
    pub fn with_member(&self, user: &str, name: &str, gid: u32) -> Self {
        let add = |line: &str| {
            let members = field(line, MEMBERS);
            if field(line, GROUP_GID) != gid.to_string() || members.split(',').any(|member| member == user) {
                return line.to_owned();
            }
            let members = if members.is_empty() { user.to_owned() } else { format!("{members},{user}") };
            replaced(line, MEMBERS, &members)
        };
        let lines: Vec<String> = self.group_file_with(name, gid).lines().map(add).collect();
        Self { passwd: self.passwd.clone(), group: joined(&lines) }
    }

    /// The group file with a group of this id: as it is, or with the group `name` changed or added.
    fn group_file_with(&self, name: &str, gid: u32) -> String {
        let mut lines: Vec<String> = self.group.lines().map(str::to_owned).collect();
        if lines.iter().any(|line| field(line, GROUP_GID) == gid.to_string()) {
            return self.group.clone();
        }
        match lines.iter_mut().find(|line| field(line, 0) == name) {
            Some(line) => *line = replaced(line, GROUP_GID, &gid.to_string()),
            None => lines.push(format!("{name}:x:{gid}:")),
        }
        joined(&lines)
    }
}

fn parse_user(line: &str) -> Option<User> {
    Some(User {
        name: field(line, 0).to_owned(),
        uid: field(line, UID).parse().ok()?,
        gid: field(line, GID).parse().ok()?,
        home: field(line, HOME).into(),
    })
}

fn field(line: &str, index: usize) -> &str {
    line.split(':').nth(index).unwrap_or_default()
}

fn replaced(line: &str, index: usize, value: &str) -> String {
    let mut fields: Vec<&str> = line.split(':').collect();
    if let Some(field) = fields.get_mut(index) {
        *field = value;
    }
    fields.join(":")
}

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/bash\nwww:x:33:33:www:/var/www:/bin/false\n\
                     claude:x:1000:1000:,,,:/home/claude:/bin/bash\nlast:x:2000:2000::/:/bin/sh\n"
                .into(),
            group: "root:x:0:\nwww:x:33:\nstaff:x:50:\ndocker:x:998:claude\nclaude:x:1000:\n".into(),
        }
    }

    #[test]
    fn finds_users_and_their_groups() {
        let claude = accounts().user("claude").unwrap();
        assert_eq!((claude.uid, claude.gid, claude.home.to_str().unwrap()), (1000, 1000, "/home/claude"));
        assert_eq!(accounts().groups_of(&claude), [998, 1000]);
        assert_eq!(accounts().user_with_id(33).unwrap().name, "www");
        assert_eq!(accounts().user("nobody"), None);
    }

    #[test]
    fn new_ids_change_the_users_line_and_its_groups() {
        let changed = accounts().with_ids("claude", 1234, 2345);
        assert_eq!(changed.passwd, accounts().passwd.replace("claude:x:1000:1000", "claude:x:1234:2345"));
        assert_eq!(changed.group, accounts().group.replace("claude:x:1000:", "claude:x:2345:"));
    }

    #[test]
    fn a_taken_group_id_is_used_under_its_name() {
        let changed = accounts().with_ids("claude", 1000, 50);
        assert_eq!(changed.group, accounts().group);
        assert_eq!(changed.user("claude").unwrap().gid, 50);
    }

    #[test]
    fn a_taken_user_id_finds_our_user_first() {
        let changed = accounts().with_ids("claude", 33, 33);
        assert_eq!(changed.user_with_id(33).unwrap().name, "claude");
        assert_eq!(changed.user("www").unwrap().uid, 33);
    }

    #[test]
    fn joins_a_group_by_its_id_whatever_its_name() {
        let by_id = accounts().with_member("claude", "docker", 50);
        assert!(by_id.group.contains("staff:x:50:claude\n") && by_id.group.contains("docker:x:998:claude\n"));
        let by_name = accounts().with_member("claude", "docker", 777);
        assert!(by_name.group.contains("docker:x:777:claude\n"));
        let fresh = accounts().with_member("claude", "socket", 778);
        assert!(fresh.group.ends_with("socket:x:778:claude\n"));
        assert_eq!(fresh.with_member("claude", "socket", 778), fresh);
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        let text = b"claude:x:1000:1000::/:/bin/sh\nother:x:5:5:M\xfcller:/:/bin/sh\n";
        fs::write(&file, text).unwrap();
        let accounts = Accounts::read(folder.path());
        assert!(accounts.with_ids("claude", 7, 7).write(&accounts, folder.path()).is_err());
        assert_eq!(fs::read(&file).unwrap(), text);
    }

    #[test]
    fn only_what_changed_is_written() {
        let folder = tempfile::tempdir().unwrap();
        accounts().with_ids("claude", 1234, 50).write(&accounts(), folder.path()).unwrap();
        assert!(folder.path().join("passwd").exists() && !folder.path().join("group").exists());
        assert_eq!(Accounts::read(folder.path()).user("claude").unwrap().uid, 1234);
    }

    proptest! {
        /// Whatever the ids: everybody else's line survives, and the user has them.
        #[test]
        fn others_are_untouched(uid in 1..u32::MAX, gid in 1..u32::MAX) {
            let changed = accounts().with_ids("claude", uid, gid);
            let user = changed.user("claude").unwrap();
            prop_assert_eq!((user.uid, user.gid), (uid, gid));
            prop_assert_eq!(changed.user_with_id(uid).unwrap().name, "claude");
            prop_assert!(changed.group.lines().any(|line| field(line, GROUP_GID) == gid.to_string()));
            for line in accounts().passwd.lines().filter(|line| !line.starts_with("claude:")) {
                prop_assert!(changed.passwd.lines().any(|other| other == line));
            }
        }
    }
}
