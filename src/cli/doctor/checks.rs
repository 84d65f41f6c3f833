//! What the doctor looks at.

use std::fmt::Write as _;
use std::fs;
use std::net::ToSocketAddrs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::geteuid;

use super::super::cron;
use super::probe::{self, Seen};
use super::report::Check;
use crate::boot::{self, Booted, WorkingFolder, engines, remap};
use crate::claude::PINNED_VERSION;
use crate::claude::binary::{BinaryError, CliSource};
use crate::claude::store::version::Version;
use crate::claude::store::{CliStore, Unfit};
use crate::config::environment::Environment;
use crate::config::error::ConfigError;
use crate::config::mode::Mode;
use crate::config::server::ServerConfig;
use crate::config::{Config, name, spelling, unknown};
use crate::init::broker;
use crate::policy::{self, hold};
use crate::process::spawn::own_executable;

const API_HOST: &str = "api.anthropic.com";
/// A resolver that has not answered by then is dead for practical purposes.
const DNS_PATIENCE: Duration = Duration::from_secs(5);
/// Less than this is too little for a session and what its tools write.
const LEAST_FREE_BYTES: u64 = 500 << 20;

/// Every check, as far as one can be made without the one before.
pub(super) fn all(config: &Config, servers: Option<&ServerConfig>, env: &impl Environment) -> Vec<Check> {
    let unknown = unknown::complaints(env);
    let mut checks = vec![if unknown.is_empty() {
        Check::ok("settings", "readable")
    } else {
        Check::note("settings", format!("readable, but: {}", unknown.join("; ")))
    }];
    let booted = match boot::resolve(config, env, WorkingFolder::of(config)) {
        Ok(booted) => booted,
        Err(boot::BootError::Identity(error)) => {
            checks.push(Check::wrong("user", error.to_string(), format!("set {}", name::USER)));
            return checks;
        }
        Err(error) => {
            let place = match WorkingFolder::of(config) {
                WorkingFolder::Workspace => &config.workspace,
                WorkingFolder::Workspaces => &config.workspaces_dir,
            };
            checks.push(Check::wrong(
                "workspace",
                error.to_string(),
                format!("start the box with -v \"$PWD:{}\"", place.display()),
            ));
            return checks;
        }
    };
    let socket = remap::docker_socket_group().map(|_| Path::new(remap::DOCKER_SOCKET));
    let places: Vec<&Path> =
        [booted.workspace.as_path(), booted.config_dir.as_path()].into_iter().chain(socket).collect();
    let seen = match probe::ask(config, &booted, &places) {
        Ok(seen) => seen,
        Err(error) => {
            checks.push(Check::wrong("mode", error.to_string(), "start the container as root, or with other settings"));
            return checks;
        }
    };
    checks.push(mode(config, &booted, &seen));
    let ids = &booted.identity.credentials;
    checks.push(Check::ok("user", format!("{} ({}:{})", booted.identity.name, ids.uid, ids.gid)));
    checks.push(folder("workspace", &booted.workspace, &booted, &seen));
    checks.push(folder("claude files", &booted.config_dir, &booted, &seen));
    checks.push(policy(config, servers, &booted));
    checks.push(docker(config, &booted, env, &seen));
    checks.push(cli(config, &booted, env));
    checks.push(credentials(config, &booted, env));
    checks.extend([disk(&booted.workspace), clock(), dns(config)]);
    checks.extend(jobs(config, env));
    checks
}

/// A setting that cannot be used, with what it means.
pub(super) fn setting(error: &ConfigError) -> Check {
    let mut remedy = format!("set it to something else, or leave it out: {}", error.allowed);
    if let Some(setting) = spelling::find_spelt(&error.name) {
        let _ = write!(remedy, ". {}", setting.meaning);
        if !setting.default.is_empty() {
            let _ = write!(remedy, " Default: {}.", setting.default);
        }
    }
    Check::wrong("settings", format!("{}={:?} is not usable", error.name, error.value), remedy)
}

/// The file of jobs, if the box has some.
fn jobs(config: &Config, env: &impl Environment) -> Option<Check> {
    config.server_modes.contains(&name::MODE_CRON).then(|| match cron::jobs(None, env) {
        Ok((file, jobs)) => Check::ok("jobs", format!("{} in {}", jobs.len(), file.display())),
        Err(failure) => Check::wrong("jobs", failure.to_string(), "correct it, then: claudebox cron check"),
    })
}

/// What a process of the box's user, started as Claude is, says of itself.
fn mode(config: &Config, booted: &Booted, seen: &Seen) -> Check {
    let (var, user) = (name::HARDENED, &booted.identity.name);
    let secrets_remedy = "start the container as root (without --user): PID 1 then has another user than Claude";
    if seen.reads_supervisor {
        let found = format!("{user} can read the environment of PID 1, and the secrets of the doors in it");
        return Check::wrong("mode", found, secrets_remedy);
    }
    match config.mode {
        Mode::Hardened if seen.can_gain_privileges() => Check::wrong(
            "mode",
            format!("{var} is on, and a process of {user} could still gain privileges: {seen:?}"),
            "start the container anew, as root",
        ),
        // As such a box would start, this process is its PID 1.
        Mode::Hardened if !seen.is_supervisors_user && (std::process::id() != 1 || geteuid().is_root()) => {
            Check::ok("mode", format!("hardened: no process of {user} can gain privileges"))
        }
        Mode::Hardened => {
            Check::wrong("mode", format!("{var} is on, and PID 1 is {user}: no box starts so"), secrets_remedy)
        }
        Mode::Sudo if !seen.can_gain_privileges() => {
            Check::note("mode", format!("{var} is off, and a process of {user} cannot gain privileges all the same"))
        }
        Mode::Sudo => Check::ok("mode", "sudo: Claude can become root in this box"),
    }
}

/// Whether the box's user can write to `path`, asked of the kernel as that user.
fn folder(name: &'static str, path: &Path, booted: &Booted, seen: &Seen) -> Check {
    let Ok(found) = fs::metadata(path) else {
        return Check::note(name, format!("{} is not there yet; the first start makes it", path.display()));
    };
    let owner = format!("{} (owner {}:{})", path.display(), found.uid(), found.gid());
    if seen.may_write(path) {
        return Check::ok(name, owner);
    }
    let user = &booted.identity;
    let remedy = if statvfs(path).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY)) {
        "it is mounted read-only: mount it without :ro".to_owned()
    } else if found.uid() == 0 {
        format!("it is root's: give it to somebody (chown {} on the host)", user.credentials.uid)
    } else if found.uid() == user.credentials.uid {
        "its mode forbids writing: chmod u+w it".to_owned()
    } else {
        format!(
            "start the box anew with {}={} so that {} gets the ids of its owner, or chown it to {}",
            name::WORKSPACE,
            path.display(),
            user.name,
            user.credentials.uid
        )
    };
    Check::wrong(name, format!("{owner} cannot be written to by {}", user.name), remedy)
}

/// Whether Claude could change what decides what it may do.
fn policy(config: &Config, servers: Option<&ServerConfig>, booted: &Booted) -> Check {
    const NAME: &str = "policy";
    let hooks = [Path::new(policy::HOOKS), &booted.config_dir.join("init.d")].map(boot::hooks::find);
    let telegram = servers.and_then(|servers| servers.telegram.as_ref());
    let old = telegram.filter(|door| door.file.is_none()).map(|_| booted.config_dir.join("telegram.yml"));
    let files = [
        servers.and_then(|servers| servers.http.as_ref()?.tokens_file.clone()),
        servers.and_then(|servers| Some(servers.cron.as_ref()?.file.clone())),
        telegram.and_then(|door| door.file.clone()).or(old),
    ];
    let agent = booted.agent();
    let all: Vec<PathBuf> =
        files.into_iter().flatten().chain(hooks.into_iter().flatten().map(|hook| hook.path)).collect();
    // What cannot be opened is the business of whoever reads it.
    let changeable = all.iter().find_map(|path| Some((path, hold::open(path, &agent).ok()?.1?)));
    let Some((path, hold)) = changeable else {
        return Check::ok(NAME, format!("Claude can change none of {} files that decide", all.len()));
    };
    let found = format!("Claude could change {} ({hold})", path.display());
    if config.mode == Mode::Hardened {
        Check::wrong(NAME, found, "put it below /etc/claudebox, as root's or mounted read-only")
    } else {
        Check::note(NAME, format!("{found}: it is safe below /etc/claudebox, mounted read-only"))
    }
}

fn docker(config: &Config, booted: &Booted, env: &impl Environment, seen: &Seen) -> Check {
    if config.mode == Mode::Hardened
        && !config.docker_socket
        && let Some(socket) = engines::sockets(env).first()
    {
        let found = format!("{} is mounted in a hardened box", socket.display());
        return Check::wrong("docker", found, "leave the mount out");
    }
    let Some(gid) = remap::docker_socket_group() else { return Check::ok("docker", "no socket is mounted") };
    let socket = remap::DOCKER_SOCKET;
    if seen.may_write(Path::new(socket)) {
        return Check::ok("docker", format!("{socket} (group {gid}): Claude controls the host's engine"));
    }
    let name = &booted.identity.name;
    let groups = users::get_user_by_name(name).and_then(|user| users::get_user_groups(name, user.primary_group_id()));
    let member = groups.is_some_and(|groups| groups.iter().any(|group| group.gid() == gid));
    let found = format!("{socket} belongs to group {gid}, which {} is not in", booted.identity.name);
    let remedy = if member {
        "the group was joined after this process began: start the box anew".to_owned()
    } else {
        format!("start the box anew as root (its boot joins the group), or add --group-add {gid}")
    };
    Check::wrong("docker", found, remedy)
}

fn cli(config: &Config, booted: &Booted, env: &impl Environment) -> Check {
    const NAME: &str = "Claude CLI";
    let source = CliSource::of_box(config, booted.variable("PATH", env).as_deref(), env);
    let path = match source.executable(env) {
        Ok(path) => path,
        Err(BinaryError::NotInstalled(version, folder)) => {
            let found = format!("{version} is not installed in {}; the first start installs it", folder.display());
            return Check::note(NAME, found);
        }
        Err(error) => {
            let program = config.claude_bin.as_deref().unwrap_or_default();
            return Check::wrong(NAME, format!("{program:?} cannot be run"), error.to_string());
        }
    };
    let (pinned, how) = match &source {
        CliSource::Store(store) => match checked(store, &store.current()) {
            Ok(how) => (store.pins().version.to_string(), how),
            Err(check) => return check(NAME),
        },
        CliSource::Own(_) => (PINNED_VERSION.to_owned(), "part of the image or your own".to_owned()),
        CliSource::Named(_) => (PINNED_VERSION.to_owned(), format!("named by {}", name::CLAUDE_BIN)),
    };
    let text = probe::output(config, booted, &[path.as_os_str(), "--version".as_ref()], booted.environment.clone());
    let text = text.unwrap_or_default();
    match text.split_whitespace().next() {
        Some(version) if version == pinned => Check::ok(NAME, format!("{version} at {} ({how})", path.display())),
        Some(version) => Check::note(
            NAME,
            format!("{version} at {} ({how}); this claudebox was tested with {pinned}", path.display()),
        ),
        None => Check::wrong(
            NAME,
            format!("{} does not say its version", path.display()),
            format!("have one installed (leave {} out, then: claudebox cli install)", name::CLAUDE_BIN),
        ),
    }
}

/// What is known of a version in the store; what is wrong with it, otherwise.
fn checked(store: &CliStore, version: &Version) -> Result<String, impl FnOnce(&'static str) -> Check> {
    match store.verify(version) {
        Ok(_) if *version == store.pins().version => {
            Ok("installed; its checksum is the one that claudebox pins".to_owned())
        }
        Ok(_) => Ok("installed; its checksum is what it was then".to_owned()),
        Err(unfit) => {
            let path = store.executable(version).display().to_string();
            let remedy = match unfit {
                Unfit::Unreadable(_) => "mend the store, or set CLAUDEBOX_CLI_DIR to another folder",
                Unfit::Missing | Unfit::Changed { .. } => "claudebox cli install, or start the box anew",
            };
            Err(move |name| Check::wrong(name, format!("{path} {unfit}"), remedy))
        }
    }
}

/// Whether there are credentials, and of which kind; never what they are.
fn credentials(config: &Config, booted: &Booted, env: &impl Environment) -> Check {
    match booted.credentials(env) {
        _ if config.offline => {
            Check::note("credentials", format!("not used: {} is on, the offline model answers", name::OFFLINE))
        }
        Some(place) => match broker::why_none(config, booted, env) {
            Ok(None) => {
                Check::ok("credentials", format!("there are some ({place}); the broker has them, Claude a stand-in"))
            }
            Ok(Some(why)) => {
                Check::ok("credentials", format!("there are some ({place}); Claude can read them: {}", why.text()))
            }
            Err(error) => Check::wrong("credentials", format!("there are some ({place})"), error.to_string()),
        },
        None => Check::wrong(
            "credentials",
            "there are none",
            format!(
                "set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN, sign in with `claudebox auth login`, or try the \
                 offline model ({}=1)",
                name::OFFLINE
            ),
        ),
    }
}

fn disk(workspace: &Path) -> Check {
    let Ok(found) = statvfs(workspace) else { return Check::note("disk", "its free space cannot be read") };
    let free = found.blocks_available() * found.fragment_size();
    let text = format!("{} MB free at {}", free >> 20, workspace.display());
    if free >= LEAST_FREE_BYTES { Check::ok("disk", text) } else { Check::wrong("disk", text, "make room on the host") }
}

/// A clock that runs before this program was built is wrong, and TLS certificates are then not valid yet.
fn clock() -> Check {
    let now = SystemTime::now();
    let built = fs::metadata(own_executable()).and_then(|found| found.modified());
    match built {
        Ok(built) if built > now + Duration::from_hours(24) => Check::wrong(
            "clock",
            "it is set before the day this program was made, so TLS certificates are not valid yet",
            "set the host's clock",
        ),
        _ => Check::ok("clock", "plausible"),
    }
}

fn dns(config: &Config) -> Check {
    if config.offline {
        return Check::note("DNS", "not asked: the offline model needs none");
    }
    let (sender, receiver) = channel();
    // The C library's resolver cannot be told when to give up; the thread ends with the process.
    std::thread::spawn(move || sender.send((API_HOST, 443).to_socket_addrs().map(|mut found| found.next().is_some())));
    let remedy =
        "check the box's network and /etc/resolv.conf (docker run --dns, --network), or use a proxy (HTTPS_PROXY)";
    match receiver.recv_timeout(DNS_PATIENCE) {
        Ok(Ok(true)) => Check::ok("DNS", format!("{API_HOST} is known")),
        Ok(Ok(false)) => Check::wrong("DNS", format!("{API_HOST} has no address"), remedy),
        Ok(Err(error)) => Check::wrong("DNS", format!("{API_HOST} cannot be looked up: {error}"), remedy),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Check::wrong("DNS", format!("no answer about {API_HOST} within {} s", DNS_PATIENCE.as_secs()), remedy)
        }
    }
}
