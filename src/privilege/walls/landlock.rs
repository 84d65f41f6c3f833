//! The fence, in the kernel's words.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};

use super::fence::Fence;

/// The newest version that is asked for: `verdict::WHOLE`.
const VERSION: ABI = ABI::V6;

/// Puts `fence` around the calling thread; `strict`: all of it.
pub(super) fn put_up(fence: &Fence, strict: bool) -> Result<(), String> {
    let level = if strict { CompatLevel::HardRequirement } else { CompatLevel::BestEffort };
    build(fence, level).map_err(|error| error.to_string())
}

fn build(fence: &Fence, level: CompatLevel) -> Result<(), RulesetError> {
    let rules = fence.rules();
    let mut ruleset = Ruleset::default()
        .set_compatibility(level)
        .handle_access(AccessFs::from_all(VERSION))?
        .scope(Scope::from_all(VERSION))?;
    if rules.listen.is_some() {
        ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
    }
    if rules.connect.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut created = ruleset.create()?;
    for path in &rules.read {
        created = allow(created, path, AccessFs::from_read(VERSION))?;
    }
    for path in &rules.write {
        created = allow(created, path, AccessFs::from_all(VERSION))?;
    }
    let ports = [(rules.listen, AccessNet::BindTcp), (rules.connect, AccessNet::ConnectTcp)];
    for (ports, access) in ports {
        for port in ports.into_iter().flatten() {
            created = created.add_rule(NetPort::new(port, access))?;
        }
    }
    created.restrict_self().map(drop)
}

/// Adds what can be had of `access` at `path`. A link is none of it: it could lead to what is not to be reached.
fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let opened =
        OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path);
    // What is not there, or cannot be reached, needs no permission.
    let Ok(file) = opened else { return Ok(ruleset) };
    let Ok(kind) = file.metadata().map(|found| fs::Metadata::file_type(&found)) else { return Ok(ruleset) };
    if kind.is_symlink() {
        return Ok(ruleset);
    }
    let access = if kind.is_dir() { access } else { access & AccessFs::from_file(VERSION) };
    ruleset.add_rule(PathBeneath::new(file, access))
}
