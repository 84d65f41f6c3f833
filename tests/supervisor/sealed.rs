//! What a hijacked agent can do to those who look after it: in a box that root has booted, nothing.

use std::fs;
use std::os::unix::fs::chown;

use crate::local::{launch, make_workspace, run, says};
use crate::stubs::ready;
use crate::support::{TestBox, UID};

/// Each way that works writes its name into the file `won`. Signal 0 changes nothing, and is refused as any other.
const ATTACKS: &str = r#"
won() { echo "$1" >>won; }
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    # Killed ones go, and this shell and what it starts are no aim.
    read -r name 2>/dev/null <"$process/comm" || continue
    case $name in claudebox*) ;; *) continue ;; esac
    kill -0 "$pid" 2>/dev/null && won "signal"
    [ -z "$(tr -d '\0' 2>/dev/null <"$process/environ")" ] || won "environment"
    ls "$process/fd/" 2>/dev/null | grep -q . && won "descriptors"
    head -c 1 "$process/maps" 2>/dev/null | grep -q . && won "memory"
    (: >"$process/fd/1") 2>/dev/null && won "output"
    prlimit --pid "$pid" --core=0:0 2>/dev/null && won "limits"
    chrt --other --pid 0 "$pid" 2>/dev/null && won "scheduling"
done
for state in /var/lib/claudebox/boxes/default "$HOME/.claude/claudebox/default"; do
    ls "$state" 2>/dev/null | grep -q runs && won "state"
    [ -r "$state/runs.sqlite3" ] && won "ledger"
    mv "$state" "$state.old" 2>/dev/null && ls "$state.old" | grep -q runs && won "place of the state"
    perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(Peer => $ARGV[0])' "$state/serve.sock" && won "socket"
done
true
"#;

/// What of them works, in the order of the alphabet.
fn won(tail: &str) -> Option<Vec<String>> {
    let testbox = TestBox::new()?;
    // Without root nobody makes it.
    fs::create_dir(testbox.path("workspaces")).unwrap();
    chown(testbox.path("workspaces"), Some(UID), Some(UID)).unwrap();
    let mut running = launch(&testbox).tail(tail).start();
    running.until("serve is ready", ready);
    make_workspace(&testbox, "a");
    let said = says(&run(&running, &testbox, &[ATTACKS]).output().unwrap());
    assert_eq!((said.0, said.1.as_str()), (Some(0), "done\n"), "{said:?}");
    let won = fs::read_to_string(testbox.path("workspaces/a/won")).unwrap_or_default();
    let mut won: Vec<String> = won.lines().map(str::to_owned).collect();
    won.sort();
    won.dedup();
    running.signal(libc::SIGTERM);
    running.finish().exits(0);
    Some(won)
}

#[test]
fn an_agent_cannot_touch_what_looks_after_it() {
    let Some(won) = won(r#"exec "$@""#) else { return };
    assert_eq!(won, [""; 0]);
}

/// Without root they are one user. docs/security.md says so.
#[test]
fn without_root_it_can() {
    let tail = format!(r#"exec setpriv --reuid {UID} --regid {UID} --clear-groups "$@""#);
    let Some(won) = won(&tail) else { return };
    for way in ["signal", "state", "ledger", "place of the state"] {
        assert!(won.iter().any(|name| name == way), "{way}: {won:?}");
    }
}
