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
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.0.iter().any(|mount| mount == path)
    }

    /// The folders between `folder` and the mount points below it: the engine makes those, as root.
    #[must_use]
    pub fn folders_on_the_way(&self, folder: &Path) -> Vec<PathBuf> {
        let below = self.0.iter().filter(|mount| mount.starts_with(folder) && *mount != folder);
        let ways = below.flat_map(|mount| mount.ancestors().skip(1).take_while(|way| *way != folder));
        let mut folders: Vec<PathBuf> = ways.filter(|way| !self.has(way)).map(Path::to_path_buf).collect();
        folders.sort();
        folders.dedup();
        folders
    }
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
    fn the_way_to_a_mount_point_stops_at_other_mounts_own_folders() {
        let ways = Mounts::parse(MOUNTINFO).folders_on_the_way(Path::new("/home/claude"));
        let expected: Vec<PathBuf> =
            ["/home/claude/.claude/deep", "/home/claude/.config", "/home/claude/.config/a b"].map(Into::into).to_vec();
        assert_eq!(ways, expected);
    }
}
