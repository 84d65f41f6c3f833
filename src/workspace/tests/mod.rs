//! The rules of the module on a real folder, with a secret beside it.

mod reading;
mod staying_inside;
mod writing;

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::thread;

use tempfile::TempDir;

use super::*;

const SECRET: &str = "the secret outside";

/// A workspaces folder `root` with links of all kinds, and a folder `root-secret` beside it.
struct Place {
    top: TempDir,
    workspaces: Workspaces,
}

impl Place {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let at = |path: &str| top.path().join(path);
        fs::create_dir_all(at("root/a/deep")).unwrap();
        fs::create_dir_all(at("root/b")).unwrap();
        fs::create_dir_all(at("root-secret")).unwrap();
        fs::write(at("root-secret/canary"), SECRET).unwrap();
        fs::write(at("root/a/file"), "of a").unwrap();
        fs::write(at("root/b/file"), "of b").unwrap();
        symlink("file", at("root/a/near")).unwrap();
        symlink("../b", at("root/a/to_b")).unwrap();
        symlink(at("root/b"), at("root/a/to_b_absolute")).unwrap();
        symlink("../b/file", at("root/a/to_b_file")).unwrap();
        symlink("../../root-secret", at("root/a/out")).unwrap();
        symlink(at("root-secret"), at("root/a/out_absolute")).unwrap();
        symlink("../../root-secret/canary", at("root/a/out_file")).unwrap();
        symlink("out", at("root/a/out_twice")).unwrap();
        symlink("/proc/self/root", at("root/a/magic")).unwrap();
        symlink("..", at("root/a/up")).unwrap();
        symlink("loop", at("root/a/loop")).unwrap();
        symlink("nowhere", at("root/a/dangling")).unwrap();
        let workspaces = Workspaces::open(&at("root")).unwrap();
        Self { top, workspaces }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top.path().join("root").join(path)
    }

    fn path(&self, path: &str) -> ClientPath {
        self.workspaces.client_path(path.as_bytes()).unwrap()
    }

    fn read(&self, path: &str) -> Result<String, PathError> {
        read(&self.workspaces, path)
    }

    fn write(&self, path: &str, text: &str) -> Result<Stat, PathError> {
        write(&self.workspaces, path, text, &Precondition::default())
    }

    fn delete(&self, path: &str, recursive: bool) -> Result<(), PathError> {
        self.workspaces.delete(&self.path(path), recursive, &Precondition::default())
    }

    /// Every name below the root, to see what an operation left.
    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn only(&self, workspace: &'static str) -> Workspaces {
        self.workspaces.guarded(Arc::new(move |place| Path::new(place).starts_with(workspace)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let canary = fs::read_to_string(self.top.path().join("root-secret/canary"));
        let beside = fs::read_dir(self.top.path().join("root-secret")).unwrap().count();
        if !thread::panicking() {
            assert_eq!((canary.unwrap().as_str(), beside), (SECRET, 1), "something outside was changed");
        }
    }
}

fn read(workspaces: &Workspaces, path: &str) -> Result<String, PathError> {
    let (mut file, _) = workspaces.open_read(&workspaces.client_path(path.as_bytes())?)?;
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    Ok(text)
}

fn write(workspaces: &Workspaces, path: &str, text: &str, condition: &Precondition) -> Result<Stat, PathError> {
    let mut upload = workspaces.begin_write(&workspaces.client_path(path.as_bytes())?)?;
    upload.write(text.as_bytes())?;
    upload.commit(condition)
}

fn code<T>(result: Result<T, PathError>) -> &'static str {
    result.err().map_or("ok", |error| error.code())
}

fn tag(tag: String) -> Precondition {
    Precondition { matches: Some(Tags::These(vec![tag])), matches_none: None }
}
