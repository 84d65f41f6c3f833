//! Mount points of this box.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The mount points of this process's mount namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// Reads them; none if `/proc` is not there.
    #[must_use]
    pub fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
    }

    fn parse(mountinfo: &str) -> Self {
        Self(mountinfo.lines().filter_map(|line| Some(unescape(line.split(' ').nth(4)?))).collect())
    }

    /// Whether something is mounted on `path`.
    pub fn has(&self, path: &Path) -> bool {
        self.0.iter().any(|mount| mount == path)
    }

    /// The folders between `folder` and the mount points below it: the engine makes those, as root.
    pub fn folders_on_the_way(&self, folder: &Path) -> Vec<PathBuf> {
        let below = self.0.iter().filter(|mount| mount.starts_with(folder) && *mount != folder);
        let ways = below.flat_map(|mount| mount.ancestors().skip(1).take_while(|way| *way != folder));
        let mut folders: Vec<PathBuf> = ways.filter(|way| !self.has(way)).map(Path::to_path_buf).collect();
        folders.sort();
        folders.dedup();
        folders
    }
}

/// A mount point with something of the outside: a folder, file or volume that lasts longer than the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromOutside {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it cannot be written to.
    pub is_read_only: bool,
}

/// What is mounted into this box from outside, by path.
pub fn from_outside() -> Vec<FromOutside> {
    parse_outside(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// What is mounted on something else than a folder: its path in the file system that it comes from, and here.
pub fn mounted_files() -> Vec<(PathBuf, PathBuf)> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let fields = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        Some((unescape(fields.next()?), unescape(fields.next()?)))
    });
    fields.filter(|(_, path)| !path.is_dir()).collect()
}

fn parse_outside(mountinfo: &str) -> Vec<FromOutside> {
    let mut found: Vec<FromOutside> = mountinfo.lines().filter_map(from_outside_at).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    // Of two on one path the later one is seen; whether it can be written to is the same as a rule.
    found.dedup_by(|a, b| a.path == b.path);
    found
}

/// A line of mountinfo: id, parent, device, root within the file system, mount point, options, ..., `-`, type.
fn from_outside_at(line: &str) -> Option<FromOutside> {
    let mut fields = line.split(' ').skip(3);
    let (root, path, options) = (fields.next()?, unescape(fields.next()?), fields.next()?);
    let kind = fields.skip_while(|field| *field != "-").nth(1)?;
    // The engine's own: the root, kernel file systems, and three files that it writes.
    let is_engines = path == Path::new("/")
        || ["/proc", "/sys", "/dev"].iter().any(|folder| path.starts_with(folder))
        || ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"].iter().any(|file| path == Path::new(file));
    // A whole one of these was made for the container and ends with it; a part of one is somebody's folder.
    let is_the_boxs = root == "/" && ["tmpfs", "ramfs", "overlay", "devtmpfs"].contains(&kind);
    (!is_engines && !is_the_boxs)
        .then(|| FromOutside { path, is_read_only: options.split(',').any(|option| option == "ro") })
}

/// The kernel writes blanks, tabs, line feeds and backslashes as octal escapes.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code =
            text.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\').and_then(|code| u8::from_str_radix(code, 8).ok());
        path.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    std::ffi::OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "22 1 0:21 / / rw - overlay overlay rw\n\
        23 22 8:1 /x /home/claude/.config/a\\040b/c rw - ext4 /dev/sda1 rw\n\
        24 22 8:1 /y /home/claude/.claude rw - ext4 /dev/sda1 rw\n\
        25 24 8:1 /z /home/claude/.claude/deep/down rw - ext4 /dev/sda1 rw\n";

    #[test]
    fn finds_mount_points() {
        let mounts = Mounts::parse(MOUNTINFO);
        assert!(mounts.has(Path::new("/home/claude/.claude")) && mounts.has(Path::new("/home/claude/.config/a b/c")));
        assert!(!mounts.has(Path::new("/home/claude")));
    }

    #[test]
    fn what_the_engine_mounts_for_itself_is_not_from_outside() {
        let mountinfo = "296 271 0:55 / / rw,relatime master:2 - overlay overlay rw\n\
            297 296 0:58 / /proc rw - proc proc rw\n\
            312 298 0:63 / /dev/shm rw - tmpfs shm rw\n\
            314 296 254:0 /containers/7/hosts /etc/hosts rw - ext4 /dev/vda rw\n\
            315 296 254:0 /home/me/work /workspace rw,relatime - ext4 /dev/vda rw\n\
            316 296 0:30 /data /data\\040set ro,relatime shared:1 - tmpfs tmpfs rw\n\
            317 296 0:31 / /scratch rw - tmpfs tmpfs rw\n\
            318 296 0:32 / /nfs rw - nfs4 server:/ rw\n";
        let found: Vec<(String, bool)> = parse_outside(mountinfo)
            .into_iter()
            .map(|mount| (mount.path.display().to_string(), mount.is_read_only))
            .collect();
        let expected = [("/data set", true), ("/nfs", false), ("/workspace", false)];
        assert_eq!(found, expected.map(|(path, read_only)| (path.to_owned(), read_only)));
    }

    #[test]
    fn the_way_to_a_mount_point_stops_at_other_mounts_own_folders() {
        let ways = Mounts::parse(MOUNTINFO).folders_on_the_way(Path::new("/home/claude"));
        let expected: Vec<PathBuf> =
            ["/home/claude/.claude/deep", "/home/claude/.config", "/home/claude/.config/a b"].map(Into::into).to_vec();
        assert_eq!(ways, expected);
    }
}
