//! What this claudebox knows of the version that it pins: the checksums of its package and of its executable.
//!
//! They are in the binary, so nobody who can write to the store can change them.

use serde_json::Value;

use super::version::Version;
use crate::claude::PINNED_VERSION;
use crate::config::environment::Environment;

const LOCK: &str = include_str!("../../../images/claude-cli/package-lock.json");
const EXECUTABLES: &str = include_str!("../../../images/claude-cli/executables");

/// The pinned version on one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins {
    /// The version.
    pub version: Version,
    /// The checksum of its npm package, as npm writes it: `sha512-` and base64.
    pub integrity: String,
    /// The checksum of the executable in it, hexadecimal.
    pub sha256: String,
    /// The size of that, bytes.
    pub bytes: u64,
}

/// The platform that this binary is for, as the names of the npm packages end: `linux-x64`.
pub const PLATFORM: &str = match (cfg!(target_arch = "aarch64"), cfg!(target_env = "musl")) {
    (false, false) => "linux-x64",
    (false, true) => "linux-x64-musl",
    (true, false) => "linux-arm64",
    (true, true) => "linux-arm64-musl",
};

impl Pins {
    /// Those of this binary.
    ///
    /// `None` would be a binary that was built from files that do not belong together; a test sees to that.
    pub fn of_this_build() -> Option<Self> {
        Self::read(LOCK, EXECUTABLES, PLATFORM)
    }

    /// Those of this binary. In a build for tests `CLAUDEBOX_TEST_PINS` may hold others (version, integrity, sha256 and bytes, with
    /// blanks between): the checksums are what a store is not to be believed without, so an image's binary has no such way around.
    pub fn of_box(env: &impl Environment) -> Option<Self> {
        let made_up = if cfg!(debug_assertions) { env.get("CLAUDEBOX_TEST_PINS") } else { None };
        let Some(made_up) = made_up else { return Self::of_this_build() };
        match made_up.to_str()?.split(' ').collect::<Vec<_>>()[..] {
            [version, integrity, sha256, bytes] => Some(Self {
                version: version.parse().ok()?,
                integrity: integrity.to_owned(),
                sha256: sha256.to_owned(),
                bytes: bytes.parse().ok()?,
            }),
            _ => None,
        }
    }

    fn read(lock: &str, executables: &str, platform: &str) -> Option<Self> {
        let lock: Value = serde_json::from_str(lock).ok()?;
        let package = &lock["packages"][format!("node_modules/{}", package(platform))];
        let integrity = package["integrity"].as_str().filter(|_| package["version"] == PINNED_VERSION)?;
        let lines = executables.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let (sha256, bytes) = lines.into_iter().find_map(|line| match line[..] {
            [PINNED_VERSION, of, sha256, bytes] if of == platform => Some((sha256, bytes.parse().ok()?)),
            _ => None,
        })?;
        let version = PINNED_VERSION.parse().ok()?;
        Some(Self { version, integrity: integrity.to_owned(), sha256: sha256.to_owned(), bytes })
    }
}

/// The npm package with the executable for a platform.
pub fn package(platform: &str) -> String {
    format!("@anthropic-ai/claude-code-{platform}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_has_the_pinned_versions_checksums() {
        for platform in ["linux-x64", "linux-x64-musl", "linux-arm64", "linux-arm64-musl"] {
            let pins = Pins::read(LOCK, EXECUTABLES, platform).unwrap();
            assert_eq!(pins.version.as_str(), PINNED_VERSION);
            assert_eq!(pins.integrity.len(), "sha512-".len() + 88, "{platform}");
            assert!(pins.sha256.len() == 64 && pins.bytes > 100 << 20, "{platform}");
        }
        assert!(Pins::of_this_build().is_some());
    }

    #[test]
    fn what_does_not_belong_together_is_no_pin() {
        assert_eq!(Pins::read(&LOCK.replace(PINNED_VERSION, "1.0.0"), EXECUTABLES, "linux-x64"), None);
        assert_eq!(Pins::read(LOCK, &EXECUTABLES.replace(PINNED_VERSION, "1.0.0"), "linux-x64"), None);
        assert_eq!(Pins::read(LOCK, EXECUTABLES, "linux-riscv64"), None);
    }
}
