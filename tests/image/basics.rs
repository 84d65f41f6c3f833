//! What the image is: what a container answers, its processes, its files.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::thread::JoinHandle;

use nix::pty::{Winsize, openpty};

use crate::docker::{Container, api_version, docker, image, inspect, text, wait_for};

/// The CLI's version the image is built with.
const CLI_VERSION: &str = include_str!("../../claude-cli.version");

// --- what a container answers -------------------------------------------------------------------------------

#[test]
fn a_prompt_is_answered_offline_and_labelled_so() {
    let Some(image) = image() else { return };
    let answer = Container::new("prompt").run(&image, &["-e", "CLAUDEBOX_OFFLINE=1"], &["hello"]);
    assert!(answer.status.success(), "{answer:?}");
    assert!(
        text(&answer.stdout).to_lowercase().contains("offline"),
        "nothing says that the answer is the offline model's: {answer:?}"
    );
}

#[test]
fn version_is_the_pinned_one_of_the_cli() {
    let Some(image) = image() else { return };
    let answer = Container::new("version").run(&image, &[], &["--version"]);
    assert!(answer.status.success(), "{answer:?}");
    assert!(text(&answer.stdout).contains(CLI_VERSION.trim()), "{answer:?}");
}

#[test]
fn an_unknown_flag_of_claudebox_is_a_usage_error() {
    let Some(image) = image() else { return };
    let answer = Container::new("usage").run(&image, &["--entrypoint", "claudebox"], &["--no-such-flag"]);
    assert_eq!(answer.status.code(), Some(64), "{answer:?}");
}

// --- processes ----------------------------------------------------------------------------------------------

#[test]
fn pid_1_is_claudebox_and_the_cli_runs_as_claude() {
    let Some(image) = image() else { return };
    let container = Container::new("tree");
    container.start_slow_prompt(&image);

    let processes = container.processes();
    let pid_1 = processes.iter().find(|process| process.pid == 1).expect("there is a PID 1");
    assert_eq!((pid_1.user.as_str(), pid_1.command.as_str()), ("root", "claudebox"));
    let cli = processes.iter().find(|process| process.command == "claude");
    assert_eq!(cli.map(|process| process.user.as_str()), Some("claude"), "{processes:?}");

    let health = container.exec(&["claudebox", "healthcheck"]);
    assert!(health.status.success(), "{health:?}");
}

#[test]
fn docker_stop_ends_a_running_prompt_in_time() {
    let Some(image) = image() else { return };
    let container = Container::new("stop-prompt");
    container.start_slow_prompt(&image);
    container.stop_and_assert_not_killed();
}

#[test]
fn docker_stop_ends_an_interactive_session_in_time() {
    let Some(image) = image() else { return };
    let container = Container::new("stop-tty");
    let mut session = Terminal::start(&container, &image);
    container.wait_for_claude();
    container.stop_and_assert_not_killed();
    session.wait();
}

// --- what is on the image -----------------------------------------------------------------------------------

#[test]
fn the_claude_user_owns_its_places_and_may_use_sudo() {
    let Some(image) = image() else { return };
    let as_root = Container::new("files").shell(
        &image,
        "root",
        "id claude; stat -c '%U %G %a %n' /workspace /workspaces /home/claude /home/claude/.claude \
         /etc/sudoers.d/claude /usr/local/bin/claudebox /usr/bin/sudo",
    );
    let expected = [
        "uid=1000(claude) gid=1000(claude)",
        "(docker)",
        "claude claude 755 /workspace\n",
        "claude claude 755 /workspaces\n",
        "claude claude 755 /home/claude/.claude\n",
        "root root 440 /etc/sudoers.d/claude\n",
        // Nobody but root reads it, so nobody reads the environment of one that has just started.
        "root root 711 /usr/local/bin/claudebox\n",
        "root root 4755 /usr/bin/sudo\n",
    ];
    for line in expected {
        assert!(as_root.contains(line), "{line:?} is missing in:\n{as_root}");
    }
    assert_eq!(Container::new("sudo").shell(&image, "claude", "sudo -n id -u").trim(), "0");
}

#[test]
fn the_tools_run_for_the_claude_user() {
    let Some(image) = image() else { return };
    let script = "set -e; for tool in git jq curl wget npm ssh; do command -v $tool; done; \
                  git --version; jq --version; curl --version; wget --version; npm --version; ssh -V; \
                  docker --version; date; ps; less --version";
    Container::new("tools").shell(&image, "claude", script);

    let node = Container::new("node").shell(&image, "claude", "node --version");
    let major: u32 = node
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .expect("node --version is vMAJOR.MINOR.PATCH");
    assert!(major >= 22, "node {node}");
}

/// What both images have on purpose.
const INSTALLED: [&str; 14] =
    ["git", "curl", "wget", "jq", "node", "npm", "npx", "docker", "claude", "sudo", "ssh", "less", "nano", "ps"];

#[test]
fn every_tool_of_the_manifest_runs_and_every_installed_one_is_in_it() {
    let Some(image) = image() else { return };
    let file = "/usr/share/claudebox/manifest.json";
    let stat = Container::new("manifest").shell(&image, "root", &format!("stat -c '%U %a' {file}; cat {file}"));
    let (mode, json) = stat.split_once('\n').expect("stat prints a line");
    assert_eq!(mode, "root 644");
    let manifest: serde_json::Value = serde_json::from_str(json).expect("the manifest is JSON");
    let variant = inspect(&image, "{{range .Config.Env}}{{println .}}{{end}}");
    assert_eq!(manifest["schemaVersion"], 1);
    assert!(variant.contains(&format!("CLAUDEBOX_IMAGE_VARIANT={}\n", manifest["variant"].as_str().unwrap_or("-"))));
    let tools = manifest["tools"].as_array().expect("tools is a list");
    let field = |tool: &serde_json::Value, name: &str| tool[name].as_str().unwrap_or_default().to_owned();
    let named: Vec<String> = tools.iter().map(|tool| field(tool, "name")).collect();
    for tool in INSTALLED {
        assert!(named.iter().any(|name| name == tool), "{tool} is not in {named:?}");
    }

    // Not as the probe asks: by name, in a shell, with whichever of the usual options it understands.
    let mut script = String::from("failed=0\n");
    for tool in tools {
        let (name, path, version) = (field(tool, "name"), field(tool, "path"), field(tool, "version"));
        let (command, plugin) = name.split_once(' ').unwrap_or((&name, ""));
        let check = format!(
            "[ \"$(command -v {command})\" = {path} ] \
             && said=$({{ {command} {plugin} --version || {command} {plugin} -V || {command} {plugin} -v \
             || {command} {plugin} version || {command} {plugin} i; }} \
             2>&1 </dev/null) && case $said in *'{version}'*) ;; *) false ;; esac \
             || {{ echo \"{name} {version}: $said\" >&2; failed=1; }}\n"
        );
        script.push_str(&check);
    }
    script.push_str("exit $failed\n");
    Container::new("manifest-tools").shell(&image, "claude", &script);
}

#[test]
fn claude_is_told_the_truth_about_its_box() {
    let Some(image) = image() else { return };
    let told = |options: &[&str]| {
        let container = Container::new("claude-md");
        let options = [&["-e", "CLAUDEBOX_OFFLINE=1"], options].concat();
        let answer = container.run(&image, &options, &["offline:tool sudo -n printf 'ran as %s' root"]);
        assert!(answer.status.success(), "{answer:?}");
        let copied = docker(&["cp", &format!("{}:/workspace/CLAUDE.md", container.name()), "-"]);
        assert!(copied.status.success(), "{copied:?}");
        let told = text(&copied.stdout);
        assert_eq!(told.contains("- sudo: works"), text(&answer.stdout).contains("ran as root"), "{answer:?}\n{told}");
        told
    };
    let plain = told(&[]);
    let expected = [
        "user `claude` (uid 1000)",
        "- Workspace: `/workspace`",
        "- sudo: works",
        "- Docker: no engine",
        "- Network: none",
        "image `minimal`)",
        "git 2.",
        "node 2",
    ];
    for part in expected {
        assert!(plain.contains(part), "{part:?} is missing in:\n{plain}");
    }
    for (options, truth) in [
        (&["-e", "CLAUDEBOX_HARDENED=1"][..], "- sudo: does not work, the container is hardened"),
        (&["--security-opt", "no-new-privileges"], "- sudo: does not work, the container runs with no-new-privileges"),
        (&["-v", "/var/run/docker.sock:/var/run/docker.sock"], "- Docker: usable"),
        (&["--tmpfs", "/scratch"], "- Mounted from outside: nothing"),
    ] {
        if truth.starts_with("- Docker") && !std::path::Path::new("/var/run/docker.sock").exists() {
            // The engine is somewhere else, and its socket cannot be lent.
            continue;
        }
        let text = told(options);
        assert!(text.contains(truth), "{options:?}: {truth:?} is missing in:\n{text}");
    }
}

#[test]
fn the_cli_is_there_once_as_a_native_binary() {
    let Some(image) = image() else { return };
    let found = Container::new("cli").shell(
        &image,
        "root",
        "command -v claude; head -c 4 /usr/local/bin/claude | tail -c 3; echo; \
         find / -xdev -type f -size +200M",
    );
    assert_eq!(found, "/usr/local/bin/claude\nELF\n/usr/local/bin/claude\n");
}

#[test]
fn the_image_says_how_it_is_run() {
    let Some(image) = image() else { return };
    let config = inspect(&image, "{{json .Config}}");
    let expected = [
        r#""Entrypoint":["claudebox","init","--"]"#,
        r#""Test":["CMD","claudebox","healthcheck"]"#,
        r#""WorkingDir":"/workspace""#,
        r#""StopSignal":"SIGTERM""#,
        r#""8080/tcp":{}"#,
        r#""org.opencontainers.image.licenses":"WTFPL""#,
        r#""DISABLE_AUTOUPDATER=1""#,
    ];
    for part in expected {
        assert!(config.contains(part), "{part} is missing in {config}");
    }
    // Docker 25 is the first to know it (API 1.44); scripts/image leaves it out for older engines.
    assert_eq!(config.contains(r#""StartInterval":1000000000"#), api_version() >= (1, 44), "{config}");
    // PID 1 needs root to prepare the box; it drops by itself.
    assert_eq!(inspect(&image, "{{.Config.User}}").trim(), "");
}

#[test]
fn the_image_holds_no_secret_and_nothing_of_the_machine_that_built_it() {
    let Some(image) = image() else { return };
    let history = docker(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", &image]);
    assert!(history.status.success(), "{history:?}");
    let environment = inspect(&image, "{{range .Config.Env}}{{println .}}{{end}}");
    for (place, content) in [("history", text(&history.stdout)), ("environment", environment.clone())] {
        for secret in ["sk-ant-", "ghp_", "npm_", "_authToken", "PRIVATE KEY", "build-host"] {
            assert!(!content.contains(secret), "{secret} in the image's {place}:\n{content}");
        }
    }
    for name in environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name) {
        for word in ["TOKEN", "SECRET", "PASSWORD", "API_KEY", "PROXY"] {
            assert!(!name.to_uppercase().contains(word), "{name} is set in the image");
        }
    }

    let left = Container::new("left").shell(
        &image,
        "root",
        "for path in /build-host /root/.npmrc /root/.npm /root/.netrc /root/.docker /root/.ssh /root/.cargo \
         /root/.bash_history /home/claude/.npmrc /home/claude/.ssh /home/claude/.claude/* /etc/apt/auth.conf \
         /etc/apt/auth.conf.d/* /etc/apt/apt.conf.d/*proxy* /usr/local/share/ca-certificates/* \
         /usr/local/etc/npmrc /tmp/* /var/lib/apt/lists/*; do if [ -e \"$path\" ]; then echo \"$path\"; fi; done",
    );
    assert_eq!(left, "", "left on the image");
}

/// `docker run -it` on a pseudo-terminal whose output is read and thrown away.
struct Terminal {
    client: Child,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    fn start(container: &Container, image: &str) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("a pseudo-terminal");
        let end = || -> OwnedFd { pair.slave.try_clone().expect("a second end of the terminal") };
        let options = ["--interactive", "--tty", "-e", "CLAUDEBOX_OFFLINE=1"];
        let client = Command::new("docker")
            .args(container.arguments(image, &options, &[]))
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the docker client can be started");
        // The terminal's buffer would fill up, and the container stop at its next line.
        let mut master = File::from(pair.master);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while master.read(&mut buffer).is_ok_and(|length| length > 0) {}
        });
        Self { client, reader: Some(reader) }
    }

    /// The client ends with its container.
    fn wait(&mut self) -> ExitStatus {
        let client = &mut self.client;
        wait_for("the docker client to end", || client.try_wait().expect("a child of ours"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
        // With the last end of the terminal closed, reading it fails, which ends the thread.
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
