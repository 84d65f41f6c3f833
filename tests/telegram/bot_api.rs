//! A Bot API for tests. It keeps what it was told, and rejects what Telegram rejects.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::rules::judge;
use crate::support::DEADLINE;

pub(crate) const TOKEN: &str = "123456:AAfake-TOKEN_of-the-tests";
pub(crate) const BOT: u64 = 123_456;
pub(crate) const NAME: &str = "claude_test_bot";

/// The server and what it knows.
pub(crate) struct BotApi {
    pub(crate) url: String,
    inside: Arc<Inside>,
    _runtime: tokio::runtime::Runtime,
}

struct Inside {
    state: Mutex<Told>,
    changed: Condvar,
    news: Notify,
}

#[derive(Default)]
struct Told {
    updates: Vec<Value>,
    next_update: i64,
    next_message: i64,
    chats: HashMap<i64, Value>,
    files: HashMap<String, Vec<u8>>,
    messages: BTreeMap<(i64, i64), Sent>,
    calls: Vec<(String, Value)>,
    polls: usize,
    webhook: bool,
    /// Calls of this method are answered so, first ones first.
    faults: Vec<(String, Value)>,
    rejected: Vec<String>,
    token_is_wrong: bool,
    /// Calls of these methods are not answered as long as they are in here.
    held: HashSet<String>,
}

/// A message of the bot's.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) id: i64,
    pub(crate) text: String,
    pub(crate) entities: Value,
    pub(crate) buttons: Value,
    pub(crate) reply_to: Option<i64>,
    pub(crate) thread: Option<i64>,
    pub(crate) edits: usize,
    /// `photo`, `video` or `document`, its name and what is in it.
    pub(crate) file: Option<(String, String, Vec<u8>)>,
}

/// All calls, for another server to judge (`tests/clients/telegram`), if `CLAUDEBOX_TELEGRAM_CALLS` names a folder.
impl Drop for BotApi {
    fn drop(&mut self) {
        let Some(folder) = std::env::var_os("CLAUDEBOX_TELEGRAM_CALLS").filter(|_| !std::thread::panicking()) else {
            return;
        };
        let calls = self.told().calls.clone();
        let number = calls.len();
        let file = format!("{}-{number}.json", std::process::id());
        std::fs::write(std::path::Path::new(&folder).join(file), serde_json::to_vec(&calls).unwrap()).unwrap();
    }
}

impl BotApi {
    pub(crate) fn start() -> Self {
        let inside = Arc::new(Inside {
            state: Mutex::new(Told { next_update: 700_000, next_message: 1, ..Told::default() }),
            changed: Condvar::new(),
            news: Notify::new(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let router = Router::new()
            .route("/{token}/{method}", any(call))
            .route("/file/{token}/{*path}", get(file))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&inside));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { url, inside, _runtime: runtime }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.inside.state.lock().unwrap()
    }

    /// Makes a chat known; the bot can write to no other.
    pub(crate) fn chat(&self, id: i64) {
        let chat = match id {
            0.. => json!({"id": id, "type": "private", "first_name": "Ann"}),
            _ => json!({"id": id, "type": "supergroup", "title": "Team", "is_forum": true}),
        };
        self.told().chats.insert(id, chat);
    }

    /// Somebody sends what `fields` say; the message's id.
    pub(crate) fn message(&self, chat: i64, user: u64, fields: Value) -> i64 {
        let mut told = self.told();
        let id = told.next_message;
        told.next_message += 1;
        let mut message = json!({
            "message_id": id, "date": 1_780_000_000, "chat": told.chats[&chat],
            "from": {"id": user, "is_bot": false, "first_name": "Ann"},
        });
        for (key, value) in fields.as_object().unwrap() {
            message[key] = value.clone();
        }
        told.push(json!({"message": message}));
        drop(told);
        self.inside.news.notify_waiters();
        id
    }

    /// Somebody writes in their own chat.
    pub(crate) fn says(&self, chat: i64, text: &str) -> i64 {
        self.message(chat, chat.unsigned_abs(), text_of(text))
    }

    /// Somebody presses a button of a message.
    pub(crate) fn press(&self, chat: i64, user: u64, message: i64, data: &str) {
        let mut told = self.told();
        let number = told.next_update;
        let update = json!({"callback_query": {
            "id": format!("press-{number}"), "from": {"id": user, "is_bot": false, "first_name": "Ann"},
            "chat_instance": "1", "data": data,
            "message": {"message_id": message, "date": 1_780_000_000, "chat": told.chats[&chat], "text": "x"},
        }});
        told.push(update);
        drop(told);
        self.inside.news.notify_waiters();
    }

    /// An update as it is.
    pub(crate) fn update(&self, update: Value) {
        self.told().push(update);
        self.inside.news.notify_waiters();
    }

    /// A file that somebody can send; the id it is known by.
    pub(crate) fn upload(&self, id: &str, content: &[u8]) -> Value {
        self.told().files.insert(id.to_owned(), content.to_vec());
        json!({"file_id": id, "file_unique_id": format!("u{id}"), "file_size": content.len()})
    }

    /// The next call of `method` is answered so.
    pub(crate) fn fail(&self, method: &str, answer: Value) {
        self.told().faults.push((method.to_ascii_lowercase(), answer));
    }

    /// Calls of `method` are not answered until `release`.
    pub(crate) fn hold(&self, method: &str) {
        self.told().held.insert(method.to_ascii_lowercase());
    }

    pub(crate) fn release(&self, method: &str) {
        self.told().held.remove(&method.to_ascii_lowercase());
        self.inside.news.notify_waiters();
    }

    pub(crate) fn refuse_token(&self) {
        self.told().token_is_wrong = true;
    }

    pub(crate) fn leave_webhook(&self) {
        self.told().webhook = true;
    }

    pub(crate) fn has_webhook(&self) -> bool {
        self.told().webhook
    }

    /// What was rejected so far.
    pub(crate) fn rejected(&self) -> Vec<String> {
        self.told().rejected.clone()
    }

    /// What the bot has in a chat, in order.
    pub(crate) fn sent(&self, chat: i64) -> Vec<Sent> {
        self.told().messages.iter().filter(|((at, _), _)| *at == chat).map(|(_, sent)| sent.clone()).collect()
    }

    /// Calls of a method so far.
    pub(crate) fn calls(&self, method: &str) -> Vec<Value> {
        let method = method.to_ascii_lowercase();
        self.told().calls.iter().filter(|(name, _)| *name == method).map(|(_, fields)| fields.clone()).collect()
    }

    /// Waits until something of the chat's messages is there.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, chat: i64, mut find: impl FnMut(&[Sent]) -> Option<T>) -> T {
        let deadline = Instant::now() + *DEADLINE;
        loop {
            let sent = self.sent(chat);
            if let Some(found) = find(&sent) {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {what}\n{sent:#?}\nrejected: {:?}", self.rejected());
            let told = self.told();
            drop(self.inside.changed.wait_timeout(told, Duration::from_millis(100)).unwrap());
        }
    }

    /// Waits for a message with this text that answers `message`.
    #[track_caller]
    pub(crate) fn answer(&self, chat: i64, message: i64, text: &str) -> Sent {
        self.until(&format!("an answer with {text:?} to {message}"), chat, |sent| {
            sent.iter().find(|sent| sent.reply_to == Some(message) && sent.text.contains(text)).cloned()
        })
    }

    /// Waits until a condition holds.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        self.until(what, i64::MIN, |_| holds(self).then_some(()));
    }
}

/// A text as Telegram gives it, with its commands and mentions.
pub(crate) fn text_of(text: &str) -> Value {
    let mut entities = Vec::new();
    let mut offset = 0;
    for word in text.split_inclusive([' ', '\n']) {
        let bare = word.trim_end();
        let kind = match bare.chars().next() {
            Some('/') if offset == 0 => Some("bot_command"),
            Some('@') => Some("mention"),
            _ => None,
        };
        entities
            .extend(kind.map(|kind| json!({"type": kind, "offset": offset, "length": bare.encode_utf16().count()})));
        offset += word.encode_utf16().count();
    }
    json!({"text": text, "entities": entities})
}

impl Told {
    fn push(&mut self, mut update: Value) {
        update["update_id"] = self.next_update.into();
        self.next_update += 1;
        // As Telegram has it: the number first, then what it is about.
        let mut ordered = json!({"update_id": update["update_id"]});
        for (key, value) in update.as_object().unwrap().iter().filter(|(key, _)| *key != "update_id") {
            ordered[key] = value.clone();
        }
        self.updates.push(ordered);
    }
}

fn ok(result: Value) -> Response {
    (StatusCode::OK, [("content-type", "application/json")], json!({"ok": true, "result": result}).to_string())
        .into_response()
}

fn refused(code: u16, description: &str) -> Response {
    let body = json!({"ok": false, "error_code": code, "description": description});
    answer_with(&body)
}

fn answer_with(body: &Value) -> Response {
    let code = body["error_code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(200);
    let status = StatusCode::from_u16(code).unwrap();
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

async fn file(State(inside): State<Arc<Inside>>, Path((token, path)): Path<(String, String)>) -> Response {
    if token != format!("bot{TOKEN}") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let told = inside.state.lock().unwrap();
    let found = path.strip_prefix("files/").and_then(|id| told.files.get(id)).cloned();
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |content| Body::from(content).into_response())
}

async fn call(
    State(inside): State<Arc<Inside>>,
    Path((token, method)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let method = method.to_ascii_lowercase();
    if token != format!("bot{TOKEN}") || inside.state.lock().unwrap().token_is_wrong {
        inside.state.lock().unwrap().calls.push((method, Value::Null));
        return refused(401, "Unauthorized");
    }
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    let (fields, parts) = if kind.starts_with("multipart/form-data") {
        multipart(&kind, &body)
    } else if body.is_empty() {
        (json!({}), HashMap::new())
    } else {
        match serde_json::from_slice(&body) {
            Ok(fields) => (fields, HashMap::new()),
            Err(error) => return refused(400, &format!("Bad Request: {error}")),
        }
    };
    {
        let mut told = inside.state.lock().unwrap();
        told.calls.push((method.clone(), fields.clone()));
        let fault = told.faults.iter().position(|(name, _)| *name == method);
        if let Some(at) = fault {
            let (_, answer) = told.faults.remove(at);
            return answer_with(&answer);
        }
    }
    loop {
        let released = inside.news.notified();
        tokio::pin!(released);
        released.as_mut().enable();
        if !inside.state.lock().unwrap().held.contains(&method) {
            break;
        }
        released.await;
    }
    let answer = match method.as_str() {
        "getme" => ok(json!({
            "id": BOT, "is_bot": true, "first_name": "Claude", "username": NAME, "can_join_groups": true,
            "can_read_all_group_messages": true, "supports_inline_queries": false, "can_connect_to_business": false,
            "has_main_web_app": false,
        })),
        "deletewebhook" => {
            inside.state.lock().unwrap().webhook = false;
            ok(json!(true))
        }
        "setmycommands" => set_commands(&fields),
        "getupdates" => updates(&inside, &fields).await,
        "sendchataction" => known(&inside, &fields).map_or_else(|why| refused(400, &why), |_| ok(json!(true))),
        "answercallbackquery" => ok(json!(true)),
        "sendmessage" | "sendphoto" | "sendvideo" | "senddocument" => send(&inside, &method, &fields, &parts),
        "editmessagetext" => edit(&inside, &fields),
        "deletemessage" => delete(&inside, &fields),
        "getfile" => get_file(&inside, &fields),
        _ => refused(404, "Not Found"),
    };
    inside.changed.notify_all();
    answer
}

fn set_commands(fields: &Value) -> Response {
    for command in fields["commands"].as_array().into_iter().flatten() {
        let (name, about) = (command["command"].as_str().unwrap(), command["description"].as_str().unwrap());
        let fine = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !fine || name.len() > 32 || !(3..=256).contains(&about.chars().count()) {
            return refused(400, "Bad Request: BOT_COMMAND_INVALID");
        }
    }
    ok(json!(true))
}

async fn updates(inside: &Inside, fields: &Value) -> Response {
    {
        let mut told = inside.state.lock().unwrap();
        if told.webhook {
            return refused(
                409,
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
            );
        }
        told.polls += 1;
    }
    let offset = fields["offset"].as_i64().unwrap_or(0);
    let wait = Duration::from_secs(fields["timeout"].as_u64().unwrap_or(0).min(2));
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let news = inside.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        let found: Vec<Value> = {
            let mut told = inside.state.lock().unwrap();
            told.updates.retain(|update| update["update_id"].as_i64().unwrap() >= offset);
            told.updates.iter().take(100).cloned().collect()
        };
        if !found.is_empty() || tokio::time::timeout_at(deadline, news).await.is_err() {
            return ok(json!(found));
        }
    }
}

fn known(inside: &Inside, fields: &Value) -> Result<i64, String> {
    let chat = &fields["chat_id"];
    // In a form everything is text.
    let chat = chat.as_i64().or_else(|| chat.as_str()?.parse().ok()).ok_or("Bad Request: chat_id is empty")?;
    if inside.state.lock().unwrap().chats.contains_key(&chat) {
        Ok(chat)
    } else {
        Err("Bad Request: chat not found".into())
    }
}

fn reject(inside: &Inside, method: &str, fields: &Value, why: &str) -> Response {
    inside.state.lock().unwrap().rejected.push(format!("{method}: {why}: {fields}"));
    refused(400, why)
}

fn send(inside: &Inside, method: &str, fields: &Value, parts: &HashMap<String, (String, Vec<u8>)>) -> Response {
    let chat = match known(inside, fields) {
        Ok(chat) => chat,
        Err(why) => return reject(inside, method, fields, &why),
    };
    let mut file = None;
    if method == "sendmessage" {
        if let Err(why) = judge(fields.get("text"), fields.get("entities"), 4096) {
            return reject(inside, method, fields, &why);
        }
    } else {
        let name = method.trim_start_matches("send");
        let named = fields[name].as_str().and_then(|named| named.strip_prefix("attach://")).unwrap_or(name);
        let Some((file_name, content)) = parts.get(named) else {
            return reject(inside, method, fields, &format!("Bad Request: there is no {name} in the request"));
        };
        if content.is_empty() {
            return reject(inside, method, fields, "Bad Request: file must be non-empty");
        }
        if content.len() > 50 << 20 {
            return refused(413, "Request Entity Too Large");
        }
        if name == "photo" && content.starts_with(b"no picture") {
            return refused(400, "Bad Request: IMAGE_PROCESS_FAILED");
        }
        let caption = fields["caption"].as_str().unwrap_or_default();
        if caption.encode_utf16().count() > 1024 {
            return reject(inside, method, fields, "Bad Request: message caption is too long");
        }
        file = Some((name.to_owned(), file_name.clone(), content.clone()));
    }
    if let Err(why) = judge_buttons(&fields["reply_markup"]) {
        return reject(inside, method, fields, &why);
    }
    let object = |value: &Value| {
        value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| value.clone())
    };
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let mut told = inside.state.lock().unwrap();
    let id = told.next_message;
    told.next_message += 1;
    let text = fields["text"].as_str().or(fields["caption"].as_str()).unwrap_or_default().to_owned();
    let sent = Sent {
        id,
        text: text.clone(),
        entities: fields["entities"].clone(),
        buttons: fields["reply_markup"].clone(),
        reply_to: object(&fields["reply_parameters"])["message_id"].as_i64(),
        thread: number(&fields["message_thread_id"]),
        edits: 0,
        file,
    };
    told.messages.insert((chat, id), sent);
    let mut message = json!({"message_id": id, "date": 1_780_000_000, "chat": told.chats[&chat]});
    message["text"] = if text.is_empty() { "x".into() } else { text.into() };
    ok(message)
}

fn edit(inside: &Inside, fields: &Value) -> Response {
    let chat = match known(inside, fields) {
        Ok(chat) => chat,
        Err(why) => return reject(inside, "edit", fields, &why),
    };
    if let Err(why) =
        judge(fields.get("text"), fields.get("entities"), 4096).and_then(|()| judge_buttons(&fields["reply_markup"]))
    {
        return reject(inside, "edit", fields, &why);
    }
    let mut told = inside.state.lock().unwrap();
    let shown = told.chats[&chat].clone();
    let id = fields["message_id"].as_i64().unwrap();
    let Some(sent) = told.messages.get_mut(&(chat, id)) else {
        return refused(400, "Bad Request: message to edit not found");
    };
    let text = fields["text"].as_str().unwrap();
    if sent.text == text && sent.entities == fields["entities"] && sent.buttons == fields["reply_markup"] {
        return refused(
            400,
            "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message",
        );
    }
    text.clone_into(&mut sent.text);
    sent.entities = fields["entities"].clone();
    sent.buttons = fields["reply_markup"].clone();
    sent.edits += 1;
    ok(json!({"message_id": id, "date": 1_780_000_000, "edit_date": 1_780_000_001, "chat": shown, "text": text}))
}

fn delete(inside: &Inside, fields: &Value) -> Response {
    let (chat, id) = (fields["chat_id"].as_i64().unwrap(), fields["message_id"].as_i64().unwrap());
    match inside.state.lock().unwrap().messages.remove(&(chat, id)) {
        Some(_) => ok(json!(true)),
        None => refused(400, "Bad Request: message to delete not found"),
    }
}

fn judge_buttons(markup: &Value) -> Result<(), String> {
    for button in markup["inline_keyboard"].as_array().into_iter().flatten().flat_map(|row| row.as_array().unwrap()) {
        let data = button["callback_data"].as_str().unwrap_or_default();
        if data.is_empty() || data.len() > 64 || button["text"].as_str().unwrap_or_default().is_empty() {
            return Err("Bad Request: BUTTON_DATA_INVALID".into());
        }
    }
    Ok(())
}

fn get_file(inside: &Inside, fields: &Value) -> Response {
    let id = fields["file_id"].as_str().unwrap();
    let told = inside.state.lock().unwrap();
    match told.files.get(id) {
        None => refused(400, "Bad Request: invalid file_id"),
        Some(content) if content.len() > 20 << 20 => refused(400, "Bad Request: file is too big"),
        Some(content) => ok(json!({
            "file_id": id, "file_unique_id": format!("u{id}"), "file_size": content.len(), "file_path": format!("files/{id}"),
        })),
    }
}

/// The fields of a form, and its files by their names.
fn multipart(kind: &str, body: &[u8]) -> (Value, HashMap<String, (String, Vec<u8>)>) {
    let boundary = kind.split("boundary=").nth(1).unwrap();
    let delimiter = format!("\r\n--{boundary}");
    let body = [b"\r\n", body].concat();
    let (mut fields, mut files) = (json!({}), HashMap::new());
    let mut rest = body.as_slice();
    let find = |text: &[u8], part: &[u8]| text.windows(part.len()).position(|window| window == part);
    while let Some(start) = find(rest, delimiter.as_bytes()) {
        rest = &rest[start + delimiter.len()..];
        let Some(end) = find(rest, delimiter.as_bytes()) else { break };
        let part = &rest[..end];
        let Some(head_end) = find(part, b"\r\n\r\n") else { break };
        let head = String::from_utf8_lossy(&part[..head_end]).into_owned();
        let content = &part[head_end + 4..];
        let value = |key: &str| {
            head.split(&format!("{key}=\"")).nth(1).map(|value| value.split('"').next().unwrap().to_owned())
        };
        let name = value(" name").unwrap_or_default();
        match value("filename") {
            Some(file) => drop(files.insert(name, (file, content.to_vec()))),
            None => fields[&name] = String::from_utf8_lossy(content).into_owned().into(),
        }
    }
    (fields, files)
}
