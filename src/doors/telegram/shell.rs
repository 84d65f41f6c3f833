//! Errands in a chat's workspace: a shell command of `/bash`, a file of `/fetch`.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use teloxide::types::MessageEntityKind;

use super::api::Place;
use super::chat_settings::ChatSettings;
use super::errands::{Errands, Kind};
use super::files::{self, Own};
use super::handled::{Handled, Outcome};
use super::incoming::Message;
use super::notes::Notes;
use super::sender::{Patience, Sender};
use super::text::{LONGEST_MESSAGE, Text, cut, units};
use crate::runs::engine::Engine;
use crate::runs::shell::ShellEnd;
use crate::workspace::Workspaces;

/// A command that prints more is ended.
const MOST_OUTPUT: u64 = 200 << 20;
/// How often it is looked at how much there is.
const LOOK: Duration = Duration::from_millis(200);
/// Output that is longer goes into a file.
const LONGEST_SHOWN: usize = LONGEST_MESSAGE - 200;

/// Carries out shell commands.
pub(super) struct Shells {
    pub(super) engine: Engine,
    pub(super) workspaces: Workspaces,
    pub(super) settings: ChatSettings,
    pub(super) notes: Notes,
    pub(super) sender: Sender,
    pub(super) errands: Errands,
}

impl Shells {
    /// Carries a command out, in a task of its own. Its message stays until its end has been told.
    pub(super) async fn carry_out(&self, update: i64, message: &Message, command: String) -> Outcome {
        let (place, chat) = (Place::answering(message), self.settings.of(message.chat));
        if !chat.bash {
            self.sender.say(place, "/bash is switched off for this chat.").await;
            return Ok(Handled::Done);
        }
        if !self.notes.begin(update).await? {
            let text = "⚠️ The server was restarted while this command ran. It is not repeated.";
            self.sender.say(place, text).await;
            return Ok(Handled::Done);
        }
        let Some(own) = Own::usable(&self.workspaces, &chat, &self.sender, place).await else {
            return Ok(Handled::Done);
        };
        let (engine, sender) = (self.engine.clone(), self.sender.clone());
        let limit = Duration::from_secs(chat.bash_timeout);
        Ok(self.errands.spawn(update, message, Kind::Shell, String::new(), |cancel, stop| async move {
            sender.typing(place).await;
            match tempfile::Builder::new().prefix("claudebox-shell-").tempfile() {
                Ok(output) => {
                    let ended = async {
                        tokio::select! {
                            () = cancel.cancelled() => {}
                            () = stop.cancelled() => {}
                            () = overflow(output.as_file()) => {}
                        }
                    };
                    let end = engine.shell(own.path(), command, output.path().to_owned(), limit, ended).await;
                    tell_output(&sender, place, end, output.as_file(), limit).await;
                }
                Err(error) => sender.say(place, format!("❌ It cannot be run: {error}")).await,
            }
            Handled::Done
        }))
    }
}

/// Sends files that are asked for.
pub(super) struct Sendings {
    pub(super) workspaces: Workspaces,
    pub(super) settings: ChatSettings,
    pub(super) sender: Sender,
    pub(super) errands: Errands,
}

impl Sendings {
    /// Sends a file, in a task of its own. Its message stays until that is done.
    pub(super) fn fetch(&self, update: i64, message: &Message, path: String) -> Handled {
        let (place, chat) = (Place::answering(message), self.settings.of(message.chat));
        let (workspaces, sender) = (self.workspaces.clone(), self.sender.clone());
        self.errands.spawn(update, message, Kind::Sending, cut(&path, 80), |cancel, stop| async move {
            let sending = async {
                let own = Own::of_chat(&workspaces, &chat).await?;
                sender.send_file(place, Some(&own), &path, Patience::Some(6)).await.map(drop)
            };
            let sent = tokio::select! {
                sent = sending => sent.map_err(|why| format!("❌ {}: {why}", cut(&path, 200))),
                () = cancel.cancelled() => Err("✋ Cancelled.".to_owned()),
                // The next server sends it.
                () = stop.cancelled() => return Handled::Kept,
            };
            if let Err(why) = sent {
                sender.say(place, why).await;
            }
            Handled::Done
        })
    }
}

async fn tell_output(sender: &Sender, place: Place, end: Result<ShellEnd, String>, output: &File, limit: Duration) {
    let end = match end {
        Ok(end) => end,
        Err(why) => return sender.say(place, format!("❌ It cannot be run: {why}")).await,
    };
    let whole = output.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    // The child has written through another descriptor, so this one still stands at the beginning.
    if let Err(error) = output.take(files::LARGEST_SENT - 1024).read_to_end(&mut bytes) {
        tracing::warn!("the output of a command cannot be read: {error}");
    }
    let status = if end.cancelled && whole > MOST_OUTPUT {
        Some(format!("❌ Ended: it printed more than {}.", files::size(MOST_OUTPUT)))
    } else {
        status(&end, limit)
    };
    let printed = String::from_utf8_lossy(&bytes);
    let shown = printed.trim_end();
    if units(shown) <= LONGEST_SHOWN {
        if shown.is_empty() {
            return sender.say(place, status.unwrap_or_else(|| "✅ No output.".to_owned())).await;
        }
        let mut text = Text::marked(shown, MessageEntityKind::Pre { language: None });
        if let Some(status) = status {
            text.append(&Text::plain(format!("\n{status}")));
        }
        return sender.say(place, text).await;
    }
    let mut caption = status.unwrap_or_else(|| "✅ The output is in the file.".to_owned());
    if whole > bytes.len() as u64 {
        caption = format!("{caption} Of {}, the first 50 MB.", files::size(whole));
    }
    if let Err(error) = sender.send_bytes(place, "output.txt", &bytes, &caption, Patience::Some(6)).await {
        sender.say(place, format!("⚠️ {caption} It was not sent: {error}")).await;
    }
}

/// Returns once there is more output than anybody reads: a command must not fill the disk.
async fn overflow(output: &File) {
    let mut looks = tokio::time::interval(LOOK);
    while output.metadata().is_ok_and(|metadata| metadata.len() <= MOST_OUTPUT) {
        looks.tick().await;
    }
}

/// What is said of an end that is not a plain success.
fn status(end: &ShellEnd, limit: Duration) -> Option<String> {
    if end.timed_out {
        return Some(format!("⏱ Ended after {} s, the most that a command may take here.", limit.as_secs()));
    }
    if end.cancelled {
        return Some("✋ Cancelled.".to_owned());
    }
    match end.exit_code {
        Some(0) => None,
        Some(code) => Some(format!("❌ Exit code {code}.")),
        None => Some("❌ How it ended is unknown.".to_owned()),
    }
}
