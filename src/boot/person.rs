//! The person's identity in the box: git's name and address, and SSH keys that `ssh` accepts. As the box's user.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::privilege::files;

/// git's setting for folders of others that it works in.
const SAFE: &str = "safe.directory";

/// Sets what of `git` (setting, value) is given and differs, lets git work in `workspace`, and mends the modes below
/// `home/.ssh`.
pub fn settle(home: &Path, workspace: &Path, git: &[(&str, Option<String>)]) {
    for (setting, value) in git {
        if let Some(value) = value {
            set_git(home, setting, value);
        }
    }
    trust(home, workspace);
    mend_ssh(&home.join(".ssh"));
}

fn git(home: &Path, args: &[&str]) -> io::Result<Output> {
    let mut command = Command::new("git");
    command.args(["config", "--global"]).args(args).env("HOME", home);
    files::as_claude(command.stdin(Stdio::null()).stderr(Stdio::null())).output()
}

fn set_git(home: &Path, setting: &str, value: &str) {
    let git = |args: &[&str]| git(home, args);
    let current = git(&["--get", setting]).map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    if current.as_ref().is_ok_and(|current| current == value) {
        return;
    }
    match git(&[setting, value]) {
        Ok(output) if output.status.success() => {}
        Ok(output) => tracing::warn!("git config --global {setting} failed: {}", output.status),
        Err(error) => tracing::warn!("git config --global {setting} failed: {error}"),
    }
}

/// Lets git work in a workspace that belongs to somebody else (to root, where nobody mounted it as their own): git refuses
/// that as "dubious ownership", because others may have put hooks there. This folder is what the box is for.
fn trust(home: &Path, workspace: &Path) {
    let own = files::uid();
    let is_anothers = fs::metadata(workspace).is_ok_and(|found| found.uid() != own);
    let Some(path) = workspace.to_str().filter(|_| is_anothers) else { return };
    let trusted = git(home, &["--get-all", SAFE]).map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let is_known = trusted.as_ref().is_ok_and(|known| known.lines().any(|line| line == path || line == "*"));
    // Without git there is nothing to trust.
    if !is_known && trusted.is_ok() && !git(home, &["--add", SAFE, path]).is_ok_and(|output| output.status.success()) {
        tracing::warn!("git config --global --add {SAFE} {path} failed: git will refuse to work there");
    }
}

/// `ssh` refuses keys that others can read. Only this user's own files are changed; public keys stay readable.
fn mend_ssh(folder: &Path) {
    let own = files::uid();
    let mend = |path: &Path, excess: u32, mode: u32| {
        let Ok(found) = fs::symlink_metadata(path) else { return };
        if found.is_symlink() {
            return;
        }
        let is_key = is_private_key(path);
        if found.uid() != own {
            // Others' keys are as good as none, and `ssh` says no more than "Permission denied".
            if is_key && fs::File::open(path).is_err() {
                tracing::warn!("the key {} belongs to user {}, and Claude cannot read it", path.display(), found.uid());
            }
            return;
        }
        if found.mode() & excess == 0 {
            return;
        }
        let changed = fs::set_permissions(path, fs::Permissions::from_mode(mode));
        // Some file systems take a mode and keep their own.
        let now = fs::metadata(path).map_or(mode, |now| now.mode() & 0o777);
        let why = match changed {
            Err(error) => error.to_string(),
            Ok(()) if now & excess != 0 => "its file system does not keep modes".into(),
            Ok(()) => return,
        };
        if is_key {
            tracing::warn!("ssh will refuse the key {} (mode {now:o}): {why}", path.display());
        }
    };
    let Ok(entries) = fs::read_dir(folder) else { return };
    mend(folder, 0o077, 0o700);
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        let public = path.extension().is_some_and(|extension| extension == "pub");
        if public { mend(&path, 0o022, 0o644) } else { mend(&path, 0o077, 0o600) }
    }
}

/// Whether `ssh` takes the file for a private key: of those alone it demands a mode. One that cannot be read is told by its name.
fn is_private_key(path: &Path) -> bool {
    let is_named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("id_"));
    let mut head = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut head)) {
        Ok(_) => String::from_utf8_lossy(&head).contains("PRIVATE KEY-----"),
        Err(_) => is_named && path.extension().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::geteuid;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn keys_become_private_and_public_ones_stay_readable() {
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        fs::create_dir(&ssh).unwrap();
        for name in ["id_ed25519", "id_ed25519.pub"] {
            fs::write(ssh.join(name), "").unwrap();
            fs::set_permissions(ssh.join(name), fs::Permissions::from_mode(0o664)).unwrap();
        }
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        settle(home.path(), home.path(), &[]);
        assert_eq!(
            (mode(&ssh), mode(&ssh.join("id_ed25519")), mode(&ssh.join("id_ed25519.pub"))),
            (0o700, 0o600, 0o644)
        );
    }

    #[test]
    fn git_gets_the_identity_and_keeps_the_rest() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".gitconfig"), "[user]\n\tname = Old\n[alias]\n\tst = status\n").unwrap();
        settle(home.path(), home.path(), &[("user.name", Some("New Name".into())), ("user.email", None)]);
        let text = fs::read_to_string(home.path().join(".gitconfig")).unwrap();
        assert!(text.contains("name = New Name") && text.contains("st = status") && !text.contains("email"), "{text}");
    }

    #[test]
    fn only_a_private_key_is_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("any");
        for (text, is_key) in
            [("-----BEGIN OPENSSH PRIVATE KEY-----\n", true), ("Host *\n", false), ("ssh-ed25519 A", false)]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(is_private_key(&path), is_key, "{text}");
        }
        assert!(is_private_key(&home.path().join("id_ed25519")) && !is_private_key(&home.path().join("known_hosts")));
    }

    /// As in a workspace that nobody mounted, which is root's.
    #[test]
    fn git_works_in_a_workspace_of_somebody_else() {
        if !geteuid().is_root() {
            return;
        }
        let (home, workspace) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(workspace.path()).args(args).env("HOME", home.path()).env_remove("SUDO_UID");
            command.output().unwrap()
        };
        assert!(git(&["init", "-q"]).status.success());
        settle(home.path(), workspace.path(), &[]);
        assert!(!home.path().join(".gitconfig").exists());
        for path in [workspace.path().to_owned(), workspace.path().join(".git")] {
            std::os::unix::fs::chown(path, Some(4321), Some(4321)).unwrap();
        }
        assert!(!git(&["status"]).status.success());
        for _ in 0..2 {
            settle(home.path(), workspace.path(), &[]);
            assert!(git(&["status"]).status.success());
        }
        let text = fs::read_to_string(home.path().join(".gitconfig")).unwrap();
        assert_eq!(text.matches("directory =").count(), 1, "{text}");
    }
}
