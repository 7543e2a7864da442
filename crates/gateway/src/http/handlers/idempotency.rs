//! `Idempotency-Key`: a write that is sent twice is carried out once, and answered alike.

use contract::{Digest, Idempotency, Precondition};
use http::HeaderName;
use http::request::Parts;
use sha2::{Digest as _, Sha256};

use super::super::request::header_error;
use super::super::response::Failure;

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
pub(crate) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// All who send no credentials are one caller: short keys of two of them would meet.
const ANONYMOUS_CHARACTERS_MIN: usize = 16;
const CHARACTERS_MAX: usize = 255;

/// What travels beside the command; none without the header field.
pub(crate) fn of(
    parts: &Parts,
    precondition: Option<&Precondition>,
    body: &[u8],
) -> Result<Option<Idempotency>, Failure> {
    let mut values = parts.headers.get_all(&IDEMPOTENCY_KEY).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        _ => return Err(header_error(&IDEMPOTENCY_KEY, "must be there once only")),
    };
    let text = value.to_str().unwrap_or_default().trim();
    // The draft of the standard has a string in quotes; most clients send what stands between them.
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let visible = key.bytes().all(|b| b.is_ascii_graphic());
    if !visible || !(ANONYMOUS_CHARACTERS_MIN..=CHARACTERS_MAX).contains(&key.len()) {
        let detail = format!(
            "must have {ANONYMOUS_CHARACTERS_MIN} to {CHARACTERS_MAX} visible ASCII characters, such as a UUID"
        );
        return Err(header_error(&IDEMPOTENCY_KEY, detail));
    }
    let conditions = precondition.map(Precondition::to_string).unwrap_or_default();
    let uri = &parts.uri;
    let fingerprint =
        [parts.method.as_str(), uri.path(), uri.query().unwrap_or_default(), &conditions].map(str::as_bytes);
    Ok(Some(Idempotency {
        key: digest(&[b"anonymous", key.as_bytes()]),
        fingerprint: digest(&[&fingerprint[..], &[body]].concat()),
    }))
}

/// Each part with its length, so that no two lists of parts are the same bytes.
fn digest(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Digest(hash.finalize().into())
}
