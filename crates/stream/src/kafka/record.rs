//! A record as librdkafka has it, and as the port has it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::{BufMut, Bytes, BytesMut};
use contract::{Headers, Record};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, OwnedHeaders};

/// The headers to send.
pub(super) fn headers(headers: &Headers) -> OwnedHeaders {
    let mut owned = OwnedHeaders::new_with_capacity(headers.iter().count());
    for (name, value) in headers.iter() {
        owned = owned.insert(Header { key: &String::from_utf8_lossy(name), value: Some(value) });
    }
    owned
}

/// A copy of a message in one allocation of its own, so that who keeps a part of it keeps nothing else. A missing key
/// or value is an empty one.
pub(super) fn record(message: &BorrowedMessage<'_>) -> Record {
    let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
    let mut whole = BytesMut::with_capacity(key.len() + value.len() + 1024);
    whole.put_slice(key);
    // The wrapper panics where a header's name is no UTF-8, and a foreign event may have one: it is read without headers,
    // which makes it an event that cannot be decoded.
    let read = catch_unwind(AssertUnwindSafe(|| put_headers(message, &mut whole)));
    if read.is_err() {
        whole.truncate(key.len());
    }
    let (key_len, headers_end) = (key.len(), whole.len());
    whole.put_slice(value);
    let whole = Bytes::from(Vec::from(whole).into_boxed_slice());
    let headers = Headers::from_bytes(whole.slice(key_len..headers_end)).unwrap_or_default();
    Record { key: whole.slice(..key_len), headers, value: whole.slice(headers_end..) }
}

/// In the encoding of [`Headers`]; what it cannot hold is left out.
fn put_headers(message: &BorrowedMessage<'_>, buffer: &mut BytesMut) {
    let Some(headers) = message.headers() else { return };
    for header in headers.iter() {
        let value = header.value.unwrap_or_default();
        if u16::try_from(header.key.len()).is_ok() {
            Headers::put(buffer, header.key, value);
        }
    }
}
