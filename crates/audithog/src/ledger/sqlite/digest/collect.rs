//! The numbers of the rows that this process has appended, until their stretch is full.

use super::{Line, PARTS, STRETCH};

/// One stretch under way. Nothing is kept of a stretch that it did not see from its first row on.
#[derive(Debug, Default)]
pub(in super::super) struct Collector {
    lines: Vec<Line>,
    /// The number of the next row; None: nothing was added yet.
    next: Option<i64>,
    /// Parts of the full stretch that are in the file.
    parts: usize,
}

impl Collector {
    /// The numbers of rows that are committed now, the last of which is `head`.
    pub(in super::super) fn add(&mut self, lines: &[Line], head: i64) {
        let Some(first) = i64::try_from(lines.len()).ok().map(|rows| head - rows + 1) else {
            return;
        };
        if self.next.is_some_and(|next| next != first) {
            // Somebody else wrote between: this stretch is read from its rows.
            self.drop_lines();
        }
        self.next = Some(head + 1);
        for (seq, line) in (first..).zip(lines) {
            // Only whole: what is held begins with the first row of a stretch.
            if !self.lines.is_empty() || (seq - 1) % STRETCH == 0 {
                self.lines.push(*line);
            }
        }
    }

    /// What is collected may not be in the file.
    pub(in super::super) fn forget(&mut self) {
        self.drop_lines();
        self.next = None;
    }

    fn drop_lines(&mut self) {
        self.lines.clear();
        self.parts = 0;
    }

    /// The stretch that is full, which of its parts is to be written, and its rows' numbers.
    pub(in super::super) fn full(&self) -> Option<(i64, usize, &[Line])> {
        let stretch = usize::try_from(STRETCH).ok()?;
        let lines = self.lines.get(..stretch)?;
        let first = self.next? - i64::try_from(self.lines.len()).ok()?;
        Some(((first - 1) / STRETCH, self.parts, lines))
    }

    /// More than one stretch is full: rows come faster than parts are written one by one.
    pub(in super::super) fn is_behind(&self) -> bool {
        i64::try_from(self.lines.len()).is_ok_and(|lines| lines >= 2 * STRETCH)
    }

    #[cfg(test)]
    pub(in super::super) fn held(&self) -> usize {
        self.lines.len()
    }

    /// That part is in the file.
    pub(in super::super) fn saved(&mut self) {
        self.parts += 1;
        if self.parts < PARTS {
            return;
        }
        self.parts = 0;
        let stretch = usize::try_from(STRETCH).unwrap_or(usize::MAX);
        self.lines.drain(..stretch.min(self.lines.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(first: i64, rows: i64) -> Vec<Line> {
        (first..first + rows)
            .map(|ts| Line {
                ts,
                ..Line::default()
            })
            .collect()
    }

    #[test]
    fn only_a_whole_stretch_is_full() {
        let whole = usize::try_from(STRETCH).unwrap();
        let mut collector = Collector::default();
        let mut add = |first: i64, rows: i64| {
            collector.add(&lines(first, rows), first + rows - 1);
            let full = |collector: &Collector| {
                let full = collector.full();
                full.map(|(stretch, part, lines)| (stretch, part, lines[0].ts, lines.len()))
            };
            let found = full(&collector);
            let mut part = 0;
            while let Some((_, next, ..)) = full(&collector) {
                assert_eq!(next, part);
                collector.saved();
                part += 1;
            }
            assert!(part == 0 || part == PARTS);
            found.map(|(stretch, _, first, rows)| (stretch, first, rows))
        };
        // Begun in the middle of the first one.
        assert_eq!(add(101, STRETCH - 100), None);
        assert_eq!(add(STRETCH + 1, STRETCH - 1), None);
        assert_eq!(add(2 * STRETCH, 3), Some((1, STRETCH + 1, whole)));
        assert_eq!(
            add(2 * STRETCH + 3, STRETCH),
            Some((2, 2 * STRETCH + 1, whole))
        );
        // Another process wrote one row.
        assert_eq!(add(3 * STRETCH + 4, STRETCH), None);
        assert_eq!(
            add(4 * STRETCH + 4, STRETCH),
            Some((4, 4 * STRETCH + 1, whole))
        );
    }
}
