//! The walls around the CLI: what what it starts cannot do behind them, and can without; and that nothing the CLI is for is lost.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use rstest::rstest;
use serde_json::Value;

use crate::local::{launch, make_workspace, run, run_by, says};
use crate::real_cli::{answer, claude};
use crate::stubs::{cli, ready};
use crate::support::{Launch, TestBox, UID};

/// Each way that works writes its name into the file `won`.
const FILES: &str = r#"
won() { echo "$1" >>won; }
claude=$HOME/.claude
for file in settings.json .claude.json CLAUDE.md init.d/x.sh bin/git skills/x.md plugins/x shell-snapshots/x; do
    (: >>"$claude/$file") 2>/dev/null && won "write $file"
done
for file in .profile .bashrc .gitconfig; do (: >>"$HOME/$file") 2>/dev/null && won "write $file"; done
mv "$claude/init.d" "$claude/moved" 2>/dev/null && won "move init.d"
ln "$claude/settings.json" linked 2>/dev/null && won "link"
cat ../b/secret >/dev/null 2>&1 && won "read the neighbour"
(: >../b/written) 2>/dev/null && won "write the neighbour"
ls .. >/dev/null 2>&1 && won "list the neighbours"
ln -s ../b b 2>/dev/null; cat b/secret >/dev/null 2>&1 && won "read the neighbour by a link"
cat "$claude/projects/-w-b/session.jsonl" >/dev/null 2>&1 && won "read the neighbour's session"
cat /etc/claudebox/tokens.yml >/dev/null 2>&1 && won "read the policy"
ls /var/lib/claudebox/boxes >/dev/null 2>&1 && won "list the state"
cat "$claude/claudebox/other/note" >/dev/null 2>&1 && won "read another box's notes"
(: >/tmp/written) 2>/dev/null && won "write /tmp"
"#;

const PROCESSES: &str = r#"
neighbour=$(pgrep -x sleep)
kill -0 "$neighbour" 2>/dev/null && won "signal the neighbour"
tr '\0' '\n' <"/proc/$neighbour/environ" 2>/dev/null | grep -q . && won "read the neighbour's environment"
perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(Peer => "\0outside")' && won "abstract socket"
perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(8080, inet_aton("127.0.0.2"))); exit !$!{EACCES}' || won "ask for the door's port"
"#;

const CALLS: &str = r#"
unshare --user true 2>/dev/null && won "unshare"
unshare --user --fork --pid true 2>/dev/null && won "unshare with a process"
strace -o trace true 2>/dev/null && won "ptrace"
perl -MSocket -e 'exit !socket(S, PF_INET, SOCK_DGRAM, 0)' && won "UDP"
perl -MSocket -e 'exit !socket(S, PF_INET6, SOCK_DGRAM, 0)' && won "UDP 6"
perl -MSocket -e 'exit !socket(S, 40, SOCK_STREAM, 0)' && won "vsock"
true
"#;

/// What a run is for.
const WORK: &str = r#"
can() { echo "$1" >>can; }
echo a >file && mkdir -p deep/er && mv file deep/er/ && can "write the workspace"
echo a >"$TMPDIR/x" && cp "$TMPDIR/x" . && can "write temporary files"
[ "$(stat -c %a "$TMPDIR")" = 700 ] && file=$(mktemp) && rm "$file" && can "mktemp"
echo a >/dev/null && head -c 1 /dev/zero >/dev/null && can "devices"
git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m a && can "git"
perl -MSocket -e 'exit !(socket(S, PF_INET, SOCK_STREAM, 0) && bind(S, sockaddr_in(3000, INADDR_LOOPBACK)) && listen(S, 1))' && can "listen"
perl -MSocket -e 'exit !(socket(S, PF_INET, SOCK_STREAM, 0) && bind(S, sockaddr_in(0, INADDR_LOOPBACK)))' && can "listen anywhere"
perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new("127.0.0.1:8080")' && can "connect"
perl -e 'kill 0, $$ or exit 1; my $child = fork // exit 1; if (!$child) { sleep 100; exit } exit !kill TERM => $child' && can "signal its own"
echo 'echo $((6 * 7))' >script && [ "$(bash script)" = 42 ] && can "run scripts"
"#;

/// The boxes of the tests: with everything, and each with one wall.
fn attack(settings: &[(&str, &str)]) -> Option<(TestBox, Vec<String>)> {
    let testbox = TestBox::new()?;
    fs::create_dir(testbox.path("workspaces")).unwrap();
    chown(testbox.path("workspaces"), Some(UID), Some(UID)).unwrap();
    furnish(&testbox);
    let outside = r"perl -MIO::Socket::UNIX -e 'our $door = IO::Socket::UNIX->new(Local => chr(0) . q(outside), Listen => 9) or die; sleep' &";
    let launch = set(launch(&testbox), settings).before(outside);
    let mut running = launch.start();
    running.until("serve is ready", ready);
    for name in ["a", "b"] {
        make_workspace(&testbox, name);
    }
    write(&testbox, "workspaces/b/secret", "");
    let mut neighbour = run_by(&running, &testbox, r#"cd ../b && exec "$@""#, &["exec sleep 4242"]).spawn().unwrap();
    running.until("the neighbour works", |all| all.iter().any(|process| process.command() == ["sleep", "4242"]));
    let attacks = [FILES, PROCESSES, CALLS, WORK].concat();
    let said = says(&run(&running, &testbox, &[&attacks]).output().unwrap());
    assert_eq!((said.0, said.1.as_str()), (Some(0), "done\n"), "{said:?}");
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
    neighbour.wait().unwrap();
    let mut won = lines(&testbox.path("workspaces/a/won"));
    won.sort();
    Some((testbox, won))
}

fn set<'testbox>(launch: Launch<'testbox>, settings: &[(&str, &str)]) -> Launch<'testbox> {
    settings.iter().fold(launch, |launch, (name, value)| launch.env(&format!("CLAUDEBOX_{name}"), value))
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Writes a file of Claude's user.
fn write(testbox: &TestBox, name: &str, text: &str) {
    let path = testbox.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    for path in path.ancestors().take_while(|path| *path != testbox.path("")) {
        chown(path, Some(UID), Some(UID)).unwrap();
    }
}

/// What an older box, and a person, have left.
fn furnish(testbox: &TestBox) {
    for name in [
        ".profile",
        ".bashrc",
        ".gitconfig",
        ".claude/init.d/1.sh",
        ".claude/bin/tool",
        ".claude/skills/one.md",
        ".claude/plugins/one",
        ".claude/shell-snapshots/one",
        ".claude/projects/-w-b/session.jsonl",
        ".claude/claudebox/other/note",
    ] {
        write(testbox, &format!("home/{name}"), "");
    }
    write(testbox, "home/.claude/settings.json", "{}");
    fs::create_dir_all(testbox.path("etc/claudebox")).unwrap();
    fs::write(
        testbox.path("etc/claudebox/tokens.yml"),
        "- name: ci\n  sha256: 4dd6e1fcf118af4af362b47ba13a0d2451ac42054705d7b9e10fe38268c36e43\n",
    )
    .unwrap();
}

const ALL_WORK: [&str; 10] = [
    "write the workspace",
    "write temporary files",
    "mktemp",
    "devices",
    "git",
    "listen",
    "listen anywhere",
    "connect",
    "signal its own",
    "run scripts",
];

#[test]
fn behind_both_walls_no_attack_works_and_everything_else_does() {
    for settings in [&[("HARDENED", "1")][..], &[("LANDLOCK", "1"), ("SECCOMP", "1")]] {
        let Some((testbox, won)) = attack(settings) else { return };
        assert_eq!(won, [""; 0], "{settings:?}");
        // A hardened box has one way out, and that is not the door's port.
        let hardened = settings.contains(&("HARDENED", "1"));
        let work: Vec<&str> = ALL_WORK.into_iter().filter(|way| !hardened || *way != "connect").collect();
        assert_eq!(lines(&testbox.path("workspaces/a/can")), work, "{settings:?}");
    }
}

/// Each wall keeps out what it is there for, and no more.
#[test]
fn without_a_wall_its_attacks_work() {
    const FILTERED: [&str; 5] = ["UDP", "UDP 6", "ptrace", "unshare", "unshare with a process"];
    let Some((_, won)) = attack(&[("LANDLOCK", "1")]) else { return };
    // Whether there are sockets of virtual machines is the machine's business.
    let won: Vec<String> = won.into_iter().filter(|way| way != "vsock").collect();
    assert_eq!(won, FILTERED);
    let (_, fenced) = attack(&[("HARDENED", "1"), ("LANDLOCK", "0")]).unwrap();
    assert!(fenced.iter().all(|way| !FILTERED.contains(&way.as_str())), "{fenced:?}");
    for way in [
        "write settings.json",
        "write init.d/x.sh",
        "write .profile",
        "read the neighbour",
        "read the neighbour's session",
        "read the policy",
        "signal the neighbour",
        "read the neighbour's environment",
        "abstract socket",
        "ask for the door's port",
        "write /tmp",
    ] {
        assert!(fenced.iter().any(|won| won == way), "{way}: {fenced:?}");
    }
}

/// A prompt without servers, the terminal, and the CLI's own commands.
#[rstest]
#[case::utility(&["init", "--", "auth"], false)]
#[case::prompt(&["init", "--", "hello", "there"], false)]
#[case::interactive(&["init"], true)]
fn every_way_to_the_cli_is_walled(#[case] args: &[&str], #[case] terminal: bool) {
    for (hardened, expected) in [("1", ""), ("0", "policy\nUDP\n")] {
        let Some(testbox) = TestBox::new() else { return };
        furnish(&testbox);
        let tries = r"cat /etc/claudebox/tokens.yml >/dev/null 2>&1 && echo policy
perl -MSocket -e 'exit !socket(S, PF_INET, SOCK_DGRAM, 0)' && echo UDP";
        let path = testbox.script("cli", &cli(tries));
        let launch = testbox.claudebox(args).env("CLAUDEBOX_CLAUDE_BIN", &path).env("CLAUDEBOX_HARDENED", hardened);
        let launch = if terminal { launch.on_terminal() } else { launch };
        launch.start().finish().exits(0);
        assert_eq!(testbox.note(), expected);
    }
}

#[test]
fn temporary_files_go_with_their_run() {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli(r#"echo a >"$TMPDIR/a"; echo "$TMPDIR""#));
    let launch = testbox.claudebox(&["init", "--", "hello"]).env("CLAUDEBOX_CLAUDE_BIN", &path);
    launch.env("CLAUDEBOX_LANDLOCK", "1").start().finish().exits(0);
    let folder = testbox.note();
    assert!(folder.starts_with("/tmp/claudebox-run."), "{folder}");
    assert!(!Path::new(folder.trim_end()).exists());
}

#[rstest]
#[case("LANDLOCK", "CLAUDEBOX_LANDLOCK is off in a hardened box: users and modes of files alone decide")]
#[case("SECCOMP", "CLAUDEBOX_SECCOMP is off in a hardened box: the container engine's filter")]
fn a_hardened_box_says_which_wall_it_goes_without(#[case] wall: &str, #[case] said: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let settings = [("HARDENED", "1"), (wall, "0")];
    let finished = set(testbox.main_child("#!/bin/sh\n"), &settings).start().finish().exits(0);
    assert_eq!(finished.err.lines().filter(|line| line.contains(said)).count(), 1, "{}", finished.err);
}

/// What is in the workspace can be written there.
#[test]
fn a_hardened_box_does_not_work_in_the_home_of_its_settings() {
    let Some(testbox) = TestBox::new() else { return };
    let path = testbox.script("cli", &cli("echo started"));
    let launch = testbox.claudebox(&["init", "--", "hello"]).env("CLAUDEBOX_CLAUDE_BIN", &path);
    let home = testbox.path("home");
    let launch = launch.env("CLAUDEBOX_WORKSPACE", home.to_str().unwrap()).env("CLAUDEBOX_HARDENED", "1");
    let finished = launch.start().finish().exits(78);
    let why = "CLAUDEBOX_HARDENED is on and the workspace ";
    assert!(finished.err.contains(why) && !home.join("note").exists(), "{}", finished.err);
}

/// Names are looked up over TCP.
#[test]
fn names_are_resolved_without_udp() {
    let Some(testbox) = TestBox::new() else { return };
    let server = r#"
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
perl -MIO::Socket::INET -e '
    my $door = IO::Socket::INET->new(LocalAddr => "127.0.0.1:53", Listen => 9) or die;
    while (my $who = $door->accept) {
        while (read($who, my $size, 2) == 2) {
            read($who, my $ask, unpack "n", $size);
            my ($id, $question) = (substr($ask, 0, 2), substr($ask, 12));
            my ($type) = unpack "n", substr($question, index($question, "\0") + 1, 2);
            $question = substr $question, 0, index($question, "\0") + 5;
            my $answer = $type == 1 ? pack("nnnNnC4", 0xc00c, 1, 1, 60, 4, 192, 0, 2, 7) : "";
            my $all = $id . pack("n5", 0x8180, 1, $answer ? 1 : 0, 0, 0) . $question . $answer;
            print $who pack("n", length $all), $all; $who->flush;
        }
    }' &
"#;
    let path = testbox.script("cli", &cli("getent hosts name.test | cut -d' ' -f1"));
    let launch = testbox.claudebox(&["init", "--", "hello"]).env("CLAUDEBOX_CLAUDE_BIN", &path).before(server);
    launch.env("CLAUDEBOX_SECCOMP", "1").start().finish().exits(0);
    assert_eq!(testbox.note(), "192.0.2.7\n");
}

#[test]
fn the_real_cli_works_behind_both_walls() {
    let Some(testbox) = TestBox::new() else { return };
    furnish(&testbox);
    write(&testbox, "home/.claude/.claude.json", "{}");
    let before = fs::read_to_string(testbox.path("home/.claude/settings.json")).unwrap();
    let walled = |args: &[&str]| -> Option<(Value, String)> {
        let args: Vec<&str> = args.iter().chain(&["--output-format", "json-verbose"]).copied().collect();
        let finished = claude(&testbox, &args)?.env("CLAUDEBOX_HARDENED", "1").start().finish().exits(0);
        Some((serde_json::from_str(&finished.out).unwrap(), finished.err))
    };
    let tool = r#"offline:tool set -e; echo a >file; git init -q .; git add file; git -c user.name=a -c user.email=a@b commit -qm a
git log --oneline | wc -l; node -e 'require("fs").writeFileSync("node", "1")'
echo '{"scripts":{"x":"echo npm works"}}' >package.json; npm run --silent x; perl -e 'print "perl works\n"'
! echo x >>~/.claude/settings.json; ! unshare --user true"#;
    let Some((first, _)) = walled(&[tool]) else { return };
    let text = first["result"].as_str().unwrap();
    assert!(text.contains("npm works") && text.contains("perl works"), "{first}");
    assert!(testbox.path("work/node").exists(), "{first}");
    let (second, _) = walled(&["offline:echo two"]).unwrap();
    assert_eq!(second["sessionId"], first["sessionId"]);
    let (agent, _) = walled(&["offline:agent hello"]).unwrap();
    assert!(agent["result"].as_str().unwrap().contains("hello"), "{agent}");
    assert_eq!(fs::read_to_string(testbox.path("home/.claude/settings.json")).unwrap(), before);
    // The next one without walls goes on with it.
    let (third, _) = answer(&testbox, &["offline:echo three"], 0).unwrap();
    assert_eq!(third["sessionId"], first["sessionId"]);
}

#[test]
fn the_real_clis_terminal_works_behind_both_walls() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = claude(&testbox, &[]) else { return };
    let mut running = launch.env("CLAUDEBOX_HARDENED", "1").on_terminal().start();
    running.expect("bypass");
    running.write("offline:echo interactive\r");
    running.expect("model]");
    running.signal(libc::SIGTERM);
    running.finish().exits(143);
}
