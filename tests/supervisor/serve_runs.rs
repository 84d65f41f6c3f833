//! Ending what belongs to a run, as root: when `serve` asks for it, and when `serve` has died. Checklist 27.

use rstest::rstest;

use crate::stubs::{DOCKERS, hook, ready, serve_of, servers, servers_with};
use crate::support::process::Process;
use crate::support::{Running, TestBox, UID};

/// Commands of a hook that leave daemons behind: `sleep NUMBER` each, with the cookie of a run or none.
fn daemons(all: &[(u32, &str, &str)]) -> String {
    let lines = all.iter().map(|(seconds, user, cookie)| {
        let become_user = match *user {
            "root" => String::new(),
            id => format!("setpriv --reuid {id} --regid {id} --clear-groups "),
        };
        let cookie = if cookie.is_empty() { String::new() } else { format!("CLAUDEBOX_RUN_ID={cookie} ") };
        format!("{cookie}setsid {become_user}sleep {seconds} </dev/null >/dev/null 2>&1 &\n")
    });
    format!("#!/bin/sh\n{}", lines.collect::<String>())
}

fn is_there(processes: &[Process], seconds: u32) -> bool {
    let command = ["sleep".to_owned(), seconds.to_string()];
    processes.iter().any(|process| process.state != 'Z' && process.command() == command)
}

fn with_capabilities(more: &str) -> String {
    format!(r#"exec setpriv --bounding-set {DOCKERS}{more} "$@""#)
}

fn all_there(running: &mut Running, all: &[u32]) {
    running.until("all daemons are there", |processes| all.iter().all(|&seconds| is_there(processes, seconds)));
}

/// With Docker's capabilities root may not look at other users' processes, and PID 1 gave most of them up.
#[rstest]
#[case::all_capabilities(r#"exec "$@""#)]
#[case::dockers_capabilities(&with_capabilities(""))]
#[case::no_kill(&with_capabilities(",-kill"))]
fn what_runs_have_left_ends_with_serve_and_nothing_else_does(#[case] tail: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let user = UID.to_string();
    let left = [(2001, "root", "r1"), (2002, user.as_str(), "r2"), (2003, "root", ""), (2004, user.as_str(), "")];
    hook(&testbox, "1.sh", &daemons(&left));
    let mut running = servers(&testbox).tail(tail).start();
    running.until("serve is ready", ready);
    all_there(&mut running, &[2001, 2002, 2003, 2004]);
    let serve = serve_of(&running.processes()).unwrap().pid;
    claudebox::sys::kill(serve, libc::SIGKILL).unwrap();
    running.until("another is ready", |all| ready(all) && serve_of(all).is_some_and(|new| new.pid != serve));
    let processes = running.processes();
    assert_eq!([2001, 2002, 2003, 2004].map(|seconds| is_there(&processes, seconds)), [false, false, true, true]);
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(0);
    assert!(finished.err.contains("2 processes that runs had left were ended\n"), "{}", finished.err);
}

/// A process that has no parent in its run, no cookie, and a mark that it changed with `ulimit -x`: `sleep NUMBER`.
fn stray(seconds: u32, limit: &str) -> String {
    format!(
        "env -i setsid prlimit --locks={limit}:{limit} setpriv --reuid {UID} --regid {UID} --clear-groups sleep {seconds} \
         </dev/null >/dev/null 2>&1 &\n"
    )
}

/// Nobody can put the limit up again, so a lower one than PID 1's is a run's.
#[test]
fn a_process_that_changed_its_mark_ends_with_serve() {
    let Some(testbox) = TestBox::new() else { return };
    let strays = format!("{}{}", stray(2011, "0"), stray(2012, "7161677110969590627"));
    hook(&testbox, "1.sh", &format!("{}{strays}", daemons(&[(2013, "root", "")])));
    let mut running = servers(&testbox).start();
    running.until("serve is ready", ready);
    all_there(&mut running, &[2011, 2012, 2013]);
    let serve = serve_of(&running.processes()).unwrap().pid;
    claudebox::sys::kill(serve, libc::SIGKILL).unwrap();
    running.until("another is ready", |all| ready(all) && serve_of(all).is_some_and(|new| new.pid != serve));
    let processes = running.processes();
    assert_eq!([2011, 2012, 2013].map(|seconds| is_there(&processes, seconds)), [false, false, true]);
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

/// And with any run, unless it is below a worker that is at work.
#[test]
fn a_process_that_changed_its_mark_ends_with_the_next_run() {
    let Some(testbox) = TestBox::new() else { return };
    hook(&testbox, "1.sh", &format!("#!/bin/sh\n{}", stray(2011, "0")));
    let serve = format!(
        r"{SLEEPER}{ASKS}
$SIG{{TERM}} = sub {{ exit 0 }};
select(undef, undef, undef, 0.01) until sleeper(2011) && sleeper(2005);
system('prlimit', '--pid', $_, '--locks=5:5') == 0 or die for ($worker, sleeper(2005));
ask('end r9');
sleep 1 while 1;
"
    );
    let mut running = servers_with(&testbox, &serve).start();
    running.expect("up\n");
    running.expect("ended r9 1\n");
    let processes = running.processes();
    assert_eq!([2011, 2005].map(|seconds| is_there(&processes, seconds)), [false, true]);
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
}

/// What `docker exec` starts is no child of PID 1, and may be a run of its own.
#[test]
fn what_docker_exec_started_outlives_serve() {
    let Some(testbox) = TestBox::new() else { return };
    let mut running = servers(&testbox).start();
    running.until("serve is ready", ready);
    let mut exec = std::process::Command::new("nsenter");
    exec.args(["--target", &running.pid1().to_string(), "--pid", "--mount", "sleep", "2005"]);
    let mut exec = exec.env("CLAUDEBOX_RUN_ID", "r1").spawn().unwrap();
    all_there(&mut running, &[2005]);
    let serve = serve_of(&running.processes()).unwrap().pid;
    claudebox::sys::kill(serve, libc::SIGKILL).unwrap();
    running.until("another is ready", |all| ready(all) && serve_of(all).is_some_and(|new| new.pid != serve));
    assert!(is_there(&running.processes(), 2005));
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
    exec.wait().unwrap();
}

/// The process `sleep NUMBER`, if it is there.
const SLEEPER: &str = r#"
sub sleeper {
    for my $folder (glob '/proc/[0-9]*') {
        open(my $file, '<', "$folder/cmdline") or next;
        return $folder =~ s,/proc/,,r if (<$file> // '') eq "sleep\0$_[0]\0";
    }
}
"#;

/// Has a worker with a tool, and asks for the end of the run. `ask` says what and prints the answer.
const ASKS: &str = r#"
sub ask { syswrite($link, $_[0]); sysread($link, my $answer, 128); print "$answer\n" }
pipe(my $there, my $is_there);
my $worker = fork;
if (!$worker) {
    $ENV{CLAUDEBOX_RUN_ID} = 'r1';
    # Not for its tool: that belongs to the run by its parent alone.
    if (!fork) { delete $ENV{CLAUDEBOX_RUN_ID}; exec 'sleep', '2005' }
    syswrite($is_there, '.');
    exec 'perl', '-e', 'sleep 1 while 1';
}
sysread($there, my $nothing, 1);
print "up\n";
"#;

#[rstest]
#[case::all_capabilities(r#"exec "$@""#)]
#[case::dockers_capabilities(&with_capabilities(",+sys_admin"))]
fn the_end_of_a_run_is_that_of_its_escapees_too(#[case] tail: &str) {
    let Some(testbox) = TestBox::new() else { return };
    let user = UID.to_string();
    let left = [(2001, "root", "r1"), (2002, user.as_str(), "r1"), (2003, "root", "r12"), (2004, "root", "")];
    hook(&testbox, "1.sh", &daemons(&left));
    let go = testbox.path("work/go");
    let serve = format!(
        r#"{SLEEPER}{ASKS}
$SIG{{TERM}} = sub {{ exit 0 }};
select(undef, undef, undef, 0.01) until -e '{}';
ask("end r1 $worker"); ask("end r1 $worker");
# No child of serve's.
ask('end r3 ' . sleeper(2004));
syswrite($link, $_) for ('nonsense', 'end', 'end / 1', 'stop', 'x' x 500);
ask('end r12');
waitpid($worker, WNOHANG) == 0 or die; print "the worker lives\n";
ask('end r1');
sleep 1 while 1;
"#,
        go.display()
    );
    let mut running = servers_with(&testbox, &serve).tail(tail).start();
    running.expect("up\n");
    all_there(&mut running, &[2001, 2002, 2003, 2004, 2005]);
    std::fs::write(go, "").unwrap();
    running.expect("ended r1 3\nended r1 0\nended r3 0\nended r12 1\nthe worker lives\nended r1 1\n");
    let processes = running.processes();
    let left = [2001, 2002, 2003, 2004, 2005].map(|seconds| is_there(&processes, seconds));
    assert_eq!(left, [false, false, false, true, false]);
    running.signal(libc::SIGTERM);
    let finished = running.finish().exits(0);
    assert_eq!(finished.err.matches("is no message").count(), 4, "{}", finished.err);
    assert_eq!(finished.err.matches("which is not its to say").count(), 1, "{}", finished.err);
}

/// More runs than are ended at the same time. One has left a process that ignores TERM and does not carry its cookie, and
/// whose parent, which does, ends first.
#[test]
fn many_ends_are_all_answered() {
    let Some(testbox) = TestBox::new() else { return };
    let stubborn = r#"#!/bin/sh
CLAUDEBOX_RUN_ID=r7 setsid sh -c '(trap "" TERM; exec env -u CLAUDEBOX_RUN_ID sleep 2007) & wait' </dev/null >/dev/null 2>&1 &
"#;
    hook(&testbox, "1.sh", stubborn);
    let serve = r#"my %ended; print "up\n";
select(undef, undef, undef, 0.01) until sleeper(2007);
syswrite($link, "end r$_") for (1 .. 30);
while (keys %ended < 30) { sysread($link, my $answer, 128); $answer =~ /^ended (r\d+) (\d+)$/ or die $answer; $ended{$1} = $2 }
print "r7: $ended{r7}, r8: $ended{r8}\n";
sleep 1 while 1;
"#;
    let mut running = servers_with(&testbox, &format!("{SLEEPER}{serve}")).start();
    running.expect("up\n");
    running.expect("r7: 2, r8: 0\n");
    assert!(!is_there(&running.processes(), 2007));
    running.signal(libc::SIGTERM);
    running.finish().exits(128 + libc::SIGTERM);
}
