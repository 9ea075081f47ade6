//! Horizontal bars as SVG, each with its value written beside it.
//!
//! The picture brings a light ground of its own, because a page that shows it may be light or dark.

use std::fmt::Write as _;

use crate::stats::Spread;

#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) rows: Vec<Row>,
    /// Where the scale ends; longer bars are drawn broken.
    pub(super) cap: Option<f64>,
    /// A value that has a line of its own.
    pub(super) whole: Option<f64>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) label: String,
    pub(super) bars: Vec<Bar>,
}

#[derive(Debug)]
pub(super) struct Bar {
    pub(super) spread: Spread,
    pub(super) tone: Tone,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Tone {
    Ours,
    OursPale,
    Peer,
    PeerPale,
    Floor,
}

impl Tone {
    fn colour(self) -> &'static str {
        match self {
            Self::Ours => "#0b6e4f",
            Self::OursPale => "#7fc4a8",
            Self::Peer => "#7d8590",
            Self::PeerPale => "#bcc2c9",
            Self::Floor => "#d0d5db",
        }
    }
}

const WIDTH: f64 = 800.0;
const MARGIN: f64 = 20.0;
const HEAD: f64 = 64.0;
const BAR: f64 = 16.0;
/// Between the bars of one row, and between rows.
const GAP: f64 = 2.0;
const ROW_GAP: f64 = 10.0;
/// An average letter of the label font.
const LETTER: f64 = 6.9;
/// For the value beside the longest bar.
const VALUE: f64 = 96.0;

impl Chart {
    pub(super) fn svg(&self) -> String {
        let longest = self.rows.iter().map(|row| row.label.chars().count()).max();
        let letters = f64::from(u32::try_from(longest.unwrap_or(0)).unwrap_or(u32::MAX));
        let left = MARGIN + letters * LETTER + 10.0;
        let scale = (WIDTH - MARGIN - VALUE - left) / self.end();
        let height = HEAD + self.rows.iter().map(row_height).sum::<f64>() + MARGIN - ROW_GAP;
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _infallible = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"-apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\" font-size=\"12.5\" fill=\"#24292f\" role=\"img\">\n\
             <title>{title}</title>\n\
             <rect x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\" fill=\"#f7f8f9\" stroke=\"#d0d7de\"/>\n\
             <text x=\"{MARGIN}\" y=\"28\" font-size=\"15\" font-weight=\"600\">{title}</text>\n\
             <text x=\"{MARGIN}\" y=\"47\" fill=\"#57606a\">{}</text>\n",
            WIDTH - 1.0,
            height - 1.0,
            escaped(&self.subtitle),
            title = escaped(&self.title),
        );
        self.edge(&mut out, left, scale, height);
        let mut top = HEAD;
        for row in &self.rows {
            row.draw(&mut out, left, top, scale, self.end());
            top += row_height(row);
        }
        out.push_str("</svg>\n");
        out
    }

    /// The value at the right end of the scale.
    fn end(&self) -> f64 {
        let medians = self.rows.iter().flat_map(|row| &row.bars);
        let largest = medians.map(|bar| bar.spread.max).fold(0.0, f64::max);
        let end = self.cap.unwrap_or(largest.max(self.whole.unwrap_or(0.0)));
        if end > 0.0 { end } else { 1.0 }
    }

    /// The line where the whole is.
    fn edge(&self, out: &mut String, left: f64, scale: f64, height: f64) {
        for x in std::iter::once(left).chain(self.whole.map(|whole| left + whole * scale)) {
            let _infallible = writeln!(
                out,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\" stroke=\"#afb8c1\"/>",
                HEAD - 4.0,
                height - MARGIN + 4.0
            );
        }
    }
}

fn row_height(row: &Row) -> f64 {
    let bars = f64::from(u32::try_from(row.bars.len()).unwrap_or(1));
    bars * (BAR + GAP) - GAP + ROW_GAP
}

impl Row {
    fn draw(&self, out: &mut String, left: f64, top: f64, scale: f64, end: f64) {
        let middle = top + (row_height(self) - ROW_GAP) / 2.0;
        let _infallible = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            middle + 4.5,
            escaped(&self.label)
        );
        let mut y = top;
        for bar in &self.bars {
            bar.draw(out, left, y, scale, end);
            y += BAR + GAP;
        }
    }
}

impl Bar {
    fn draw(&self, out: &mut String, left: f64, y: f64, scale: f64, end: f64) {
        let is_broken = self.spread.median > end;
        // What is measured below nothing is noise: its value says so, a bar cannot.
        let at = |value: f64| left + value.clamp(0.0, end) * scale;
        let tip = at(self.spread.median);
        let colour = self.tone.colour();
        let _infallible = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>",
            (tip - left).max(1.0)
        );
        let mut text_from = tip;
        if is_broken {
            let x = tip - 26.0;
            let low = y + BAR + 1.0;
            let _infallible = writeln!(
                out,
                "<path d=\"M{x:.1} {low:.1} l6 -{h:.1} M{:.1} {low:.1} l6 -{h:.1}\" stroke=\"#f7f8f9\" stroke-width=\"3\"/>",
                x + 7.0,
                h = BAR + 2.0
            );
        } else if self.spread.n > 1 {
            let (low, high) = (at(self.spread.min), at(self.spread.max));
            let middle = y + BAR / 2.0;
            let _infallible = writeln!(
                out,
                "<path d=\"M{low:.1} {middle:.1} H{high:.1} M{low:.1} {:.1} v6 M{high:.1} {:.1} v6\" stroke=\"#24292f\" fill=\"none\"/>",
                middle - 3.0,
                middle - 3.0
            );
            text_from = tip.max(high);
        }
        let _infallible = writeln!(
            out,
            // The ground around the letters, where a line crosses them.
            "<text x=\"{:.1}\" y=\"{:.1}\" stroke=\"#f7f8f9\" stroke-width=\"4\" paint-order=\"stroke\">{}</text>",
            text_from + 7.0,
            y + BAR / 2.0 + 4.5,
            escaped(&self.text)
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64], cap: Option<f64>) -> String {
        let row = |&value: &f64| Row {
            label: "a <b> & c".to_owned(),
            bars: vec![Bar {
                spread: Spread::exactly(value),
                tone: Tone::Peer,
                text: format!("{value}"),
            }],
        };
        let chart = Chart {
            title: "T".to_owned(),
            subtitle: "S".to_owned(),
            rows: values.iter().map(row).collect(),
            cap,
            whole: None,
        };
        chart.svg()
    }

    #[test]
    fn text_cannot_break_the_picture() {
        let svg = chart(&[1.0], None);
        assert!(svg.contains("a &lt;b&gt; &amp; c") && !svg.contains("<b>"));
    }

    #[test]
    fn a_bar_beyond_the_scale_is_drawn_broken_and_keeps_its_value() {
        assert!(!chart(&[1.0, 2.0], Some(2.0)).contains("stroke-width=\"3\""));
        let svg = chart(&[1.0, 200.0], Some(2.0));
        assert!(svg.contains("stroke-width=\"3\"") && svg.contains(">200<"));
    }

    #[test]
    fn more_than_the_whole_is_not_cut() {
        let mut chart = Chart {
            title: String::new(),
            subtitle: String::new(),
            rows: Vec::new(),
            cap: None,
            whole: Some(1.0),
        };
        assert_eq!(chart.end(), 1.0);
        chart.rows.push(Row {
            label: String::new(),
            bars: vec![Bar {
                spread: Spread::exactly(1.03),
                tone: Tone::Floor,
                text: String::new(),
            }],
        });
        assert_eq!(chart.end(), 1.03);
    }

    #[test]
    fn nothing_and_less_than_nothing_can_be_drawn() {
        for svg in [chart(&[], None), chart(&[0.0], None), chart(&[-3.0], None)] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(!svg.contains("width=\"-"), "{svg}");
        }
    }
}
