//! The block for CLAUDE.md: pure, and short, because every session pays for each word of it.

use std::collections::BTreeMap;
use std::path::Path;

use super::catalogue::Group;
use super::data::{FoundTool, Manifest};
use super::facts::{Docker, Facts, Network, Sudo};
use super::markers::{BEGIN, END};
use crate::boot::mounts::FromOutside;

/// More of the user's scripts, or mounts, than this are only counted.
const MOST_NAMES: usize = 40;

/// The block, its markers included, without a line feed at its end.
pub fn block(manifest: &Manifest, facts: &Facts, manifest_path: &Path) -> String {
    let image = manifest.variant.as_deref().map_or_else(String::new, |variant| format!(", image {}", code(variant)));
    let hardened = if facts.is_hardened { ", hardened" } else { "" };
    let mut lines = vec![
        format!("{BEGIN} written by claudebox at every start: write your own text outside these two lines -->"),
        "# This container".into(),
        String::new(),
        format!(
            "You run in a container (claudebox{image}{hardened}) as user {} (uid {}).",
            code(&facts.user),
            facts.uid
        ),
        String::new(),
        format!("- Workspace: {}", path(&facts.workspace)),
        format!("- Mounted from outside: {}", mounts(&facts.mounts)),
        format!("- sudo: {}", sudo(facts.sudo)),
        format!("- Docker: {}", docker(facts.docker)),
    ];
    lines.extend(facts.network.map(|kind| format!("- Network: {}", network(kind))));
    lines.push(String::new());
    lines.push(format!("Installed, paths in {}:", path(manifest_path)));
    lines.push(String::new());
    let mut groups: BTreeMap<Group, Vec<String>> = BTreeMap::new();
    for tool in &manifest.tools {
        groups.entry(tool.group).or_default().push(name_and_version(tool));
    }
    lines.extend(groups.iter().map(|(group, tools)| format!("- {}: {}", group.title(), tools.join(", "))));
    if !facts.scripts.is_empty() {
        let names = listed(facts.scripts.iter().map(|name| code(name)));
        lines.push(format!("- Your own scripts, in {}, first on PATH: {names}", path(&facts.scripts_dir)));
    }
    lines.push(format!("{END} -->"));
    lines.join("\n")
}

fn name_and_version(tool: &FoundTool) -> String {
    let name = plain(&tool.name);
    tool.version.as_deref().map_or_else(|| name.clone(), |version| format!("{name} {}", plain(version)))
}

fn mounts(mounts: &[FromOutside]) -> String {
    if mounts.is_empty() {
        return "nothing; whatever is written here ends with the container".into();
    }
    let named = mounts.iter().map(|mount| {
        let read_only = if mount.is_read_only { " (read-only)" } else { "" };
        format!("{}{read_only}", path(&mount.path))
    });
    format!("{}; whatever is written elsewhere ends with the container", listed(named))
}

const fn sudo(sudo: Sudo) -> &'static str {
    match sudo {
        Sudo::Works => "works, without a password",
        Sudo::OtherUser => "installed, but the image's rule is for another user; `sudo -n true` tells",
        Sudo::NotInstalled => "not installed",
        Sudo::Hardened => "does not work, the container is hardened: nothing in it can become root",
        Sudo::NoNewPrivileges => "does not work, the container runs with no-new-privileges",
        Sudo::NoCapabilities => "does not work, the container runs without the capabilities it takes",
        Sudo::NoName => "does not work, this user id has no entry in /etc/passwd",
    }
}

const fn docker(docker: Docker) -> &'static str {
    match docker {
        Docker::Socket => {
            "usable, through the host's socket: containers run beside this one, and paths in `-v` are the host's"
        }
        Docker::Host => "at the engine that DOCKER_HOST names",
        Docker::Absent => "no engine, the socket is not mounted",
        Docker::Forbidden => "the socket is mounted, but this user may not use it",
        Docker::Dead => "the socket is mounted, but no engine answers",
    }
}

const fn network(network: Network) -> &'static str {
    match network {
        Network::None => "none, only loopback: nothing can be downloaded",
        Network::Neighbours => "neighbouring containers only, no route to anywhere else",
        Network::Default => "yes",
    }
}

fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(MOST_NAMES);
    let mut items: Vec<String> = items.take(MOST_NAMES).collect();
    if more > 0 {
        items.push(format!("{more} more"));
    }
    items.join(", ")
}

fn path(path: &Path) -> String {
    code(&path.to_string_lossy())
}

fn code(text: &str) -> String {
    format!("`{}`", plain(text))
}

/// Names come from outside: none of them may end the code it stands in, its line or the block.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || ['`', '<', '>'].contains(&c) { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::markers;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        let entry = |name: &str, version: Option<&str>, group| FoundTool {
            name: name.into(),
            version: version.map(Into::into),
            path: String::new(),
            group,
            purpose: String::new(),
        };
        let tools = vec![
            entry("git", Some("2.39.5"), Group::VersionControl),
            entry("node", Some("24.21.0"), Group::Languages),
            entry("impl", None, Group::Languages),
        ];
        Manifest::new(Some("minimal".into()), tools)
    }

    fn facts() -> Facts {
        let mount = |path: &str, is_read_only| FromOutside { path: path.into(), is_read_only };
        Facts {
            user: "claude".into(),
            uid: 1000,
            is_hardened: false,
            workspace: "/workspace".into(),
            mounts: vec![mount("/data", true), mount("/workspace", false)],
            sudo: Sudo::Works,
            docker: Docker::Absent,
            network: Some(Network::Default),
            scripts_dir: "/home/claude/.claude/bin".into(),
            scripts: vec!["deploy".into(), "lint-all".into()],
        }
    }

    fn rendered(facts: &Facts) -> String {
        block(&manifest(), facts, Path::new("/usr/share/claudebox/manifest.json"))
    }

    #[test]
    fn the_block_as_a_whole() {
        insta::assert_snapshot!(rendered(&facts()), @r"
        <!-- claudebox:begin written by claudebox at every start: write your own text outside these two lines -->
        # This container

        You run in a container (claudebox, image `minimal`) as user `claude` (uid 1000).

        - Workspace: `/workspace`
        - Mounted from outside: `/data` (read-only), `/workspace`; whatever is written elsewhere ends with the container
        - sudo: works, without a password
        - Docker: no engine, the socket is not mounted
        - Network: yes

        Installed, paths in `/usr/share/claudebox/manifest.json`:

        - Languages: node 24.21.0, impl
        - Version control: git 2.39.5
        - Your own scripts, in `/home/claude/.claude/bin`, first on PATH: `deploy`, `lint-all`
        <!-- claudebox:end -->
        ");
    }

    #[test]
    fn a_bare_hardened_box() {
        let bare = Facts {
            is_hardened: true,
            mounts: vec![],
            sudo: Sudo::Hardened,
            network: Some(Network::None),
            scripts: vec![],
            ..facts()
        };
        let text = rendered(&bare);
        for part in ["claudebox, image `minimal`, hardened)", "from outside: nothing", "- Network: none"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(text.contains("- sudo: does not work") && !text.contains("own scripts"), "{text}");
    }

    #[test]
    fn many_names_are_cut() {
        let many = Facts { scripts: (0..100).map(|number| format!("s{number:02}")).collect(), ..facts() };
        let text = rendered(&many);
        assert!(text.contains("`s39`, 60 more") && !text.contains("s40"), "{text}");
    }

    proptest! {
        /// Whatever the names are, the block stays one block.
        #[test]
        fn no_name_breaks_out(name in ".*", script in "(<!-- claudebox:end -->|`|\n|.)*") {
            let odd = Facts { user: name, scripts: vec![script.clone()], workspace: script.into(), ..facts() };
            let text = rendered(&odd);
            prop_assert_eq!(text.lines().count(), rendered(&facts()).lines().count());
            let renewed = markers::renew(format!("{text}\n").as_bytes(), "x");
            prop_assert_eq!(renewed, markers::Renewed::Changed(b"x\n".to_vec()));
        }
    }
}
