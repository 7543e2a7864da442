//! Compression of what is long and mostly alike: lists, streams and documents, and never single entities.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, unfold};
use http::StatusCode;
use http::header::{CONTENT_ENCODING, ETAG, HeaderValue, VARY};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::outgoing::{Cut, Outgoing};
use super::response::Answered;

/// Smaller bodies fit into one packet as they are.
const BYTES_MIN: usize = 1024;

/// Streams compressed at a time: each holds some 260 KiB for as long as it lasts. Further ones are sent as they are.
pub(crate) const STREAMS_MAX: usize = 128;

const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// A document's compressed bytes, made when first asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Precompressed(Arc<OnceLock<Bytes>>);

/// Compresses a response of a path that offers it, where the client wants it; says what the answer depends on.
pub(crate) fn encode(wanted: bool, places: &Arc<Semaphore>, response: &mut Answered) {
    vary(response);
    let precompressed = response.extensions_mut().remove::<Precompressed>();
    if !wanted || !matches!(response.status(), StatusCode::OK | StatusCode::NOT_MODIFIED) {
        return;
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        return weaken(response);
    }
    let body = std::mem::take(response.body_mut());
    let (body, encoded) = match body {
        Outgoing::Whole(bytes) if bytes.len() >= BYTES_MIN => match precompressed {
            Some(Precompressed(gzip)) => {
                (Outgoing::Whole(gzip.get_or_init(|| compress(&bytes, Compression::best())).clone()), true)
            }
            None => (Outgoing::Whole(compress(&bytes, Compression::fast())), true),
        },
        Outgoing::Stream(stream) => match Arc::clone(places).try_acquire_owned() {
            Ok(place) => (Outgoing::Stream(compress_stream(stream, place)), true),
            Err(_) => (Outgoing::Stream(stream), false),
        },
        plain => (plain, false),
    };
    *response.body_mut() = body;
    if encoded {
        response.headers_mut().insert(CONTENT_ENCODING, GZIP);
        weaken(response);
    }
}

fn vary(response: &mut Answered) {
    let before = response.headers().get(VARY).and_then(|value| value.to_str().ok());
    let value = before.map_or_else(|| "Accept-Encoding".to_owned(), |before| format!("{before}, Accept-Encoding"));
    if let Ok(value) = HeaderValue::from_str(&value) {
        response.headers_mut().insert(VARY, value);
    }
}

/// A strong validator stands for the very bytes, which these are no longer [RFC 9110 8.8.3.3].
fn weaken(response: &mut Answered) {
    let strong = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| tag.starts_with('"'));
    if let Some(Ok(weak)) = strong.map(|tag| HeaderValue::from_str(&format!("W/{tag}"))) {
        response.headers_mut().insert(ETAG, weak);
    }
}

fn compress(bytes: &[u8], level: Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), level);
    // Writing into memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

/// Each piece leaves as it comes. A stream that fails is cut here as well.
fn compress_stream(
    stream: BoxStream<'static, Result<Bytes, Cut>>,
    place: OwnedSemaphorePermit,
) -> BoxStream<'static, Result<Bytes, Cut>> {
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let state = (stream, Some(encoder), place);
    unfold(state, async |(mut stream, encoder, place)| {
        let mut encoder = encoder?;
        match stream.next().await {
            Some(Ok(piece)) => {
                // Writing into memory cannot fail.
                let _ = encoder.write_all(&piece).and_then(|()| encoder.flush());
                let piece = Bytes::from(std::mem::take(encoder.get_mut()));
                Some((Ok(piece), (stream, Some(encoder), place)))
            }
            Some(Err(cut)) => Some((Err(cut), (stream, None, place))),
            None => Some((Ok(encoder.finish().unwrap_or_default().into()), (stream, None, place))),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http_body_util::BodyExt as _;

    use super::*;

    fn encoded(outgoing: Outgoing, places: &Arc<Semaphore>) -> Answered {
        let mut response = Answered::new(outgoing);
        response.headers_mut().insert(ETAG, HeaderValue::from_static("\"a\""));
        encode(true, places, &mut response);
        response
    }

    fn plain(bytes: &[u8]) -> String {
        let mut text = String::new();
        GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test]
    async fn bodies_come_out_as_they_went_in() {
        let places = Arc::new(Semaphore::new(1));
        let long = "abc".repeat(1000);
        let response = encoded(Outgoing::Whole(long.clone().into()), &places);
        assert_eq!(response.headers()[ETAG], "W/\"a\"");
        assert_eq!(response.headers()[VARY], "Accept-Encoding");
        assert_eq!(plain(&response.into_body().collect().await.unwrap().to_bytes()), long);

        let pieces = vec![Ok(Bytes::from("one\n")), Ok(Bytes::from("two\n"))];
        let stream = || Outgoing::Stream(futures_util::stream::iter(pieces.clone()).boxed());
        let mut response = encoded(stream(), &places);
        let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        let mut text = [0; 4];
        GzDecoder::new(&*first).read_exact(&mut text).unwrap();
        assert_eq!(&text, b"one\n", "a piece does not wait for the next");
        // While it lasts, there is no place for another.
        assert_eq!(encoded(stream(), &places).headers().get(CONTENT_ENCODING), None);
        let rest = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(plain(&[first, rest].concat()), "one\ntwo\n");
        assert_eq!(encoded(stream(), &places).headers()[CONTENT_ENCODING], "gzip");
    }

    #[tokio::test]
    async fn what_is_cut_stays_cut_and_what_is_short_stays_plain() {
        let places = Arc::new(Semaphore::new(1));
        let pieces = vec![Ok(Bytes::from("one\n")), Err(Cut("no more"))];
        let response = encoded(Outgoing::Stream(futures_util::stream::iter(pieces).boxed()), &places);
        assert_eq!(response.into_body().collect().await.unwrap_err(), Cut("no more"));
        let response = encoded(Outgoing::Whole("short".into()), &places);
        assert_eq!(
            (response.headers().get(CONTENT_ENCODING), &response.headers()[ETAG]),
            (None, &"\"a\"".parse().unwrap())
        );
    }
}
