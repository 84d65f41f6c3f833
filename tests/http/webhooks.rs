//! The result, posted to who asked for it: signed, tried again, and not forgotten by a restart.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::client::{prompt, with};
use crate::fixture::{Api, start, with_cli};
use crate::support::{DEADLINE, TestBox};

/// What was posted.
struct Posted {
    headers: String,
    body: String,
}

impl Posted {
    fn header(&self, name: &str) -> &str {
        let line = self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name}: {}", self.headers))
    }

    /// Checks it as Standard Webhooks has it; what was posted.
    fn verify(&self, key: &[u8]) -> Value {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        let signed = format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        mac.update(signed.as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(self.header("webhook-signature"), expected);
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Answers one post after the other with these statuses, and the last one ever after.
fn receiver(listener: TcpListener, statuses: &'static [u16]) -> Receiver<Posted> {
    let (sender, posted) = channel();
    std::thread::spawn(move || {
        for index in 0.. {
            let Ok((stream, _)) = listener.accept() else { return };
            let mut reader = BufReader::new(stream);
            let mut headers = String::new();
            while !headers.ends_with("\r\n\r\n") {
                if reader.read_line(&mut headers).unwrap() == 0 {
                    return;
                }
            }
            let headers = headers.replace("\r\n", "\n");
            let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let status = statuses.get(index).or(statuses.last()).unwrap();
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            if sender.send(Posted { headers, body: String::from_utf8(body).unwrap() }).is_err() {
                return;
            }
        }
    });
    posted
}

fn next(posted: &Receiver<Posted>) -> Posted {
    posted.recv_timeout(*DEADLINE).unwrap()
}

fn hook(api: &Api, statuses: &'static [u16]) -> (String, Receiver<Posted>) {
    let listener = api.network.listen();
    let url = format!("http://{}/hook?x=1", listener.local_addr().unwrap());
    (url, receiver(listener, statuses))
}

/// A receiver that takes connections and never answers: tells of each one that comes, and of each one that is given up.
fn silent(listener: TcpListener) -> (Receiver<()>, Receiver<()>) {
    let ((came, accepted), (went, given_up)) = (channel(), channel());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = came.send(());
            let went = went.clone();
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
                let _ = went.send(());
            });
        }
    });
    (accepted, given_up)
}

#[test]
fn a_receiver_that_hangs_holds_nobody_else_up() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let api = start(&testbox, launch.env("CLAUDEBOX_FETCH_ALLOW", "127.0.0.1"));
    let listener = api.network.listen();
    let hanging_url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (accepted, given_up) = silent(listener);
    let (url, fine) = hook(&api, &[204]);
    for _ in 0..2 {
        api.http.run(with(prompt("a", "offline:echo slow"), json!({"webhookUrl": hanging_url})));
        accepted.recv_timeout(*DEADLINE).unwrap();
    }
    let result = api.http.run(with(prompt("a", "offline:echo fast"), json!({"webhookUrl": url})));
    assert_eq!(next(&fine).header("webhook-id"), result["runId"]);
    // It was posted beside those that hang, not after them.
    assert!(given_up.try_recv().is_err());
    api.stop();
}

#[test]
fn a_result_is_posted_signed_and_tried_again_by_the_next_server() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    let launch = launch.env("CLAUDEBOX_FETCH_ALLOW", "127.0.0.1").env("CLAUDEBOX_WEBHOOK_SECRET", "s3cret");
    let mut api = start(&testbox, launch);
    let (busy_url, busy) = hook(&api, &[503, 200]);
    let (url, fine) = hook(&api, &[204]);

    let result = api.http.run(with(prompt("a", "offline:echo posted"), json!({"webhookUrl": busy_url})));
    let id = result["runId"].as_str().unwrap();
    let first = next(&busy);
    // Due again in some seconds; the server that was refused is not the one that tries again.
    api.kill_serve();
    let failed = api.http.run(with(prompt("b", "offline:error 400"), json!({"webhook_url": url})));
    let posted = next(&fine).verify(b"s3cret");
    assert_eq!((&posted["data"]["runId"], &posted["data"]["state"]), (&failed["runId"], &json!("failed")));

    let second = next(&busy);
    for posted in [&first, &second] {
        assert_eq!((posted.header("webhook-id"), posted.header("content-type")), (id, "application/json"));
        let body = posted.verify(b"s3cret");
        assert_eq!(body["type"], "run.finished");
        assert_eq!(body["data"], api.http.look(id));
    }
    assert_eq!(first.body, second.body);
    // Delivered is delivered: after another restart nothing comes that came before.
    api.kill_serve();
    api.http.run(with(prompt("b", "offline:echo last"), json!({"webhookUrl": url})));
    assert_eq!(next(&fine).verify(b"s3cret")["data"]["state"], "succeeded");
    assert!(busy.try_recv().is_err());
    api.stop();
}
