//! The person's identity in the box: git's name and address, and SSH keys that `ssh` accepts. As the box's user.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::geteuid;

/// Sets what of `git` (setting, value) is given and differs, and mends the modes below `home/.ssh`.
pub fn settle(home: &Path, git: &[(&str, Option<String>)]) {
    for (setting, value) in git {
        if let Some(value) = value {
            set_git(home, setting, value);
        }
    }
    mend_ssh(&home.join(".ssh"));
}

fn set_git(home: &Path, setting: &str, value: &str) {
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.args(["config", "--global"]).args(args).env("HOME", home);
        command.stdin(Stdio::null()).stderr(Stdio::null()).output()
    };
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

/// `ssh` refuses keys that others can read. Only this user's own files are changed; public keys stay readable.
fn mend_ssh(folder: &Path) {
    let own = geteuid().as_raw();
    let mend = |path: &Path, excess: u32, mode: u32| {
        let Ok(found) = fs::symlink_metadata(path) else { return };
        if found.is_symlink() || found.uid() != own || found.mode() & excess == 0 {
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
        tracing::warn!("ssh will refuse {} (mode {now:o}): {why}", path.display());
    };
    let Ok(entries) = fs::read_dir(folder) else { return };
    mend(folder, 0o077, 0o700);
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        let public = path.extension().is_some_and(|extension| extension == "pub");
        if public { mend(&path, 0o022, 0o644) } else { mend(&path, 0o077, 0o600) }
    }
}

#[cfg(test)]
mod tests {
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
        settle(home.path(), &[]);
        assert_eq!(
            (mode(&ssh), mode(&ssh.join("id_ed25519")), mode(&ssh.join("id_ed25519.pub"))),
            (0o700, 0o600, 0o644)
        );
    }

    #[test]
    fn git_gets_the_identity_and_keeps_the_rest() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".gitconfig"), "[user]\n\tname = Old\n[alias]\n\tst = status\n").unwrap();
        settle(home.path(), &[("user.name", Some("New Name".into())), ("user.email", None)]);
        let text = fs::read_to_string(home.path().join(".gitconfig")).unwrap();
        assert!(text.contains("name = New Name") && text.contains("st = status") && !text.contains("email"), "{text}");
    }
}
