//! Sockets of container engines in this box: whoever may use one is root on the host.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::mounts;
use crate::config::environment::Environment;
use crate::config::name;

/// Where engines listen, below a folder such as `/run`.
const PLACES: [&str; 9] = [
    "docker.sock",
    "docker/docker.sock",
    "podman/podman.sock",
    "podman.sock",
    "containerd/containerd.sock",
    "containerd.sock",
    "crio/crio.sock",
    "buildkit/buildkitd.sock",
    "docker-cli/docker.sock",
];
/// Folders that such places are in.
const FOLDERS: [&str; 2] = ["/var/run", "/run"];
/// Variables that name an engine's address.
const ADDRESSES: [&str; 3] = ["DOCKER_HOST", "CONTAINER_HOST", "CONTAINERD_ADDRESS"];

/// The engines' sockets that are found: in their own places, in what is mounted from outside, and where the engines' own
/// variables lead.
pub fn sockets(env: &impl Environment) -> Vec<PathBuf> {
    let mut candidates: Vec<PathBuf> = FOLDERS.iter().flat_map(|folder| places_in(Path::new(folder))).collect();
    if let Some(folder) = env.get("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        candidates.extend(places_in(Path::new(&folder)));
    }
    candidates.extend(named(env));
    for mount in mounts::from_outside() {
        candidates.extend(places_in(&mount.path));
        candidates.extend(places_in(&mount.path.join("run")));
        candidates.extend(is_engines_name(&mount.path).then_some(mount.path));
    }
    // Under another name: the name it has outside is that of what is mounted.
    candidates.extend(
        mounts::mounted_files().into_iter().filter(|(outside, _)| is_engines_name(outside)).map(|(_, path)| path),
    );
    let mut found: Vec<PathBuf> = Vec::new();
    for candidate in candidates.into_iter().filter(|path| is_socket(path)) {
        let is_known = |known: &PathBuf| fs::canonicalize(known).ok() == fs::canonicalize(&candidate).ok();
        if !found.iter().any(is_known) {
            found.push(candidate);
        }
    }
    found
}

fn places_in(folder: &Path) -> impl Iterator<Item = PathBuf> {
    PLACES.iter().map(move |place| folder.join(place))
}

/// The paths in the variables that name an engine, in the box's own environment and in what is forwarded.
fn named(env: &impl Environment) -> Vec<PathBuf> {
    let names = ADDRESSES.iter().flat_map(|address| {
        let forwarded = crate::config::spelling::spellings(name::FORWARD_PREFIX);
        forwarded.into_iter().chain([String::new()]).map(move |prefix| format!("{prefix}{address}"))
    });
    let values = names.filter_map(|name| env.get(&name)?.into_string().ok());
    values.filter_map(|value| path_of(&value)).collect()
}

/// The path in an address such as `unix:///run/docker.sock`; none in that of another machine.
fn path_of(address: &str) -> Option<PathBuf> {
    let path = address.strip_prefix("unix://").unwrap_or(address);
    path.starts_with('/').then(|| path.into())
}

fn is_engines_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    PLACES.iter().any(|place| Path::new(place).file_name() == Some(name))
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::ffi::OsString;
    use std::os::unix::net::UnixListener;

    use rstest::rstest;

    #[rstest]
    #[case("unix:///run/user/1000/podman/podman.sock", Some("/run/user/1000/podman/podman.sock"))]
    #[case("/run/containerd/containerd.sock", Some("/run/containerd/containerd.sock"))]
    #[case("tcp://docker:2375", None)]
    #[case("ssh://host", None)]
    #[case("", None)]
    fn an_address_may_be_a_path(#[case] address: &str, #[case] path: Option<&str>) {
        assert_eq!(path_of(address), path.map(PathBuf::from));
    }

    #[rstest]
    #[case("DOCKER_HOST", true)]
    #[case("CONTAINER_HOST", true)]
    #[case("CLAUDEBOX_ENV_DOCKER_HOST", true)]
    #[case("CLAUDE_ENV_DOCKER_HOST", true)]
    #[case("ANOTHER_HOST", false)]
    fn one_that_a_variable_names_is_found(#[case] name: &str, #[case] is_found: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any.name");
        let _listener = UnixListener::bind(&path).unwrap();
        let env: HashMap<String, OsString> =
            HashMap::from([(name.to_owned(), format!("unix://{}", path.display()).into())]);
        assert_eq!(sockets(&env).contains(&path), is_found);
    }

    #[test]
    fn a_users_own_engine_is_found_and_a_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("podman")).unwrap();
        fs::write(folder.path().join("docker.sock"), "").unwrap();
        let path = folder.path().join("podman/podman.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let env: HashMap<String, OsString> = HashMap::from([("XDG_RUNTIME_DIR".to_owned(), folder.path().into())]);
        let found = sockets(&env);
        assert!(found.contains(&path) && !found.contains(&folder.path().join("docker.sock")), "{found:?}");
    }
}
