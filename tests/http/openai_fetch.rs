//! The OpenAI door fetches images that a client names by their address, and nothing that only this box's network has.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::client::Network;
use crate::fixture::{Api, start, with_cli};
use crate::openai::chat;
use crate::support::TestBox;

const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8,
    4, 0, 0, 0, 0xb5, 0x1c, 0x0c, 2, 0, 0, 0, 0x0b, b'I', b'D', b'A', b'T', 0x78, 0xda, 0x63, 0xfc, 0xff, 0x1f, 0, 3,
    3, 2, 0, 0xef, 0xef, 0x89, 0x7b, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// A server in the box that answers every request with `answer`, and counts them.
fn server(network: &Network, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener: TcpListener = network.listen();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            counted.fetch_add(1, Ordering::SeqCst);
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let _ = stream.write_all(&answer(head.split(' ').nth(1).unwrap_or_default()));
        }
    });
    (port, count)
}

fn image() -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        PNG.len()
    );
    [head.as_bytes(), PNG].concat()
}

fn ask(api: &Api, url: &str) -> (u16, Value) {
    let content = json!([{"role": "user", "content": [
        {"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": url}},
    ]}]);
    let answer = chat(&api.http, "a", content, json!({})).send();
    (answer.status, answer.json(answer.status))
}

/// Ways to write down this box's own loopback and other places that only its network has; `PORT` is the canary's.
const PRIVATE: &[&str] = &[
    "http://127.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7f.1:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://017700000001:PORT/",
    "http://00000177.1:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://%31%32%37.0.0.1:PORT/",
    "http://①②⑦.⓪.⓪.①:PORT/",
    "http://127。0。0。1:PORT/",
    "http://0:PORT/",
    "http://0.0.0.0:PORT/",
    "http://[::1]:PORT/",
    "http://[::]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://[fc00::1]:PORT/",
    "http://[fd00:ec2::254]:PORT/",
    "http://10.0.0.1:PORT/",
    "http://172.16.0.1:PORT/",
    "http://172.31.255.255:PORT/",
    "http://192.168.0.1:PORT/",
    "http://100.64.0.1:PORT/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/latest/meta-data/",
    "http://198.18.0.1:PORT/",
    "http://224.0.0.1:PORT/",
    "http://255.255.255.255:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    "http://canary.test:PORT/",
    "http://rebind.test:PORT/",
    "http://user@127.0.0.1:PORT/",
    "http://example.com@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT#@example.com/",
    "http:\\\\127.0.0.1:PORT\\",
    "http:127.0.0.1:PORT/",
    " http://127.0.0.1:PORT/ ",
    "https://127.0.0.1:PORT/",
    "hTTp://127.0.0.1:PORT/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/_x",
    "ftp://127.0.0.1:PORT/x",
    "unix:///var/run/docker.sock",
];

#[test]
fn nothing_private_is_fetched() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    // Names that lead there; one has a public address beside it, as a name that is rebound has.
    let hosts = "127.0.0.1 localhost canary.test\n::1 localhost\n203.0.113.9 rebind.test\n127.0.0.1 rebind.test\n";
    std::fs::write(testbox.path("etc/hosts"), hosts).unwrap();
    // The one private host that may be fetched from sends its clients on to the others.
    let api = start(&testbox, launch.env("CLAUDEBOX_FETCH_ALLOW", "127.0.0.2"));
    let (canary, asked) = server(&api.network, |_| image());
    for url in PRIVATE {
        let (status, body) = ask(&api, &url.replace("PORT", &canary.to_string()));
        assert_eq!(status, 400, "{url}: {body}");
        assert_eq!(body["error"]["code"], "invalid_field", "{url}: {body}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    api.stop();
}

#[test]
fn redirects_are_judged_one_by_one() {
    let Some(testbox) = TestBox::new() else { return };
    let Some(launch) = with_cli(&testbox) else { return };
    std::fs::write(testbox.path("etc/hosts"), "127.0.0.1 allowed.test localhost canary.test\n").unwrap();
    let api = start(&testbox, launch.env("CLAUDEBOX_FETCH_ALLOW", "allowed.test"));
    let (canary, asked) = server(&api.network, |_| image());
    let (port, _) = server(&api.network, move |path| {
        let to = match path {
            "/image" => return image(),
            "/one" => "/image".to_owned(),
            "/two" => "one".to_owned(),
            "/away" => format!("http://127.0.0.1:{canary}/"),
            "/name" => format!("//canary.test:{canary}/"),
            "/file" => "file:///etc/passwd".to_owned(),
            _ => "/round".to_owned(),
        };
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes()
    });
    let fetch = |path: &str| ask(&api, &format!("http://allowed.test:{port}{path}"));
    for path in ["/image", "/one", "/two"] {
        let (status, body) = fetch(path);
        assert_eq!(status, 200, "{path}: {body}");
        let said = body["choices"][0]["message"]["content"].as_str().unwrap();
        assert!(said.contains("Images received: 1. You said: look"), "{said}");
    }
    for path in ["/away", "/name", "/file", "/round"] {
        let (status, body) = fetch(path);
        assert_eq!(status, 400, "{path}: {body}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    api.stop();
}
