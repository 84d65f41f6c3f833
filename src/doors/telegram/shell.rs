//! `/bash`: a shell command in the chat's workspace.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use teloxide::types::{MessageEntity, MessageEntityKind};

use super::api::{Attachment, AttachmentKind, Content, Key, Place};
use super::conversation::{Handled, Outcome};
use super::errands::Kind;
use super::incoming::Message;
use super::sender::Patience;
use super::text::{LONGEST_MESSAGE, Text, units};
use super::{Inside, files};
use crate::runs::shell::ShellEnd;

/// A command that prints more is ended.
const MOST_OUTPUT: u64 = 200 << 20;
/// How often it is looked at how much there is.
const LOOK: Duration = Duration::from_millis(200);
/// Output that is longer goes into a file.
const LONGEST_SHOWN: usize = LONGEST_MESSAGE - 200;

impl Inside {
    /// Carries a command out, in a task of its own. Its message stays until its end has been told.
    pub(super) async fn bash(self: &Arc<Self>, update: i64, key: Key, message: &Message, command: String) -> Outcome {
        let place = Place::answering(message);
        let chat = self.settings().chat(message.chat, &self.overrides.of(message.chat));
        if !chat.bash {
            self.say(place, &Text::plain("/bash is switched off for this chat.")).await;
            return Ok(Handled::Done);
        }
        if !self.notes.begin(update).await? {
            self.say(place, &Text::plain("⚠️ The server was restarted while this command ran. It is not repeated."))
                .await;
            return Ok(Handled::Done);
        }
        let Some(own) = self.usable_workspace(place, &chat).await else { return Ok(Handled::Done) };
        let id = message.id;
        let cancel = self.errands.begin(key, id, Kind::Shell, String::new());
        let (inside, limit) = (Arc::clone(self), Duration::from_secs(chat.bash_timeout));
        self.tasks.spawn(async move {
            let _ = inside.api.typing(place).await;
            let stopping = inside.stop.clone();
            let output = tempfile::Builder::new().prefix("claudebox-shell-").tempfile();
            match output {
                Ok(output) => {
                    let ended = async {
                        tokio::select! {
                            () = cancel.cancelled() => {}
                            () = stopping.cancelled() => {}
                            () = overflow(output.as_file()) => {}
                        }
                    };
                    let end = inside.engine.shell(own.path(), command, output.path().to_owned(), limit, ended).await;
                    inside.tell_output(place, end, output.as_file(), limit).await;
                }
                Err(error) => inside.say(place, &Text::plain(format!("❌ It cannot be run: {error}"))).await,
            }
            inside.notes.cross_off(&[update]).await;
            inside.errands.end(key, id);
        });
        Ok(Handled::Kept)
    }

    async fn tell_output(&self, place: Place, end: Result<ShellEnd, String>, output: &std::fs::File, limit: Duration) {
        let end = match end {
            Ok(end) => end,
            Err(why) => return self.say(place, &Text::plain(format!("❌ It cannot be run: {why}"))).await,
        };
        let whole = output.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = Vec::new();
        // The child has written through another descriptor, so this one still stands at the beginning.
        if let Err(error) = output.take(files::LARGEST_SENT - 1024).read_to_end(&mut bytes) {
            tracing::warn!("the output of a command cannot be read: {error}");
        }
        let cut = whole > bytes.len() as u64;
        let status = if end.cancelled && whole > MOST_OUTPUT {
            Some(format!("❌ Ended: it printed more than {}.", files::size(MOST_OUTPUT)))
        } else {
            status(&end, limit)
        };
        let printed = String::from_utf8_lossy(&bytes);
        let shown = printed.trim_end();
        if units(shown) <= LONGEST_SHOWN {
            let mut text = Text::plain(shown);
            let length = text.units();
            if length > 0 {
                text.entities.push(MessageEntity {
                    kind: MessageEntityKind::Pre { language: None },
                    offset: 0,
                    length,
                });
            }
            if let Some(status) = status.or_else(|| (length == 0).then(|| "✅ No output.".to_owned())) {
                text.append(&Text::plain(if length > 0 { format!("\n{status}") } else { status }));
            }
            return self.say(place, &text).await;
        }
        let mut caption = status.unwrap_or_else(|| "✅ The output is in the file.".to_owned());
        if cut {
            caption = format!("{caption} Of {}, the first 50 MB.", files::size(whole));
        }
        let send = || {
            let content = Content::Bytes(bytes.clone());
            let kind = AttachmentKind::Document;
            self.api.send_file(place, Attachment { kind, name: "output.txt", content, caption: &caption })
        };
        if let Err(error) = self.sender.transfer(place.chat, Patience::Some(6), send).await {
            self.say(place, &Text::plain(format!("⚠️ {caption} It was not sent: {error}"))).await;
        }
    }
}

/// Returns once there is more output than anybody reads: a command must not fill the disk.
async fn overflow(output: &std::fs::File) {
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
