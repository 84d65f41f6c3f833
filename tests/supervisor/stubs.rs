//! Main children, and boxes with servers, for more than one test.

use crate::support::process::Process;
use crate::support::{Launch, TestBox, UID};

/// Says which signals it gets, one `got NAME` a line, after a first line `ready`. It catches `signals` (perl's names,
/// separated by blanks) and no others. `setup` is perl that runs before, with all signals blocked.
pub(crate) fn listener(signals: &str, setup: &str) -> String {
    format!(
        r#"#!/usr/bin/perl
use strict; use POSIX; $| = 1;
my $all = POSIX::SigSet->new; $all->fillset;
sigprocmask(SIG_SETMASK, $all);
{setup}
for my $name (qw({signals})) {{ $SIG{{$name}} = sub {{ print "got $_[0]\n" }} }}
print "ready\n";
sigsuspend(POSIX::SigSet->new) while 1;
"#
    )
}

/// A CLI that answers every prompt with `done`. What the shell commands `before` print goes to the file `note` in the
/// workspace: what a CLI says on standard error is shown only when it fails.
pub(crate) fn cli(before: &str) -> String {
    format!(
        r#"#!/bin/bash
[ -t 0 ] || cat >/dev/null
{{ {before}
}} >>note
echo '{{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"s"}}'
"#
    )
}

/// A main child that says who it is, and writes to its workspace and its home.
pub(crate) const WHO: &str = r#"#!/bin/sh
groups=$(id -G | tr ' ' '\n' | sort -n | tr '\n' ' ')
echo "$(id -un) $(id -u):$(id -g) ${groups% }"
echo >written && echo >"$HOME/mine"
"#;

/// Shell commands for a Docker socket of group `gid`, with nobody behind it.
pub(crate) fn docker_socket(gid: u32) -> String {
    format!(
        r"perl -e 'use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un(shift)) or die' /var/run/docker.sock
chgrp {gid} /var/run/docker.sock
chmod 660 /var/run/docker.sock"
    )
}

/// Docker's default capabilities, for `setpriv --bounding-set`. What root starts then has these and no others.
pub(crate) const DOCKERS: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,\
     +net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// Writes an init hook.
pub(crate) fn hook(testbox: &TestBox, name: &str, text: &str) {
    let folder = testbox.path("home/.claude/init.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::chown(testbox.path("home/.claude"), Some(UID), Some(UID)).unwrap();
    testbox.script(&format!("home/.claude/init.d/{name}"), text);
}

/// A box with servers.
pub(crate) fn servers(testbox: &TestBox) -> Launch<'_> {
    let launch = testbox.claudebox(&["init", "--"]).env("CLAUDEBOX_MODE_API", "1");
    let launch = launch.env("CLAUDEBOX_WORKSPACES_DIR", testbox.path("workspaces").to_str().unwrap());
    // What they say is compared as it is.
    let launch = launch.env("CLAUDEBOX_LOG_TIME", "never");
    // One workspace has no meaning for them.
    launch.env("CLAUDEBOX_WORKSPACE", "/no/such/folder")
}

/// What a `serve` of such a box says while it comes up, all of it before it is ready.
pub(crate) const SERVE_UP: &str = "claudebox: warning: the HTTP door on 0.0.0.0:8080 is open: whoever reaches that address \
     can run commands in this box. Set CLAUDEBOX_MODE_API_TOKEN or CLAUDEBOX_MODE_API_TOKENS_FILE, or bind it to loopback \
     with CLAUDEBOX_MODE_API_BIND=127.0.0.1\nclaudebox: the HTTP API listens on 0.0.0.0:8080\n";
/// And what it says when it is stopped.
pub(crate) const SERVE_DOWN: &str = "claudebox: stopping: the doors are closed, runs are ended\n";

/// A box whose `serve` is this perl script; `$link` is its link and `$restarts` says how often it was started before.
///
/// A hook mounts the script over the box's claudebox, which goes on as the program of every other role. That takes
/// `CAP_SYS_ADMIN` of the box.
pub(crate) fn servers_with<'testbox>(testbox: &'testbox TestBox, serve: &str) -> Launch<'testbox> {
    let head =
        "use strict; use POSIX; $| = 1;\nopen(my $link, '+<&=', 0) or die; my $restarts = $ENV{CLAUDEBOX_RESTARTS};";
    std::fs::write(testbox.path("serve.pl"), format!("{head}\n{serve}")).unwrap();
    std::fs::hard_link(testbox.program(), testbox.path("real")).unwrap();
    let folder = testbox.path("");
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    let play = format!("#!/bin/sh\n[ \"$1\" != serve ] || exec perl {folder}/serve.pl\nexec {folder}/real \"$@\"\n");
    testbox.script("play", &play);
    hook(testbox, "0.sh", &format!("#!/bin/sh\nexec mount --bind {folder}/play {folder}/claudebox\n"));
    servers(testbox)
}

/// Whether the box's servers are ready.
pub(crate) fn ready(processes: &[Process]) -> bool {
    processes.iter().any(|process| process.name == "claudebox ready")
}

/// The box's `serve`.
pub(crate) fn serve_of(processes: &[Process]) -> Option<&Process> {
    processes
        .iter()
        .find(|process| process.state != 'Z' && process.command().last().is_some_and(|last| last == "serve"))
}
