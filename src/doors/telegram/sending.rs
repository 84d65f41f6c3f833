//! `/fetch`: a file of the chat's workspace.

use super::api::Place;
use super::chat_settings::ChatSettings;
use super::errands::{Errands, Kind};
use super::files::Own;
use super::handled::Handled;
use super::incoming::Message;
use super::sender::{Patience, Sender};
use super::text::cut;
use crate::workspace::Workspaces;

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
