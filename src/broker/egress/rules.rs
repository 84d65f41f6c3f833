//! The allow-list: which hosts may be connected to. Pure, but for [`Rules::read`].
//!
//! One rule a line: `NAME[:PORT]`, `*.NAME[:PORT]` for the names below it, an address or a network. The port is 443 where none
//! is given. `#` begins a comment.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ipnet::IpNet;

use crate::fetch::address::is_public;

const DEFAULT_PORT: u16 = 443;
/// Largest file that is read; bytes.
const LARGEST: u64 = 1 << 20;
/// Networks with fewer bits fixed are refused.
const LEAST_PREFIX: (u8, u8) = (8, 16);
/// What may not stand below a country: names are handed out there, as below `.com`.
const SECOND_LEVEL: [&str; 17] =
    ["ac", "co", "com", "edu", "gob", "gov", "go", "gouv", "id", "ltd", "mil", "ne", "net", "nom", "or", "org", "sch"];
/// Names below which anybody gets a name of their own. The list is ours, and not complete: there are thousands.
const SHARED: [&str; 41] = [
    "amazonaws.com",
    "appspot.com",
    "azureedge.net",
    "azurefd.net",
    "azurewebsites.net",
    "blob.core.windows.net",
    "blogspot.com",
    "cloudapp.net",
    "cloudfront.net",
    "cloudfunctions.net",
    "deno.dev",
    "duckdns.org",
    "firebaseapp.com",
    "firebaseio.com",
    "fly.dev",
    "github.dev",
    "github.io",
    "githubusercontent.com",
    "gitlab.io",
    "glitch.me",
    "googleapis.com",
    "herokuapp.com",
    "loca.lt",
    "netlify.app",
    "ngrok-free.app",
    "ngrok-free.dev",
    "ngrok.app",
    "ngrok.io",
    "onrender.com",
    "pages.dev",
    "r2.dev",
    "railway.app",
    "repl.co",
    "run.app",
    "s3.amazonaws.com",
    "surge.sh",
    "trycloudflare.com",
    "vercel.app",
    "web.app",
    "windows.net",
    "workers.dev",
];

const ALLOWED: &str = "NAME[:PORT], *.NAME[:PORT], ADDRESS[:PORT], ADDRESS/BITS[:PORT] or # and a comment, with [ ] around an \
                       IPv6 address or network that has a port";

/// What may be connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rules {
    names: Vec<(Pattern, u16)>,
    networks: Vec<(IpNet, u16)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// This name.
    Name(String),
    /// The names below this one.
    Below(String),
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file cannot be opened or read.
    #[error("the allow-list {path} cannot be read: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Others could write into it.
    #[error(
        "the allow-list {path} belongs to user {owner} with mode {mode:04o}: it must belong to root or to the broker's user, and nobody else may write to it"
    )]
    Writable {
        /// The file.
        path: String,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
    /// It is longer than a list can be.
    #[error("the allow-list {0} is too large: at most {LARGEST} bytes are read")]
    TooLarge(String),
    /// It is not text.
    #[error("the allow-list {0} is not UTF-8 text")]
    NotText(String),
    /// A line is no rule.
    #[error("line {line} of the allow-list, '{text}', is not usable: allowed are {ALLOWED}")]
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A rule allows what nobody can answer for.
    #[error("line {line} of the allow-list, '{text}', is too wide: name the hosts, or a domain that has one owner")]
    TooWide {
        /// The line, counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

/// A host as a client names it, in the form that rules have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// Reads what stands before the port. `None`: it is neither a name nor an address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return address.parse::<std::net::Ipv6Addr>().ok().map(|address| Self::Address(canonical(address.into())));
        }
        if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        name(text).map(Self::Name)
    }
}

/// The IPv4 address inside a mapped one, which is where its packets go.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// A name in lower case without its last dot. `None`: it is none, or one that a resolver would read as a number.
fn name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=63).contains(&label.len()) && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    (name.len() <= 253 && !is_number && name.split('.').all(is_label)).then_some(name)
}

impl Rules {
    /// Reads the list from `path`, which nobody but root and `user` may be able to write to.
    pub(super) fn read(path: &Path, user: u32) -> Result<Self, RulesError> {
        let shown = || path.display().to_string();
        let failed = |source| RulesError::Io { path: shown(), source };
        let file = File::open(path).map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        let (owner, mode) = (facts.uid(), facts.mode() & 0o7777);
        if ![0, user].contains(&owner) || mode & 0o022 != 0 {
            return Err(RulesError::Writable { path: shown(), owner, mode });
        }
        let mut text = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > LARGEST {
            return Err(RulesError::TooLarge(shown()));
        }
        String::from_utf8(text).map_err(|_| RulesError::NotText(shown()))?.parse()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len() + self.networks.len()
    }

    /// Whether a name may be asked for at all.
    pub(super) fn has_name(&self, name: &str, port: u16) -> bool {
        self.names.iter().any(|(pattern, allowed)| *allowed == port && pattern.fits(name))
    }

    /// Whether this address is listed itself.
    pub(super) fn has_address(&self, address: IpAddr, port: u16) -> bool {
        let address = canonical(address);
        self.networks.iter().any(|(network, allowed)| *allowed == port && network.contains(&address))
    }

    /// Whether an address that an allowed name has may be connected to: a public one, or one that is listed.
    pub(super) fn may_be_reached(&self, address: IpAddr, port: u16) -> bool {
        is_public(canonical(address)) || self.has_address(address, port)
    }
}

impl Pattern {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Below(own) => {
                name.strip_suffix(own.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        }
    }
}

impl std::str::FromStr for Rules {
    type Err = RulesError;

    fn from_str(text: &str) -> Result<Self, RulesError> {
        let mut rules = Self::default();
        for (at, line) in text.lines().enumerate() {
            let rule = line.split('#').next().unwrap_or_default().trim();
            if rule.is_empty() {
                continue;
            }
            let shown = || rule.chars().take(80).collect::<String>();
            match parse(rule) {
                Ok(Rule::Name(pattern, port)) => rules.names.push((pattern, port)),
                Ok(Rule::Network(network, port)) => rules.networks.push((network, port)),
                Err(Wrong::Syntax) => return Err(RulesError::Syntax { line: at + 1, text: shown() }),
                Err(Wrong::TooWide) => return Err(RulesError::TooWide { line: at + 1, text: shown() }),
            }
        }
        Ok(rules)
    }
}

enum Rule {
    Name(Pattern, u16),
    Network(IpNet, u16),
}

enum Wrong {
    Syntax,
    TooWide,
}

fn parse(rule: &str) -> Result<Rule, Wrong> {
    // Colons of an IPv6 address are its own.
    if let Some(network) = network(rule) {
        return wide(network).map(|network| Rule::Network(network, DEFAULT_PORT));
    }
    let (host, port) = match rule.rsplit_once(':') {
        Some((host, port)) => (host, port_of(port).ok_or(Wrong::Syntax)?),
        None => (rule, DEFAULT_PORT),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match (bare.map_or_else(|| network(host), network), bare) {
        // Without brackets the last group would be taken for a port.
        (Some(IpNet::V6(_)), None) | (None, Some(_)) => return Err(Wrong::Syntax),
        (Some(network), _) => return wide(network).map(|network| Rule::Network(network, port)),
        (None, None) => {}
    }
    if host == "*" {
        return Err(Wrong::TooWide);
    }
    match host.strip_prefix("*.") {
        Some(below) => {
            let below = name(below).ok_or(Wrong::Syntax)?;
            if is_shared(&below) { Err(Wrong::TooWide) } else { Ok(Rule::Name(Pattern::Below(below), port)) }
        }
        None => Ok(Rule::Name(Pattern::Name(name(host).ok_or(Wrong::Syntax)?), port)),
    }
}

/// Digits alone: `+443` is no port.
pub(super) fn port_of(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port: &u16| is_number && port > 0)
}

fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(canonical(address).into());
    }
    text.parse().ok()
}

fn wide(network: IpNet) -> Result<IpNet, Wrong> {
    let least = if matches!(network, IpNet::V4(_)) { LEAST_PREFIX.0 } else { LEAST_PREFIX.1 };
    if network.prefix_len() < least { Err(Wrong::TooWide) } else { Ok(network.trunc()) }
}

/// Whether the names below this one belong to many.
fn is_shared(name: &str) -> bool {
    let mut labels = name.rsplit('.');
    let (top, second, third) = (labels.next().unwrap_or_default(), labels.next(), labels.next());
    let of_country = top.len() == 2 && third.is_none() && second.is_some_and(|second| SECOND_LEVEL.contains(&second));
    second.is_none() || of_country || SHARED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    fn rules(text: &str) -> Rules {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("api.example.com", "api.example.com", 443, true)]
    #[case("api.example.com", "api.example.com", 80, false)]
    #[case("API.Example.com.", "api.example.com", 443, true)]
    #[case("api.example.com:8443 # staging", "api.example.com", 8443, true)]
    #[case("api.example.com", "example.com", 443, false)]
    #[case("example.com", "api.example.com", 443, false)]
    #[case("*.example.com", "api.example.com", 443, true)]
    #[case("*.example.com", "a.b.example.com", 443, true)]
    #[case("*.example.com", "example.com", 443, false)]
    #[case("*.example.com", "badexample.com", 443, false)]
    #[case("*.example.com", "example.com.evil.org", 443, false)]
    #[case("xn--bcher-kva.example", "xn--bcher-kva.example", 443, true)]
    fn names(#[case] list: &str, #[case] name: &str, #[case] port: u16, #[case] is_allowed: bool) {
        assert_eq!(rules(list).has_name(name, port), is_allowed);
    }

    #[rstest]
    #[case("10.1.2.3", "10.1.2.3", 443, true)]
    #[case("10.1.2.3", "10.1.2.4", 443, false)]
    #[case("10.1.2.3:5432", "10.1.2.3", 443, false)]
    #[case("10.0.0.0/8:5432", "10.9.9.9", 5432, true)]
    #[case("10.1.2.3/8", "10.9.9.9", 443, true)]
    #[case("10.1.2.3", "::ffff:10.1.2.3", 443, true)]
    #[case("::ffff:10.1.2.3", "10.1.2.3", 443, true)]
    #[case("::1", "::1", 443, true)]
    #[case("[::1]:8080", "::1", 8080, true)]
    #[case("[fd00::/16]:8080", "fd00::7", 8080, true)]
    #[case("fd00::/16", "fd01::7", 443, false)]
    fn addresses(#[case] list: &str, #[case] address: IpAddr, #[case] port: u16, #[case] is_allowed: bool) {
        assert_eq!(rules(list).has_address(address, port), is_allowed);
        assert!(!rules("example.com").has_address(address, port));
    }

    #[rstest]
    #[case("8.8.8.8", true)]
    #[case("127.0.0.1", false)]
    #[case("::ffff:127.0.0.1", false)]
    #[case("169.254.169.254", false)]
    #[case("100.64.0.1", false)]
    #[case("224.0.0.1", false)]
    #[case("fe80::1", false)]
    #[case("64:ff9b::7f00:1", false)]
    #[case("10.1.2.3", true)]
    #[case("::ffff:10.1.2.3", true)]
    fn an_allowed_name_reaches_public_and_listed_addresses(#[case] address: IpAddr, #[case] may_be: bool) {
        assert_eq!(rules("example.com\n10.1.0.0/16").may_be_reached(address, 443), may_be);
    }

    #[rstest]
    #[case("*")]
    #[case("*:443")]
    #[case("*.com")]
    #[case("*.co.uk")]
    #[case("*.com.au:8443")]
    #[case("*.github.io")]
    #[case("*.GitHub.io.")]
    #[case("0.0.0.0/0")]
    #[case("::/0")]
    #[case("[2000::/3]:443")]
    fn what_is_too_wide_is_refused(#[case] rule: &str) {
        let error = format!("example.com\n\n{rule}").parse::<Rules>().unwrap_err();
        assert!(matches!(&error, RulesError::TooWide { line: 3, text } if text == rule), "{error}");
    }

    #[rstest]
    #[case("https://example.com")]
    #[case("example.com/path")]
    #[case("user@example.com")]
    #[case("example.com:0")]
    #[case("example.com:65536")]
    #[case("example.com:+443")]
    #[case("example.com:")]
    #[case("api.*.com")]
    #[case("**.example.com")]
    #[case("bücher.example")]
    #[case("127.1")]
    #[case("2130706433")]
    #[case("0x7f000001")]
    #[case("[::1")]
    #[case("[127.0.0.1]x:1")]
    #[case("10.0.0.0/33")]
    #[case("a b")]
    #[case("-a.example")]
    fn what_is_no_rule_is_refused(#[case] rule: &str) {
        let error = format!("# list\n{rule}").parse::<Rules>().unwrap_err();
        assert!(matches!(error, RulesError::Syntax { line: 2, .. }), "{error}");
    }

    #[rstest]
    #[case("Example.COM.", Some(Host::Name("example.com".into())))]
    #[case("127.0.0.1", Some(Host::Address(IpAddr::from([127, 0, 0, 1]))))]
    #[case("[::ffff:127.0.0.1]", Some(Host::Address(IpAddr::from([127, 0, 0, 1]))))]
    #[case("localhost", Some(Host::Name("localhost".into())))]
    #[case("127.1", None)]
    #[case("0177.0.0.1", None)]
    #[case("0x7f.1", None)]
    #[case("example.com..", None)]
    #[case("user@example.com", None)]
    #[case("example.com%00", None)]
    #[case("::1", None)]
    #[case("[fe80::1%25eth0]", None)]
    #[case("", None)]
    #[case(".", None)]
    fn hosts(#[case] text: &str, #[case] host: Option<Host>) {
        assert_eq!(Host::parse(text), host);
    }

    #[test]
    fn a_list_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("allow");
        fs::write(&path, "example.com\n").unwrap();
        let user = fs::metadata(&path).unwrap().uid();
        for (mode, is_good) in [(0o644, true), (0o600, true), (0o664, false), (0o646, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(Rules::read(&path, user).is_ok(), is_good, "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        if user == 0 {
            std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
            assert!(matches!(Rules::read(&path, 0), Err(RulesError::Writable { owner: 1234, .. })));
            assert!(Rules::read(&path, 1234).is_ok());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_a_line_of_it_is_named(text in "[a-z0-9.*:/\\[\\]#\n -]{0,60}") {
            if let Err(error) = text.parse::<Rules>() {
                prop_assert!(error.to_string().contains("line "));
            }
        }

        /// A wildcard reaches names below its own, whatever stands before.
        #[test]
        fn a_wildcard_stays_below_its_name(name in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}") {
            let is_below = name.ends_with(".example.org");
            prop_assert_eq!(rules("*.example.org").has_name(&name, 443), is_below);
            let below = format!("{name}.example.org");
            prop_assert!(rules("*.example.org").has_name(&below, 443));
        }
    }
}
