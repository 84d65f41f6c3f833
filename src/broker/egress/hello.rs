//! Whom a tunnel is for by its own first words: a server behind one address may stand for many names.

use std::io;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// Longest first message, bytes.
const LONGEST: usize = 64 * 1024;
/// How long it may take to come.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a tunnel is closed again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Foreign {
    /// It is for another server.
    #[error("the tunnel asks for {0} in TLS")]
    Name(String),
    /// It names none.
    #[error("the tunnel names no server in TLS")]
    NoName,
    /// It does not begin with TLS.
    #[error("the tunnel does not begin with TLS")]
    NotTls,
}

/// Reads on from `client` until it has said in TLS that it wants `name`: all that has come, `first` at its begin.
pub(super) async fn expect(
    name: &str,
    client: &mut (impl AsyncRead + Unpin),
    first: Vec<u8>,
) -> io::Result<Result<Vec<u8>, Foreign>> {
    let read = async {
        let (mut acceptor, mut said, mut seen) = (Acceptor::default(), first, 0);
        loop {
            while seen < said.len() {
                // It takes no more than it has room for.
                match acceptor.read_tls(&mut &said[seen..]) {
                    Ok(taken @ 1..) if said.len() <= LONGEST => seen += taken,
                    _ => return Ok(Err(Foreign::NotTls)),
                }
            }
            match acceptor.accept() {
                Err(_) => return Ok(Err(Foreign::NotTls)),
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    return Ok(match accepted.client_hello().server_name() {
                        Some(asked) if asked.eq_ignore_ascii_case(name) => Ok(said),
                        Some(asked) => Err(Foreign::Name(asked.to_owned())),
                        None => Err(Foreign::NoName),
                    });
                }
            }
            if client.read_buf(&mut said).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    };
    timeout(LIMIT, read).await.unwrap_or(Ok(Err(Foreign::NotTls)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn with_length(bytes: usize, content: Vec<u8>) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [length[length.len() - bytes..].to_vec(), content].concat()
    }

    /// A client's first message (RFC 8446, 4.1.2), for this server or none.
    fn hello(name: Option<&str>) -> Vec<u8> {
        let server = name.map(|name| {
            let entry = [vec![0], with_length(2, name.as_bytes().to_vec())].concat();
            [vec![0, 0], with_length(2, with_length(2, entry))].concat()
        });
        // X25519, and a signature that every server knows.
        let groups = [vec![0, 10], with_length(2, with_length(2, vec![0, 0x1d]))].concat();
        let signatures = [vec![0, 13], with_length(2, with_length(2, vec![4, 3]))].concat();
        let extensions = with_length(2, [server.unwrap_or_default(), groups, signatures].concat());
        let body = [vec![3, 3], vec![7; 32], vec![0], with_length(2, vec![0x13, 1]), vec![1, 0], extensions].concat();
        let message = [vec![1], with_length(3, body)].concat();
        [vec![22, 3, 1], with_length(2, message)].concat()
    }

    #[rstest]
    #[case(hello(Some("listed.example")), Ok(()))]
    #[case(hello(Some("LISTED.example")), Ok(()))]
    #[case(hello(Some("evil.example")), Err(Foreign::Name("evil.example".into())))]
    #[case(hello(None), Err(Foreign::NoName))]
    #[case(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(), Err(Foreign::NotTls))]
    #[tokio::test]
    async fn a_tunnel_is_for_whom_it_was_asked_for(#[case] said: Vec<u8>, #[case] expected: Result<(), Foreign>) {
        // Whole, and in two parts.
        for first in [said.len(), 9] {
            let mut rest = &said[first..];
            let judged = expect("listed.example", &mut rest, said[..first].to_vec()).await.unwrap();
            assert_eq!(judged.clone().map(|_| ()), expected);
            assert!(judged.is_err() || judged == Ok(said.clone()));
        }
    }

    #[tokio::test]
    async fn one_that_ends_before_is_closed() {
        let said = hello(Some("listed.example"));
        assert!(expect("listed.example", &mut &b""[..], said[..20].to_vec()).await.is_err());
    }
}
