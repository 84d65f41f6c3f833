//! The way out: a proxy for CONNECT that lets through what its list allows.
//!
//! It looks names up itself and connects to the address that it has judged, so no answer of a name server leads anywhere
//! else. The list is looked at again with each request; one that has become invalid changes nothing but the log.

mod head;
mod hello;
mod relay;
mod rules;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::head::{Head, Malformed};
pub use self::rules::RulesError;
use self::rules::{Host, Rules};
use super::audit::Audit;

/// The port of https.
const TLS: u16 = 443;
const MOST_CONNECTIONS: usize = 256;
const LONGEST_HEAD: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);
/// Pause after an accept that failed: there are no descriptors, which the next try does not change.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The proxy's list and log.
#[derive(Debug)]
pub(super) struct Egress {
    path: PathBuf,
    user: u32,
    list: Mutex<List>,
    audit: Audit,
}

#[derive(Debug)]
struct List {
    rules: Arc<Rules>,
    version: Option<Version>,
}

/// What a file is recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

/// What is answered in place of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: &'static str,
    why: String,
}

/// Whether the list at `path` can be used.
pub(super) fn check(path: &Path, user: u32) -> Result<(), RulesError> {
    Rules::read(path, user).map(drop)
}

impl Egress {
    /// Reads the list at `path`; `user` is who may own it besides root.
    pub(super) fn new(path: &Path, user: u32, audit: Audit) -> Result<Self, RulesError> {
        let version = version(path);
        let rules = Arc::new(Rules::read(path, user)?);
        audit.write("policy", json!({"file": path, "rules": rules.len()}));
        Ok(Self { path: path.to_owned(), user, list: Mutex::new(List { rules, version }), audit })
    }

    /// Serves on `listener` for ever.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the egress proxy could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                let busy = Answer { status: "503 Service Unavailable", why: "too many connections at once".into() };
                // The socket's buffer takes so few bytes at once; a client that reads nothing is not waited for.
                let _ = stream.try_write(busy.bytes().as_bytes());
                continue;
            };
            let egress = Arc::clone(&self);
            tokio::spawn(async move {
                // An end of either side is the connection's.
                let _ = egress.serve(stream).await;
                drop(place);
            });
        }
    }

    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let _ = client.set_nodelay(true);
        let (answer, rest, name) = match timeout(HEAD_TIMEOUT, read_head(&mut client)).await {
            Err(_) => return Ok(()),
            Ok(head) => match head? {
                Ok((head, rest)) => (self.connect(&head).await, rest, name_in_tls(&head)),
                Err(malformed) => {
                    let answer = Answer { status: malformed.status(), why: malformed.to_string() };
                    self.audit.write("egress", json!({"verdict": "refused", "why": answer.why}));
                    (Err(answer), Vec::new(), None)
                }
            },
        };
        match answer {
            Ok(mut server) => {
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
                let rest = match &name {
                    None => rest,
                    Some(name) => match hello::expect(name, &mut client, rest).await? {
                        Ok(said) => said,
                        Err(why) => {
                            let (host, why) = (name, why.to_string());
                            self.audit
                                .write("egress", json!({"verdict": "denied", "host": host, "port": TLS, "why": why}));
                            return Ok(());
                        }
                    },
                };
                server.write_all(&rest).await?;
                relay::relay(&mut client, &mut server, IDLE_TIMEOUT).await
            }
            Err(answer) => {
                client.write_all(answer.bytes().as_bytes()).await?;
                client.shutdown().await
            }
        }
    }

    /// Judges, and connects to what was judged.
    async fn connect(&self, head: &Head) -> Result<TcpStream, Answer> {
        let (host, port) = (head.host.as_str(), head.port);
        let deny = |why: &str| {
            self.audit.write("egress", json!({"verdict": "denied", "host": host, "port": port, "why": why}));
            let why = format!("{host}:{port} {why}; the list is CLAUDEBOX_EGRESS_ALLOW, or /etc/claudebox/egress");
            Answer { status: "403 Forbidden", why }
        };
        let fail = |why: &str| {
            let facts = json!({"verdict": "allowed", "host": host, "port": port, "failed": why});
            self.audit.write("egress", facts);
            Answer { status: "502 Bad Gateway", why: format!("{host}:{port} cannot be reached: {why}") }
        };
        let rules = self.rules();
        let addresses = match Host::parse(host) {
            None => return Err(deny("is neither a name nor an address")),
            Some(Host::Address(address)) if rules.has_address(address, port) => vec![SocketAddr::new(address, port)],
            Some(Host::Address(_)) => return Err(deny("is an address that is not on the allow-list")),
            Some(Host::Name(name)) => {
                if !rules.has_name(&name, port) {
                    return Err(deny("is not on the allow-list"));
                }
                let found = look_up(&name, port).await.map_err(|why| fail(&why))?;
                let may_be = |address: &SocketAddr| rules.may_be_reached(address.ip(), port);
                let judged: Vec<SocketAddr> = found.into_iter().map(canonical).filter(may_be).collect();
                if judged.is_empty() {
                    return Err(deny("has no address that is public or on the allow-list"));
                }
                judged
            }
        };
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(addresses.as_slice())).await {
            Ok(Ok(server)) => {
                let _ = server.set_nodelay(true);
                let address = server.peer_addr().map(|address| address.ip().to_string()).unwrap_or_default();
                let facts = json!({"verdict": "allowed", "host": host, "port": port, "address": address});
                self.audit.write("egress", facts);
                Ok(server)
            }
            Ok(Err(error)) => Err(fail(&error.to_string())),
            Err(_) => Err(fail("no answer within 10 s")),
        }
    }

    /// The rules, read again if the file has changed.
    fn rules(&self) -> Arc<Rules> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let version = version(&self.path);
        if version != list.version {
            list.version = version;
            match Rules::read(&self.path, self.user) {
                Ok(rules) => {
                    self.audit.write("policy", json!({"file": self.path, "rules": rules.len()}));
                    list.rules = Arc::new(rules);
                }
                Err(error) => {
                    let why = error.to_string();
                    self.audit.write("policy", json!({"file": self.path, "refused": why}));
                    tracing::error!("the egress proxy keeps its old rules: {why}");
                }
            }
        }
        Arc::clone(&list.rules)
    }
}

impl Answer {
    fn bytes(&self) -> String {
        let Self { status, why } = self;
        let length = "claudebox: \n".len() + why.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\nclaudebox: {why}\n"
        )
    }
}

/// The name that a tunnel to this place has to ask for: at TLS's own port what comes is TLS.
fn name_in_tls(head: &Head) -> Option<String> {
    match Host::parse(&head.host) {
        Some(Host::Name(name)) if head.port == TLS => Some(name),
        _ => None,
    }
}

async fn look_up(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match timeout(CONNECT_TIMEOUT, lookup_host((name, port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its name was not found within 10 s".into()),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn version(path: &Path) -> Option<Version> {
    let facts = std::fs::metadata(path).ok()?;
    let changed = (facts.ctime(), facts.ctime_nsec());
    Some(Version { inode: (facts.dev(), facts.ino()), length: facts.len(), changed })
}

/// Reads to the blank line: the head, and what came after it.
async fn read_head(client: &mut TcpStream) -> io::Result<Result<(Head, Vec<u8>), Malformed>> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok(Head::parse(&bytes).map(|head| (head, rest)));
        }
        if bytes.len() >= LONGEST_HEAD {
            return Ok(Err(Malformed::TooLong));
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
