//! The rows of one page.

use contract::ListPosition;

use super::Held;

/// A page holds at most so many bytes, but at least one row; as the data store's lists do.
const PAGE_BYTES_MAX: usize = 768 * 1024;

/// One page of a list.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Held>,
    /// How many the whole list has.
    pub(crate) total: u64,
    /// Where the next page begins; none on the last.
    pub(crate) next: Option<ListPosition>,
}

/// Takes rows in order until the page is full.
pub(super) struct Rows {
    rows: Vec<Held>,
    limit: usize,
    size_bytes: usize,
    more: bool,
}

impl Rows {
    pub(super) fn new(limit: usize) -> Self {
        Self { rows: Vec::with_capacity(limit), limit, size_bytes: 0, more: false }
    }

    /// False once the row was one too many: the page is full, and there is a next one.
    pub(super) fn push(&mut self, held: &Held) -> bool {
        self.size_bytes += held.size_bytes();
        let full = self.size_bytes > PAGE_BYTES_MAX && !self.rows.is_empty();
        self.more = full || self.rows.len() >= self.limit;
        if !self.more {
            self.rows.push(held.clone());
        }
        !self.more
    }

    /// `last` is the position of the last row that was taken.
    pub(super) fn finish(self, total: u64, last: impl FnOnce() -> Option<ListPosition>) -> Page {
        let next = if self.more { last() } else { None };
        Page { rows: self.rows, total, next }
    }
}
