//! An npm registry that misbehaves as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use claudebox::claude::envelope::hex;
use claudebox::claude::store::CliStore;
use claudebox::claude::store::pins::{PLATFORM, Pins};
use sha2::{Digest as _, Sha256, Sha512};

/// The version that the boxes of these tests pin.
pub(crate) const PINNED: &str = "1.2.3";

/// A made-up package of the CLI.
#[derive(Clone)]
pub(crate) struct Package {
    pub(crate) executable: Vec<u8>,
    pub(crate) archive: Vec<u8>,
}

impl Package {
    /// One whose executable is this script, with a good deal of what cannot be compressed behind it.
    pub(crate) fn of(script: &str) -> Self {
        let mut executable = format!("#!/bin/sh\n{script}\nexit\n").into_bytes();
        let mut block = Sha256::digest(script.as_bytes());
        for _ in 0..16_384 {
            block = Sha256::digest(block);
            executable.extend_from_slice(&block);
        }
        let archive = archive(&[
            ("package/package.json", b"{}", 0o644),
            ("package/claude", &executable, 0o755),
            ("package/LICENSE.md", b"all rights reserved", 0o644),
            ("package/../../evil", b"evil", 0o644),
        ]);
        Self { executable, archive }
    }

    pub(crate) fn integrity(&self) -> String {
        integrity(&self.archive)
    }

    pub(crate) fn pins(&self) -> Pins {
        Pins {
            version: PINNED.parse().unwrap(),
            integrity: self.integrity(),
            sha256: hex(&Sha256::digest(&self.executable)),
            bytes: self.executable.len() as u64,
        }
    }

    /// The same for a box.
    pub(crate) fn pins_of_box(&self) -> String {
        let Pins { version, integrity, sha256, bytes } = self.pins();
        format!("{version} {integrity} {sha256} {bytes}")
    }
}

pub(crate) fn integrity(archive: &[u8]) -> String {
    format!("sha512-{}", BASE64_STANDARD.encode(Sha512::digest(archive)))
}

pub(crate) fn archive(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, text, mode) in files {
        let mut header = tar::Header::new_gnu();
        // The builder refuses what leads out of the folder, which is what a hostile package has.
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(text.len() as u64);
        header.set_mode(*mode);
        header.set_cksum();
        tar.append(&header, *text).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// How it answers who asks for a package.
#[derive(Clone)]
pub(crate) enum Manner {
    /// At once, and whole.
    Good,
    /// In pieces, with a pause before each.
    Slow(usize, Duration),
    /// The first half, and then nothing until the gate opens; then the rest.
    Half(Arc<Gate>),
    /// The first half, and then never anything.
    Stalls,
    /// The first half, and then the end.
    Cut,
    /// Half of the length that was announced, and in its place something else.
    Other(Vec<u8>),
    /// This status.
    Status(u16),
    /// This status so many times, then it is good.
    Recovers(u16, usize),
}

/// Opened once.
#[derive(Default)]
pub(crate) struct Gate(Mutex<bool>, Condvar);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

#[derive(Clone)]
struct Offered {
    version: String,
    archive: Vec<u8>,
    integrity: String,
}

impl Offered {
    fn new(version: &str, package: &Package) -> Self {
        Self { version: version.into(), archive: package.archive.clone(), integrity: package.integrity() }
    }
}

struct Inside {
    manner: Mutex<Manner>,
    packages: Mutex<Vec<Offered>>,
    fetched: AtomicUsize,
    listed: AtomicUsize,
}

/// A registry on loopback. It answers for as long as the test runs.
pub(crate) struct Registry {
    pub(crate) url: String,
    inside: Arc<Inside>,
}

impl Registry {
    pub(crate) fn new(package: &Package, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/npm", listener.local_addr().unwrap());
        let inside = Arc::new(Inside {
            manner: Mutex::new(manner),
            packages: Mutex::new(vec![Offered::new(PINNED, package)]),
            fetched: AtomicUsize::new(0),
            listed: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&inside);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = Arc::clone(&serving);
                // Who has gone is not answered.
                std::thread::spawn(move || drop(serving.answer(stream.unwrap())));
            }
        });
        Self { url, inside }
    }

    /// One more version; it is `latest` then.
    pub(crate) fn add(&self, version: &str, package: &Package) {
        self.inside.packages.lock().unwrap().push(Offered::new(version, package));
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.inside.manner.lock().unwrap() = manner;
    }

    /// How often a package was asked for.
    pub(crate) fn fetched(&self) -> usize {
        self.inside.fetched.load(Ordering::SeqCst)
    }

    /// How often anything was.
    pub(crate) fn asked(&self) -> usize {
        self.fetched() + self.inside.listed.load(Ordering::SeqCst)
    }
}

impl Inside {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let asked = lines.next().unwrap_or(Ok(String::new()))?;
        while lines.next().unwrap_or(Ok(String::new())).is_ok_and(|line| !line.is_empty()) {}
        let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
        let packages = self.packages.lock().unwrap().clone();
        if path == format!("/npm/@anthropic-ai%2fclaude-code-{PLATFORM}") {
            self.listed.fetch_add(1, Ordering::SeqCst);
            let versions: serde_json::Map<String, serde_json::Value> = packages
                .iter()
                .map(|one| (one.version.clone(), serde_json::json!({"dist": {"integrity": one.integrity}})))
                .collect();
            let latest = packages.last().unwrap().version.clone();
            let list = serde_json::json!({"dist-tags": {"latest": latest}, "versions": versions}).to_string();
            return respond(&mut stream, 200, list.len(), list.as_bytes());
        }
        let asked_for = |version: &str| {
            path == format!("/npm/@anthropic-ai/claude-code-{PLATFORM}/-/claude-code-{PLATFORM}-{version}.tgz")
        };
        let Some(Offered { archive, .. }) = packages.iter().find(|one| asked_for(&one.version)) else {
            return respond(&mut stream, 404, 0, b"");
        };
        let before = self.fetched.fetch_add(1, Ordering::SeqCst);
        let (all, half) = (archive.len(), archive.len() / 2);
        let manner = self.manner.lock().unwrap().clone();
        match manner {
            Manner::Good => respond(&mut stream, 200, all, archive),
            Manner::Slow(piece, pause) => {
                respond(&mut stream, 200, all, b"")?;
                for piece in archive.chunks(piece) {
                    self::pause(pause);
                    stream.write_all(piece)?;
                }
                Ok(())
            }
            Manner::Half(gate) => {
                respond(&mut stream, 200, all, &archive[..half])?;
                gate.wait();
                stream.write_all(&archive[half..])
            }
            Manner::Stalls => {
                respond(&mut stream, 200, all, &archive[..half])?;
                // Until the other side has gone.
                stream.read_to_end(&mut Vec::new()).map(drop)
            }
            Manner::Cut => respond(&mut stream, 200, all, &archive[..half]),
            Manner::Other(other) => respond(&mut stream, 200, other.len(), &other),
            Manner::Recovers(_, times) if before >= times => respond(&mut stream, 200, all, archive),
            Manner::Status(status) | Manner::Recovers(status, _) => respond(&mut stream, status, 0, b""),
        }
    }
}

/// Something slow, or what raises no event that one could wait for.
#[expect(clippy::disallowed_methods, reason = "the time is what is asked for")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn respond(stream: &mut TcpStream, status: u16, length: usize, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")?;
    stream.write_all(body)
}

/// Checks that the store holds these versions, whole, and nothing else.
#[track_caller]
pub(crate) fn assert_holds(store: &CliStore, versions: &[&str]) {
    let mut found: Vec<String> = match std::fs::read_dir(store.folder()) {
        Ok(entries) => entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect(),
        Err(_) => Vec::new(),
    };
    found.retain(|name| name != "chosen");
    found.sort();
    assert_eq!(found, versions);
    for version in versions {
        let version = version.parse().unwrap();
        store.verify(&version).unwrap();
        assert_eq!(mode(&store.executable(&version)), 0o755);
        assert_eq!(mode(&store.folder_of(&version)), 0o755);
        assert_eq!(
            std::fs::read_to_string(store.folder_of(&version).join("LICENSE.md")).unwrap(),
            "all rights reserved"
        );
        assert_eq!(std::fs::read_dir(store.folder_of(&version)).unwrap().count(), 3);
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
