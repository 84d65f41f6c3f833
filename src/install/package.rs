//! What is taken out of a package: the executable and its licence, and nothing else.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::claude::envelope::hex;
use crate::claude::store::{EXECUTABLE, LARGEST_EXECUTABLE, LICENCE};

/// No licence is larger, bytes.
const LARGEST_LICENCE: u64 = 1 << 20;
/// What else may be in a package, bytes: documents, and the headers of the archive.
const REST: u64 = 64 << 20;

/// What was taken out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// The executable's checksum, hexadecimal.
    pub(super) sha256: String,
    /// Its size, bytes.
    pub(super) bytes: u64,
}

/// Why nothing was taken out.
#[derive(Debug)]
pub(super) enum Unusable {
    /// The package is not what it should be.
    Package(String),
    /// What was in it cannot be written.
    Folder(io::Error),
}

/// Unpacks into `folder`, which nobody else knows of.
pub(super) fn unpack(package: File, folder: &Path) -> Result<Unpacked, Unusable> {
    let broken = |error: io::Error| Unusable::Package(format!("it cannot be unpacked: {error}"));
    let text = GzDecoder::new(BufReader::with_capacity(1 << 20, package)).take(LARGEST_EXECUTABLE + REST);
    let mut archive = tar::Archive::new(text);
    let (mut executable, mut licence) = (None, false);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let Ok(name) = path.strip_prefix("package") else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if name == Path::new(EXECUTABLE) && executable.is_none() {
            if entry.size() > LARGEST_EXECUTABLE {
                return Err(Unusable::Package(format!("its executable is larger than {LARGEST_EXECUTABLE} bytes")));
            }
            executable = Some(copy(&mut entry, &folder.join(EXECUTABLE), 0o755)?);
        } else if name == Path::new(LICENCE) && !licence && entry.size() <= LARGEST_LICENCE {
            copy(&mut entry, &folder.join(LICENCE), 0o644)?;
            licence = true;
        }
        if executable.is_some() && licence {
            break;
        }
    }
    executable.ok_or_else(|| Unusable::Package(format!("there is no package/{EXECUTABLE} in it")))
}

fn copy(entry: &mut impl Read, path: &Path, mode: u32) -> Result<Unpacked, Unusable> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(Unusable::Folder)?;
    let (mut hash, mut block, mut bytes) = (Sha256::new(), vec![0; 1 << 20], 0);
    loop {
        let count = match entry.read(&mut block) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Unusable::Package(format!("it cannot be unpacked: {error}"))),
        };
        hash.update(&block[..count]);
        file.write_all(&block[..count]).map_err(Unusable::Folder)?;
        bytes += count as u64;
    }
    // Whatever the umask was.
    file.set_permissions(Permissions::from_mode(mode)).map_err(Unusable::Folder)?;
    Ok(Unpacked { sha256: hex(&hash.finalize()), bytes })
}
