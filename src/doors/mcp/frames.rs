//! Frames of an event stream, as every client reads them.
//!
//! The SDK begins each stream with a frame without data, which carries an id to resume from. Clients know it from
//! version 2025-11-25 of the protocol on; an older one takes the empty data for a message that is no JSON. The SDK
//! also leaves out the line `event: message`. It says nothing new, but there are clients that drop a frame without it.

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::header;
use axum::response::Response;
use futures_util::{StreamExt as _, stream};

/// First version of the protocol whose clients know a frame without data.
const KNOWS_EMPTY_FRAMES: &str = "2025-11-25";
const END: &[u8] = b"\n\n";

/// The media type of an event stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Whether clients of this version of the protocol know a frame without data. Versions are dates.
pub(super) fn knows_empty_frames(version: &str) -> bool {
    version >= KNOWS_EMPTY_FRAMES
}

/// The same answer with frames that every client reads. What is no event stream stays as it is.
pub(super) fn readable(response: Response, empty_frames: bool) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENT_STREAM.as_bytes())) {
        return response;
    }
    response.map(|body| {
        let reading = Reading { body: body.into_data_stream(), rest: Vec::new(), empty_frames };
        Body::from_stream(stream::unfold(reading, next))
    })
}

/// A stream that is being read.
struct Reading {
    body: BodyDataStream,
    /// The beginning of a frame.
    rest: Vec<u8>,
    empty_frames: bool,
}

/// The next whole frames.
async fn next(mut reading: Reading) -> Option<(Result<Bytes, axum::Error>, Reading)> {
    while let Some(piece) = reading.body.next().await {
        match piece {
            Ok(piece) => reading.rest.extend_from_slice(&piece),
            Err(error) => return Some((Err(error), reading)),
        }
        let whole = whole_frames(&mut reading.rest, reading.empty_frames);
        if !whole.is_empty() {
            return Some((Ok(whole.into()), reading));
        }
    }
    // A frame that its sender did not end is no frame.
    None
}

/// Takes the whole frames out of `rest`.
fn whole_frames(rest: &mut Vec<u8>, empty_frames: bool) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(END.len()).position(|part| part == END) {
        let frame: Vec<u8> = rest.drain(..end + END.len()).collect();
        match kind(&frame) {
            Kind::Message => {
                whole.extend_from_slice(b"event: message\n");
                whole.extend(frame);
            }
            Kind::Empty if !empty_frames => {}
            Kind::Empty | Kind::Other => whole.extend(frame),
        }
    }
    whole
}

enum Kind {
    /// It has data and no event line.
    Message,
    /// Its data is empty.
    Empty,
    /// A comment, or a frame with an event line.
    Other,
}

fn kind(frame: &[u8]) -> Kind {
    let mut kind = Kind::Other;
    for line in frame.split(|&byte| byte == b'\n') {
        if line.starts_with(b"event:") {
            return Kind::Other;
        }
        match (line.strip_prefix(b"data:"), &kind) {
            (Some(data), _) if !data.trim_ascii().is_empty() => kind = Kind::Message,
            (Some(_), Kind::Other) => kind = Kind::Empty,
            _ => {}
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use proptest::prelude::*;
    use rstest::rstest;

    const PRIMING: &str = "data: \nid: 0\nretry: 3000\n\n";
    const MESSAGE: &str = "data: {\"a\":1}\nid: 1\n\n";
    const TOLD: &str = "event: message\ndata: {\"a\":1}\nid: 1\n\n";

    async fn read(pieces: Vec<Vec<u8>>, empty_frames: bool) -> String {
        let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::convert::Infallible>)));
        let response = Response::builder().header(header::CONTENT_TYPE, EVENT_STREAM).body(body).unwrap();
        let body = readable(response, empty_frames).into_body();
        String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap()
    }

    #[rstest]
    #[case::an_old_client(false, "")]
    #[case::a_new_client(true, PRIMING)]
    #[tokio::test]
    async fn an_empty_frame_is_for_who_knows_it(#[case] knows: bool, #[case] first: &str) {
        let stream = format!("{PRIMING}:keep-alive\n\n{MESSAGE}event: message\ndata: 1\n\n");
        let told = format!("{first}:keep-alive\n\n{TOLD}event: message\ndata: 1\n\n");
        assert_eq!(read(vec![stream.into_bytes()], knows).await, told);
    }

    #[rstest]
    #[case("2024-11-05", false)]
    #[case("2025-06-18", false)]
    #[case("", false)]
    #[case("2025-11-25", true)]
    #[case("2026-07-28", true)]
    fn versions_are_dates(#[case] version: &str, #[case] knows: bool) {
        assert_eq!(knows_empty_frames(version), knows);
    }

    #[tokio::test]
    async fn what_is_no_event_stream_stays() {
        let response = Response::builder().header(header::CONTENT_TYPE, "application/json").body(PRIMING.into());
        let body = readable(response.unwrap(), false).into_body();
        assert_eq!(to_bytes(body, 99).await.unwrap(), PRIMING);
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_its_frames_are_the_same(cuts in proptest::collection::vec(1_usize..40, 0..8)) {
            let stream = format!("{PRIMING}{MESSAGE}{MESSAGE}").into_bytes();
            let mut pieces = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece.to_vec());
                rest = after;
            }
            pieces.push(rest.to_vec());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            prop_assert_eq!(runtime.block_on(read(pieces, false)), format!("{TOLD}{TOLD}"));
        }
    }
}
