//! What `strace -f -y -xx` wrote, as system calls with the lines on which they began and ended.
//!
//! strace sees a call begin before the kernel does it, and its end before the thread goes on. So where one thread acts
//! on what another has done, the lines are in that order too, and a call that ended on an earlier line than another
//! began had ended before it.

use std::collections::HashMap;

mod tests;

/// One system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// The file descriptor and what it stands for: a path, or `socket:[number]`.
    pub(crate) descriptor: u32,
    pub(crate) target: String,
    /// What was written.
    pub(crate) data: Vec<u8>,
    /// Where, for `pwrite64`.
    pub(crate) offset: Option<usize>,
    /// None where the trace ended first.
    pub(crate) result: Option<i64>,
    pub(crate) begun: usize,
    pub(crate) ended: usize,
}

/// Reads a whole trace. What it cannot read, or what strace has cut, is an error: a proof must not have holes.
pub(crate) fn parse(text: &str) -> Result<Vec<Call>, String> {
    let mut calls = Vec::new();
    let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let failed = |reason: &str| format!("line {}: {reason}: {:.200}", number + 1, line);
        let (thread, rest) = line.split_once(' ').ok_or_else(|| failed("no thread"))?;
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            continue;
        }
        if let Some(call) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (number, call));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, tail) = resumed.split_once(" resumed>").ok_or_else(|| failed("no call"))?;
            let (begun, head) = unfinished.remove(thread).ok_or_else(|| failed("it never began"))?;
            calls.push(call(&format!("{head}{tail}"), begun, number).map_err(|reason| failed(&reason))?);
        } else {
            calls.push(call(rest, number, number).map_err(|reason| failed(&reason))?);
        }
    }
    for (begun, head) in unfinished.into_values() {
        calls.push(call(head, begun, usize::MAX).map_err(|reason| format!("line {}: {reason}", begun + 1))?);
    }
    calls.sort_by_key(|call| call.begun);
    Ok(calls)
}

/// `name(7<target>, "data", 24, 1234) = 24`, or the same without its end.
fn call(text: &str, begun: usize, ended: usize) -> Result<Call, String> {
    let (name, rest) = text.split_once('(').ok_or("no arguments")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let descriptor = rest[..digits].parse().map_err(|_| "no file descriptor")?;
    let mut rest = &rest[digits..];
    let mut target = String::new();
    if let Some(bracket) = rest.strip_prefix('<') {
        let (inside, tail) = bracket.split_once('>').ok_or("an open bracket")?;
        target = String::from_utf8_lossy(&unescape(inside)?).into_owned();
        rest = tail;
    }
    let mut data = Vec::new();
    let mut last = rest;
    while let Some((_, quoted)) = last.split_once('"') {
        let (inside, tail) = quoted.split_once('"').ok_or("an open quote")?;
        if tail.starts_with("...") {
            return Err("its data was cut; strace needs a larger -s".to_owned());
        }
        data.extend(unescape(inside)?);
        last = tail;
    }
    // Without its end the arguments may be missing as well, but not those that were written.
    let (arguments, result) = match last.rsplit_once(" = ") {
        Some((arguments, result)) => (arguments.trim_end().trim_end_matches(')').trim_end(), result.split(' ').next()),
        None => (last.trim_end(), None),
    };
    let result = result.map(|result| result.parse().map_err(|_| format!("result {result:?}"))).transpose()?;
    let offset = match name {
        "pwrite64" => Some(arguments.rsplit(", ").next().and_then(|word| word.parse().ok()).ok_or("no offset")?),
        _ => None,
    };
    Ok(Call { name: name.to_owned(), descriptor, target, data, offset, result, begun, ended })
}

/// `\x2f\x74` and so on; anything else stands for itself.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let digits = tail.strip_prefix(b"x").and_then(|tail| tail.split_at_checked(2));
        let (digits, after) = digits.ok_or("an escape that is not \\xNN; strace needs -xx")?;
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or("an escape that is not \\xNN");
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).unwrap_or_default());
        rest = after;
    }
    Ok(bytes)
}
