//! Texts that clients send back as they came: a cut or edited one is noticed.
//!
//! Layout: base64url without padding [RFC 4648 5] of the content and the first 4 bytes of its XXH3. That keeps mistakes out, not
//! forgers: whoever knows the layout can make one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use twox_hash::XxHash3_64;

/// The text of a content.
pub fn seal(mut content: Vec<u8>) -> String {
    let check = checksum(&content);
    content.extend_from_slice(&check);
    URL_SAFE_NO_PAD.encode(content)
}

/// The content of a text that [`seal`] wrote; `None` for anything else, or for one with more characters.
pub fn open(text: &str, chars_max: usize) -> Option<Vec<u8>> {
    if text.len() > chars_max {
        return None;
    }
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (content, check) = bytes.split_last_chunk::<4>()?;
    if checksum(content) != *check {
        return None;
    }
    bytes.truncate(content.len());
    Some(bytes)
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = XxHash3_64::oneshot(bytes).to_be_bytes();
    [a, b, c, d]
}
