//! Every way in which an installation goes wrong leaves nothing behind and ends with one sentence: what, where, and what to do.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use claudebox::claude::store::CliStore;
use claudebox::install::{InstallError, InstallLimits, InstallTerms, Installed, Step, WantedVersion, install};
use rstest::rstest;

use crate::registry::{Gate, Manner, PINNED, Package, Registry, archive, assert_holds, integrity};

/// Patience with what is slow, and little for a second try.
fn terms(url: &str) -> InstallTerms {
    let patience = InstallLimits {
        connect: Duration::from_secs(20),
        stall: *crate::support::DEADLINE,
        tries: 2,
        delay: Duration::from_millis(1),
        lock: Duration::from_mins(1),
    };
    InstallTerms { registry: url.to_owned(), patience }
}

fn fetch(
    store: &CliStore,
    wanted: &WantedVersion,
    terms: &InstallTerms,
    tell: impl FnMut(Step),
) -> Result<Installed, InstallError> {
    let mut tell = tell;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(install(store, wanted, terms, &mut tell))
}

fn pinned() -> WantedVersion {
    WantedVersion::Version(PINNED.parse().unwrap())
}

fn fresh(package: &Package) -> (tempfile::TempDir, CliStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = CliStore::new(&folder.path().join("cli"), package.pins());
    (folder, store)
}

#[test]
fn one_file_of_the_package_is_installed_and_asked_for_once() {
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Good);
    let (folder, store) = fresh(&package);
    let mut steps = Vec::new();
    let installed = fetch(&store, &pinned(), &terms(&registry.url), |step| steps.push(step)).unwrap();
    assert!(installed.new);
    assert_holds(&store, &[PINNED]);
    assert_eq!(fs::read(store.executable(&store.current())).unwrap(), package.executable);
    assert!(!folder.path().join("evil").exists() && !folder.path().join("cli/evil").exists());
    let total = package.archive.len() as u64;
    let last = Step::Fetching { version: PINNED.parse().unwrap(), done: total, total: Some(total) };
    assert!(steps.contains(&last) && steps.last() == Some(&Step::Unpacking(PINNED.parse().unwrap())), "{steps:?}");
    // Nobody is asked for what is there.
    assert!(!fetch(&store, &pinned(), &terms("http://127.0.0.1:1"), drop).unwrap().new);
    assert_eq!(registry.asked(), 1);
}

#[rstest]
#[case::stalls(
    Manner::Stalls,
    2,
    "did not come through (nothing came any more; tried 2 times)",
    "set CLAUDEBOX_NPM_REGISTRY"
)]
#[case::cut(Manner::Cut, 2, "did not come through (it was cut off: ", "set CLAUDEBOX_NPM_REGISTRY")]
#[case::failing(
    Manner::Status(503),
    2,
    "did not come through (it answers 503; tried 2 times)",
    "set CLAUDEBOX_NPM_REGISTRY"
)]
#[case::absent(Manner::Status(404), 1, "is not there (404)", "set CLAUDEBOX_NPM_REGISTRY to one that has")]
#[case::forbidden(Manner::Status(403), 1, "was refused (403)", "or set CLAUDEBOX_NPM_REGISTRY")]
#[case::wrong(Manner::Other(b"<html>sign in</html>".to_vec()), 1, "is not what it should be (its checksum is sha512-", "set CLAUDEBOX_NPM_REGISTRY")]
fn a_registry_that_misbehaves_leaves_nothing_behind(
    #[case] manner: Manner,
    #[case] tries: usize,
    #[case] what: &str,
    #[case] remedy: &str,
) {
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, manner);
    let (_folder, store) = fresh(&package);
    let mut impatient = terms(&registry.url);
    if tries > 1 {
        impatient.patience.stall = Duration::from_millis(500);
    }
    let error = fetch(&store, &pinned(), &impatient, drop).unwrap_err().to_string();
    assert!(error.starts_with("the Claude CLI 1.2.3 cannot be installed: "), "{error}");
    assert!(error.contains(&registry.url) && error.contains(what) && error.contains(remedy), "{error}");
    assert!(!error.contains('\n'), "{error}");
    assert_eq!(registry.fetched(), tries);
    assert_holds(&store, &[]);
    // And it can be had afterwards.
    registry.behave(Manner::Good);
    fetch(&store, &pinned(), &terms(&registry.url), drop).unwrap();
    assert_holds(&store, &[PINNED]);
}

#[test]
fn nobody_there_is_one_sentence_too() {
    let package = Package::of("echo hello");
    let (_folder, store) = fresh(&package);
    // Port 1 of loopback: nobody listens.
    let error = fetch(&store, &pinned(), &terms("http://user:secret@127.0.0.1:1"), drop).unwrap_err().to_string();
    let expected = "the Claude CLI 1.2.3 cannot be installed: http://127.0.0.1:1 cannot be reached (Connection refused";
    assert!(error.starts_with(expected) && error.contains("HTTPS_PROXY") && !error.contains("secret"), "{error}");
    assert_holds(&store, &[]);
}

/// The registry's word is not enough where this binary knows better, and neither is that of an archive.
#[rstest]
#[case::no_executable(archive(&[("package/README.md", b"hello", 0o644)]), "there is no package/claude in it")]
#[case::a_folder_of_that_name(archive(&[("package/claude/x", b"hello", 0o644)]), "there is no package/claude in it")]
#[case::another_executable(archive(&[("package/claude", b"evil", 0o755)]), "the checksum of its executable is ")]
#[case::no_archive(b"hello".to_vec(), "it cannot be unpacked: ")]
fn a_package_with_the_right_checksum_and_the_wrong_content_is_thrown_away(
    #[case] archive: Vec<u8>,
    #[case] what: &str,
) {
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Other(archive.clone()));
    let mut pins = package.pins();
    pins.integrity = integrity(&archive);
    let folder = tempfile::tempdir().unwrap();
    let store = CliStore::new(folder.path(), pins);
    let error = fetch(&store, &pinned(), &terms(&registry.url), drop).unwrap_err().to_string();
    assert!(error.contains(what), "{error}");
    assert_holds(&store, &[]);
}

#[test]
fn slow_is_not_silent() {
    let package = Package::of("echo hello");
    let piece = package.archive.len() / 20;
    let registry = Registry::new(&package, Manner::Slow(piece, Duration::from_millis(150)));
    let (_folder, store) = fresh(&package);
    // The whole takes longer than it may be silent.
    let mut terms = terms(&registry.url);
    terms.patience.stall = Duration::from_secs(2);
    fetch(&store, &pinned(), &terms, drop).unwrap();
    assert_eq!(registry.fetched(), 1);
}

#[test]
fn a_registry_that_recovers_is_asked_again() {
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Recovers(502, 1));
    let (_folder, store) = fresh(&package);
    let mut again = Vec::new();
    let tell = |step| {
        if let Step::Again { said, .. } = step {
            again.push(said);
        }
    };
    fetch(&store, &pinned(), &terms(&registry.url), tell).unwrap();
    assert_eq!(again, ["it answers 502"]);
    assert_holds(&store, &[PINNED]);
}

#[test]
fn twenty_at_once_fetch_it_once() {
    let package = Package::of("echo hello");
    let gate = Arc::new(Gate::default());
    let registry = Registry::new(&package, Manner::Half(Arc::clone(&gate)));
    let (_folder, store) = fresh(&package);
    let patient = terms(&registry.url);
    let (waits, waiting) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let boxes: Vec<_> = (0..20)
            .map(|_| {
                let (store, patient, waits) = (&store, &patient, waits.clone());
                scope.spawn(move || {
                    let mut told = false;
                    fetch(store, &pinned(), patient, |step| {
                        // One that says how far the other is.
                        if matches!(&step, Step::Waiting(Some(said)) if said.starts_with("installing the Claude CLI 1.2.3: "))
                            && !std::mem::replace(&mut told, true)
                        {
                            waits.send(step.to_string()).unwrap();
                        }
                    })
                    .unwrap()
                })
            })
            .collect();
        for _ in 0..19 {
            let said = waiting.recv_timeout(*crate::support::DEADLINE).unwrap();
            assert!(
                said.starts_with("waiting for another start, which is installing the Claude CLI 1.2.3: "),
                "{said}"
            );
        }
        gate.open();
        let new = boxes.into_iter().map(|thread| thread.join().unwrap()).filter(|installed| installed.new).count();
        assert_eq!(new, 1);
    });
    assert_eq!(registry.asked(), 1);
    assert_holds(&store, &[PINNED]);
}

#[test]
fn who_never_lets_go_is_named() {
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Good);
    let (_folder, store) = fresh(&package);
    fs::create_dir_all(store.root()).unwrap();
    let lock = fs::File::create(store.root().join("lock")).unwrap();
    lock.lock().unwrap();
    let mut impatient = terms(&registry.url);
    impatient.patience.lock = Duration::ZERO;
    let error = fetch(&store, &pinned(), &impatient, drop).unwrap_err().to_string();
    assert!(error.contains("another box has held ") && error.contains("CLAUDEBOX_CLI_DIR"), "{error}");
    assert_eq!(registry.asked(), 0);
    assert_holds(&store, &[]);
}

#[test]
fn another_version_is_what_the_registry_says_it_is() {
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Good);
    registry.add("2.0.0", &Package::of("echo newer"));
    let (_folder, store) = fresh(&package);
    let mut on_trust = Vec::new();
    let tell = |step: Step| {
        if matches!(step, Step::OnTrust(..)) {
            on_trust.push(step.to_string());
        }
    };
    let installed = fetch(&store, &WantedVersion::Named("latest".into()), &terms(&registry.url), tell).unwrap();
    assert_eq!(installed.version.as_str(), "2.0.0");
    let word =
        format!("2.0.0 is not the version that this claudebox pins: {} alone says what its checksum is", registry.url);
    assert_eq!(on_trust, [word]);
    assert_holds(&store, &["2.0.0"]);
    for unknown in [WantedVersion::Version("9.9.9".parse().unwrap()), WantedVersion::Named("stable".into())] {
        let error = fetch(&store, &unknown, &terms(&registry.url), drop).unwrap_err().to_string();
        assert!(error.contains("has no such version"), "{error}");
    }
    assert_holds(&store, &["2.0.0"]);
}

#[test]
fn what_was_changed_is_installed_anew() {
    let package = Package::of("echo hello");
    let registry = Registry::new(&package, Manner::Good);
    let (_folder, store) = fresh(&package);
    fetch(&store, &pinned(), &terms(&registry.url), drop).unwrap();
    let executable = store.executable(&store.current());
    fs::write(&executable, "#!/bin/sh\necho evil\n").unwrap();
    assert!(fetch(&store, &pinned(), &terms(&registry.url), drop).unwrap().new);
    assert_holds(&store, &[PINNED]);
    // Where it cannot be had again, it is gone all the same.
    fs::write(&executable, "#!/bin/sh\necho evil\n").unwrap();
    fetch(&store, &pinned(), &terms("http://127.0.0.1:1"), drop).unwrap_err();
    assert_holds(&store, &[]);
}
