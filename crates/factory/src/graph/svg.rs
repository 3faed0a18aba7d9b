//! The graph as an SVG: a column per level, a box per node, a curve per edge. No scripts, no fonts
//! but the viewer's, readable on light and dark ground.
use super::{Graph, NodeKind};
use std::fmt::Write;

const ROW: usize = 34;
const HEIGHT: usize = 24;
const GAP: usize = 90;
const MARGIN: usize = 16;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) fn draw(graph: &Graph) -> String {
    let levels = graph.levels();
    let mut place = vec![(0, 0, 0); graph.nodes.len()];
    let (mut x, mut height) = (MARGIN, 0);
    for level in &levels {
        let widest = level.iter().map(|i| graph.nodes[*i].label.chars().count()).max().unwrap_or(0);
        let width = widest * 7 + 24;
        for (row, i) in level.iter().enumerate() {
            place[*i] = (x, MARGIN + row * ROW, width);
            height = height.max(MARGIN + row * ROW + HEIGHT + MARGIN);
        }
        x += width + GAP;
    }
    let width = x.saturating_sub(GAP) + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, monospace\" font-size=\"12\">\n\
         <title>images and what they are made from</title>\n\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
         <path d=\"M0 0 8 4 0 8z\" fill=\"#888\"/></marker></defs>\n"
    );
    for (i, node) in graph.nodes.iter().enumerate() {
        for need in &node.needs {
            let ((from_x, from_y, from_width), (to_x, to_y, _)) = (place[*need], place[i]);
            let (x1, y1, x2, y2) = (from_x + from_width, from_y + HEIGHT / 2, to_x, to_y + HEIGHT / 2);
            let middle = (x1 + x2) / 2;
            let _ = writeln!(
                out,
                "<path d=\"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#888\" marker-end=\"url(#a)\"/>"
            );
        }
    }
    for (node, (x, y, width)) in graph.nodes.iter().zip(&place) {
        let (fill, stroke, dash) = match node.kind {
            NodeKind::Managed => ("#dbeafe", "#1d4ed8", ""),
            NodeKind::External => ("#f3f4f6", "#6b7280", " stroke-dasharray=\"4 3\""),
            NodeKind::Base => ("#fef3c7", "#b45309", ""),
        };
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{HEIGHT}\" rx=\"4\" fill=\"{fill}\" stroke=\"{stroke}\"{dash}/>\
             <text x=\"{}\" y=\"{}\" fill=\"#111\">{}</text>",
            x + 12,
            y + 16,
            escape(&node.label)
        );
    }
    out.push_str("</svg>\n");
    out
}
