//! `rig plot`: how cost grows, as one picture (SVG) for each thing that grows.
//!
//! It reads the results of `scripts/bench` (`scripts/bench/__init__.py` has their form), and draws the medians of
//! the case `growth`: seconds, memory and requests beside each other, one curve for each tool. An axis is
//! logarithmic where the figures on it are far apart, so that what grows in proportion is a straight line.

mod curves;
mod scale;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    BLACK, BLUE, ChartBuilder, Circle, Color as _, DrawingArea, GREEN, IntoDrawingArea as _,
    IntoFont as _, LineSeries, MAGENTA, PathElement, RED, RGBColor, SVGBackend,
    SeriesLabelPosition, WHITE,
};

use crate::Failure;

use curves::{Curves, Step};
use scale::Scale;

/// The size of a picture, in pixels; three panels share its width.
const SIZE: (u32, u32) = (1260, 380);
/// What the panels show, in the order of a step's curves.
const MEASURES: [&str; 3] = ["seconds", MEMORY, "requests"];
/// The curves of memory are flat, so that there is room for the names of the tools.
const MEMORY: &str = "peak of memory in MB";
const COLOURS: [RGBColor; 5] = [BLUE, RED, GREEN, MAGENTA, BLACK];

/// What `rig plot` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder for the pictures, growth-STEP.svg; it is made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The results, one JSON line a run.
    #[arg(value_name = "RESULTS.jsonl")]
    results: PathBuf,
}

/// Draws all pictures.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let text = fs::read_to_string(&options.results)?;
    let steps =
        curves::read(&text).map_err(|error| format!("{}: {error}", options.results.display()))?;
    if steps.is_empty() {
        return Err("there is no run of the case `growth`".into());
    }
    fs::create_dir_all(&options.out)?;
    for step in &steps {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !step.name.chars().all(is_plain) {
            return Err(format!("`{}` is no name of a file", step.name).into());
        }
        let file = options.out.join(format!("growth-{}.svg", step.name));
        draw(step, &file)?;
    }
    Ok(())
}

/// An axis of a panel: where figures stand on it, and the ones that it names.
struct Axis {
    scale: Scale,
    line: RangedCoordf64,
    names: Vec<f64>,
}

impl Axis {
    fn new(scale: Scale, names: Vec<f64>) -> Self {
        let (low, high) = scale.ends();
        Self {
            scale,
            line: (low..high).into(),
            names,
        }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, figure: &f64, limit: (i32, i32)) -> i32 {
        self.line.map(&self.scale.place(*figure), limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.names.clone()
    }

    fn range(&self) -> Range<f64> {
        let (low, high) = self.scale.ends();
        self.scale.figure(low)..self.scale.figure(high)
    }
}

/// What a step is called below its axis, and how its figures are written.
fn axis(step: &str) -> (&str, fn(f64) -> String) {
    match step {
        "blob-bytes" => ("size of one blob", scale::short_bytes),
        "jobs" => ("jobs", scale::short),
        "jobs-20ms" => ("jobs, with a round trip of 20 ms", scale::short),
        other => (other, scale::short),
    }
}

fn draw(step: &Step, file: &Path) -> Result<(), Failure> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((1, MEASURES.len()));
    for ((panel, measure), curves) in panels.iter().zip(MEASURES).zip(&step.curves) {
        draw_panel(panel, (&step.name, measure), curves)?;
    }
    area.present()?;
    Ok(())
}

fn draw_panel(
    panel: &DrawingArea<SVGBackend<'_>, Shift>,
    (step, measure): (&str, &str),
    curves: &Curves,
) -> Result<(), Failure> {
    let points = || curves.values().flatten();
    let mut values: Vec<f64> = points().map(|(value, _)| *value).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let x = Scale::log(values.iter().copied());
    let y = Scale::fitting(points().map(|(_, figure)| *figure));
    let mut chart = ChartBuilder::on(panel)
        .caption(measure, ("sans-serif", 16).into_font())
        .margin(12)
        .margin_right(24)
        .x_label_area_size(44)
        .y_label_area_size(52)
        .build_cartesian_2d(Axis::new(x, values), Axis::new(y, y.names()))?;
    let (what, written) = axis(step);
    chart
        .configure_mesh()
        .x_desc(what)
        .x_label_formatter(&|value| written(*value))
        .y_label_formatter(&|figure| scale::short(*figure))
        .light_line_style(WHITE)
        .draw()?;
    for ((tool, curve), colour) in curves.iter().zip(COLOURS.into_iter().cycle()) {
        let line = LineSeries::new(curve.iter().copied(), colour.stroke_width(2));
        chart
            .draw_series(line)?
            .label(tool.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        let dots = curve
            .iter()
            .map(|point| Circle::new(*point, 3, colour.filled()));
        chart.draw_series(dots)?;
    }
    if curves.len() > 1 && measure == MEMORY {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .draw()?;
    }
    Ok(())
}
