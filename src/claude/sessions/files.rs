//! The CLI's session files, which are looked for by their id or by the folder that they were begun in.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use uuid::Uuid;

use super::super::arguments::Session;
use super::file::{is_damaged, is_resumable, modified, recorded_cwd};

/// The CLI cuts a folder's name at this many UTF-16 units and appends a hash.
pub(super) const LONGEST_SLUG_UNITS: usize = 200;

/// Finds and remembers sessions.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// The CLI's folder.
    pub config_dir: PathBuf,
    /// claudebox's state folder, where last sessions are noted.
    pub state_dir: PathBuf,
}

impl Sessions {
    /// The working directories that the files of session `id` were begun in. Empty: there is no such file, or none of
    /// them says where.
    ///
    /// One id can have files in several folders: a session that was resumed elsewhere.
    pub fn begun_in(&self, id: &str) -> Vec<PathBuf> {
        if Uuid::try_parse(id).is_err() {
            return Vec::new();
        }
        let folders = fs::read_dir(self.projects()).into_iter().flatten().flatten();
        folders.filter_map(|folder| recorded_cwd(&folder.path().join(format!("{id}.jsonl")))).collect()
    }

    /// Whether there is a file of session `id`.
    pub fn exists(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    /// The folder of what is begun in `workspace`, unless its name is one that the CLI alone can tell, and what of `session` is
    /// elsewhere.
    pub(in super::super) fn transcripts(&self, workspace: &Path, session: &Session) -> (Option<PathBuf>, Vec<PathBuf>) {
        let slug = slug(workspace);
        let own = (!slug.cut).then(|| self.projects().join(&slug.text));
        let ids = match session {
            Session::Fresh | Session::Picked(_) => vec![],
            Session::Begin(id) | Session::Resume(id) | Session::Continue(id) => vec![id],
            Session::Fork { from, into, .. } => vec![from, into],
        };
        let files = ids.into_iter().filter_map(|id| self.find(id));
        let elsewhere = files.filter(|file| file.parent() != own.as_deref());
        let elsewhere = elsewhere.flat_map(|file| [file.with_extension(""), file]);
        let mut others: Vec<PathBuf> = elsewhere.collect();
        if slug.cut {
            // One for each of its sessions, in a folder that is there.
            others.extend(self.files(workspace).into_iter().filter_map(|(_, _, file)| Some(file.parent()?.to_owned())));
        }
        (own, others)
    }

    /// The file of session `id`; it may lie in any folder, a session can change its cwd.
    pub(super) fn find(&self, id: &str) -> Option<PathBuf> {
        Uuid::try_parse(id).ok()?;
        let folders = fs::read_dir(self.projects()).ok()?.flatten();
        let files = folders.map(|folder| folder.path().join(format!("{id}.jsonl")));
        files.filter_map(|path| Some((modified(&path)?, path))).max().map(|(_, path)| path)
    }

    /// The newest session of `workspace` that can be gone on with and is `wanted`.
    pub(super) fn newest(&self, workspace: &Path, wanted: impl Fn(&Path) -> bool) -> Option<String> {
        let mut files = self.files(workspace);
        files.sort_unstable_by(|a, b| b.cmp(a));
        let is_ours = |path: &Path| recorded_cwd(path).as_deref() == Some(workspace) && is_resumable(path);
        files.into_iter().find(|(_, _, path)| is_ours(path) && wanted(path)).map(|(_, id, _)| id)
    }

    /// A session file that may be the workspace's last one, if nothing in it can be read.
    pub(super) fn damaged(&self, workspace: &Path) -> Option<PathBuf> {
        self.files(workspace).into_iter().max().map(|(_, _, path)| path).filter(|path| is_damaged(path))
    }

    /// The session files in folders that may be those of `workspace`: when each was written to, its id, its path.
    pub(super) fn files(&self, workspace: &Path) -> Vec<(SystemTime, String, PathBuf)> {
        let slug = slug(workspace);
        let is_ours = |name: &str| match name.strip_prefix(slug.text.as_str()) {
            Some("") => !slug.cut,
            Some(rest) => slug.cut && rest.starts_with('-'),
            None => false,
        };
        let folders = fs::read_dir(self.projects()).into_iter().flatten().flatten();
        let folders = folders.filter(|folder| folder.file_name().to_str().is_some_and(is_ours));
        folders
            .flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten())
            .filter_map(|file| {
                let path = file.path();
                let id = path.file_name()?.to_str()?.strip_suffix(".jsonl")?.to_owned();
                Uuid::try_parse(&id).ok()?;
                Some((modified(&path)?, id, path))
            })
            .collect()
    }

    pub(super) fn projects(&self) -> PathBuf {
        self.config_dir.join("projects")
    }
}

pub(super) struct Slug {
    pub(super) text: String,
    pub(super) cut: bool,
}

/// The CLI's name for the folder of a working directory's sessions.
pub(super) fn slug(workspace: &Path) -> Slug {
    let path = workspace.to_string_lossy();
    let plain = |unit: u16| u8::try_from(unit).is_ok_and(|byte| byte.is_ascii_alphanumeric());
    let units = path.encode_utf16().map(|unit| if plain(unit) { unit } else { u16::from(b'-') });
    let text = String::from_utf16_lossy(&units.take(LONGEST_SLUG_UNITS).collect::<Vec<u16>>());
    Slug { cut: path.encode_utf16().count() > LONGEST_SLUG_UNITS, text }
}
