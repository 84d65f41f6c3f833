//! Every path a client names goes through here: nothing leads out of the workspaces folder.
//!
//! A path is looked up by the kernel below an open folder (`openat2` with `RESOLVE_BENEATH`, by way of cap-std), never
//! by comparing strings: `/workspaces-secret` begins like `/workspaces`, and a folder can become a link between the
//! check and the use. Whatever is checked is checked on what is already open.
//!
//! Everything blocks; an async door calls it on a blocking thread.

mod error;
mod list;
mod path;
mod read;
mod remove;
mod stat;
#[cfg(test)]
mod tests;
mod unfinished;
mod upload;

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, DirBuilderExt};

pub use error::{ErrorKind, PathError};
pub use list::{Entry, Listing, decode_name, encode_name};
pub use path::ClientPath;
pub use stat::{Kind, Precondition, Stat, Tags};
pub use upload::Upload;

/// What says whether its caller may use a place: a path below the workspaces folder, `""` for the folder itself.
pub type Guard = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The workspaces folder, as one caller may use it. Cheap to clone.
#[derive(Clone)]
pub struct Workspaces {
    root: Arc<Root>,
    guard: Option<Guard>,
}

/// A folder Claude can work in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// Its path below the workspaces folder as it was asked for; `""` is that folder itself.
    pub name: String,
    /// Where it really is, links resolved. Two names of one folder have the same path: lock on this one.
    pub path: PathBuf,
}

struct Root {
    dir: Dir,
    /// Links resolved.
    path: PathBuf,
    /// As it was configured.
    given: PathBuf,
    /// Held from the check of a precondition until the change, so that of two clients with one tag one wins.
    commit: Mutex<()>,
}

impl Workspaces {
    /// Opens the folder all workspaces are in. It has to exist.
    pub fn open(root: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(root)?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority())?;
        let root = Root { dir, path, given: root.to_owned(), commit: Mutex::new(()) };
        Ok(Self { root: Arc::new(root), guard: None })
    }

    /// The same folder for a caller who may use only part of it.
    ///
    /// The guard is asked about the path the caller gave and again about the place it led to, so that a link from an
    /// allowed workspace does not open another.
    #[must_use]
    pub fn guarded(&self, guard: Guard) -> Self {
        Self { root: Arc::clone(&self.root), guard: Some(guard) }
    }

    /// Where the workspaces folder is, links resolved.
    pub fn root(&self) -> &Path {
        &self.root.path
    }

    /// A path as a client gave it: below the workspaces folder, with a slash at its beginning or without, or absolute and
    /// in that folder, as answers name it. A slash at the beginning leads to the workspaces folder, never to the system's
    /// root.
    pub fn client_path(&self, given: &[u8]) -> Result<ClientPath, PathError> {
        let slashes = given.iter().take_while(|byte| **byte == b'/').count();
        let path = ClientPath::from_bytes(&given[slashes..])?;
        if slashes == 0 {
            return Ok(path);
        }
        let roots = [&self.root.given, &self.root.path].into_iter().filter_map(|root| root.strip_prefix("/").ok());
        let below = roots.filter(|root| !root.as_os_str().is_empty()).find_map(|root| path.below(root));
        Ok(below.unwrap_or(path))
    }

    /// The same for a file that is to be written. A slash at the end asks for a folder.
    pub fn file_path(&self, given: &[u8]) -> Result<ClientPath, PathError> {
        let path = self.client_path(given)?;
        if given.ends_with(b"/") {
            let why = "a slash at its end asks for a folder, and only files are written: leave the slash out";
            return Err(PathError::invalid(Path::new(OsStr::from_bytes(given)), why));
        }
        Ok(path)
    }

    /// The absolute path an answer names.
    pub fn absolute(&self, path: &ClientPath) -> PathBuf {
        joined(&self.root.path, path.as_path())
    }

    /// The workspace of this name: an existing folder.
    pub fn resolve(&self, name: &str) -> Result<Workspace, PathError> {
        let path = self.client_path(name.as_bytes())?;
        self.check(path.as_path(), path.as_path())?;
        let folder = self.folder(path.as_path()).map_err(|error| match PathError::from_io(path.as_path(), error) {
            PathError::Missing { path } => PathError::NoWorkspace { path },
            other => other,
        })?;
        self.settled(&path, &folder)
    }

    /// The workspace of this name; the folder and those above it are made if they are missing.
    pub fn create(&self, name: &str) -> Result<Workspace, PathError> {
        let path = self.client_path(name.as_bytes())?;
        self.check(path.as_path(), path.as_path())?;
        let (folder, made) = self.make_folders(path.as_path())?;
        let workspace = self.settled(&path, &folder)?;
        made.keep();
        Ok(workspace)
    }

    fn settled(&self, path: &ClientPath, folder: &Dir) -> Result<Workspace, PathError> {
        let place = self.place(path.as_path(), folder)?;
        self.check(path.as_path(), &place)?;
        Ok(Workspace { name: path.to_string(), path: joined(&self.root.path, &place) })
    }

    /// Refuses a place this caller may not use. `asked` is what the message names.
    fn check(&self, asked: &Path, place: &Path) -> Result<(), PathError> {
        if self.allows(place) { Ok(()) } else { Err(PathError::not_allowed(asked)) }
    }

    fn allows(&self, place: &Path) -> bool {
        self.guard.as_ref().is_none_or(|guard| guard(&guarded_name(place)))
    }

    /// Refuses what is open if this caller may not use the place it is in; `below` is what will be used inside it.
    fn check_open(&self, asked: &Path, opened: &impl AsFd, below: &Path) -> Result<(), PathError> {
        if self.guard.is_none() {
            return Ok(());
        }
        self.check(asked, &self.place(asked, opened)?.join(below))
    }

    /// Where below the workspaces folder something open is. The kernel knows, whatever has been renamed meanwhile.
    fn place(&self, asked: &Path, opened: &impl AsFd) -> Result<PathBuf, PathError> {
        let link = format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd());
        let path = fs::read_link(link).map_err(|error| PathError::fault(asked, error))?;
        let place = path.strip_prefix(&self.root.path).map_err(|_| PathError::outside(asked))?;
        Ok(place.to_owned())
    }

    fn folder(&self, path: &Path) -> io::Result<Dir> {
        self.beneath(path, Dir::open_dir)
    }

    /// Looks a path up below the root.
    ///
    /// The kernel takes an absolute link for an escape even if it leads back inside. What such a path resolves to is
    /// only a proposal: it is looked up below the root like any other.
    fn beneath<T>(&self, path: &Path, look_up: impl Fn(&Dir, PathBuf) -> io::Result<T>) -> io::Result<T> {
        look_up(&self.root.dir, named(path)).or_else(|error| {
            if !error::is_escape(&error) {
                return Err(error);
            }
            match self.proposal(path) {
                Some(inside) => look_up(&self.root.dir, named(&inside)),
                None => Err(error),
            }
        })
    }

    /// Where a path leads inside the root, links in the part of it that exists resolved.
    fn proposal(&self, path: &Path) -> Option<PathBuf> {
        let resolved = |part: &Path| fs::canonicalize(self.root.path.join(part)).ok();
        let (real, part) = path.ancestors().find_map(|part| Some((resolved(part)?, part)))?;
        Some(joined(real.strip_prefix(&self.root.path).ok()?, path.strip_prefix(part).ok()?))
    }

    /// Opens a folder, making what is missing of it. The guard knows the path already.
    fn make_folders(&self, path: &Path) -> Result<(Dir, NewFolders), PathError> {
        let failed = |error| PathError::from_io(path, error);
        let mut made = NewFolders { root: Arc::clone(&self.root), paths: Vec::new() };
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok((opened.map_err(failed)?, made)),
        }
        let mut parent = self.folder(Path::new("")).map_err(failed)?;
        let mut so_far = PathBuf::new();
        let mut rest = path.components();
        loop {
            let from_here = rest.as_path();
            let Some(name) = rest.next() else { return Ok((parent, made)) };
            so_far.push(name);
            parent = match self.folder(&so_far) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.check_open(path, &parent, from_here)?;
                    match parent.create_dir_with(name, DirBuilder::new().mode(0o755)) {
                        Ok(()) => made.paths.push(so_far.clone()),
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(error) => return Err(failed(error)),
                    }
                    self.folder(&so_far).map_err(failed)?
                }
                opened => opened.map_err(failed)?,
            };
        }
    }
}

impl fmt::Debug for Workspaces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Workspaces").field("root", &self.root.path).finish_non_exhaustive()
    }
}

/// Folders made for something that may not come about. Those still empty go with it.
struct NewFolders {
    root: Arc<Root>,
    paths: Vec<PathBuf>,
}

impl NewFolders {
    fn keep(mut self) {
        self.paths.clear();
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        while let Some(path) = self.paths.pop() {
            // One somebody else has put a file into stays.
            let _ = self.root.dir.remove_dir(path);
        }
    }
}

/// A path below a folder. Joining the empty one must not leave a slash, which asks for a folder.
fn joined(folder: &Path, below: &Path) -> PathBuf {
    folder.components().chain(below.components()).collect()
}

/// The kernel's name of a path; the empty one is the folder itself.
fn named(path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() }
}

/// What a guard is asked about. A name that is no text is nobody's workspace: the folder it is in decides.
fn guarded_name(place: &Path) -> String {
    let names: Vec<&str> = place.iter().map_while(|name| name.to_str()).collect();
    names.join("/")
}
