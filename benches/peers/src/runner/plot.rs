//! The plot: for each workload a panel of bars, written as SVG by hand. It brings its own background, light or dark as
//! the reader's system is, so that it can be read on any page.

use std::fmt::Write;

use super::{
    drivers::Driver,
    markdown::{count, three_digits},
    plan::{Kind, LATENCY, LATENCY_FREE, LATENCY_SPIN},
    results::{Metric, Outcome, Results, Row},
};

/// One panel.
struct Panel {
    title: String,
    bars: Vec<Bar>,
}

struct Bar {
    label: String,
    ours: bool,
    value: f64,
    text: String,
}

pub(crate) fn svg(results: &Results) -> String {
    let rates = results.outcomes.iter().filter(|outcome| outcome.kind == Kind::Comparison);
    let waits = [LATENCY, LATENCY_FREE, LATENCY_SPIN].into_iter().filter_map(|id| results.outcome(id));
    let sections: [(_, Vec<_>); 2] = [
        (
            "Records a second: more is better. Beside it, microseconds of CPU a record.",
            rates.map(throughput).collect(),
        ),
        ("Send and wait, p50 in microseconds: less is better. Beside it, p99.", waits.map(latency).collect()),
    ];

    let mut body = String::new();
    let mut y = MARGIN;
    for (caption, panels) in sections.iter().filter(|(_, panels)| !panels.is_empty()) {
        y += LINE;
        text(&mut body, "caption", MARGIN, y, caption);
        y += GAP;
        for pair in panels.chunks(COLUMNS) {
            for (column, panel) in pair.iter().enumerate() {
                draw(&mut body, panel, MARGIN + column as f64 * (PANEL + GAP), y);
            }
            let tallest = pair.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
            y += LINE + tallest as f64 * LINE + GAP;
        }
    }
    let (width, height) = (2.0 * MARGIN + COLUMNS as f64 * PANEL + GAP, y + MARGIN - GAP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"Producers side by side\">\n{STYLE}\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n{body}</svg>\n"
    )
}

fn throughput(outcome: &Outcome) -> Panel {
    let bar = |row: &Row| {
        let (value, cpu) = (row.median(Metric::RecordsPerSecond)?, row.median(Metric::CpuPerRecord)?);
        Some(bar(row, value, format!("{}/s, {} us", count(value), three_digits(cpu))))
    };
    let mut panel =
        Panel { title: outcome.title.clone(), bars: producers(outcome).filter_map(bar).collect() };
    panel.bars.sort_by(|a, b| b.value.total_cmp(&a.value));
    panel
}

fn latency(outcome: &Outcome) -> Panel {
    let bar = |row: &Row| {
        let (value, p99) = (row.median(Metric::P50)?, row.median(Metric::P99)?);
        Some(bar(row, value, format!("{}, {}", three_digits(value), three_digits(p99))))
    };
    let mut panel =
        Panel { title: outcome.title.clone(), bars: producers(outcome).filter_map(bar).collect() };
    panel.bars.sort_by(|a, b| a.value.total_cmp(&b.value));
    panel
}

/// The first rows of whole producers: the limits would leave no room for their bars.
fn producers(outcome: &Outcome) -> impl Iterator<Item = &Row> {
    let drivers = Driver::ALL.into_iter().filter(|driver| driver.is_peer() || *driver == Driver::Ours);
    drivers.filter_map(|driver| outcome.rows.iter().find(|row| row.driver == driver.name()))
}

fn bar(row: &Row, value: f64, text: String) -> Bar {
    Bar { label: row.label.clone(), ours: row.driver == Driver::Ours.name(), value, text }
}

fn draw(out: &mut String, panel: &Panel, x: f64, top: f64) {
    text(out, "title", x, top + ASCENT, &panel.title);
    let most = panel.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    for (index, bar) in panel.bars.iter().enumerate() {
        let y = top + LINE + index as f64 * LINE;
        let class = if bar.ours { "ours" } else { "other" };
        let width = (bar.value / most * (PANEL - LABEL - VALUE)).max(1.0);
        text(out, &format!("label {class}-text"), x + LABEL - 8.0, y + ASCENT, &bar.label);
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"2\"/>",
            x + LABEL,
            y + 2.0,
            LINE - 6.0
        )
        .expect("a string takes everything");
        text(out, &format!("value {class}-text"), x + LABEL + width + 6.0, y + ASCENT, &bar.text);
    }
}

fn text(out: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>")
        .expect("a string takes everything");
}

const STYLE: &str = "<style>
text { font: 12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #424a53 }
.caption { font-size: 14px; font-weight: 600; fill: #1f2328 }
.title { font-weight: 600; fill: #1f2328 }
.label { text-anchor: end }
.ours-text { font-weight: 600; fill: #1f2328 }
.page { fill: #ffffff; stroke: #d1d9e0 }
.ours { fill: #d1570a }
.other { fill: #8c99a8 }
@media (prefers-color-scheme: dark) {
  text { fill: #b7bfc8 }
  .caption, .title, .ours-text { fill: #f0f3f6 }
  .page { fill: #14181d; stroke: #3d444d }
  .ours { fill: #f0883e }
  .other { fill: #66707b }
}
</style>
";

const COLUMNS: usize = 2;
const MARGIN: f64 = 20.0;
const GAP: f64 = 18.0;
const PANEL: f64 = 490.0;
const LINE: f64 = 20.0;
/// From the top of a line to the text's base.
const ASCENT: f64 = 13.0;
/// Room for a producer's name, and for the figures behind its bar.
const LABEL: f64 = 165.0;
const VALUE: f64 = 130.0;
