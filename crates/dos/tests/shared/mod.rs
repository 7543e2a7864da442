//! What the tests that kill things share: writers, what they were told, and the checker of histories.

// Each of the test binaries uses its part of it.
#![allow(dead_code)]

pub(crate) mod check;
pub(crate) mod history;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod process;
pub(crate) mod random;
