//! Programs that make whoever starts them somebody else, and what `sudo` allows: neither is there in a hardened box.
//!
//! `no_new_privs` makes them void already, for all that Claude starts. This is a second lock on the same door.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What lets `claude` be root in the images.
const SUDO_RULE: &str = "/etc/sudoers.d/claude";
/// Where distributions have such programs.
const FOLDERS: [&str; 9] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/bin",
    "/sbin",
    "/usr/lib/openssh",
    "/usr/lib/dbus-1.0",
    "/usr/libexec",
];
/// The bits that make somebody else of whoever starts a program.
const BITS: u32 = 0o6000;

/// Takes both away, and says what stays. PID 1 alone does: whoever else is root may be in a system that is no box.
pub fn take_away() {
    if std::process::id() != 1 {
        return;
    }
    let mut kept = strip(FOLDERS.iter().map(Path::new));
    if let Err(error) = fs::remove_file(SUDO_RULE)
        && error.kind() != io::ErrorKind::NotFound
    {
        kept.push((SUDO_RULE.into(), error));
    }
    if let Some((first, error)) = kept.first() {
        let more = if let [_] = kept[..] { String::new() } else { format!(" and {} more", kept.len() - 1) };
        tracing::info!(
            "{}{more} could not be taken away ({error}): nothing that Claude starts can gain by it, by no_new_privs",
            first.display()
        );
    }
}

/// Takes the bits from what is in these folders; those that keep theirs, and why.
fn strip<'path>(folders: impl Iterator<Item = &'path Path>) -> Vec<(PathBuf, io::Error)> {
    // Of merged folders each is looked at once.
    let real: BTreeSet<PathBuf> = folders.filter_map(|folder| fs::canonicalize(folder).ok()).collect();
    let entries = real.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let with_bits = entries.filter_map(|entry| {
        let found = entry.metadata().ok()?;
        (found.is_file() && found.mode() & BITS != 0).then(|| (entry.path(), found.mode()))
    });
    let kept = with_bits.filter_map(|(path, mode)| {
        let stripped = fs::set_permissions(&path, Permissions::from_mode(mode & 0o7777 & !BITS));
        stripped.err().map(|error| (path, error))
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn programs_lose_their_bits_and_folders_keep_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mode = |name: &str| fs::symlink_metadata(path(name)).unwrap().mode() & 0o7777;
        let outside = tempfile::NamedTempFile::new().unwrap();
        for (name, bits) in [("user", 0o4755), ("group", 0o2750), ("plain", 0o755)] {
            fs::write(path(name), "").unwrap();
            fs::set_permissions(path(name), Permissions::from_mode(bits)).unwrap();
        }
        fs::create_dir(path("folder")).unwrap();
        fs::set_permissions(path("folder"), Permissions::from_mode(0o2775)).unwrap();
        fs::set_permissions(outside.path(), Permissions::from_mode(0o4755)).unwrap();
        symlink(outside.path(), path("link")).unwrap();
        assert!(strip([folder.path(), Path::new("/nowhere")].into_iter()).is_empty());
        assert_eq!(["user", "group", "plain", "folder"].map(mode), [0o755, 0o750, 0o755, 0o2775]);
        assert_eq!(fs::metadata(outside.path()).unwrap().mode() & 0o7777, 0o4755);
    }
}
