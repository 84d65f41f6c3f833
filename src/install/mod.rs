//! Installing the CLI: one file of its npm package, into the store, checked, whole or not at all.
//!
//! The images do not hold the CLI, which nobody but its maker may hand out: a box fetches it from npm's registry, or from the one
//! that it is told. The package is fetched into a file without a name and unpacked only if its checksum is right. The pinned
//! version's checksums are in this binary; another version's is the one that the registry names.
//!
//! A box does this in a process of its own (`claudebox cli install`, and what PID 1 starts): PID 1 knows neither HTTP nor TLS.

mod error;
mod lock;
mod package;
mod registry;
mod step;
mod terms;

use std::fs::File;
use std::io;

pub use error::{InstallError, InstallFault};
pub use step::Step;
pub use terms::{InstallLimits, InstallTerms};

use self::lock::Lock;
use self::package::Unusable;
use self::registry::{NpmRegistry, shown};
use crate::claude::store::version::Version;
use crate::claude::store::{CliStore, Unfit, VersionNote};

/// Which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedVersion {
    /// This one.
    Version(Version),
    /// The one that the registry has under this name: `latest`.
    Named(String),
}

/// A version that is installed.
#[derive(Debug, PartialEq, Eq)]
pub struct Installed {
    /// The version.
    pub version: Version,
    /// Whether this call has installed it; it was there otherwise.
    pub new: bool,
}

/// Installs a version that is not there, or not what it should be.
pub async fn install(
    store: &CliStore,
    wanted: &WantedVersion,
    terms: &InstallTerms,
    tell: &mut impl FnMut(Step),
) -> Result<Installed, InstallError> {
    let what = match wanted {
        WantedVersion::Version(version) => version.to_string(),
        WantedVersion::Named(name) => name.clone(),
    };
    try_to(store, wanted, terms, tell).await.map_err(|why| InstallError { what, why })
}

async fn try_to(
    store: &CliStore,
    wanted: &WantedVersion,
    terms: &InstallTerms,
    tell: &mut impl FnMut(Step),
) -> Result<Installed, InstallFault> {
    let storage = || InstallFault::storage(store.root());
    let made = store.make();
    if let Err(error) = made
        // Who may not write there may wait for who may.
        && (error.kind() == io::ErrorKind::NotADirectory || !store.root().is_dir())
    {
        return Err(storage()(error));
    }
    let lock = Lock::take(store, terms.patience.lock, tell).await?;
    if let WantedVersion::Version(version) = wanted
        && let Some(installed) = there_is(store, version)?
    {
        return Ok(installed);
    }
    store.make().and_then(|()| store.tidy()).map_err(storage())?;
    let registry = NpmRegistry::new(&terms.registry, &terms.patience)?;
    let (version, integrity) = match wanted {
        WantedVersion::Version(version) if *version == store.pins().version => {
            (version.clone(), store.pins().integrity.clone())
        }
        WantedVersion::Version(version) => on_trust(&registry, version.as_str(), terms, tell).await?,
        WantedVersion::Named(name) => {
            let (version, integrity) = on_trust(&registry, name, terms, tell).await?;
            if let Some(installed) = there_is(store, &version)? {
                return Ok(installed);
            }
            (version, integrity)
        }
    };
    let mut say = |step: Step| {
        if matches!(step, Step::Fetching { .. } | Step::Unpacking(_)) {
            lock.say(&step.to_string());
        }
        tell(step);
    };
    let place = || tempfile::tempfile_in(store.folder()).map_err(storage());
    let fetched = registry.fetch(&version, &integrity, place, &mut say).await.map_err(|why| match why {
        // It has no name of its own.
        InstallFault::Storage { source, .. } => storage()(source),
        why => why,
    })?;
    say(Step::Unpacking(version.clone()));
    unpack(store, fetched, &version, integrity, &registry.url(&version))?;
    Ok(Installed { version, new: true })
}

/// A version that is there. One that is not what it should be is removed at once: nobody is to run it meanwhile.
fn there_is(store: &CliStore, version: &Version) -> Result<Option<Installed>, InstallFault> {
    match store.verify(version) {
        Ok(_) => return Ok(Some(Installed { version: version.clone(), new: false })),
        Err(Unfit::Missing) => {}
        Err(unfit) => tracing::warn!("the Claude CLI {version} in {} {unfit}", store.folder_of(version).display()),
    }
    store.remove(version).map_err(InstallFault::storage(store.root()))?;
    Ok(None)
}

/// A version whose checksum the registry knows, and nobody else.
async fn on_trust(
    registry: &NpmRegistry<'_>,
    name: &str,
    terms: &InstallTerms,
    tell: &mut impl FnMut(Step),
) -> Result<(Version, String), InstallFault> {
    let versions = registry.versions(tell).await?;
    let found = versions.find(name).ok_or_else(|| InstallFault::Unknown { registry: shown(&terms.registry) })?;
    tell(Step::OnTrust(found.0.clone(), shown(&terms.registry)));
    Ok(found)
}

fn unpack(
    store: &CliStore,
    mut package: File,
    version: &Version,
    integrity: String,
    url: &str,
) -> Result<(), InstallFault> {
    use std::io::Seek;

    let storage = || InstallFault::storage(store.root());
    let wrong = |said: String| InstallFault::Wrong { url: shown(url), said };
    package.rewind().map_err(storage())?;
    let folder = store.begin().map_err(storage())?;
    let unpacked = package::unpack(package, folder.path()).map_err(|unusable| match unusable {
        Unusable::Package(said) => wrong(said),
        Unusable::Folder(error) => storage()(error),
    })?;
    let pins = store.pins();
    if *version == pins.version && (&unpacked.sha256, unpacked.bytes) != (&pins.sha256, pins.bytes) {
        return Err(wrong(format!("the checksum of its executable is {}, not {}", unpacked.sha256, pins.sha256)));
    }
    let note = VersionNote {
        version: version.to_string(),
        sha256: unpacked.sha256,
        bytes: unpacked.bytes,
        integrity,
        from: shown(url),
    };
    store.finish(folder, version, &note).map_err(storage())
}
