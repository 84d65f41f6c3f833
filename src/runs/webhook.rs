//! Telling another program that a run has ended: one signed POST, and when to try again.
//!
//! The headers are those of Standard Webhooks (<https://www.standardwebhooks.com>), so that a receiver can verify them
//! with a library it has already. A delivery may arrive twice, because an answer can be lost; its id stays the same, so
//! that the receiver can tell. Deliveries are kept by the ledger; nothing here has a memory.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, RETRY_AFTER};
use sha2::Sha256;

use crate::backoff;
use crate::config::secret::Secret;
use crate::fetch::{FetchError, Fetcher};

/// How long a receiver may take to answer.
pub const TIMEOUT: Duration = Duration::from_secs(20);
/// Nominal delays between attempts; after the last one nothing is tried any more.
pub const DELAYS: [Duration; 8] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(6),
    LONGEST_DELAY,
];
/// A receiver may ask for a longer delay than the nominal one, up to this.
pub const LONGEST_DELAY: Duration = Duration::from_hours(12);
/// The part of a delay that chance adds or takes away.
const JITTER: f64 = 0.2;
const GONE: u16 = 410;

/// One message for one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Stays the same over all attempts: the run's id.
    pub id: String,
    /// Where to.
    pub url: String,
    /// JSON; sent and signed byte for byte.
    pub body: Bytes,
}

/// How one attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver answered.
    Answered {
        /// Its status, never 300 to 399.
        status: u16,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// There is no usable answer.
    Failed(FetchError),
    /// The id cannot stand in a header.
    BadId,
}

impl DeliveryOutcome {
    /// Whether the receiver has it.
    pub const fn is_delivered(&self) -> bool {
        matches!(self, Self::Answered { status: 200..=299, .. })
    }

    /// Whether another attempt could end differently.
    const fn may_change(&self) -> bool {
        match self {
            Self::Answered { status, .. } => !self.is_delivered() && *status != GONE,
            Self::Failed(error) => !matches!(
                error,
                FetchError::Refused(_) | FetchError::NotAUrl(_) | FetchError::Scheme(_) | FetchError::Userinfo
            ),
            Self::BadId => false,
        }
    }
}

impl fmt::Display for DeliveryOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { status, .. } => write!(formatter, "the receiver answered with status {status}"),
            Self::Failed(error) => error.fmt(formatter),
            Self::BadId => formatter.write_str("the delivery's id cannot stand in a header"),
        }
    }
}

/// Sends `delivery` once.
pub async fn deliver(fetcher: &Fetcher, key: Option<&SigningKey>, delivery: &Delivery) -> DeliveryOutcome {
    let now = SystemTime::now();
    let Ok(headers) = headers(key, delivery, now) else { return DeliveryOutcome::BadId };
    match fetcher.post(&delivery.url, headers, delivery.body.clone(), TIMEOUT).await {
        Ok(posted) => DeliveryOutcome::Answered {
            status: posted.status.as_u16(),
            retry_after: posted.headers.get(RETRY_AFTER).and_then(|value| retry_after(value, now)),
        },
        Err(error) => DeliveryOutcome::Failed(error),
    }
}

/// How long to wait before the next attempt, when `attempts` have been made and the last one ended with `last`; `None`
/// if there is to be none.
///
/// `chance`, 0.0 to 1.0, is the random part: receivers that fell together are not all called together.
pub fn next_attempt(attempts: usize, last: &DeliveryOutcome, chance: f64) -> Option<Duration> {
    if !last.may_change() {
        return None;
    }
    let nominal = DELAYS.get(attempts.checked_sub(1)?)?;
    let delay = backoff::spread(*nominal, 1.0 - JITTER, 1.0 + JITTER, chance);
    let asked = match last {
        DeliveryOutcome::Answered { retry_after: Some(asked), .. } => *asked,
        _ => Duration::ZERO,
    };
    Some(delay.max(asked).min(LONGEST_DELAY))
}

/// Signs deliveries.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

/// A secret that no key can be made of. Its text is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "CLAUDEBOX_WEBHOOK_SECRET is not usable: what follows whsec_ must be base64 of at least one byte; allowed is also any \
     text without that prefix"
)]
pub struct BadSecret;

impl SigningKey {
    /// The key that `secret` stands for: base64 after `whsec_`, else the text's own bytes.
    pub fn new(secret: &Secret) -> Result<Self, BadSecret> {
        let bytes = match secret.reveal().strip_prefix("whsec_") {
            Some(encoded) => BASE64.decode(encoded).map_err(|_| BadSecret)?,
            None => secret.reveal().as_bytes().to_vec(),
        };
        if bytes.is_empty() {
            return Err(BadSecret);
        }
        Hmac::new_from_slice(&bytes).map(Self).map_err(|_| BadSecret)
    }

    /// The value of `Webhook-Signature`.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey(..)")
    }
}

/// Secrets are copied by hand, and their padding gets lost.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn headers(key: Option<&SigningKey>, delivery: &Delivery, now: SystemTime) -> Result<HeaderMap, InvalidHeaderValue> {
    let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("webhook-id"), HeaderValue::from_str(&delivery.id)?),
        (HeaderName::from_static("webhook-timestamp"), HeaderValue::from(timestamp)),
    ]);
    if let Some(key) = key {
        let signature = key.sign(&delivery.id, timestamp, &delivery.body);
        headers.insert(HeaderName::from_static("webhook-signature"), HeaderValue::from_str(&signature)?);
    }
    Ok(headers)
}

/// Seconds, or a date.
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fetch_allow::Allow;
    use crate::fetch::PrivateAddress;
    use proptest::prelude::*;
    use rstest::rstest;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn key(secret: &str) -> Result<SigningKey, BadSecret> {
        SigningKey::new(&Secret::new(secret.to_owned()))
    }

    const fn answered(status: u16) -> DeliveryOutcome {
        DeliveryOutcome::Answered { status, retry_after: None }
    }

    /// The expected values come from the specification's own Python library.
    #[rstest]
    #[case(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        r#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )]
    #[case(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        r#"{"runId":"0190","answer":"héllo"}"#,
        "v1,ZcbY5K+egtTnvV9ViV1rPF4A7CASQ0NvHun2bsOFHuY="
    )]
    #[case("a plain secret", r#"{"test": 2432232314}"#, "v1,ENqrYZJfEdejvH41MpDAd0s4SZwl35B0bx0LOnREaDY=")]
    // The same secret, encoded, with its padding and without.
    #[case("whsec_YSBwbGFpbiBzZWNyZXQ=", r#"{"test": 2432232314}"#, "v1,ENqrYZJfEdejvH41MpDAd0s4SZwl35B0bx0LOnREaDY=")]
    #[case("whsec_YSBwbGFpbiBzZWNyZXQ", r#"{"test": 2432232314}"#, "v1,ENqrYZJfEdejvH41MpDAd0s4SZwl35B0bx0LOnREaDY=")]
    fn signatures_are_those_of_the_specification(#[case] secret: &str, #[case] body: &str, #[case] expected: &str) {
        let key = key(secret).unwrap();
        assert_eq!(key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body.as_bytes()), expected);
        assert_eq!(format!("{key:?}"), "SigningKey(..)");
    }

    #[rstest]
    #[case("whsec_")]
    #[case("whsec_not base64!")]
    #[case("")]
    fn a_secret_that_is_no_key_is_refused(#[case] secret: &str) {
        assert_eq!(key(secret).unwrap_err(), BadSecret);
    }

    #[test]
    fn attempts_follow_the_schedule_and_end() {
        let delays: Vec<_> = (1..).map_while(|attempts| next_attempt(attempts, &answered(500), 0.5)).collect();
        assert_eq!(delays, DELAYS);
    }

    fn refused() -> DeliveryOutcome {
        DeliveryOutcome::Failed(FetchError::Refused(PrivateAddress { host: "h".into(), address: [10, 0, 0, 1].into() }))
    }

    #[rstest]
    #[case(answered(200), false)]
    #[case(answered(204), false)]
    #[case(answered(400), true)]
    #[case(answered(404), true)]
    #[case(answered(410), false)]
    #[case(answered(429), true)]
    #[case(answered(500), true)]
    #[case(answered(503), true)]
    #[case(refused(), false)]
    #[case(DeliveryOutcome::Failed(FetchError::NotAUrl("x".into())), false)]
    #[case(DeliveryOutcome::Failed(FetchError::Scheme("x".into())), false)]
    #[case(DeliveryOutcome::Failed(FetchError::Userinfo), false)]
    #[case(DeliveryOutcome::Failed(FetchError::Timeout(TIMEOUT)), true)]
    #[case(DeliveryOutcome::Failed(FetchError::Connection("refused".into())), true)]
    #[case(DeliveryOutcome::Failed(FetchError::Name { host: "n8n".into(), reason: "x".into() }), true)]
    #[case(DeliveryOutcome::Failed(FetchError::Redirect { status: 302, to: None, allowed: 0 }), true)]
    #[case(DeliveryOutcome::BadId, false)]
    fn what_may_change_is_tried_again(#[case] last: DeliveryOutcome, #[case] again: bool) {
        assert_eq!(next_attempt(1, &last, 0.5).is_some(), again);
    }

    #[rstest]
    #[case(1, 60, 60)]
    #[case(3, 60, 120)]
    #[case(1, 999_999_999, 12 * 3600)]
    fn a_receiver_may_ask_for_more_time(#[case] attempts: usize, #[case] asked: u64, #[case] expected: u64) {
        let last = DeliveryOutcome::Answered { status: 503, retry_after: Some(Duration::from_secs(asked)) };
        assert_eq!(next_attempt(attempts, &last, 0.5), Some(Duration::from_secs(expected)));
    }

    #[rstest]
    #[case("7", Some(7))]
    #[case("Fri, 31 Dec 1999 23:59:59 GMT", Some(59))]
    #[case("Fri, 31 Dec 1999 23:58:59 GMT", None)]
    #[case("-1", None)]
    #[case("soon", None)]
    fn retry_after_is_seconds_or_a_date(#[case] value: &'static str, #[case] expected: Option<u64>) {
        let now = httpdate::parse_http_date("Fri, 31 Dec 1999 23:59:00 GMT").unwrap();
        assert_eq!(retry_after(&HeaderValue::from_static(value), now), expected.map(Duration::from_secs));
    }

    proptest! {
        #[test]
        fn chance_moves_a_delay_by_a_fifth_at_most(attempts in 1..=DELAYS.len(), chance in -1.0..2.0) {
            let nominal = DELAYS[attempts - 1];
            let delay = next_attempt(attempts, &answered(500), chance).unwrap();
            prop_assert!(delay >= nominal.mul_f64(0.799) && delay <= nominal.mul_f64(1.201).min(LONGEST_DELAY));
        }
    }

    /// Sends to a receiver that answers with `answer`; what it got, and the outcome.
    async fn sent(answer: &'static str, key: Option<&SigningKey>) -> (String, DeliveryOutcome) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let delivery = Delivery { id: "run-1".into(), url, body: Bytes::from_static(b"{\"a\": 1}") };
        let receiver = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"{\"a\": 1}") {
                assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(seen).unwrap()
        });
        let outcome = deliver(&Fetcher::new(Allow::parse(&["127.0.0.1".to_owned()]).unwrap()), key, &delivery).await;
        (receiver.await.unwrap(), outcome)
    }

    #[tokio::test]
    async fn a_signed_delivery_can_be_verified_from_what_arrived() {
        let key = key("s3cret").unwrap();
        let (request, outcome) = sent("HTTP/1.1 204 No Content\r\n\r\n", Some(&key)).await;
        assert_eq!(outcome, answered(204));
        assert!(outcome.is_delivered());
        let header = |name: &str| {
            let found = request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.unwrap_or_else(|| panic!("{name} is missing: {request}"))
        };
        let timestamp = header("webhook-timestamp").parse().unwrap();
        assert_eq!(header("webhook-id"), "run-1");
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(header("user-agent"), concat!("claudebox/", env!("CARGO_PKG_VERSION")));
        assert_eq!(header("webhook-signature"), key.sign("run-1", timestamp, b"{\"a\": 1}"));
    }

    #[tokio::test]
    async fn without_a_key_nothing_is_signed() {
        let answer = "HTTP/1.1 503 Busy\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n";
        let (request, outcome) = sent(answer, None).await;
        assert!(!request.contains("webhook-signature"), "{request}");
        assert_eq!(outcome, DeliveryOutcome::Answered { status: 503, retry_after: Some(Duration::from_secs(9)) });
    }

    #[tokio::test]
    async fn a_private_address_is_no_receiver() {
        let delivery = Delivery { id: "r".into(), url: "http://10.0.0.1/".into(), body: Bytes::new() };
        let outcome = deliver(&Fetcher::new(Allow::default()), None, &delivery).await;
        assert!(matches!(outcome, DeliveryOutcome::Failed(FetchError::Refused(_))), "{outcome:?}");
    }
}
