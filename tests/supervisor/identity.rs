//! The ids Claude runs under, and who owns the home.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::Path;

use rstest::rstest;

use crate::stubs::WHO;
use crate::support::{Launch, TestBox, UID};

/// Unlike any id of a machine's.
const STRANGER: (u32, u32) = (4321, 5432);

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).unwrap();
    (found.uid(), found.gid())
}

fn give(path: &Path, (uid, gid): (u32, u32)) {
    lchown(path, Some(uid), Some(gid)).unwrap();
}

/// A box whose workspace has this owner, and whose user database knows user and group 33 before `claude`.
fn workspace_of(owner: (u32, u32)) -> Option<TestBox> {
    let testbox = TestBox::new()?;
    give(&testbox.path("work"), owner);
    fs::set_permissions(testbox.path("work"), Permissions::from_mode(0o777)).unwrap();
    for (file, line) in [("passwd", "www-data:x:33:33::/var/www:/bin/false\n"), ("group", "www-data:x:33:\n")] {
        let path = testbox.path("etc").join(file);
        let text = fs::read_to_string(&path).unwrap();
        let (root, rest) = text.split_once('\n').unwrap();
        fs::write(path, format!("{root}\n{line}{rest}")).unwrap();
    }
    Some(testbox)
}

fn lines(testbox: &TestBox, file: &str) -> Vec<String> {
    let text = fs::read_to_string(testbox.path("etc").join(file)).unwrap();
    assert!(text.ends_with('\n'), "{text:?}");
    text.lines().map(str::to_owned).collect()
}

/// Checklist 36. The user has the owner's ids, keeps its name, home and groups, and its home has the owner.
#[rstest]
#[case::ids_nobody_has((1234, 2345), (1234, 2345), "44 998 2345", "claude:x:2345:")]
#[case::ids_of_a_directory_service((1_885_580_785, 1_885_580_786), (1_885_580_785, 1_885_580_786), "44 998 1885580786", "claude:x:1885580786:")]
#[case::ids_of_another_user((33, 33), (33, 33), "33 44 998", "claude:x:1000:")]
#[case::root((0, 0), (UID, UID), "44 998 1000", "claude:x:1000:")]
#[case::roots_group((1234, 0), (1234, UID), "44 998 1000", "claude:x:1000:")]
fn the_user_takes_the_workspaces_owners_ids(
    #[case] workspace: (u32, u32),
    #[case] (uid, gid): (u32, u32),
    #[case] groups: &str,
    #[case] group: &str,
) {
    let Some(testbox) = workspace_of(workspace) else { return };
    fs::create_dir(testbox.path("home/below")).unwrap();
    give(&testbox.path("home/below"), (UID, UID));
    let others = |testbox: &TestBox| -> Vec<String> {
        let all = [lines(testbox, "passwd"), lines(testbox, "group")].concat();
        all.into_iter().filter(|line| !line.starts_with("claude:")).collect()
    };
    let before = others(&testbox);
    for start in ["first", "second"] {
        let finished = testbox.main_child(WHO).start().finish().exits(0);
        // Look-ups by id, as sudo's, find the user.
        assert_eq!(finished.out, format!("claude {uid}:{gid} {groups}\n"), "{start} start: {}", finished.err);
        assert_eq!(owner(&testbox.path("work")), workspace, "{start} start");
        let home = testbox.path("home");
        for path in [testbox.path("work/written"), home.clone(), home.join("below"), home.join("mine")] {
            assert_eq!(owner(&path), (uid, gid), "{start} start: {}", path.display());
        }
        let entry = format!("claude:x:{uid}:{gid}::{}:/bin/sh", home.display());
        assert_eq!(lines(&testbox, "passwd").iter().filter(|line| **line == entry).count(), 1, "{start} start");
        assert!(lines(&testbox, "group").iter().any(|line| line == group), "{start} start");
        assert_eq!(others(&testbox), before, "{start} start");
    }
}

/// Whoever may write in another's folder works there under its own name.
#[test]
fn the_user_has_the_ids_it_is_given() {
    let Some(testbox) = workspace_of((33, 33)) else { return };
    let launch = || testbox.main_child(WHO).env("CLAUDEBOX_USER_IDS", "1234:2345");
    let finished = launch().start().finish().exits(0);
    assert_eq!(finished.out, "claude 1234:2345 44 998 2345\n", "{}", finished.err);
    assert_eq!(owner(&testbox.path("work")), (33, 33));
    for path in [testbox.path("work/written"), testbox.path("home/mine")] {
        assert_eq!(owner(&path), (1234, 2345), "{}", path.display());
    }
    let refused = launch().env("CLAUDEBOX_USER_IDS", "0:0").start().finish().exits(78);
    assert!(refused.err.contains("CLAUDEBOX_USER_IDS=\"0:0\" is not usable"), "{}", refused.err);
}

/// A folder of the image's own says nothing about who is outside.
#[rstest]
#[case::of_the_image("", UID)]
#[case::mounted(r#"mount --bind "$BOX/work" "$BOX/work""#, 1234)]
fn an_unnamed_workspace_counts_when_it_is_mounted(#[case] before: &str, #[case] uid: u32) {
    let Some(testbox) = workspace_of((1234, 2345)) else { return };
    let work = testbox.path("work");
    let launch = testbox.main_child(WHO).before(before).env("CLAUDEBOX_WORKSPACE", "");
    // This machine may have no /workspace to start in; the ids are settled before that is said.
    launch.env("CLAUDEBOX_WORKSPACES_DIR", work.to_str().unwrap()).start().finish();
    let entry = lines(&testbox, "passwd").into_iter().find(|line| line.starts_with("claude:")).unwrap();
    assert_eq!(entry.split(':').nth(2).unwrap(), uid.to_string(), "{entry}");
}

/// Runs it under strace: the calls that change an owner.
fn owner_changes(testbox: &TestBox, launch: Launch<'_>) -> Vec<String> {
    let calls = "chown,lchown,fchown,fchownat";
    let tail = format!(r#"exec strace -f -qq -e signal=none -e trace={calls} -o "$BOX/trace" "$@""#);
    launch.tail(&tail).start().finish().exits(0);
    let trace = fs::read_to_string(testbox.path("trace")).unwrap();
    trace.lines().filter(|line| line.contains("chown")).map(str::to_owned).collect()
}

/// Checklist 34, with as many files as are quick to make: what counts is that it is none.
#[test]
fn a_home_that_is_right_is_left_alone() {
    let Some(testbox) = workspace_of((1234, 2345)) else { return };
    for folder in 0..20 {
        let folder = testbox.path(&format!("home/{folder}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..500 {
            fs::write(folder.join(file.to_string()), "").unwrap();
            give(&folder.join(file.to_string()), (1234, 2345));
        }
        give(&folder, (1234, 2345));
    }
    fs::write(testbox.path("home/wrong"), "").unwrap();
    let changes = owner_changes(&testbox, testbox.main_child(WHO));
    // `wrong`, the home itself, and the two files of the user database at most.
    assert!(changes.iter().any(|line| line.contains("\"wrong\"")) && changes.len() <= 4, "{changes:?}");
    assert_eq!(owner_changes(&testbox, testbox.main_child(WHO)), [""; 0]);
}

/// Checklist 35.
#[test]
fn a_link_in_the_home_is_given_and_what_it_points_to_is_not() {
    let Some(testbox) = workspace_of((1234, 2345)) else { return };
    fs::write(testbox.path("etc/shadow"), "root:*::0:::::\n").unwrap();
    fs::create_dir(testbox.path("outside")).unwrap();
    fs::write(testbox.path("outside/file"), "").unwrap();
    let links = [("shadow", Path::new("/etc/shadow")), ("folder", &testbox.path("outside")), ("up", Path::new(".."))];
    for (name, target) in links {
        symlink(target, testbox.path("home").join(name)).unwrap();
    }
    testbox.main_child(WHO).start().finish().exits(0);
    for (name, _) in links {
        assert_eq!(owner(&testbox.path("home").join(name)), (1234, 2345), "{name}");
    }
    for path in ["etc/shadow", "outside", "outside/file", "etc", "claudebox", ""] {
        assert_eq!(owner(&testbox.path(path)), (0, 0), "{path}");
    }
}

/// The home may be a volume on the very file system that what is mounted in it comes from.
#[test]
fn what_is_mounted_in_the_home_and_the_workspace_are_not_walked() {
    let Some(testbox) = TestBox::new() else { return };
    let home = testbox.path("home");
    for (outside, inside) in [("claude-files", ".claude"), ("cache", ".cache"), ("named", "project/named")] {
        fs::create_dir_all(testbox.path(outside).join("deep")).unwrap();
        fs::write(testbox.path(outside).join("deep/file"), "").unwrap();
        give(&testbox.path(outside).join("deep/file"), STRANGER);
        fs::create_dir_all(home.join(inside)).unwrap();
    }
    fs::write(home.join("project/named/file"), "").unwrap();
    chown(home.join("project/named"), Some(1234), Some(2345)).unwrap();
    fs::write(home.join("project/wrong"), "").unwrap();
    let mounts =
        r#"mount --bind "$BOX/claude-files" "$BOX/home/.claude"; mount --bind "$BOX/cache" "$BOX/home/.cache""#;
    let launch = testbox.main_child(WHO).before(mounts);
    launch.env("CLAUDEBOX_WORKSPACE", home.join("project/named").to_str().unwrap()).start().finish().exits(0);
    for outside in ["claude-files", "cache"] {
        assert_eq!(owner(&testbox.path(outside).join("deep")), (0, 0), "{outside}");
        assert_eq!(owner(&testbox.path(outside).join("deep/file")), STRANGER, "{outside}");
    }
    // Claude has to write to its own folder.
    assert_eq!(owner(&testbox.path("claude-files")), (1234, 2345));
    assert_eq!(owner(&testbox.path("cache")), (0, 0));
    assert_eq!(owner(&home.join("project/named/file")), (0, 0));
    for path in ["project", "project/wrong", ""] {
        assert_eq!(owner(&home.join(path)), (1234, 2345), "{path}");
    }
}

#[test]
fn a_workspace_that_holds_the_home_is_not_walked() {
    let Some(testbox) = TestBox::new() else { return };
    let home = testbox.path("home");
    give(&home, (1234, 0));
    fs::write(home.join("file"), "").unwrap();
    testbox.main_child(WHO).env("CLAUDEBOX_WORKSPACE", home.to_str().unwrap()).start().finish().exits(0);
    assert_eq!((owner(&home), owner(&home.join("file"))), ((1234, 0), (0, 0)));
    assert_eq!(owner(&home.join("written")), (1234, UID));
}

/// The engine makes the folders that lead to a mount point, as root.
#[test]
fn folders_on_the_way_to_a_mount_point_are_given_and_what_is_in_them_is_not() {
    let Some(testbox) = TestBox::new() else { return };
    let home = testbox.path("home");
    fs::create_dir_all(home.join(".config/tool/data")).unwrap();
    fs::write(home.join(".config/beside"), "").unwrap();
    fs::create_dir(testbox.path("data")).unwrap();
    fs::write(testbox.path("data/file"), "").unwrap();
    let mount = r#"mount --bind "$BOX/data" "$BOX/home/.config/tool/data""#;
    testbox.main_child(WHO).before(mount).start().finish().exits(0);
    for path in [".config", ".config/tool"] {
        assert_eq!(owner(&home.join(path)), (UID, UID), "{path}");
    }
    for path in [home.join(".config/beside"), testbox.path("data"), testbox.path("data/file")] {
        assert_eq!(owner(&path), (0, 0), "{}", path.display());
    }
}

/// The group is found by its id; the group `docker` gets the id only if no other has it.
#[rstest]
#[case::nobodys(4242, "docker:x:4242:claude")]
#[case::another_groups(50, "staff:x:50:claude")]
fn the_docker_sockets_group_is_joined(#[case] gid: u32, #[case] line: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let script = "#!/bin/sh\nid -G\n[ -w /var/run/docker.sock ] && echo writable\n";
    let finished = testbox.main_child(script).before(&crate::stubs::docker_socket(gid)).start().finish().exits(0);
    let (groups, writable) = finished.out.split_once('\n').unwrap();
    assert!(groups.split(' ').any(|group| group == gid.to_string()), "{groups}");
    assert_eq!(writable, "writable\n");
    assert!(lines(&testbox, "group").iter().any(|found| found == line), "{:?}", lines(&testbox, "group"));
}

/// Root without the capability to enter others' folders: what it could not give is said, and tried again.
#[test]
fn a_home_that_cannot_be_given_whole_is_told_and_tried_again() {
    let Some(testbox) = TestBox::new() else { return };
    let (home, closed) = (testbox.path("home"), testbox.path("home/closed"));
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("file"), "").unwrap();
    for path in [&home, &closed, &closed.join("file")] {
        give(path, STRANGER);
    }
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let start = |dropped: &str| {
        let launch = testbox.main_child("#!/bin/sh\necho >$HOME/mine && echo main child\n");
        launch.tail(&format!(r#"exec setpriv --bounding-set {dropped} "$@""#)).start().finish().exits(0)
    };
    let without = "-dac_override,-dac_read_search";
    for _ in 0..2 {
        let finished = start(without);
        assert_eq!(finished.out, "main child\n", "{}", finished.err);
        let told = format!("1 files or folders cannot be given to {UID}:{UID}, the first is {} (", closed.display());
        if owner(&closed) == (UID, UID) {
            // Its own folder was given, what is in it was not.
            assert_eq!(owner(&closed.join("file")), STRANGER);
        }
        assert!(finished.err.contains(&told), "{}", finished.err);
    }
    let finished = start("+all");
    assert_eq!((finished.err, owner(&closed.join("file"))), (String::new(), (UID, UID)));
    assert_eq!(owner(&home), (UID, UID));
}
