//! The head of a request for the proxy. Pure.

use super::rules::port_of;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// As the client spelt it; with brackets where it had them.
    pub(super) host: String,
    pub(super) port: u16,
}

/// Why a request cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("the head of the request is longer than 16 KiB")]
    TooLong,
    #[error("only CONNECT is served here: set HTTPS_PROXY, and ask for https")]
    NotConnect,
    #[error("the request is not CONNECT HOST:PORT HTTP/1.1")]
    NotARequest,
}

impl Malformed {
    pub(super) const fn status(self) -> &'static str {
        match self {
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::NotConnect => "403 Forbidden",
            Self::NotARequest => "400 Bad Request",
        }
    }
}

impl Head {
    /// Reads the request's line. The headers say nothing that matters here: what is connected to is what stands in the line.
    pub(super) fn parse(head: &[u8]) -> Result<Self, Malformed> {
        let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").ok_or(Malformed::NotARequest)?;
        let line = std::str::from_utf8(line).map_err(|_| Malformed::NotARequest)?;
        let mut words = line.split(' ');
        let (method, target, version) = (words.next().unwrap_or_default(), words.next(), words.next());
        let (Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) = (target, version, words.next()) else {
            return Err(Malformed::NotARequest);
        };
        if method != "CONNECT" {
            return Err(Malformed::NotConnect);
        }
        let (host, port) = target.rsplit_once(':').ok_or(Malformed::NotARequest)?;
        let port = port_of(port).ok_or(Malformed::NotARequest)?;
        let is_plain = host.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || host.is_empty() || host.len() > 255 {
            return Err(Malformed::NotARequest);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("CONNECT example.com:443 HTTP/1.1\r\nHost: other\r\n\r\n", Ok(("example.com", 443)))]
    #[case("CONNECT [::1]:8080 HTTP/1.0\r\n\r\n", Ok(("[::1]", 8080)))]
    #[case("CONNECT user@example.com:443 HTTP/1.1\r\n\r\n", Ok(("user@example.com", 443)))]
    #[case("CONNECT example.com HTTP/1.1\r\n\r\n", Err(Malformed::NotARequest))]
    #[case("CONNECT example.com: HTTP/1.1\r\n\r\n", Err(Malformed::NotARequest))]
    #[case("CONNECT :443 HTTP/1.1\r\n\r\n", Err(Malformed::NotARequest))]
    #[case("CONNECT  example.com:443 HTTP/1.1\r\n\r\n", Err(Malformed::NotARequest))]
    #[case("CONNECT example.com:443 HTTP/1.1\n\r\n\r\n", Err(Malformed::NotARequest))]
    #[case("CONNECT exa\u{e4}mple.com:443 HTTP/1.1\r\n\r\n", Err(Malformed::NotARequest))]
    #[case("CONNECT example.com:443\r\n\r\n", Err(Malformed::NotARequest))]
    #[case("connect example.com:443 HTTP/1.1\r\n\r\n", Err(Malformed::NotConnect))]
    #[case("GET http://example.com/ HTTP/1.1\r\n\r\n", Err(Malformed::NotConnect))]
    #[case("\r\n\r\n", Err(Malformed::NotARequest))]
    fn heads(#[case] head: &str, #[case] expected: Result<(&str, u16), Malformed>) {
        let expected = expected.map(|(host, port)| Head { host: host.into(), port });
        assert_eq!(Head::parse(head.as_bytes()), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Head::parse(&bytes);
        }
    }
}
