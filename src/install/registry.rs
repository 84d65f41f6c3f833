//! An npm registry: which versions there are, and their packages.

use std::collections::HashMap;
use std::error::Error as _;
use std::fs::File;
use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::ACCEPT;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest, Sha512};

use super::error::InstallFault;
use super::step::Step;
use super::terms::InstallLimits;
use crate::claude::store::pins::{PLATFORM, package};
use crate::claude::store::version::Version;

/// No package is larger, bytes.
const LARGEST_PACKAGE: u64 = 512 << 20;
/// No list of versions is larger, bytes.
const LARGEST_LIST: usize = 64 << 20;
/// The list of versions without what is not needed.
const SHORT_LIST: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8";
const SHA512: &str = "sha512-";

/// A registry.
pub(super) struct NpmRegistry<'terms> {
    client: Client,
    address: &'terms str,
    patience: &'terms InstallLimits,
}

/// What a registry says of its versions.
#[derive(Debug, Deserialize)]
pub(super) struct Versions {
    /// Names of versions: `latest`, for one.
    #[serde(rename = "dist-tags", default)]
    tags: HashMap<String, String>,
    versions: HashMap<String, Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    dist: Dist,
}

#[derive(Debug, Deserialize)]
struct Dist {
    integrity: Option<String>,
}

impl Versions {
    /// The version of this name, and its checksum.
    pub(super) fn find(&self, name: &str) -> Option<(Version, String)> {
        let name = self.tags.get(name).map_or(name, String::as_str);
        let integrity = self.versions.get(name)?.dist.integrity.clone()?;
        Some((name.parse().ok()?, integrity))
    }
}

/// What may be tried again, and what not.
enum Failed {
    Again { reached: bool, said: String },
    For(InstallFault),
}

impl<'terms> NpmRegistry<'terms> {
    pub(super) fn new(address: &'terms str, patience: &'terms InstallLimits) -> Result<Self, InstallFault> {
        let client = Client::builder()
            .user_agent(concat!("claudebox/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            .read_timeout(patience.stall)
            // Bytes are counted and hashed as they are sent.
            .redirect(reqwest::redirect::Policy::limited(5))
            .build()
            .map_err(|error| InstallFault::Unreachable { registry: shown(address), said: reason(&error) })?;
        Ok(Self { client, address, patience })
    }

    /// What versions there are.
    pub(super) async fn versions(&self, tell: &mut impl FnMut(Step)) -> Result<Versions, InstallFault> {
        let url = format!("{}/{}", self.address, package(PLATFORM).replace('/', "%2f"));
        let mut tries = 0;
        loop {
            let failed = match self.list(&url).await {
                Ok(versions) => return Ok(versions),
                Err(failed) => failed,
            };
            self.wait(failed, &url, &mut tries, tell).await?;
        }
    }

    async fn list(&self, url: &str) -> Result<Versions, Failed> {
        let request = self.client.get(url).header(ACCEPT, SHORT_LIST);
        let mut response = checked(request.send().await, url)?;
        let mut text = Vec::new();
        while let Some(block) = response.chunk().await.map_err(|error| cut(&error))? {
            if text.len() + block.len() > LARGEST_LIST {
                let said = format!("it is longer than {} MB", LARGEST_LIST >> 20);
                return Err(Failed::For(InstallFault::Wrong { url: shown(url), said }));
            }
            text.extend_from_slice(&block);
        }
        serde_json::from_slice(&text).map_err(|error| {
            Failed::For(InstallFault::Wrong { url: shown(url), said: format!("no list of versions: {error}") })
        })
    }

    /// The address of a version's package.
    pub(super) fn url(&self, version: &Version) -> String {
        let package = package(PLATFORM);
        let name = package.rsplit('/').next().unwrap_or(&package);
        format!("{}/{package}/-/{name}-{version}.tgz", self.address)
    }

    /// Fetches a package into a file that `place` makes, and compares its checksum.
    pub(super) async fn fetch(
        &self,
        version: &Version,
        integrity: &str,
        place: impl Fn() -> Result<File, InstallFault>,
        tell: &mut impl FnMut(Step),
    ) -> Result<File, InstallFault> {
        let url = self.url(version);
        let wrong = |said: String| InstallFault::Wrong { url: shown(&url), said };
        let expected = integrity.split_whitespace().find_map(|one| one.strip_prefix(SHA512));
        let expected =
            expected.ok_or_else(|| wrong(format!("the registry has no sha512 checksum of it, but {integrity:?}")))?;
        let mut tries = 0;
        loop {
            let mut file = place()?;
            let failed = match self.download(&url, version, &mut file, tell).await {
                Ok(found) if found == expected => return Ok(file),
                Ok(found) => return Err(wrong(format!("its checksum is {SHA512}{found}, not {SHA512}{expected}"))),
                Err(failed) => failed,
            };
            self.wait(failed, &url, &mut tries, tell).await?;
        }
    }

    /// One try; the checksum of what came.
    async fn download(
        &self,
        url: &str,
        version: &Version,
        file: &mut File,
        tell: &mut impl FnMut(Step),
    ) -> Result<String, Failed> {
        let mut response = checked(self.client.get(url).send().await, url)?;
        let total = response.content_length();
        let too_large = || {
            let said = format!("it is larger than {} MB", LARGEST_PACKAGE >> 20);
            Failed::For(InstallFault::Wrong { url: shown(url), said })
        };
        if total.is_some_and(|total| total > LARGEST_PACKAGE) {
            return Err(too_large());
        }
        let (mut hash, mut done) = (Sha512::new(), 0);
        tell(Step::Fetching { version: version.clone(), done, total });
        while let Some(block) = response.chunk().await.map_err(|error| cut(&error))? {
            done += block.len() as u64;
            if done > LARGEST_PACKAGE {
                return Err(too_large());
            }
            hash.update(&block);
            file.write_all(&block)
                .map_err(|error| Failed::For(InstallFault::storage(std::path::Path::new(""))(error)))?;
            tell(Step::Fetching { version: version.clone(), done, total });
        }
        Ok(BASE64_STANDARD.encode(hash.finalize()))
    }

    /// Waits before the next try, if there is to be one.
    async fn wait(
        &self,
        failed: Failed,
        url: &str,
        tries: &mut u32,
        tell: &mut impl FnMut(Step),
    ) -> Result<(), InstallFault> {
        let (reached, said) = match failed {
            Failed::For(why) => return Err(why),
            Failed::Again { reached, said } => (reached, said),
        };
        *tries += 1;
        if *tries < self.patience.tries {
            let delay = self.patience.delay.saturating_mul(1 << (*tries - 1).min(8));
            tell(Step::Again { said, delay });
            tokio::time::sleep(delay).await;
            return Ok(());
        }
        let said = format!("{said}; tried {}", times(*tries));
        Err(if reached {
            InstallFault::Broken { url: shown(url), said }
        } else {
            InstallFault::Unreachable { registry: shown(self.address), said }
        })
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

/// The answer, if it is one that brings something.
fn checked(response: reqwest::Result<Response>, url: &str) -> Result<Response, Failed> {
    let response = response.map_err(|error| Failed::Again { reached: !error.is_connect(), said: reason(&error) })?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let again =
        status.is_server_error() || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    Err(match status {
        _ if again => Failed::Again { reached: true, said: format!("it answers {}", status.as_u16()) },
        StatusCode::NOT_FOUND => Failed::For(InstallFault::Absent { url: shown(url) }),
        _ => Failed::For(InstallFault::Refused { url: shown(url), status: status.as_u16() }),
    })
}

fn cut(error: &reqwest::Error) -> Failed {
    let said = if error.is_timeout() {
        "nothing came any more".to_owned()
    } else {
        format!("it was cut off: {}", reason(error))
    };
    Failed::Again { reached: true, said }
}

/// The innermost cause, which is the one to mend. It names no address, and so no password in one.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "no answer".to_owned(), ToString::to_string)
}

/// An address without the password that may be in it.
pub(super) fn shown(address: &str) -> String {
    let Ok(mut url) = Url::parse(address) else { return address.to_owned() };
    // An address with a host can have neither; others have nothing to hide.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(shown("https://user:secret@npm.example/a/"), "https://npm.example/a");
        assert_eq!(shown("https://registry.npmjs.org"), "https://registry.npmjs.org");
    }

    #[test]
    fn a_version_is_found_by_its_name_and_by_its_number() {
        let versions: Versions = serde_json::from_str(
            r#"{"name": "x", "dist-tags": {"latest": "2.0.0", "odd": "../x"},
                "versions": {"2.0.0": {"dist": {"integrity": "sha512-a", "tarball": "http://elsewhere"}},
                             "1.0.0": {"dist": {"shasum": "b"}}, "../x": {"dist": {"integrity": "sha512-c"}}}}"#,
        )
        .unwrap();
        let found = Some(("2.0.0".parse().unwrap(), "sha512-a".to_owned()));
        assert_eq!(versions.find("latest"), found);
        assert_eq!(versions.find("2.0.0"), found);
        for none in ["1.0.0", "3.0.0", "odd", "../x"] {
            assert_eq!(versions.find(none), None, "{none}");
        }
    }
}
