//! Images and files of messages -> content blocks for the CLI.
//!
//! An image goes to the model as an image. What a client names by its address is fetched here, under the rules of
//! `fetch`: public addresses only, judged after the lookup, and again at each redirect.

use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

use super::message::{Message, Part, invalid};
use crate::doors::web::problem::Problem;
use crate::fetch::{FetchError, Fetcher};

/// Most an image may have; what Claude's API takes.
const LARGEST_IMAGE: usize = 5 << 20;
/// Most a file may have.
const LARGEST_FILE: usize = 10 << 20;
/// Most images and files that are fetched for one request.
const MOST_FETCHED: usize = 20;
/// For all that is fetched for one request.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
const MOST_REDIRECTS: usize = 5;
const KINDS: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Base64 with or without its padding: clients send both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A part that is ready for the CLI.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// An image or document block.
    Block(Value),
}

/// Makes every part of `messages` ready. Each message's pieces are in its place.
pub(super) async fn prepare(fetcher: &Fetcher, messages: &[Message]) -> Result<Vec<Vec<Piece>>, Problem> {
    let mut supply = Supply { fetcher, fetched: 0 };
    let all = async {
        let mut prepared = Vec::with_capacity(messages.len());
        for message in messages {
            let mut pieces = Vec::with_capacity(message.parts.len());
            for part in &message.parts {
                pieces.push(match part {
                    Part::Text(text) => Piece::Text(text.clone()),
                    Part::Image { url, at } => supply.image(url).await.map_err(|why| why.at(at))?,
                    Part::File { name, data, at } => {
                        supply.file(name.as_deref(), data).await.map_err(|why| why.at(at))?
                    }
                    Part::Block(block) => match block["text"].as_str() {
                        Some(text) => Piece::Text(text.to_owned()),
                        None => Piece::Block(block.clone()),
                    },
                });
            }
            prepared.push(pieces);
        }
        Ok(prepared)
    };
    tokio::time::timeout(FETCH_TIMEOUT, all).await.unwrap_or_else(|_| {
        let why = format!("its images and files were not fetched within {} s", FETCH_TIMEOUT.as_secs());
        Err(invalid("messages", &why))
    })
}

/// Why something cannot be given to the model.
struct Unusable {
    why: String,
    too_large: bool,
}

impl Unusable {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), too_large: false }
    }

    fn too_large(bytes: usize, most: usize) -> Self {
        Self { why: format!("it has {bytes} bytes, {most} are allowed"), too_large: true }
    }

    fn at(self, field: &str) -> Problem {
        if self.too_large {
            let detail = format!("{field}: {}", self.why);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail).with("field", field)
        } else {
            invalid(field, &self.why)
        }
    }
}

impl From<FetchError> for Unusable {
    fn from(error: FetchError) -> Self {
        Self { too_large: matches!(error, FetchError::TooLarge(_)), why: error.to_string() }
    }
}

struct Supply<'request> {
    fetcher: &'request Fetcher,
    fetched: usize,
}

impl Supply<'_> {
    async fn image(&mut self, url: &str) -> Result<Piece, Unusable> {
        let bytes = self.get(url, LARGEST_IMAGE).await?;
        // What it is, not what it is said to be: the API refuses an image whose type is wrong.
        let kind = image_kind(&bytes)
            .ok_or_else(|| Unusable::new(format!("it is no image; allowed are {}", KINDS.join(", "))))?;
        Ok(Piece::Block(block("image", kind, &bytes)))
    }

    async fn file(&mut self, name: Option<&str>, data: &str) -> Result<Piece, Unusable> {
        let bytes = self.get(data, LARGEST_FILE).await?;
        if let Some(kind) = image_kind(&bytes) {
            return Ok(Piece::Block(block("image", kind, &bytes)));
        }
        if bytes.starts_with(b"%PDF-") {
            return Ok(Piece::Block(block("document", "application/pdf", &bytes)));
        }
        let refused = || {
            Unusable::new("it is no text, image or PDF: PUT it into the workspace (/files) and name it in the prompt")
        };
        let text = String::from_utf8(bytes).map_err(|_| refused())?;
        if text.contains('\0') {
            return Err(refused());
        }
        Ok(Piece::Text(format!("<file name={:?}>\n{text}\n</file>", name.unwrap_or("file"))))
    }

    async fn get(&mut self, url: &str, most: usize) -> Result<Vec<u8>, Unusable> {
        if let Some(rest) = strip_scheme(url, "data:") {
            return data_url(rest, most);
        }
        if strip_scheme(url, "http:").is_none() && strip_scheme(url, "https:").is_none() {
            // Some clients send the base64 alone.
            return decode(url, most).map_err(|error| {
                if error.too_large { error } else { Unusable::new("a data:, http: or https: URL is allowed") }
            });
        }
        self.fetched += 1;
        if self.fetched > MOST_FETCHED {
            return Err(Unusable::new(format!("at most {MOST_FETCHED} images and files are fetched for one request")));
        }
        let fetched = self.fetcher.get_following(url, most, FETCH_TIMEOUT, MOST_REDIRECTS).await?;
        Ok(fetched.body.into())
    }
}

fn strip_scheme<'url>(url: &'url str, scheme: &str) -> Option<&'url str> {
    let start = url.get(..scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then(|| &url[scheme.len()..])
}

/// `image/png;base64,...`, or percent-encoded without `;base64`.
fn data_url(rest: &str, most: usize) -> Result<Vec<u8>, Unusable> {
    let (head, data) = rest.split_once(',').ok_or_else(|| Unusable::new("the data URL has no comma"))?;
    if head.rsplit(';').next().is_some_and(|last| last.trim().eq_ignore_ascii_case("base64")) {
        return decode(data, most);
    }
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(data).collect();
    if bytes.len() > most { Err(Unusable::too_large(bytes.len(), most)) } else { Ok(bytes) }
}

fn decode(data: &str, most: usize) -> Result<Vec<u8>, Unusable> {
    let plain: String = data.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    let length = plain.len() / 4 * 3;
    if length > most + 3 {
        return Err(Unusable::too_large(length, most));
    }
    let bytes = BASE64.decode(plain).map_err(|error| Unusable::new(format!("the data is not base64: {error}")))?;
    if bytes.len() > most { Err(Unusable::too_large(bytes.len(), most)) } else { Ok(bytes) }
}

fn block(block: &str, kind: &str, bytes: &[u8]) -> Value {
    json!({"type": block, "source": {"type": "base64", "media_type": kind, "data": BASE64.encode(bytes)}})
}

/// The kind of an image, by its first bytes.
fn image_kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fetch_allow::Allow;
    use crate::doors::openai::message::Role;
    use rstest::rstest;

    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg";

    async fn one(part: Part) -> Result<Piece, Problem> {
        let message = Message { role: Role::User, name: None, parts: vec![part], at: "messages[3]".into() };
        Ok(prepare(&Fetcher::new(Allow::default()), &[message]).await?.remove(0).remove(0))
    }

    fn image(url: String) -> Part {
        Part::Image { url, at: "messages[3].image_url".into() }
    }

    fn file(name: Option<&str>, data: &str) -> Part {
        Part::File { name: name.map(str::to_owned), data: data.into(), at: "messages[3].file_data".into() }
    }

    #[rstest]
    #[case(format!("data:image/png;base64,{PNG}=="))]
    // Said to be something else, without its padding, in lines, without a type, in capitals, on its own.
    #[case(format!("data:image/jpeg;base64,{PNG}"))]
    #[case(format!("data:image/png;base64,{}\n{}", &PNG[..40], &PNG[40..]))]
    #[case(format!("data:;base64,{PNG}"))]
    #[case(format!("DATA:image/png;charset=x;BASE64,{PNG}=="))]
    #[case(format!("{PNG}=="))]
    #[tokio::test]
    async fn an_image_becomes_a_block(#[case] url: String) {
        let expected = json!({"type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": format!("{PNG}=="),
        }});
        assert_eq!(one(image(url)).await.unwrap(), Piece::Block(expected));
    }

    #[rstest]
    #[case("data:image/png;base64,!!!!", "messages[3].image_url: the data is not base64")]
    #[case("data:text/plain;base64,aGk=", "messages[3].image_url: it is no image; allowed are image/png")]
    #[case("data:image/png", "messages[3].image_url: the data URL has no comma")]
    #[case("ftp://example.com/x.png", "messages[3].image_url: a data:, http: or https: URL is allowed")]
    #[case("http://169.254.169.254/x.png", "messages[3].image_url: 169.254.169.254 is link-local")]
    #[case("/etc/passwd", "messages[3].image_url: a data:, http: or https: URL is allowed")]
    #[tokio::test]
    async fn what_is_no_image_is_refused(#[case] url: &str, #[case] detail: &str) {
        let problem = one(image(url.into())).await.unwrap_err();
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert!(problem.detail().starts_with(detail), "{}", problem.detail());
    }

    #[tokio::test]
    async fn one_that_is_too_large_is_refused_as_such() {
        let problem = one(image(format!("data:image/png;base64,{}", "A".repeat(7 << 20)))).await.unwrap_err();
        assert_eq!(problem.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[rstest]
    #[case("data:text/plain;base64,aGk=", Piece::Text("<file name=\"a.txt\">\nhi\n</file>".into()))]
    #[case("data:text/x-rust,fn%20main", Piece::Text("<file name=\"a.txt\">\nfn main\n</file>".into()))]
    #[tokio::test]
    async fn a_text_is_read_as_one(#[case] data: &str, #[case] expected: Piece) {
        assert_eq!(one(file(Some("a.txt"), data)).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_pdf_is_a_document_and_an_archive_nothing() {
        let pdf = format!("data:application/pdf;base64,{}", BASE64.encode("%PDF-1.7 x"));
        let Piece::Block(block) = one(file(None, &pdf)).await.unwrap() else { panic!() };
        assert_eq!((&block["type"], &block["source"]["media_type"]), (&json!("document"), &json!("application/pdf")));
        let zip = format!("data:application/zip;base64,{}", BASE64.encode([b'P', b'K', 3, 4, 0, 0]));
        assert!(one(file(None, &zip)).await.unwrap_err().detail().contains("/files"));
    }
}
