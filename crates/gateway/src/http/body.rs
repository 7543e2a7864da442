//! Reading a request's body: bounded in bytes and in time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use contract::{Env, Slug};
use http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Frame, SizeHint};

use super::response::Failure;

/// What a PATCH takes: JSON Merge Patch [RFC 7396].
pub(crate) const MERGE_PATCH_JSON: &str = "application/merge-patch+json";
pub(crate) const MERGE_PATCH: HeaderValue = HeaderValue::from_static(MERGE_PATCH_JSON);
pub(crate) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// The largest body.
pub(crate) const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What of a body that is too large is still read, so that the client gets to read the answer.
const DRAIN_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A request's body, wherever the request comes from.
pub(crate) enum Incoming {
    /// From a connection.
    Network(hyper::body::Incoming),
    /// At hand, where a request is answered without a connection.
    Whole(Full<Bytes>),
}

impl hyper::body::Body for Incoming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Network(body) => Pin::new(body).poll_frame(context),
            Self::Whole(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Network(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
        }
    }
}

/// Reads a JSON body of a media type whole.
pub(crate) async fn read(
    parts: &Parts,
    media_type: &'static str,
    body: Incoming,
    env: &dyn Env,
    timeout: Duration,
) -> Result<Bytes, Failure> {
    check_media_type(parts, media_type)?;
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let waits_for_continue = parts.headers.contains_key(EXPECT);
    let oversize = announced.is_some_and(|length| length > BODY_BYTES_MAX);
    if oversize && waits_for_continue {
        return Err(too_large());
    }
    let read = collect(body);
    tokio::select! {
        biased;
        bytes = read => bytes,
        () = env.sleep(timeout) => {
            if oversize {
                return Err(too_large());
            }
            let detail = format!("the body did not arrive within {} s", timeout.as_secs());
            Err(Failure::new(Slug::RequestTimeout, detail).with(CONNECTION, "close"))
        }
    }
}

async fn collect(mut body: Incoming) -> Result<Bytes, Failure> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(BODY_BYTES_MAX);
    let mut first: Option<Bytes> = None;
    let mut buffer = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Failure::new(Slug::InvalidRequest, "the body ended before its announced length"))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > DRAIN_BYTES_MAX {
            break;
        }
        if length > BODY_BYTES_MAX {
            continue;
        }
        // Most bodies are one frame, which needs no copy.
        match first.take() {
            None if buffer.is_empty() => first = Some(data),
            None => buffer.extend_from_slice(&data),
            Some(before) => {
                buffer.reserve(expected.max(before.len() + data.len()));
                buffer.extend_from_slice(&before);
                buffer.extend_from_slice(&data);
            }
        }
    }
    if length > BODY_BYTES_MAX {
        return Err(too_large());
    }
    Ok(first.unwrap_or_else(|| buffer.freeze()))
}

fn too_large() -> Failure {
    let detail = format!("the body is larger than the {BODY_BYTES_MAX} bytes allowed");
    Failure::new(Slug::BodyTooLarge, detail).with(CONNECTION, "close")
}

/// Whether the body says to be of this media type.
pub(crate) fn has_media_type(parts: &Parts, media_type: &str) -> bool {
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().is_some_and(|sent| sent.trim().eq_ignore_ascii_case(media_type))
}

/// The media type in UTF-8, and not encoded.
pub(crate) fn check_media_type(parts: &Parts, media_type: &'static str) -> Result<(), Failure> {
    let unsupported = |detail: String| {
        let failure = Failure::new(Slug::UnsupportedMediaType, detail);
        // What a PATCH takes is to be said there [RFC 5789 2.2].
        if media_type == MERGE_PATCH_JSON { failure.with(ACCEPT_PATCH, media_type) } else { failure }
    };
    let other = || format!("send the body with one Content-Type: {media_type}");
    if !parts.headers.get_all(CONTENT_ENCODING).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let detail = "an encoded body is not read; send it without Content-Encoding";
        return Err(unsupported(detail.to_owned()).with(ACCEPT_ENCODING, "identity"));
    }
    if !parts.headers.get_all(TRANSFER_ENCODING).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        return Err(unsupported("no other Transfer-Encoding than chunked is read".to_owned()));
    }
    let mut types = parts.headers.get_all(CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next().and_then(|value| value.to_str().ok()), types.next()) else {
        return Err(unsupported(other()));
    };
    let mut pieces = content_type.split(';').map(str::trim);
    if !pieces.next().is_some_and(|sent| sent.eq_ignore_ascii_case(media_type)) {
        return Err(unsupported(other()));
    }
    let mut charsets = pieces.filter_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let is_utf8 = |name: &str| name.eq_ignore_ascii_case("utf-8") || name.eq_ignore_ascii_case("us-ascii");
    if charsets.all(is_utf8) { Ok(()) } else { Err(unsupported("send the JSON in UTF-8".to_owned())) }
}
