//! The chart of a run: a group of bars for each workload, the reference's wall time as the unit. SVG without scripts
//! or fonts of its own, readable on light and dark pages.
use std::fmt::Write as _;

const COLOURS: [&str; 6] = ["#2f7ed8", "#4c9f70", "#8e6bbf", "#e8a33d", "#c05b4d", "#00897b"];
const REFERENCE: &str = "#9aa0a6";
const LEFT: f64 = 130.0;
const WIDTH: f64 = 560.0;
const BAR: f64 = 12.0;
const GAP: f64 = 14.0;
/// Multiples beyond this are cut, and say so.
const MOST: f64 = 3.0;

/// Draws rows of (workload, multiple of the reference for each builder).
pub(super) fn svg(builders: &[String], reference: usize, rows: &[(String, Vec<Option<f64>>)]) -> String {
    let most = rows.iter().flat_map(|(_, list)| list).flatten().fold(1.0_f64, |a, b| a.max(*b)).min(MOST);
    let scale = WIDTH / most;
    // A builder that has no part in a workload takes no room there.
    let group = |list: &[Option<f64>]| BAR * list.iter().flatten().count() as f64 + GAP;
    let top = 24.0 + 18.0 * builders.len() as f64;
    let height = top + rows.iter().map(|(_, list)| group(list)).sum::<f64>() + 12.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"16\" fill=\"#202124\">Wall time as a multiple of the grey bar; shorter is faster</text>\n"
    );
    for (number, name) in builders.iter().enumerate() {
        let y = 24.0 + 18.0 * number as f64;
        let _ = writeln!(
            out,
            "<rect x=\"8\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"26\" y=\"{}\" fill=\"#202124\">{}</text>",
            colour(number, reference),
            y + 10.0,
            escaped(name)
        );
    }
    let mut start = top;
    for (name, list) in rows {
        let middle = start + (group(list) - GAP) / 2.0 + 4.0;
        let _ = writeln!(out, "<text x=\"8\" y=\"{middle}\" fill=\"#202124\">{}</text>", escaped(name));
        let there = list.iter().enumerate().filter_map(|(place, ratio)| Some((place, (*ratio)?)));
        for (line, (place, ratio)) in there.enumerate() {
            let y = start + BAR * line as f64;
            let length = (ratio.min(most) * scale).max(1.0);
            let cut = if ratio > most { " \u{203a}" } else { "" };
            let _ = writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{}\" font-size=\"10\" fill=\"#5f6368\">{ratio:.2}{cut}</text>",
                BAR - 2.0,
                colour(place, reference),
                LEFT + length + 4.0,
                y + 9.0
            );
        }
        start += group(list);
    }
    out + "</svg>\n"
}

fn colour(number: usize, reference: usize) -> &'static str {
    if number == reference { REFERENCE } else { COLOURS[number % COLOURS.len()] }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_row_is_as_long_as_its_ratio_and_names_are_escaped() {
        let rows = vec![("noop".to_owned(), vec![Some(0.5), Some(1.0)]), ("slow".to_owned(), vec![None, Some(9.0)])];
        let svg = super::svg(&["ours".to_owned(), "BuildKit <26>".to_owned()], 1, &rows);
        assert!(svg.contains("BuildKit &lt;26&gt;"));
        // Of at most three units: a half is a sixth of the width.
        assert!(svg.contains("width=\"93.3\""), "{svg}");
        assert!(svg.contains("9.00 \u{203a}"));
    }
}
