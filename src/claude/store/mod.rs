//! The store: the versions of the CLI that are installed in this box, each in a folder of its own.
//!
//! ```text
//! STORE/lock                          held by whoever installs or removes; it says how far that is
//! STORE/linux-x64/chosen              a link to the version that `cli use` has chosen; none: the pinned one
//! STORE/linux-x64/2.1.330/claude      the executable
//! STORE/linux-x64/2.1.330/installed.json   what it was when it was installed
//! ```
//!
//! The store is root's, and no part of the CLI's own folder, which belongs to the user that Claude's tools run as. Boxes may share
//! it, and in another box that user may have become root: so what is in it is believed only after [`CliStore::verify`], which compares
//! the pinned version with a checksum that is in this binary. Nothing in it is followed that is a link, but the one to a version.

pub mod pins;
pub mod version;

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::envelope::hex;
use pins::{PLATFORM, Pins};
use version::Version;

use crate::plain_file;

/// Where it is unless told otherwise.
pub const DEFAULT_FOLDER: &str = "/var/lib/claudebox/cli";
/// The executable's name, in the package too.
pub const EXECUTABLE: &str = "claude";
/// The licence's name, in the package too.
pub const LICENCE: &str = "LICENSE.md";
/// No executable is larger, bytes: more is not read.
pub const LARGEST_EXECUTABLE: u64 = 1 << 30;
/// What a version's folder says of it.
const NOTE: &str = "installed.json";
const LARGEST_NOTE: u64 = 64 << 10;
const CHOSEN: &str = "chosen";
/// How the names of folders begin that are no versions: they are being made, or removed.
const UNFINISHED: &str = ".unfinished-";

/// What a version was when it was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionNote {
    /// The version.
    pub version: String,
    /// The checksum of its executable, hexadecimal.
    pub sha256: String,
    /// The size of that, bytes.
    pub bytes: u64,
    /// The checksum of its package, as npm writes it.
    pub integrity: String,
    /// Where it came from.
    pub from: String,
}

/// Why an executable in the store is not to be run.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Unfit {
    #[error("is not installed")]
    Missing,
    #[error("is not what was installed: its checksum is {found}, not {expected}")]
    Changed { found: String, expected: String },
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// The versions of this platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliStore {
    root: PathBuf,
    pins: Pins,
}

impl CliStore {
    /// The store in this folder, which need not be there yet.
    #[must_use]
    pub fn new(root: &Path, pins: Pins) -> Self {
        Self { root: root.to_owned(), pins }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of this platform's versions.
    pub fn folder(&self) -> PathBuf {
        self.root.join(PLATFORM)
    }

    /// What is known of the pinned version.
    pub const fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The folder of a version.
    pub fn folder_of(&self, version: &Version) -> PathBuf {
        self.folder().join(version.as_str())
    }

    /// The executable of a version, whether or not it is there.
    pub fn executable(&self, version: &Version) -> PathBuf {
        self.folder_of(version).join(EXECUTABLE)
    }

    /// The version that this box uses: the one that was chosen, or the pinned one.
    pub fn current(&self) -> Version {
        self.chosen().unwrap_or_else(|| self.pins.version.clone())
    }

    /// The version that was chosen, if one was.
    pub fn chosen(&self) -> Option<Version> {
        let target = fs::read_link(self.folder().join(CHOSEN)).ok()?;
        target.to_str()?.parse().ok()
    }

    /// Chooses a version. The pinned one is no choice: a newer image then uses the version that it pins.
    pub fn choose(&self, version: &Version) -> io::Result<()> {
        let link = self.folder().join(CHOSEN);
        if *version == self.pins.version {
            return match fs::remove_file(&link) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        relink(&link, Path::new(version.as_str()))
    }

    /// What a version was when it was installed; `None` if it is not, or not whole.
    pub fn note(&self, version: &Version) -> Option<VersionNote> {
        let mut text = Vec::new();
        open(&self.folder_of(version).join(NOTE)).ok()?.take(LARGEST_NOTE).read_to_end(&mut text).ok()?;
        let note: VersionNote = serde_json::from_slice(&text).ok()?;
        let executable = fs::symlink_metadata(self.executable(version)).ok()?;
        let whole = note.version == version.as_str() && executable.is_file() && executable.mode() & 0o111 != 0;
        whole.then_some(note)
    }

    /// Whether it is there, by its name and note alone: what it holds is asked by [`CliStore::verify`].
    pub fn has(&self, version: &Version) -> bool {
        self.note(version).is_some()
    }

    /// Reads the whole executable and compares its checksum: the pinned version's with the one in this binary, another's with
    /// what was noted when it was installed.
    pub fn verify(&self, version: &Version) -> Result<VersionNote, Unfit> {
        let note = self.note(version).ok_or(Unfit::Missing)?;
        let expected = if *version == self.pins.version { &self.pins.sha256 } else { &note.sha256 };
        let mut file = open(&self.executable(version))?.take(LARGEST_EXECUTABLE + 1);
        let (mut hash, mut block) = (Sha256::new(), vec![0; 256 << 10]);
        loop {
            match file.read(&mut block) {
                Ok(0) => break,
                Ok(count) => hash.update(&block[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let found = hex(&hash.finalize());
        if found == *expected { Ok(note) } else { Err(Unfit::Changed { found, expected: expected.clone() }) }
    }

    /// The versions that are installed, the newest first, and what each takes on the disk, bytes.
    pub fn list(&self) -> io::Result<Vec<(Version, u64)>> {
        let entries = match fs::read_dir(self.folder()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            if let Some(version) = name.to_str().and_then(|name| name.parse().ok())
                && let Some(note) = self.note(&version)
            {
                found.push((version, note.bytes));
            }
        }
        found.sort_by(|(one, _), (other, _)| other.rank().cmp(&one.rank()));
        Ok(found)
    }

    /// Makes the folders that are not there yet. Everybody may look into them, whatever the umask is.
    pub fn make(&self) -> io::Result<()> {
        for folder in [self.root(), &self.folder()] {
            match fs::symlink_metadata(folder) {
                Ok(found) if found.is_dir() => {}
                // Whoever shares the store must not have this box write elsewhere.
                Ok(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(folder)?;
                    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A folder to install into; it is no version yet. Only whoever holds the lock makes one.
    pub fn begin(&self) -> io::Result<tempfile::TempDir> {
        tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(self.folder())
    }

    /// Makes what is in `folder` this version, with this note. What was there before is gone after that.
    pub fn finish(&self, folder: tempfile::TempDir, version: &Version, note: &VersionNote) -> io::Result<()> {
        let path = folder.path().join(NOTE);
        let mut text = serde_json::to_vec_pretty(note)?;
        text.push(b'\n');
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        for name in [NOTE, EXECUTABLE] {
            File::open(folder.path().join(name))?.sync_all()?;
        }
        sync(folder.path())?;
        self.remove(version)?;
        fs::rename(folder.path(), self.folder_of(version))?;
        // It has another name now.
        let _ = folder.keep();
        sync(&self.folder())
    }

    /// Removes a version; whether it was there. It is none from the first moment on.
    pub fn remove(&self, version: &Version) -> io::Result<bool> {
        let place = self.begin()?;
        match fs::rename(self.folder_of(version), place.path().join("removed")) {
            Ok(()) => place.close().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes what an installation that was killed has left. Only whoever holds the lock may.
    pub fn tidy(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.folder())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Makes `link` lead to `target`, in one step.
pub fn relink(link: &Path, target: &Path) -> io::Result<()> {
    let Some(folder) = link.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let place = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(folder)?;
    let new = place.path().join("link");
    symlink(target, &new)?;
    fs::rename(new, link)
}

/// A file of the store; a link would lead elsewhere.
fn open(path: &Path) -> io::Result<File> {
    plain_file::open(path, libc::O_NOFOLLOW)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINNED: &[u8] = b"the pinned executable";

    fn store(root: &Path) -> CliStore {
        let pins = Pins {
            version: "2.0.0".parse().unwrap(),
            integrity: String::new(),
            sha256: hex(&Sha256::digest(PINNED)),
            bytes: PINNED.len() as u64,
        };
        let store = CliStore::new(root, pins);
        store.make().unwrap();
        store
    }

    fn install(store: &CliStore, version: &str, executable: &[u8]) -> Version {
        let folder = store.begin().unwrap();
        let path = folder.path().join(EXECUTABLE);
        fs::write(&path, executable).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let note = VersionNote {
            version: version.into(),
            sha256: hex(&Sha256::digest(executable)),
            bytes: executable.len() as u64,
            integrity: String::new(),
            from: "a test".into(),
        };
        let version = version.parse().unwrap();
        store.finish(folder, &version, &note).unwrap();
        version
    }

    #[test]
    fn the_pinned_version_is_current_until_another_is_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let (pinned, other) = (install(&store, "2.0.0", PINNED), install(&store, "10.0.0", b"other"));
        assert_eq!(store.current(), pinned);
        store.choose(&other).unwrap();
        assert_eq!(store.current(), other);
        assert_eq!(store.list().unwrap(), [(other.clone(), 5), (pinned.clone(), PINNED.len() as u64)]);
        store.choose(&pinned).unwrap();
        assert_eq!((store.current(), store.chosen()), (pinned, None));
        assert!(store.remove(&other).unwrap() && !store.remove(&other).unwrap());
        assert_eq!(store.list().unwrap().len(), 1);
        assert_eq!(fs::read_dir(store.folder()).unwrap().count(), 1);
    }

    #[test]
    fn a_choice_that_is_no_version_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        for target in ["../../../tmp", "/tmp/evil", "x"] {
            relink(&store.folder().join(CHOSEN), Path::new(target)).unwrap();
            assert_eq!(store.chosen(), None);
        }
    }

    /// Whoever changes an executable can change its note too: of the pinned version it is the binary that knows.
    #[test]
    fn a_changed_executable_is_unfit_whatever_its_note_says() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let pinned = install(&store, "2.0.0", PINNED);
        store.verify(&pinned).unwrap();
        install(&store, "2.0.0", b"another executable, noted");
        assert!(matches!(store.verify(&pinned), Err(Unfit::Changed { .. })));
        let other = install(&store, "1.0.0", b"other");
        store.verify(&other).unwrap();
        fs::write(store.executable(&other), b"Other").unwrap();
        assert!(matches!(store.verify(&other), Err(Unfit::Changed { .. })));
    }

    #[test]
    fn what_only_looks_like_an_executable_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let version = install(&store, "2.0.0", PINNED);
        let executable = store.executable(&version);
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&executable, &elsewhere).unwrap();
        symlink(&elsewhere, &executable).unwrap();
        assert!(matches!(store.verify(&version), Err(Unfit::Missing)));
        fs::remove_file(&executable).unwrap();
        nix::unistd::mkfifo(&executable, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(store.verify(&version), Err(Unfit::Missing)));
        fs::remove_file(&executable).unwrap();
        fs::write(&executable, PINNED).unwrap();
        assert!(!store.has(&version), "it may not be executed");
    }

    #[test]
    fn a_store_that_is_a_link_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        let store = store(&elsewhere);
        fs::remove_dir_all(store.folder()).unwrap();
        symlink("/etc", store.folder()).unwrap();
        assert_eq!(store.make().unwrap_err().kind(), io::ErrorKind::NotADirectory);
        symlink(&elsewhere, folder.path().join("link")).unwrap();
        let link = CliStore::new(&folder.path().join("link"), store.pins().clone());
        assert_eq!(link.make().unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn what_a_killed_installation_left_is_tidied_up() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let left = store.begin().unwrap().keep();
        fs::write(left.join(EXECUTABLE), "half").unwrap();
        let version = install(&store, "2.0.0", PINNED);
        assert_eq!(store.list().unwrap().len(), 1);
        store.tidy().unwrap();
        assert!(!left.exists() && store.has(&version));
    }
}
