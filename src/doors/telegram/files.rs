//! Files between a chat and its workspace. Every path goes through `workspace`, and none leads out of the chat's own.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::task::spawn_blocking;

use super::api::{ApiError, AttachmentKind, BotApi, Place};
use super::incoming::FileRef;
use super::sender::Sender;
use super::settings::Chat;
use crate::workspace::{ClientPath, PathError, Precondition, Upload, Workspace, Workspaces};

/// Most that a bot may send, bytes.
pub(super) const LARGEST_SENT: u64 = 50 << 20;
/// Largest picture that is shown as one.
const LARGEST_PHOTO: u64 = 10 << 20;
/// Where files from the chat go.
const FOLDER: &str = "uploads";
/// Longest name that is kept, characters.
const LONGEST_NAME: usize = 80;

/// A chat's workspace, and nothing else.
#[derive(Clone)]
pub(super) struct Own {
    workspaces: Workspaces,
    workspace: Workspace,
    /// Its place below the workspaces folder.
    place: String,
}

pub(super) struct Found {
    pub(super) file: File,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) kind: AttachmentKind,
}

impl Own {
    /// A chat's workspace; it is made if it is not there.
    pub(super) async fn of_chat(workspaces: &Workspaces, chat: &Chat) -> Result<Self, String> {
        let (workspaces, name) = (workspaces.clone(), chat.workspace.clone());
        let made = spawn_blocking(move || Ok(Self::of(&workspaces, workspaces.create(&name)?))).await;
        made.map_err(|error| error.to_string())?.map_err(|error: PathError| error.to_string())
    }

    /// The same; `None`: it cannot be used, and that is said.
    pub(super) async fn usable(workspaces: &Workspaces, chat: &Chat, sender: &Sender, place: Place) -> Option<Self> {
        match Self::of_chat(workspaces, chat).await {
            Ok(own) => Some(own),
            Err(why) => {
                sender.say(place, format!("❌ The workspace cannot be used: {why}")).await;
                None
            }
        }
    }

    /// A workspace that is there already; `None`: it is not below the workspaces folder.
    pub(super) async fn at(workspaces: &Workspaces, path: &Path) -> Option<Self> {
        let name = path.strip_prefix(workspaces.root()).ok()?.to_str()?.to_owned();
        let workspaces = workspaces.clone();
        let found = spawn_blocking(move || Some(Self::of(&workspaces, workspaces.resolve(&name).ok()?))).await;
        found.ok().flatten()
    }

    fn of(workspaces: &Workspaces, workspace: Workspace) -> Self {
        let place = workspace.path.strip_prefix(workspaces.root()).unwrap_or(Path::new(""));
        let place = place.to_string_lossy().into_owned();
        let own = place.clone();
        let guard = move |asked: &str| {
            own.is_empty()
                || asked.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        Self { workspaces: workspaces.guarded(Arc::new(guard)), workspace, place }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.workspace.path.clone()
    }

    /// A path as somebody wrote it: below the workspace, or absolute and in it.
    fn client_path(&self, given: &str) -> Result<ClientPath, PathError> {
        let given = given.trim();
        if given.starts_with('/') {
            return self.workspaces.client_path(given.as_bytes());
        }
        let below = ClientPath::parse(given)?;
        ClientPath::parse(&format!("{}/{below}", self.place))
    }

    /// Opens a file to send it. Blocks.
    pub(super) fn find(&self, given: &str) -> Result<Found, PathError> {
        let path = self.client_path(given)?;
        let (file, stat) = self.workspaces.open_read(&path)?;
        let name = path.name().unwrap_or(OsStr::new("file")).to_string_lossy().into_owned();
        Ok(Found { file: file.into_std(), kind: kind_of(&name, stat.size), name, size: stat.size })
    }

    /// Begins to write a file that came from the chat; its path below the workspace. Blocks.
    fn begin(&self, file: &FileRef) -> Result<(String, Upload), PathError> {
        let path = path_of(file);
        let upload = self.workspaces.begin_write(&self.client_path(&path)?)?;
        Ok((path, upload))
    }
}

fn kind_of(name: &str, size: u64) -> AttachmentKind {
    let extension = Path::new(name).extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "jpg" | "jpeg" | "png" | "webp" if size <= LARGEST_PHOTO => AttachmentKind::Photo,
        "mp4" | "mov" | "m4v" | "mkv" | "webm" | "avi" => AttachmentKind::Video,
        _ => AttachmentKind::Document,
    }
}

/// Where a file from the chat goes: the same file goes to the same place.
fn path_of(file: &FileRef) -> String {
    format!("{FOLDER}/{}", safe_name(file))
}

/// A name that is none of somebody else's tricks and no other file's: the same file gets the same name again.
fn safe_name(file: &FileRef) -> String {
    let base = file.name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = base
        .chars()
        .map(|letter| if letter.is_alphanumeric() || "-_.+() ".contains(letter) { letter } else { '_' })
        .collect();
    let clean = clean.trim_matches([' ', '.', '-']);
    let (stem, extension) = match clean.rsplit_once('.') {
        Some((stem, extension)) if (1..=10).contains(&extension.chars().count()) => (stem, format!(".{extension}")),
        _ => (clean, String::new()),
    };
    let stem: String = stem.chars().take(LONGEST_NAME).collect();
    let stem = if stem.trim().is_empty() { "file" } else { stem.trim() };
    let unique: String = file.unique.chars().filter(char::is_ascii_alphanumeric).collect();
    let unique = &unique[unique.len().saturating_sub(8)..];
    format!("{stem}-{unique}{extension}")
}

/// Why a file did not come into the workspace.
pub(super) enum NotSaved {
    Later(String),
    Never(String),
}

/// The path of a file from the chat that has come into the workspace before.
pub(super) async fn already_there(own: &Own, file: &FileRef) -> Option<String> {
    let (own, path) = (own.clone(), path_of(file));
    let found = spawn_blocking(move || own.find(&path).ok().map(|_| path)).await;
    found.ok().flatten()
}

/// Puts a file from the chat into the workspace; its path there.
pub(super) async fn save(api: &dyn BotApi, own: &Own, file: &FileRef) -> Result<String, NotSaved> {
    let (place, wanted) = (own.clone(), file.clone());
    let begun = spawn_blocking(move || place.begin(&wanted)).await;
    let broken = |why: &dyn std::fmt::Display| NotSaved::Later(why.to_string());
    let (path, upload) = begun.map_err(|error| broken(&error))?.map_err(|error| NotSaved::Never(error.to_string()))?;
    let mut incoming = Receiving { upload: Some(upload), failed: None };
    match api.download(&file.id, &mut incoming).await {
        Ok(()) => {}
        Err(ApiError::Refused(why)) if why.to_ascii_lowercase().contains("too big") => {
            return Err(NotSaved::Never("it is over 20 MB, the most that Telegram lets a bot fetch".into()));
        }
        Err(ApiError::Refused(why)) => return Err(NotSaved::Never(incoming.failed.unwrap_or(why))),
        Err(error) => return Err(NotSaved::Later(error.to_string())),
    }
    let Some(upload) = incoming.upload else { return Err(NotSaved::Never("it could not be written".into())) };
    let committed = spawn_blocking(move || upload.commit(&Precondition::default())).await;
    committed.map_err(|error| broken(&error))?.map_err(|error| NotSaved::Never(error.to_string()))?;
    Ok(path)
}

/// Takes a download. What it writes goes into the page cache, so it does not hold its thread up.
struct Receiving {
    upload: Option<Upload>,
    failed: Option<String>,
}

impl AsyncWrite for Receiving {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(upload) = &mut self.upload else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        match upload.write(bytes) {
            Ok(()) => Poll::Ready(Ok(bytes.len())),
            Err(error) => {
                self.failed = Some(error.to_string());
                Poll::Ready(Err(io::Error::other(error.to_string())))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A size for a person.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..0x10_0000 => format!("{} KB", bytes.div_ceil(1024)),
        _ => format!("{}.{} MB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20),
    }
}
