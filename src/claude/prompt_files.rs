//! System prompts that are too long for an argument, as files.
//!
//! An argument holds 131,071 bytes and no NUL. A longer text reaches the CLI as a file that only the box's user can
//! read, and that is removed when the run has ended.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::arguments::Options;
use super::limits::LONGEST_ARGUMENT_BYTES;
use crate::atomic_file;

/// Folder of these files, in the state folder.
const FOLDER: &str = "prompts";
/// A file older than this was left by a worker that was killed: the CLI reads its files when it starts.
const LEFT_OVER: Duration = Duration::from_hours(1);

/// The files of one run. They are removed when this is dropped.
#[derive(Debug)]
pub struct PromptFiles {
    system: Option<PathBuf>,
    append: Option<PathBuf>,
}

impl PromptFiles {
    /// Writes what of `options` is too long for an argument, below `state_dir`, and takes it out of them. The standing
    /// instructions go into the same file as a long addition: the CLI takes one such file.
    pub fn write(options: &mut Options, standing: Option<&Path>, state_dir: &Path, run_id: Uuid) -> io::Result<Self> {
        let folder = state_dir.join(FOLDER);
        let mut files = Self { system: None, append: None };
        if let Some(text) = options.system_prompt.take_if(|text| is_too_long(text)) {
            files.system = Some(put(&folder, &format!("{run_id}-system.md"), &text)?);
        }
        if let Some(text) = options.append_system_prompt.take_if(|text| is_too_long(text)) {
            let standing = standing.map(fs::read_to_string).transpose()?;
            let parts: Vec<String> = standing.into_iter().chain([text]).collect();
            files.append = Some(put(&folder, &format!("{run_id}-append.md"), &parts.join("\n\n"))?);
        }
        Ok(files)
    }

    /// The file that is added to the system prompt, if a text was too long; else `standing`.
    pub fn append<'file>(&'file self, standing: Option<&'file Path>) -> Option<&'file Path> {
        self.append.as_deref().or(standing)
    }

    /// What was written.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.system.iter().chain(&self.append).map(PathBuf::as_path)
    }

    /// The arguments that name the system prompt's file.
    pub fn arguments(&self) -> Vec<OsString> {
        self.system.iter().flat_map(|file| ["--system-prompt-file".into(), file.into()]).collect()
    }
}

impl Drop for PromptFiles {
    fn drop(&mut self) {
        for file in self.system.iter().chain(&self.append) {
            if let Err(error) = fs::remove_file(file) {
                tracing::warn!("{} was not removed: {error}", file.display());
            }
        }
    }
}

fn is_too_long(text: &str) -> bool {
    text.len() > LONGEST_ARGUMENT_BYTES || text.contains('\0')
}

fn put(folder: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    remove_left_over(folder);
    let file = folder.join(name);
    atomic_file::replace(&file, text.as_bytes(), 0o600)?;
    Ok(file)
}

fn remove_left_over(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > LEFT_OVER)
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!("{} was left over and cannot be removed: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    #[test]
    fn what_fits_into_an_argument_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let text = || Some("x".repeat(LONGEST_ARGUMENT_BYTES));
        let mut options = Options { system_prompt: text(), append_system_prompt: text(), ..Options::default() };
        let files = PromptFiles::write(&mut options, None, folder.path(), Uuid::nil()).unwrap();
        assert_eq!((options.system_prompt, options.append_system_prompt), (text(), text()));
        assert_eq!((files.arguments(), files.append(None)), (vec![], None));
        assert!(!folder.path().join(FOLDER).exists());
    }

    #[test]
    fn longer_texts_are_private_files_that_go_with_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let standing = folder.path().join("standing.md");
        fs::write(&standing, "be kind").unwrap();
        let long = "y".repeat(LONGEST_ARGUMENT_BYTES + 1);
        let mut options = Options {
            system_prompt: Some("with a \0".into()),
            append_system_prompt: Some(long.clone()),
            ..Options::default()
        };
        let files = PromptFiles::write(&mut options, Some(&standing), folder.path(), Uuid::nil()).unwrap();
        assert_eq!((&options.system_prompt, &options.append_system_prompt), (&None, &None));
        let arguments = files.arguments();
        assert_eq!(arguments[0], "--system-prompt-file");
        assert_eq!(fs::read_to_string(&arguments[1]).unwrap(), "with a \0");
        assert_eq!(fs::metadata(&arguments[1]).unwrap().permissions().mode() & 0o777, 0o600);
        let append = files.append(Some(&standing)).unwrap();
        assert_eq!(fs::read_to_string(append).unwrap(), format!("be kind\n\n{long}"));
        drop(files);
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_worker_left_is_removed_later() {
        let folder = tempfile::tempdir().unwrap();
        let prompts = folder.path().join(FOLDER);
        fs::create_dir(&prompts).unwrap();
        let old = fs::File::create(prompts.join("old.md")).unwrap();
        old.set_modified(SystemTime::now() - 2 * LEFT_OVER).unwrap();
        fs::write(prompts.join("new.md"), "").unwrap();
        let mut options = Options { system_prompt: Some("\0".into()), ..Options::default() };
        let _files = PromptFiles::write(&mut options, None, folder.path(), Uuid::nil()).unwrap();
        assert!(!prompts.join("old.md").exists() && prompts.join("new.md").exists());
    }
}
