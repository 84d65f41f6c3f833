//! Who could change what a path leads to.
//!
//! The path is walked folder by folder, each opened below the one before and judged as it is open, links followed by hand: who
//! may rename a folder above a file may put another file in its place.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open as open_at_root, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::sys;

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Somebody whose hands something is to be out of: ids that count for files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// Its user ids.
    pub uids: Vec<u32>,
    /// Its group ids.
    pub gids: Vec<u32>,
}

/// How the agent could change something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// This is its own.
    Owns(PathBuf),
    /// A group of its may write to this.
    Group(PathBuf),
    /// Everybody may write to this.
    Everybody(PathBuf),
    /// The access list of this lets others write to it, the agent among them perhaps.
    Listed(PathBuf),
    /// It is mounted read-only, and the same can be written to at this other place.
    Elsewhere(PathBuf),
}

impl fmt::Display for Hold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owns(path) => write!(out, "{} belongs to its user", path.display()),
            Self::Group(path) => write!(out, "a group of its user may write to {}", path.display()),
            Self::Everybody(path) => write!(out, "everybody may write to {}", path.display()),
            Self::Listed(path) => write!(out, "the access list of {} lets others write to it", path.display()),
            Self::Elsewhere(path) => write!(out, "it can be written to in {}", path.display()),
        }
    }
}

impl Agent {
    /// How it could write to `path`, which has these ids and this mode.
    fn writes(&self, opened: &Opened) -> Option<Hold> {
        let (found, path) = (&opened.found, &opened.path);
        let group_writes = found.st_mode & libc::S_IWGRP != 0;
        if self.uids.contains(&found.st_uid) {
            Some(Hold::Owns(path.clone()))
        } else if group_writes && self.gids.contains(&found.st_gid) {
            Some(Hold::Group(path.clone()))
        } else if found.st_mode & libc::S_IWOTH != 0 {
            Some(Hold::Everybody(path.clone()))
        } else {
            // Where there is an access list, the bits of the group are the most that anybody in it may.
            (group_writes && sys::has_access_list(opened.fd.as_fd())).then(|| Hold::Listed(path.clone()))
        }
    }

    /// How it could put something else in the place of `entry`, which is in `folder`.
    fn replaces(&self, folder: &Opened, entry: &FileStat) -> Option<Hold> {
        let is_sticky = folder.found.st_mode & libc::S_ISVTX != 0;
        let owns = self.uids.contains(&folder.found.st_uid);
        let hold = self.writes(folder)?;
        (owns || !is_sticky || self.uids.contains(&entry.st_uid)).then_some(hold)
    }
}

/// Opens a file, and says how `agent` could change it or put another in its place.
pub fn open(path: &Path, agent: &Agent) -> io::Result<(File, Option<Hold>)> {
    let mut walk = Walk::begin(path)?;
    let name = loop {
        match walk.step(agent)? {
            Step::On => {}
            Step::Last(name) => break name,
        }
    };
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(openat(walk.folder().fd.as_fd(), name.as_os_str(), flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let opened = Opened::of(&file, walk.folder().path.join(&name))?;
    walk.judge(agent, &opened);
    let hold = walk.hold.or_else(|| agent.writes(&opened).and_then(|hold| unless_read_only(hold, &opened)));
    Ok((file, hold))
}

/// How `agent` could change a folder, or put another in its place.
pub fn of_folder(path: &Path, agent: &Agent) -> io::Result<Option<Hold>> {
    let mut walk = Walk::begin(&path.join("."))?;
    while matches!(walk.step(agent)?, Step::On) {}
    let folder = walk.folder();
    Ok(walk.hold.clone().or_else(|| agent.writes(folder).and_then(|hold| unless_read_only(hold, folder))))
}

/// Something that is open, as it was found.
struct Opened {
    fd: OwnedFd,
    found: FileStat,
    /// Its path, without links.
    path: PathBuf,
    mount: u64,
}

impl Opened {
    fn of(fd: impl AsFd, path: PathBuf) -> io::Result<Self> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        let (found, mount) = (fstat(&fd)?, mount_of(&fd)?);
        Ok(Self { fd, found, path, mount })
    }
}

enum Step {
    On,
    /// What is left is this name, in the folder that is open.
    Last(OsString),
}

struct Walk {
    /// The folders that are open, `/` first.
    folders: Vec<Opened>,
    rest: VecDeque<OsString>,
    links: usize,
    /// The first way that was found.
    hold: Option<Hold>,
}

impl Walk {
    fn begin(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let root = open_at_root("/", FOLDER, Mode::empty())?;
        let folders = vec![Opened::of(root, "/".into())?];
        let mut rest = names(&path);
        if path.as_os_str().as_bytes().ends_with(b"/.") {
            rest.push_back(".".into());
        }
        Ok(Self { folders, rest, links: 0, hold: None })
    }

    fn folder(&self) -> &Opened {
        #[expect(clippy::expect_used, reason = "the root stays")]
        self.folders.last().expect("there is a root")
    }

    /// Opens the next folder, or follows a link.
    fn step(&mut self, agent: &Agent) -> io::Result<Step> {
        let Some(name) = self.rest.pop_front() else { return Err(Errno::EISDIR.into()) };
        if name == "." {
            return Ok(Step::Last(name));
        }
        if name == ".." {
            if self.folders.len() > 1 {
                self.folders.pop();
            }
            return Ok(Step::On);
        }
        let found = fstatat(self.folder().fd.as_fd(), name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        match SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFLNK => {
                self.links += 1;
                if self.links > MOST_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                self.judge_entry(agent, &found);
                let target = readlinkat(self.folder().fd.as_fd(), name.as_os_str())?;
                if Path::new(&target).is_absolute() {
                    self.folders.truncate(1);
                }
                for name in names(Path::new(&target)).into_iter().rev() {
                    self.rest.push_front(name);
                }
            }
            SFlag::S_IFDIR if !self.rest.is_empty() => {
                let fd = openat(self.folder().fd.as_fd(), name.as_os_str(), FOLDER, Mode::empty())?;
                let opened = Opened::of(fd, self.folder().path.join(&name))?;
                self.judge(agent, &opened);
                self.folders.push(opened);
            }
            _ if self.rest.is_empty() => return Ok(Step::Last(name)),
            _ => return Err(Errno::ENOTDIR.into()),
        }
        Ok(Step::On)
    }

    /// Judges whether something else could be put in the place of what is open, in the folder that is open.
    fn judge(&mut self, agent: &Agent, opened: &Opened) {
        // What something is mounted on can neither be renamed nor removed.
        if opened.mount == self.folder().mount {
            self.judge_entry(agent, &opened.found);
        }
    }

    fn judge_entry(&mut self, agent: &Agent, entry: &FileStat) {
        let folder = self.folder();
        let hold = || agent.replaces(folder, entry).and_then(|hold| unless_read_only(hold, folder));
        self.hold = self.hold.clone().or_else(hold);
    }
}

/// `hold`, unless what is open cannot be written to, there or anywhere else.
fn unless_read_only(hold: Hold, opened: &Opened) -> Option<Hold> {
    if !fstatvfs(&opened.fd).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY)) {
        return Some(hold);
    }
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return Some(hold) };
    writable_elsewhere(&mounts, opened.mount, &opened.path).map(Hold::Elsewhere)
}

const FOLDER: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn names(path: &Path) -> VecDeque<OsString> {
    let named = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(named).collect()
}

/// The id of the mount that something open is in.
fn mount_of(fd: &impl AsFd) -> io::Result<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    id.ok_or_else(|| io::Error::other("the system does not say which mount it is in"))
}

/// Where else what is at `path`, in the mount with this id, is mounted to be written to.
fn writable_elsewhere(mountinfo: &str, id: u64, path: &Path) -> Option<PathBuf> {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
    let own = mounts.iter().find(|mount| mount.id == id)?;
    let inside = own.root.join(path.strip_prefix(&own.point).ok()?);
    let other = mounts.iter().find(|mount| {
        mount.id != id && mount.device == own.device && !mount.is_read_only && inside.starts_with(&mount.root)
    })?;
    let rest = inside.strip_prefix(&other.root).ok()?;
    Some(if rest.as_os_str().is_empty() { other.point.clone() } else { other.point.join(rest) })
}

/// A line of mountinfo: id, parent, device, root within the file system, mount point, options.
struct Mount {
    id: u64,
    device: String,
    root: PathBuf,
    point: PathBuf,
    is_read_only: bool,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ');
        let id = fields.next()?.parse().ok()?;
        let device = fields.nth(1)?.to_owned();
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
        Some(Self { id, device, root, point, is_read_only: fields.next()?.split(',').any(|option| option == "ro") })
    }
}

/// The kernel writes blanks, tabs, line feeds and backslashes as octal escapes.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(str::from_utf8(code).ok()?, 8).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests;
