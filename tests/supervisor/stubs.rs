//! Main children for more than one test.

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
