//! What the broker and whoever starts a run say to each other, over the broker's control socket.
//!
//! A connection belongs to one run: the run is open as long as the connection is. A message is one line of JSON, an object
//! with one key that says which it is. No HTTP and no runtime here: a worker has one thread and polls descriptors.

mod lease;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use lease::{Lease, LeaseError};

use crate::sys;

/// Longest message, bytes, its line feed counted.
pub const LONGEST: usize = 64 * 1024;

/// What the broker is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum ToBroker {
    /// The first message: make a socket for this run.
    Open(Open),
    /// Another budget from now on.
    Budget {
        /// What the run may cost, US dollars. `None`: no bound.
        usd: Option<f64>,
    },
}

/// A run that is to be opened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Open {
    /// The run's id.
    pub run: Uuid,
    /// What it may cost, US dollars. `None`: no bound.
    pub budget_usd: Option<f64>,
    /// What it had at a broker that has gone. `None`: it gets something new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<Door>,
    /// What it has instead of the broker's own environment: a credential of its own, for one. `None` is one that is not set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Option<String>>,
}

/// How a run's CLI comes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Door {
    /// The name of the run's socket.
    pub socket: String,
    /// What the CLI has in place of the credential. A socket's name is no secret: the kernel lists those that are open.
    pub stand_in: String,
}

impl Door {
    /// One that nobody can guess. The end of the stand-in, which the CLI remembers of a key, is always the same.
    pub fn new() -> io::Result<Self> {
        let (socket, secret) = (random_name()?, random_name()?);
        Ok(Self { socket, stand_in: format!("sk-ant-{secret}-claudebox-stand-in") })
    }
}

/// 128 bits in hexadecimal, which nobody can guess.
pub fn random_name() -> io::Result<String> {
    Ok(hex(&sys::random_bytes::<16>()?))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// What the broker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FromBroker {
    /// The run's socket is there. The answer to [`ToBroker::Open`].
    Opened {
        /// Where the CLI finds it (`ANTHROPIC_UNIX_SOCKET`).
        socket: PathBuf,
        /// Of which kind the stand-in has to be, so that the CLI asks for what the true credential may have.
        credential: CredentialKind,
        /// What the CLI has in place of the credential.
        stand_in: String,
    },
    /// What one message of the model has used so far.
    Usage(Usage),
    /// What an answer said of limits.
    Limits(Limits),
    /// The budget is used up: the running answer was cut, and each further request is refused.
    OverBudget {
        /// What the run has cost, US dollars.
        cost_usd: f64,
        /// What it may cost, US dollars.
        budget_usd: f64,
    },
    /// The last message could not be carried out; the connection is closed.
    Refused {
        /// Why.
        why: String,
    },
}

/// Which credential the broker has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CredentialKind {
    /// `ANTHROPIC_API_KEY`.
    ApiKey,
    /// `ANTHROPIC_AUTH_TOKEN`.
    AuthToken,
    /// `CLAUDE_CODE_OAUTH_TOKEN`.
    OauthToken,
}

impl CredentialKind {
    const fn variable(self) -> &'static str {
        match self {
            Self::ApiKey => "ANTHROPIC_API_KEY",
            Self::AuthToken => "ANTHROPIC_AUTH_TOKEN",
            Self::OauthToken => "CLAUDE_CODE_OAUTH_TOKEN",
        }
    }
}

/// What the broker reads of its environment.
pub const VARIABLES: [&str; 9] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_BASE_URL",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
];
/// Those of a credential, and what goes with it to the API.
pub const SECRETS: [&str; 4] =
    ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"];

/// Changes to the environment of a CLI that has its run's `socket` in the API's place, and `stand_in` in place of the credential.
pub fn environment(socket: &Path, kind: CredentialKind, stand_in: &str) -> Vec<(&'static str, Option<OsString>)> {
    let mut changes: Vec<(&'static str, Option<OsString>)> = SECRETS.map(|name| (name, None)).into();
    changes.extend([
        (kind.variable(), Some(stand_in.into())),
        ("ANTHROPIC_UNIX_SOCKET", Some(socket.into())),
        // The CLI speaks no TLS over such a socket. Under the API's own name it would ask that for policies and settings besides,
        // past the socket and with the stand-in, and wait up to 20 s for them where there is no way out.
        ("ANTHROPIC_BASE_URL", Some("http://broker.claudebox.invalid".into())),
    ]);
    changes
}

/// What one message of the model has used so far, tokens, and what the run has cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Which model.
    pub model: String,
    /// Read, outside the cache.
    pub input_tokens: u64,
    /// Written. An estimate until the API has said it.
    pub output_tokens: u64,
    /// Read from the cache.
    pub cache_read_input_tokens: u64,
    /// Written to the cache.
    pub cache_creation_input_tokens: u64,
    /// What all requests of this run have cost so far, US dollars.
    pub cost_usd: f64,
    /// Whether this message is over.
    #[serde(rename = "final")]
    pub is_final: bool,
}

/// What an answer's headers said of limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Status of the answer; 429: the request was over a limit.
    pub http_status: u16,
    /// `allowed`, `allowed_warning` or `rejected`.
    pub status: Option<String>,
    /// When the limit that counts begins anew, seconds since 1970.
    pub resets_at: Option<i64>,
    /// Which limit counts, for one `five_hour`.
    pub claim: Option<String>,
    /// How long to wait before another try, seconds.
    pub retry_after_seconds: Option<u64>,
    /// Each limit.
    pub windows: Vec<Window>,
}

/// One limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Window {
    /// `5h`, `7d`, `requests`, `input-tokens` and others.
    pub name: String,
    /// `allowed`, `allowed_warning` or `rejected`.
    pub status: Option<String>,
    /// When it begins anew, seconds since 1970.
    pub resets_at: Option<i64>,
    /// How much of it is used, 0.0 to 1.0.
    pub utilization: Option<f64>,
}

/// A message's line, with the line feed.
pub fn encode(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Bytes as they come, taken out line by line.
#[derive(Debug, Default)]
pub struct Lines {
    data: Vec<u8>,
}

/// A line is longer than [`LONGEST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of more than {LONGEST} bytes")]
pub struct TooLong;

impl Lines {
    /// Takes what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// The next whole line, without its line feed. `None`: more has to come.
    pub fn take_line(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let end = self.data.iter().take(LONGEST).position(|&byte| byte == b'\n');
        match end {
            Some(end) => {
                let rest = self.data.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.data, rest);
                line.pop();
                Ok(Some(line))
            }
            None if self.data.len() >= LONGEST => Err(TooLong),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        r#"{"open":{"run":"01890a5d-ac96-774b-bcce-b302099a8057","budgetUsd":0.5}}"#,
        ToBroker::Open(Open {
            run: Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057),
            budget_usd: Some(0.5),
            ..Open::default()
        })
    )]
    #[case(r#"{"budget":{"usd":null}}"#, ToBroker::Budget { usd: None })]
    fn messages_to_the_broker(#[case] line: &str, #[case] message: ToBroker) {
        assert_eq!(serde_json::from_str::<ToBroker>(line).unwrap(), message);
        assert_eq!(encode(&message).unwrap(), format!("{line}\n").into_bytes());
    }

    #[rstest]
    #[case(
        FromBroker::Opened { socket: "/run/x".into(), credential: CredentialKind::OauthToken, stand_in: "s".into() },
        r#"{"opened":{"socket":"/run/x","credential":"oauthToken","standIn":"s"}}"#
    )]
    #[case(FromBroker::Refused { why: "no".into() }, r#"{"refused":{"why":"no"}}"#)]
    #[case(FromBroker::OverBudget { cost_usd: 1.5, budget_usd: 1.0 }, r#"{"overBudget":{"costUsd":1.5,"budgetUsd":1.0}}"#)]
    fn messages_from_the_broker(#[case] message: FromBroker, #[case] line: &str) {
        assert_eq!(serde_json::to_string(&message).unwrap(), line);
        assert_eq!(serde_json::from_str::<FromBroker>(line).unwrap(), message);
    }

    #[test]
    fn usage_says_whether_it_is_final() {
        let usage = Usage {
            model: "m".into(),
            input_tokens: 1,
            output_tokens: 2,
            cache_read_input_tokens: 3,
            cache_creation_input_tokens: 4,
            cost_usd: 0.5,
            is_final: true,
        };
        let line = serde_json::to_string(&FromBroker::Usage(usage)).unwrap();
        let expected = r#"{"usage":{"model":"m","inputTokens":1,"outputTokens":2,"cacheReadInputTokens":3,"cacheCreationInputTokens":4,"costUsd":0.5,"final":true}}"#;
        assert_eq!(line, expected);
    }

    #[test]
    fn lines_come_out_whole_and_bounded() {
        let mut lines = Lines::default();
        lines.push(b"a\nb");
        assert_eq!(lines.take_line().unwrap().unwrap(), b"a");
        assert_eq!(lines.take_line().unwrap(), None);
        lines.push(b"\n");
        assert_eq!(lines.take_line().unwrap().unwrap(), b"b");
        lines.push(&vec![b'x'; LONGEST - 1]);
        assert_eq!(lines.take_line().unwrap(), None);
        lines.push(b"x\n");
        assert_eq!(lines.take_line(), Err(TooLong));
    }
}
