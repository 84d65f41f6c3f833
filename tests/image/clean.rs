//! The image that is published: nothing of the Claude CLI is in it, and a box installs it.
//!
//! `CLAUDEBOX_TEST_CLEAN_IMAGE` names it; without it these say so and pass.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use claudebox::claude::PINNED_VERSION;
use claudebox::claude::store::pins::{PLATFORM, Pins};
use claudebox::claude::store::{CliStore, VersionNote};
use flate2::read::GzDecoder;

use crate::docker::{Container, inspect, skipped, text};

/// Nothing in an image of ours is as large; the CLI is twice that, bytes.
const LARGEST_FILE: u64 = 180 << 20;

fn clean_image() -> Option<String> {
    let image = std::env::var("CLAUDEBOX_TEST_CLEAN_IMAGE").ok().filter(|image| !image.is_empty());
    if image.is_none() {
        skipped("CLAUDEBOX_TEST_CLEAN_IMAGE is not set");
    }
    image
}

/// Whether a file of a layer is the CLI, or of its packages.
fn is_of_the_cli(path: &str, size: u64) -> bool {
    let is_program = ["bin/claude", "claude.exe"].iter().any(|name| path.ends_with(name));
    // The link is no file, and its length is none.
    (is_program && size > 0) || path.contains("@anthropic-ai/") || path.contains("claude-code") || size > LARGEST_FILE
}

/// The files of a layer that are the CLI's, and how many files there are.
fn search(layer: &mut dyn Read) -> (Vec<String>, usize) {
    let (mut found, mut count) = (Vec::new(), 0);
    for entry in tar::Archive::new(layer).entries().expect("a layer is an archive") {
        let entry = entry.expect("the archive is whole");
        let path = entry.path().expect("a file has a path").display().to_string();
        count += 1;
        if entry.header().entry_type().is_file() && is_of_the_cli(&path, entry.size()) {
            found.push(format!("{path} ({} bytes)", entry.size()));
        }
    }
    (found, count)
}

/// What a later layer hides is in an image all the same, so each is looked into.
#[test]
fn no_layer_holds_the_cli() {
    let Some(image) = clean_image() else { return };
    let mut save =
        Command::new("docker").args(["save", &image]).stdout(Stdio::piped()).spawn().expect("docker can be started");
    let mut files = 0;
    let mut saved = tar::Archive::new(save.stdout.take().expect("it has an output"));
    for entry in saved.entries().expect("it is an archive") {
        let mut entry = BufReader::new(entry.expect("it is whole"));
        let is_archive = entry.get_ref().header().entry_type().is_file() && entry.get_ref().size() >= 512;
        let start = entry.fill_buf().expect("it can be read");
        let zipped = start.starts_with(&[0x1f, 0x8b]);
        let is_tar = start.get(257..262) == Some(b"ustar");
        if !is_archive || !(zipped || is_tar) {
            continue;
        }
        let (found, count) = if zipped { search(&mut GzDecoder::new(&mut entry)) } else { search(&mut entry) };
        assert_eq!(found, [""; 0]);
        files += count;
    }
    assert!(save.wait().expect("it ends").success());
    assert!(files > 5000, "only {files} files were seen");
}

/// The search finds what there is to find.
#[test]
fn the_cli_would_be_found() {
    let mut layer = tar::Builder::new(Vec::new());
    for (path, size) in [("usr/local/bin/claude", 10), ("usr/local/bin/claudebox", 10), ("usr/local/bin/node", 10)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        layer.append_data(&mut header, path, &[0; 10][..]).expect("it can be appended");
    }
    let layer = layer.into_inner().expect("it is whole");
    assert_eq!(search(&mut layer.as_slice()), (vec!["usr/local/bin/claude (10 bytes)".to_owned()], 3));
    assert!(is_of_the_cli("opt/x", LARGEST_FILE + 1) && !is_of_the_cli("usr/local/bin/claude", 0));
}

#[test]
fn it_says_so_and_has_a_link_in_the_clis_place() {
    let Some(image) = clean_image() else { return };
    assert_eq!(inspect(&image, r#"{{index .Config.Labels "claudebox.cli"}}"#).trim(), "none");
    let link = Container::new("clean-link").shell(&image, "claude", "readlink /usr/local/bin/claude");
    assert_eq!(link.trim(), format!("/var/lib/claudebox/cli/{PLATFORM}/{PINNED_VERSION}/claude"));
    let lists = Container::new("clean-list").shell(&image, "claude", "cat /usr/share/claudebox/*.json");
    assert!(!lists.contains("/usr/local/bin/claude\"") && !lists.contains("pkg:generic/claude@"), "{lists}");
}

#[test]
fn without_a_network_the_first_start_says_what_it_takes() {
    let Some(image) = clean_image() else { return };
    let answer = Container::new("clean-offline").run(&image, &["-e", "CLAUDEBOX_OFFLINE=1"], &["hello"]);
    assert_eq!(answer.status.code(), Some(69), "{answer:?}");
    let said = text(&answer.stderr);
    assert!(said.contains("cannot be installed: https://registry.npmjs.org cannot be reached ("), "{said}");
    assert_eq!(text(&answer.stdout), "");
}

/// The real executable has the checksum that the binary of this image knows; no network is needed then.
#[test]
fn a_store_with_the_real_cli_is_all_it_takes() {
    let Some(image) = clean_image() else { return };
    let Ok(cli) = std::env::var("CLAUDEBOX_TEST_CLI") else {
        skipped("CLAUDEBOX_TEST_CLI does not name a CLI");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    fill(folder.path(), Path::new(&cli));
    let mount = format!("{}:/var/lib/claudebox/cli", folder.path().display());
    let options = ["-v", mount.as_str(), "-e", "CLAUDEBOX_OFFLINE=1"];
    let answer = Container::new("clean-filled").run(&image, &options, &["hello"]);
    assert!(answer.status.success(), "{answer:?}");
    assert!(text(&answer.stdout).to_lowercase().contains("offline"), "{answer:?}");
    let listed = Container::new("clean-listed").run(&image, &options, &["cli", "list"]);
    assert!(
        text(&listed.stdout).starts_with(PINNED_VERSION) && text(&listed.stdout).contains("in use, pinned"),
        "{listed:?}"
    );
    let version = Container::new("clean-version").run(
        &image,
        &[&options[..], &["--entrypoint", "claude"]].concat(),
        &["--version"],
    );
    assert!(text(&version.stdout).contains(PINNED_VERSION), "{version:?}");
}

/// Puts the pinned version into a store as an installation does.
fn fill(root: &Path, cli: &Path) {
    let pins = Pins::of_this_build().expect("this build has pins");
    let store = CliStore::new(root, pins.clone());
    store.make().expect("it can be made");
    let place = store.begin().expect("it can be begun");
    let executable = place.path().join("claude");
    fs::copy(cli, &executable).expect("there is room for it");
    fs::set_permissions(&executable, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let note = VersionNote {
        version: pins.version.to_string(),
        sha256: pins.sha256.clone(),
        bytes: pins.bytes,
        integrity: pins.integrity.clone(),
        from: "this machine".into(),
    };
    store.finish(place, &pins.version, &note).expect("it can be finished");
}
