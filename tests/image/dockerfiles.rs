//! The two Dockerfiles, read as text: what they have in common is the same in both.

use std::collections::BTreeMap;

const FULL: &str = include_str!("../../Dockerfile");
const MINIMAL: &str = include_str!("../../Dockerfile.minimal");

/// The instructions of each named stage, without comments.
fn stages(dockerfile: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut stages = BTreeMap::new();
    let mut name = "";
    for line in dockerfile.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(from) = line.strip_prefix("FROM ") {
            name = from.split_once(" AS ").map_or("", |(_, name)| name);
        }
        stages.entry(name).or_insert_with(Vec::new).push(line);
    }
    stages
}

/// Otherwise the second build does not find in the cache what the first one made, and a mistake is mended in one only.
#[test]
fn stages_of_the_same_name_are_the_same() {
    let (full, minimal) = (stages(FULL), stages(MINIMAL));
    let shared: Vec<&str> = minimal.keys().copied().filter(|name| !name.is_empty()).collect();
    assert_eq!(shared, ["build", "claude-cli", "docker-client", "essentials", "fetcher", "host", "node", "system"]);
    for name in shared {
        assert_eq!(minimal[name], full[name], "the stage {name}");
    }
}

/// What that is for is tested in tests/supervisor/serve.rs.
#[test]
fn root_alone_reads_the_binary() {
    let step = include_str!("../../images/steps/binary");
    let modes: Vec<&str> =
        step.lines().filter(|line| line.ends_with("/out/usr/local/bin/claudebox")).map(str::trim).collect();
    assert_eq!(modes, [r#"install -D -m 0711 "$binary" /out/usr/local/bin/claudebox"#]);
}

#[test]
fn the_image_itself_starts_from_nothing_and_both_are_run_alike() {
    let last =
        |dockerfile: &'static str| dockerfile.split("\nFROM scratch\n").nth(1).expect("the last stage is from scratch");
    for instruction in ["HEALTHCHECK", "ENTRYPOINT", "STOPSIGNAL", "EXPOSE", "WORKDIR", "RUN"] {
        let of = |dockerfile| last(dockerfile).lines().filter(|line| line.starts_with(instruction)).collect::<Vec<_>>();
        assert_eq!(of(FULL), of(MINIMAL), "{instruction}");
        assert_eq!(of(FULL).len(), 1, "{instruction}");
    }
}

/// Nobody but Anthropic may hand the CLI out: an image has it only where somebody asks for it.
#[test]
fn no_image_has_the_cli_unless_it_is_asked_for() {
    for dockerfile in [FULL, MINIMAL] {
        let arguments: Vec<&str> = dockerfile.lines().filter(|line| line.starts_with("ARG CLAUDE_CLI")).collect();
        assert_eq!(arguments, ["ARG CLAUDE_CLI=none"; 2]);
        assert!(dockerfile.contains(r#"claudebox.cli="${CLAUDE_CLI}""#));
    }
    let release = include_str!("../../.github/workflows/release.yml");
    assert!(release.contains("            CLAUDE_CLI=none\n"));
}
