//! A thousand clients of the OpenAI door that all read a stream at once: every word comes to everyone, as it is said.

use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::Barrier;

use serde_json::{Value, json};

use crate::stand::{Stand, kilobytes, number, serve_of};

/// A word at the start; the other when its gate opens, which it does not watch for: a process that looked every few
/// milliseconds, a thousand times, would be the load. The reader of the FIFO wakes when the test opens it.
const TWO_WORDS: &str = r#"init
word() { echo "{\"type\":\"stream_event\",\"event\":{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"$1\"}},\"session_id\":\"s\",\"parent_tool_use_id\":null}"; }
word "first-$name "
read -r go <"$BOX/gate"
word "second-$name"
echo "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"first-$name second-$name\",\"session_id\":\"s\"}"
"#;

/// The words of the chunks up to the one that holds `until`, or up to the end.
fn words(stream: &mut impl Iterator<Item = std::io::Result<String>>, until: Option<&str>) -> String {
    let mut words = String::new();
    for line in stream {
        let line = line.unwrap();
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if data == "[DONE]" {
            assert_eq!(until, None, "the stream is over: {words:?}");
            return words;
        }
        let chunk: Value = serde_json::from_str(data).unwrap();
        assert!(chunk["error"].is_null(), "{chunk}");
        words.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
        if until.is_some_and(|until| words.contains(until)) {
            return words;
        }
    }
    panic!("the stream was cut: {words:?}");
}

#[test]
fn many_open_streams_and_none_stalls() {
    let Some(stand) = Stand::new(TWO_WORDS) else { return };
    let streams = usize::try_from(number("CLAUDEBOX_TEST_STREAMS", 200)).unwrap();
    let gate = stand.testbox.path("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    // Open both ways, so that who opens it late finds it open.
    let mut writer = std::fs::File::options().read(true).write(true).open(&gate).unwrap();
    for number in 0..streams {
        stand.workspace(&format!("w{number}"));
    }
    let launch = stand.launch().env("CLAUDEBOX_MAX_RUNS", &streams.to_string());
    let running = launch.env("CLAUDEBOX_MODE_API_MAX_CONNECTIONS", &(streams + 24).to_string()).start();
    stand.wait_for_health();
    let serve = serve_of(&running).unwrap();
    let before = kilobytes(&serve, "VmRSS");
    let everybody = Barrier::new(streams + 1);
    std::thread::scope(|scope| {
        for number in 0..streams {
            let (server, everybody) = (stand.server, &everybody);
            let reader = move || {
                let body = json!({"stream": true, "messages": [{"role": "user", "content": format!("n{number} 0")}]});
                let headers = format!("Content-Type: application/json\r\nX-Claude-Workspace: w{number}\r\n");
                let body = body.to_string();
                let answer = server.open("POST", "/openai/v1/chat/completions", &headers, body.as_bytes()).unwrap();
                assert_eq!(answer.status, 200);
                let mut lines = BufReader::new(answer).lines();
                let first = words(&mut lines, Some(&format!("first-n{number} ")));
                // All streams are open now.
                everybody.wait();
                everybody.wait();
                let rest = words(&mut lines, None);
                assert_eq!(format!("{first}{rest}"), format!("first-n{number} second-n{number}"));
            };
            // As many as there are have small stacks.
            std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, reader).unwrap();
        }
        everybody.wait();
        let open = kilobytes(&serve, "VmRSS");
        eprintln!("{streams} open streams: serve {before} kB before, {open} kB with all of them open");
        everybody.wait();
        // Each of those who read the FIFO takes one line.
        writer.write_all(&b"g\n".repeat(streams)).unwrap();
    });
    running.kill();
}
