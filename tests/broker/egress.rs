//! The way out. Names: `localhost` alone, which every machine knows.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use rstest::rstest;

use crate::stand::{Broker, DEADLINE, eventually, parse, read_until_tcp};

/// A server that says what it is told, after "hello ".
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut said = String::new();
                stream.read_to_string(&mut said).unwrap();
                stream.write_all(format!("hello {said}").as_bytes()).unwrap();
            });
        }
    });
    address
}

fn ask(broker: &Broker, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(broker.egress()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// The status and the text of a refusal.
fn refused(broker: &Broker, head: &str) -> (String, String) {
    let mut bytes = Vec::new();
    ask(broker, head).read_to_end(&mut bytes).unwrap();
    let answer = parse(&bytes);
    let text = String::from_utf8(answer.body.clone()).unwrap();
    assert!(answer.is_whole && text.ends_with('\n') && text.lines().count() == 1, "{text}");
    (answer.status().to_owned(), text)
}

fn connect(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

/// Says "world" through the proxy: what comes back.
fn talk(broker: &Broker, target: &str) -> String {
    // The first bytes for the server come with the head.
    let mut stream = ask(broker, &(connect(target) + "wor"));
    read_until_tcp(&mut stream, b"\r\n\r\n");
    stream.write_all(b"ld").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn what_is_listed_is_reached_and_nothing_else() {
    let (listed, other) = (server(), server());
    let broker = Broker::with_egress(&format!("# ours\n{listed}\nlocalhost:{}\n", listed.port()));
    assert_eq!(talk(&broker, &listed.to_string()), "hello world");
    assert_eq!(talk(&broker, &format!("[::ffff:127.0.0.1]:{}", listed.port())), "hello world");
    assert_eq!(talk(&broker, &format!("LocalHost.:{}", listed.port())), "hello world");
    for target in [other.to_string(), format!("localhost:{}", other.port()), format!("127.0.0.2:{}", listed.port())] {
        let (status, text) = refused(&broker, &connect(&target));
        assert_eq!(status, "403");
        assert!(text.contains(&target) && text.contains("the list is CLAUDEBOX_EGRESS_ALLOW"), "{text}");
    }
    let verdicts: Vec<_> = broker.audit("egress").iter().map(|line| line["verdict"].clone()).collect();
    assert_eq!(verdicts, ["allowed", "allowed", "allowed", "denied", "denied", "denied"]);
    assert_eq!(broker.audit("egress")[0]["address"], "127.0.0.1");
    assert_eq!(broker.audit("egress")[3]["port"], other.port());
}

#[test]
fn a_listed_name_with_a_private_address_is_denied() {
    let server = server();
    let broker = Broker::with_egress(&format!("localhost:{}\n", server.port()));
    let (status, text) = refused(&broker, &connect(&format!("localhost:{}", server.port())));
    assert_eq!(status, "403");
    assert!(text.contains("no address that is public"), "{text}");
}

#[rstest]
#[case::not_connect("GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", "403", "only CONNECT")]
#[case::post("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "403", "only CONNECT")]
#[case::no_port("CONNECT localhost HTTP/1.1\r\n\r\n", "400", "HOST:PORT")]
#[case::userinfo("CONNECT user@localhost:443 HTTP/1.1\r\n\r\n", "403", "neither a name nor an address")]
#[case::number("CONNECT 2130706433:443 HTTP/1.1\r\n\r\n", "403", "neither a name nor an address")]
#[case::short_address("CONNECT 127.1:443 HTTP/1.1\r\n\r\n", "403", "neither a name nor an address")]
#[case::metadata("CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n", "403", "not on the allow-list")]
#[case::public("CONNECT 8.8.8.8:443 HTTP/1.1\r\n\r\n", "403", "not on the allow-list")]
#[case::another_host("CONNECT other.example:443 HTTP/1.1\r\nHost: example.com\r\n\r\n", "403", "not on the allow-list")]
fn what_is_no_request_for_a_listed_host(#[case] head: &str, #[case] status: &str, #[case] why: &str) {
    let broker = Broker::with_egress("localhost:443\nexample.com\n");
    let (found, text) = refused(&broker, head);
    assert_eq!(found, status);
    assert!(text.contains(why), "{text}");
    assert_eq!(broker.audit("egress").len(), 1);
}

#[test]
fn a_head_without_an_end_is_refused() {
    let broker = Broker::with_egress("");
    let head = format!("CONNECT localhost:443 HTTP/1.1\r\nX: {}", "x".repeat(16 * 1024));
    let mut stream = ask(&broker, &head[..16 * 1024]);
    assert!(read_until_tcp(&mut stream, b"\r\n\r\n").starts_with(b"HTTP/1.1 431 "));
}

#[test]
fn a_server_that_is_not_there_is_said() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = Broker::with_egress(&format!("{nobody}\n"));
    let (status, text) = refused(&broker, &connect(&nobody.to_string()));
    assert_eq!(status, "502");
    assert!(text.contains("refused"), "{text}");
    assert!(broker.audit("egress")[0]["failed"].as_str().unwrap().contains("refused"));
}

#[test]
fn a_changed_list_counts_and_a_wrong_one_does_not() {
    let server = server().to_string();
    let broker = Broker::with_egress("");
    assert_eq!(refused(&broker, &connect(&server)).0, "403");
    let replace = |text: &str, mode: u32| {
        let new = broker.path("allow.new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(new, broker.path("allow")).unwrap();
    };
    replace(&format!("{server}\n"), 0o644);
    assert_eq!(talk(&broker, &server), "hello world");
    replace("*.com\n", 0o644);
    assert_eq!(talk(&broker, &server), "hello world");
    replace("", 0o666);
    assert_eq!(talk(&broker, &server), "hello world");
    replace("# nothing\n", 0o644);
    assert_eq!(refused(&broker, &connect(&server)).0, "403");
    let policy = broker.audit("policy");
    let rules: Vec<_> = policy.iter().map(|line| line["rules"].as_u64()).collect();
    assert_eq!(rules, [Some(0), Some(1), None, None, Some(0)]);
    assert!(policy[2]["refused"].as_str().unwrap().contains("too wide"));
    assert!(policy[3]["refused"].as_str().unwrap().contains("nobody else may write"));
}

#[test]
fn no_more_connections_than_there_are_places() {
    let server = server().to_string();
    let broker = Broker::with_egress(&format!("{server}\n"));
    let mut held: Vec<TcpStream> = (0..256).map(|_| ask(&broker, &connect(&server))).collect();
    for stream in &mut held {
        read_until_tcp(stream, b"\r\n\r\n");
    }
    let mut over = TcpStream::connect(broker.egress()).unwrap();
    over.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut said = String::new();
    over.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    drop(held);
    eventually("places are given back", || {
        let mut stream = ask(&broker, &connect(&server));
        let mut byte = [0; 12];
        stream.read_exact(&mut byte).is_ok() && &byte == b"HTTP/1.1 200"
    });
}

#[test]
fn the_audit_log_is_a_chain_that_a_change_breaks() {
    let broker = Broker::with_egress("");
    (0..3).for_each(|_| drop(refused(&broker, &connect("example.com:443"))));
    let verified = broker.verify();
    assert!(verified.status.success());
    assert_eq!(String::from_utf8(verified.stdout).unwrap(), "4 lines, unbroken\n");
    let text = fs::read_to_string(broker.path("audit")).unwrap();
    fs::write(broker.path("audit"), text.replacen("example.com", "example.org", 1)).unwrap();
    let verified = broker.verify();
    assert_eq!(verified.status.code(), Some(1));
    let said = String::from_utf8(verified.stderr).unwrap();
    assert!(said.contains("broken in line 2: its hash is not that of its text"), "{said}");
}
