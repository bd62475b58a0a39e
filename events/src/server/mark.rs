//! The low-water mark: everything up to it has been handled completely.

use std::collections::BTreeSet;

use crate::position::Position;

/// Follows which records are being handled.
#[derive(Debug)]
pub(super) struct Mark {
    read: Position,
    open: BTreeSet<Position>,
}

impl Mark {
    pub(super) fn new(start: Position) -> Self {
        Self {
            read: start,
            open: BTreeSet::new(),
        }
    }

    /// A record was read that needs nothing.
    pub(super) fn pass(&mut self, position: Position) {
        self.read = self.read.max(position);
    }

    /// A record was read that must be handled.
    pub(super) fn begin(&mut self, position: Position) {
        self.pass(position);
        self.open.insert(position);
    }

    /// A record was handled.
    pub(super) fn end(&mut self, position: Position) {
        self.open.remove(&position);
    }

    /// Returns the position up to which nothing is left to do.
    pub(super) fn low_water(&self) -> Position {
        match self.open.first() {
            Some(first) => Position {
                epoch: first.epoch,
                seq: first.seq - 1,
            },
            None => self.read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_waits_for_the_oldest_open_record() {
        let at = |seq| Position { epoch: 1, seq };
        let mut mark = Mark::new(at(3));
        assert_eq!(mark.low_water(), at(3));
        mark.begin(at(4));
        mark.begin(at(5));
        mark.pass(at(6));
        mark.end(at(5));
        assert_eq!(mark.low_water(), at(3));
        mark.end(at(4));
        assert_eq!(mark.low_water(), at(6));
    }
}
