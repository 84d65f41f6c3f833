//! What is said in chats: words that nobody owes, the parts of answers, files.

use super::answer::Part;
use super::api::{ApiError, Attachment, AttachmentKind, Buttons, Content, Place};
use super::files::{self, Own};
use super::incoming::Press;
use super::markdown;
use super::sender::{Patience, Sender};
use super::text::{LONGEST_MESSAGE, Text};

impl Sender {
    /// Says something that nobody owes: a few attempts, and a line in the log.
    pub(super) async fn say(&self, place: Place, text: impl Into<Text>) {
        self.say_with(place, &text.into(), &Vec::new()).await;
    }

    pub(super) async fn say_with(&self, place: Place, text: &Text, buttons: &Buttons) {
        let (messages, none) = (text.split(LONGEST_MESSAGE), Vec::new());
        for (number, message) in messages.iter().enumerate() {
            let buttons = if number + 1 == messages.len() { buttons } else { &none };
            if let Err(error) = self.send(place, message, buttons, Patience::Some(6)).await {
                tracing::warn!("chat {} is not told: {error}", place.chat);
                return;
            }
        }
    }

    pub(super) async fn say_markdown(&self, place: Place, markdown: &str) {
        self.say(place, markdown::to_text(markdown)).await;
    }

    /// Changes the message of a pressed button.
    pub(super) async fn redraw(&self, press: &Press, (text, buttons): &(Text, Buttons)) {
        if let Err(error) = self.edit(press.chat, press.message, text, buttons, Patience::Some(2)).await {
            tracing::debug!("a message with buttons is not changed: {error}");
        }
    }

    /// Ends the waiting state of a pressed button, with a note.
    pub(super) async fn answer_press(&self, press: &Press, note: &str) {
        let answer = || self.api.answer_press(&press.id, note);
        if let Err(error) = self.call(press.chat, Patience::Some(2), answer).await {
            // One that is answered late is not waited for any more.
            tracing::debug!("a pressed button is not answered: {error}");
        }
    }

    /// Sends one part of an answer; the id of its message.
    pub(super) async fn send_part(&self, place: Place, part: &Part, own: Option<&Own>) -> Result<i32, ApiError> {
        let send = async |text: &Text| self.send(place, text, &Vec::new(), Patience::Endless).await;
        match part {
            Part::Text(text) => match send(text).await {
                // An answer without its markup is better than none.
                Err(ApiError::Refused(why)) if !text.entities.is_empty() => {
                    tracing::warn!("chat {}: a text is sent without markup, as Telegram refuses it: {why}", place.chat);
                    send(&Text::plain(text.text.as_str())).await
                }
                done => done,
            },
            Part::Whole(markdown) => {
                self.send_bytes(place, "answer.md", markdown.as_bytes(), "", Patience::Endless).await
            }
            Part::File(path) => match self.send_file(place, own, path, Patience::Endless).await {
                Ok(message) => Ok(message),
                Err(why) => send(&Text::plain(format!("⚠️ {path} was not sent: {why}"))).await,
            },
        }
    }

    /// Sends bytes as a file; the id of its message.
    pub(super) async fn send_bytes(
        &self,
        place: Place,
        name: &str,
        bytes: &[u8],
        caption: &str,
        patience: Patience,
    ) -> Result<i32, ApiError> {
        let send = || {
            let (kind, content) = (AttachmentKind::Document, Content::Bytes(bytes.to_vec()));
            self.api.send_file(place, Attachment { kind, name, content, caption })
        };
        self.transfer(place.chat, patience, send).await
    }

    /// Sends a file of a workspace; why not, for a person.
    pub(super) async fn send_file(
        &self,
        place: Place,
        own: Option<&Own>,
        path: &str,
        patience: Patience,
    ) -> Result<i32, String> {
        let Some(own) = own else { return Err("its workspace is not below the workspaces folder".into()) };
        let mut as_document = false;
        loop {
            // Opened anew for each attempt: an upload that failed half-way has read half of it.
            let sent = self.transfer(place.chat, patience, || {
                let (own, path) = (own.clone(), path.to_owned());
                Box::pin(async move {
                    let found = tokio::task::spawn_blocking(move || own.find(&path)).await;
                    let refused = |why: String| ApiError::Refused(why);
                    let found = found.map_err(|error| refused(error.to_string()))?;
                    let found = found.map_err(|error| refused(error.to_string()))?;
                    if found.size > files::LARGEST_SENT {
                        let size = files::size(found.size);
                        return Err(refused(format!("it has {size}, and Telegram takes at most 50 MB from a bot")));
                    }
                    if found.size == 0 {
                        return Err(refused("it is empty, and Telegram takes no empty files".into()));
                    }
                    let kind = if as_document { AttachmentKind::Document } else { found.kind };
                    let content = Content::Open(found.file);
                    self.api.send_file(place, Attachment { kind, name: &found.name, content, caption: "" }).await
                })
            });
            match sent.await {
                Ok(message) => return Ok(message),
                // A picture that Telegram cannot scale is a file like any other.
                Err(ApiError::Refused(why)) if !as_document && is_about_pictures(&why) => as_document = true,
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

fn is_about_pictures(why: &str) -> bool {
    ["PHOTO_", "IMAGE_PROCESS_FAILED", "VIDEO_"].iter().any(|mark| why.contains(mark))
}
