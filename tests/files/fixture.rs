//! A workspaces folder full of links, with a secret beside it, and a client of the door to it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use claudebox::desk::files::UploadLimit;
use claudebox::doors::http::files::{self, PathGuard};
use claudebox::workspace::Workspaces;
use http_body_util::BodyExt;
use nix::sys::stat::Mode;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) const SECRET: &str = "the secret outside";

pub(crate) struct Fixture {
    top: TempDir,
    pub(crate) workspaces: Workspaces,
    _socket: UnixListener,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("workspaces");
        let secret = top.path().join("workspaces-secret");
        let folder = root.join("a");
        fs::create_dir_all(folder.join("deep")).unwrap();
        fs::create_dir_all(root.join("b")).unwrap();
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("canary.txt"), SECRET).unwrap();
        fs::write(folder.join("file"), "inside").unwrap();
        fs::write(root.join("b/file"), "inside").unwrap();
        for (link, target) in links(&secret) {
            symlink(target, folder.join(link)).unwrap();
        }
        nix::unistd::mkfifo(&folder.join("pipe"), Mode::S_IRWXU).unwrap();
        let socket = UnixListener::bind(folder.join("socket")).unwrap();
        let workspaces = Workspaces::open(&root).unwrap();
        Self { top, workspaces, _socket: socket }
    }

    /// A path below the workspaces folder.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.top.path().join("workspaces").join(path)
    }

    /// The path answers give.
    pub(crate) fn absolute(&self, path: &str) -> String {
        self.workspaces.root().join(path).to_str().unwrap().to_owned()
    }

    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        names(&self.at(folder))
    }

    /// Everything outside is as it was.
    pub(crate) fn assert_untouched(&self, after: &str) {
        assert_eq!(names(self.top.path()), ["workspaces", "workspaces-secret"], "after {after}");
        let secret = self.top.path().join("workspaces-secret");
        assert_eq!(names(&secret), ["canary.txt"], "after {after}");
        assert_eq!(fs::read_to_string(secret.join("canary.txt")).unwrap(), SECRET, "after {after}");
    }

    pub(crate) fn door(&self) -> Router {
        self.door_for(|_| true)
    }

    pub(crate) fn door_for(&self, guard: impl Fn(&str) -> bool + Send + Sync + 'static) -> Router {
        files::router().layer(Extension(PathGuard(Arc::new(guard)))).layer(Extension(self.workspaces.clone()))
    }

    pub(crate) fn door_with_limit(&self, limit: u64) -> Router {
        self.door().layer(Extension(UploadLimit(limit)))
    }

    pub(crate) async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", target, headers, Body::empty()).await
    }

    pub(crate) async fn put(&self, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send("PUT", target, headers, Body::from(body.to_owned())).await
    }

    pub(crate) async fn delete(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("DELETE", target, headers, Body::empty()).await
    }

    pub(crate) async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        send(self.door(), method, target, headers, body).await
    }
}

pub(crate) async fn send(door: Router, method: &str, target: &str, headers: &[(&str, &str)], body: Body) -> Answer {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response: Response<Body> = door.oneshot(request.body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    /// The status, and the code of a problem.
    pub(crate) fn outcome(&self) -> (u16, String) {
        let code = if self.status.is_success() || self.body.is_empty() {
            String::new()
        } else {
            self.json()["code"].as_str().unwrap().to_owned()
        };
        (self.status.as_u16(), code)
    }
}

fn links(secret: &Path) -> BTreeMap<&'static str, PathBuf> {
    let fixed = [
        ("out", "../../workspaces-secret"),
        ("out_twice", "out"),
        ("out_thrice", "out_twice"),
        ("sibling", "../../workspaces-secret"),
        ("out_file", "../../workspaces-secret/canary.txt"),
        ("dangling", "nowhere"),
        ("dangling_out", "../../workspaces-secret/new.txt"),
        ("up", ".."),
        ("up_up", "../.."),
        ("loop", "loop"),
        ("loop_a", "loop_b"),
        ("loop_b", "loop_a"),
        ("magic", "/proc/self/root"),
        ("proc", "/proc"),
        ("self_cwd", "/proc/self/cwd"),
        ("fd", "/proc/self/fd"),
        ("dev", "/dev"),
    ];
    let mut links: BTreeMap<_, _> = fixed.into_iter().map(|(link, target)| (link, PathBuf::from(target))).collect();
    links.insert("out_absolute", secret.to_owned());
    links.insert("out_file_absolute", secret.join("canary.txt"));
    links
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
