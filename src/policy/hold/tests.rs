use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

use rstest::rstest;

use super::*;

const CLAUDE: u32 = 54_321;

fn claude() -> Agent {
    Agent { uids: vec![CLAUDE], gids: vec![CLAUDE, 54_322] }
}

/// A file `tokens.yml` in a folder `etc`, both root's; `None` where this is not root.
fn place() -> Option<(tempfile::TempDir, PathBuf, PathBuf)> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    let top = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let folder = top.path().join("etc");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("tokens.yml");
    fs::write(&file, "text").unwrap();
    mode(&folder, 0o755);
    mode(&file, 0o644);
    Some((top, folder, file))
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn hold(path: &Path) -> Option<Hold> {
    open(path, &claude()).unwrap().1
}

#[test]
fn what_is_roots_alone_is_out_of_claudes_hands() {
    let Some((_top, folder, file)) = place() else { return };
    assert_eq!(hold(&file), None);
    assert_eq!(of_folder(&folder, &claude()).unwrap(), None);
    // The temporary folder is everybody's, and each may remove his own there.
    assert_eq!(hold(&folder.join("../etc/./tokens.yml")), None);
}

#[rstest]
#[case::owner(Some(CLAUDE), None, 0o400, "belongs to its user")]
#[case::group(None, Some(54_322), 0o664, "a group of its user may write to")]
#[case::everybody(None, None, 0o646, "everybody may write to")]
fn a_file_or_a_folder_that_claude_may_write_to_is_told(
    #[case] user: Option<u32>,
    #[case] group: Option<u32>,
    #[case] bits: u32,
    #[case] why: &str,
    #[values(true, false)] is_file: bool,
) {
    let Some((_top, folder, file)) = place() else { return };
    let changed = if is_file { &file } else { &folder };
    chown(changed, user, group).unwrap();
    mode(changed, bits | if is_file { 0 } else { 0o111 });
    let told = hold(&file).unwrap().to_string();
    assert!(told.contains(why) && told.contains(changed.to_str().unwrap()), "{told}");
}

#[test]
fn another_users_file_and_another_group_are_none_of_claudes() {
    let Some((_top, folder, file)) = place() else { return };
    for path in [&folder, &file] {
        chown(path, Some(54_400), Some(54_400)).unwrap();
        mode(path, 0o775);
    }
    assert_eq!(hold(&file), None);
}

/// Whoever may rename a folder above, or a link on the way.
#[test]
fn the_way_counts() {
    let Some((top, folder, file)) = place() else { return };
    let home = top.path().join("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(CLAUDE), None).unwrap();
    for target in [folder.as_path(), Path::new("../etc")] {
        let link = home.join("link");
        symlink(target, &link).unwrap();
        assert_eq!(hold(&link.join("tokens.yml")), Some(Hold::Owns(home.clone())), "{}", target.display());
        fs::remove_file(&link).unwrap();
    }
    let moved = home.join("etc");
    fs::rename(&folder, &moved).unwrap();
    assert_eq!(hold(&moved.join("tokens.yml")), Some(Hold::Owns(home.clone())));
    assert_eq!(of_folder(&moved, &claude()).unwrap(), Some(Hold::Owns(home)));
    assert!(open(&file, &claude()).is_err());
}

#[test]
fn in_a_folder_of_everybodys_each_replaces_his_own() {
    let Some((_top, folder, file)) = place() else { return };
    mode(&folder, 0o1777);
    assert_eq!(hold(&file), None);
    // Of its own it may write, whoever may replace it.
    chown(&file, Some(CLAUDE), None).unwrap();
    assert!(hold(&file).is_some());
    chown(&file, Some(0), None).unwrap();
    mode(&folder, 0o777);
    assert_eq!(hold(&file), Some(Hold::Everybody(folder)));
}

#[test]
fn what_is_no_file_is_an_error() {
    let Some((top, folder, _)) = place() else { return };
    let pipe = top.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let round = top.path().join("round");
    symlink(&round, &round).unwrap();
    for path in [folder.as_path(), &pipe, &round, Path::new("/dev/zero"), Path::new("/nowhere/file"), Path::new("/")] {
        assert!(open(path, &claude()).is_err(), "{}", path.display());
    }
}

const MOUNTINFO: &str = "22 1 0:21 / / rw - overlay overlay rw\n\
    30 22 8:1 /home/me/project /workspace rw,relatime - ext4 /dev/sda1 rw\n\
    31 22 8:1 /home/me/project/tokens.yml /etc/claudebox/tokens.yml ro,relatime - ext4 /dev/sda1 rw\n\
    32 22 8:1 /home/me/a\\040b /etc/claudebox/more ro,relatime - ext4 /dev/sda1 rw\n\
    33 22 8:2 /home/me/a\\040b /other rw,relatime - ext4 /dev/sdb1 rw\n";

#[rstest]
#[case::a_file_of_the_workspace(31, "/etc/claudebox/tokens.yml", Some("/workspace/tokens.yml"))]
#[case::a_folder_of_its_own(32, "/etc/claudebox/more/cron.yaml", None)]
#[case::the_boxs_own(22, "/etc/passwd", None)]
fn what_is_mounted_twice_is_judged_twice(#[case] id: u64, #[case] path: &str, #[case] elsewhere: Option<&str>) {
    assert_eq!(writable_elsewhere(MOUNTINFO, id, Path::new(path)), elsewhere.map(PathBuf::from));
}
