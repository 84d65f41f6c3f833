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

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", .path.display())]
pub struct JsonFileError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Changes the object in `path`, holding the lock file `lock` meanwhile.
///
/// `change` edits the object (empty if there is no file) and nothing is written if it leaves it as it was. A file that
/// is no JSON object is set aside as `PATH.corrupt-SECONDS` and a new one is begun. Readers see the old file or the
/// new one, never a part: temp file, fsync, rename. New files are readable by their owner only.
pub fn update(path: &Path, lock: &Path, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), JsonFileError> {
    let failed = |operation: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| JsonFileError { operation, path, source }
    };
    let _held = lock_file(lock).map_err(failed("lock", lock))?;
    let before = read(path).map_err(failed("read", path))?;
    let mut after = before.clone().unwrap_or_default();
    change(&mut after);
    if before.as_ref() == Some(&after) {
        return Ok(());
    }
    replace(path, &after).map_err(failed("write", path))
}

/// The object in `path`; `None` if there is no file.
fn read(path: &Path) -> io::Result<Option<Map<String, Value>>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match serde_json::from_slice(&text) {
        Ok(object) => Ok(Some(object)),
        Err(error) => {
            let seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
            let mut aside = path.as_os_str().to_owned();
            aside.push(format!(".corrupt-{seconds}"));
            fs::rename(path, &aside)?;
            tracing::warn!(
                "{} is not a JSON object ({error}); it is kept as {} and a new one begun",
                path.display(),
                Path::new(&aside).display()
            );
            Ok(None)
        }
    }
}

fn replace(path: &Path, object: &Map<String, Value>) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(object)?;
    text.push(b'\n');
    atomic_file::replace(path, &text, 0o600)
}

fn lock_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
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
