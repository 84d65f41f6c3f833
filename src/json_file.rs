//! JSON files that several processes share: changed under a lock, replaced whole, never lost.
//!
//! Many containers share one `~/.claude`, and concurrent writers of its files are a known way to lose them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::atomic_file;
use crate::json_text::Kept;

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", .path.display())]
pub struct JsonFileError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Changes the object in `path`, a file of our own, holding the lock file `lock` meanwhile.
///
/// `change` edits the object (empty if there is no file) and nothing is written if it leaves it as it was. A file that
/// is no JSON object is set aside as `PATH.corrupt-SECONDS` and a new one is begun. Readers see the old file or the
/// new one, never a part: temp file, fsync, rename. New files are readable by their owner only.
pub fn update(path: &Path, lock: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), JsonFileError> {
    change_object(path, lock, set_aside, change)
}

/// Changes the object in `path`, a file of another program, as [`update`] does, but one that is no JSON object stays as
/// it is: that program may understand it, and has its own ways where it does not. This is an error.
pub fn edit(path: &Path, lock: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), JsonFileError> {
    let leave = |_: &Path, error: &serde_json::Error| {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is not a JSON object ({error}), and it is left as it is: mend it, or move it away"),
        ))
    };
    change_object(path, lock, leave, change)
}

fn change_object(
    path: &Path,
    lock: &Path,
    not_understood: impl FnOnce(&Path, &serde_json::Error) -> io::Result<()>,
    change: impl FnOnce(&mut Map<String, Value>),
) -> Result<(), JsonFileError> {
    let failed = |operation: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| JsonFileError { operation, path, source }
    };
    let _held = lock_file(lock).map_err(failed("lock", lock))?;
    let found = read(path, not_understood).map_err(failed("read", path))?;
    let is_new = found.is_none();
    let mut kept = found.unwrap_or_default();
    let before = kept.value.clone();
    change(&mut kept.value);
    if !is_new && kept.value == before {
        return Ok(());
    }
    replace(path, &kept).map_err(failed("write", path))
}

/// The object in `path`; `None` if there is no file, or nothing in it.
fn read(
    path: &Path,
    not_understood: impl FnOnce(&Path, &serde_json::Error) -> io::Result<()>,
) -> io::Result<Option<Kept<Map<String, Value>>>> {
    let text = match fs::read(atomic_file::target(path)?) {
        Ok(text) if text.trim_ascii().is_empty() => return Ok(None),
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match Kept::parse(&text) {
        Ok(object) => Ok(Some(object)),
        Err(error) => not_understood(path, &error).map(|()| None),
    }
}

fn set_aside(path: &Path, error: &serde_json::Error) -> io::Result<()> {
    let seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".corrupt-{seconds}"));
    fs::rename(path, &aside)?;
    tracing::warn!(
        "{} is not a JSON object ({error}); it is kept as {} and a new one begun",
        path.display(),
        Path::new(&aside).display()
    );
    Ok(())
}

fn replace(path: &Path, object: &Kept<Map<String, Value>>) -> io::Result<()> {
    let text = object.restore(serde_json::to_string_pretty(&object.value)?);
    atomic_file::replace(path, format!("{text}\n").as_bytes(), 0o600)
}

fn lock_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (file, lock) = (folder.path().join("a.json"), folder.path().join(".lock"));
        (folder, file, lock)
    }

    #[test]
    fn keeps_what_it_does_not_know_and_the_order() {
        let (_folder, file, lock) = folder();
        fs::write(&file, r#"{"z":1.10,"a":{"b":123456789012345678901234567890}}"#).unwrap();
        update(&file, &lock, |object| drop(object.insert("new".into(), true.into()))).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let compact: String = text.split_whitespace().collect();
        assert_eq!(compact, r#"{"z":1.10,"a":{"b":123456789012345678901234567890},"new":true}"#);
    }

    #[test]
    fn an_unchanged_file_is_not_written() {
        let (_folder, file, lock) = folder();
        fs::write(&file, "{ \"a\" : 1 }").unwrap();
        update(&file, &lock, |object| drop(object.insert("a".into(), 1.into()))).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "{ \"a\" : 1 }");
    }

    #[test]
    fn a_corrupt_file_is_kept_aside() {
        let (folder, file, lock) = folder();
        fs::write(&file, "{\"half\":").unwrap();
        update(&file, &lock, |object| drop(object.insert("a".into(), 1.into()))).unwrap();
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside = names.into_iter().find(|path| path.to_str().unwrap().contains(".corrupt-")).unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), "{\"half\":");
        assert_eq!(fs::read_to_string(&file).unwrap(), "{\n  \"a\": 1\n}\n");
    }

    /// What the CLI reads: an emoji that was cut, a byte order mark, bytes that are not UTF-8.
    #[rstest]
    #[case(br#"{"cut":"\ud83d","\ude00":1}"#, r#"{"cut":"\ud83d","\ude00":1,"a":1}"#)]
    #[case(b"\xef\xbb\xbf{\"x\":1}", r#"{"x":1,"a":1}"#)]
    #[case(b"{\"x\":\"\xff\"}", "{\"x\":\"\u{fffd}\",\"a\":1}")]
    fn a_file_that_the_cli_reads_is_kept_whole(#[case] before: &[u8], #[case] after: &str) {
        for theirs in [false, true] {
            let (folder, file, lock) = folder();
            fs::write(&file, before).unwrap();
            insert_a(theirs, &file, &lock).unwrap();
            let compact: String = fs::read_to_string(&file).unwrap().split_whitespace().collect();
            assert_eq!(compact, after);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the file and its lock");
        }
    }

    #[test]
    fn a_file_of_many_levels_is_kept_whole() {
        let (_folder, file, lock) = folder();
        let deep = format!("\"x\":{}{}", "[".repeat(200), "]".repeat(200));
        fs::write(&file, format!("{{{deep}}}")).unwrap();
        insert_a(true, &file, &lock).unwrap();
        let compact: String = fs::read_to_string(&file).unwrap().split_whitespace().collect();
        assert_eq!(compact, format!("{{{deep},\"a\":1}}"));
    }

    fn insert_a(theirs: bool, file: &Path, lock: &Path) -> Result<(), JsonFileError> {
        let change = |object: &mut Map<String, Value>| drop(object.insert("a".into(), 1.into()));
        if theirs { edit(file, lock, change) } else { update(file, lock, change) }
    }

    #[rstest]
    #[case("{\"half\":")]
    #[case("[]")]
    #[case("{} // a comment")]
    fn another_programs_file_that_is_not_understood_stays(#[case] text: &str) {
        let (folder, file, lock) = folder();
        fs::write(&file, text).unwrap();
        let error = edit(&file, &lock, |object| drop(object.insert("a".into(), 1.into()))).unwrap_err().to_string();
        assert!(error.contains("is not a JSON object") && error.contains(file.to_str().unwrap()), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the file and its lock");
    }

    #[test]
    fn a_link_that_leads_nowhere_stays() {
        for theirs in [false, true] {
            let (_folder, file, lock) = folder();
            std::os::unix::fs::symlink("dotfiles/settings.json", &file).unwrap();
            let error = insert_a(theirs, &file, &lock).unwrap_err();
            assert!(error.to_string().contains("a link to dotfiles/settings.json"), "{error}");
            assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
        }
    }

    #[test]
    fn an_empty_file_is_begun() {
        let (_folder, file, lock) = folder();
        fs::write(&file, " \n").unwrap();
        edit(&file, &lock, |object| drop(object.insert("a".into(), 1.into()))).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "{\n  \"a\": 1\n}\n");
    }

    #[test]
    fn a_new_file_is_private_and_an_old_ones_mode_is_kept() {
        let (_folder, file, lock) = folder();
        let set = |value: i32| update(&file, &lock, |object| drop(object.insert("a".into(), value.into()))).unwrap();
        set(1);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        set(2);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn concurrent_writers_lose_nothing() {
        let (_folder, file, lock) = folder();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let (file, lock) = (&file, &lock);
                scope.spawn(move || {
                    for step in 0..10 {
                        let key = format!("{writer}-{step}");
                        update(file, lock, |object| drop(object.insert(key, true.into()))).unwrap();
                    }
                });
            }
        });
        let object: Map<String, Value> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(object.len(), 80);
    }
}
