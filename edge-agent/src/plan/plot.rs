//! The plans as a picture: what the cloud computes for a token against what a request takes.

use super::Solved;
use anyhow::anyhow;
use plotters::prelude::*;
use std::path::Path;
use tandem_planner::Plan;

const SIZE: (u32, u32) = (760, 480);

/// Draws the front as dots, the best plan of each split as a ring with its number, and the chosen one
/// filled.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(solved: &Solved, path: &Path) -> anyhow::Result<()> {
    let failed = |error: String| anyhow!("{error}");
    let point = |plan: &Plan| (plan.estimate.cloud * 1e3, plan.estimate.request);
    let outcome = &solved.outcome;
    let shown = outcome.front.iter().chain(&outcome.by_split);
    let bounds = |of: fn((f64, f64)) -> f64| {
        let most = shown.clone().map(|p| of(point(p))).fold(0.0, f64::max);
        0.0..(most * 1.08).max(1e-3)
    };
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|e| failed(e.to_string()))?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(bounds(|p| p.0), bounds(|p| p.1))
        .map_err(|e| failed(e.to_string()))?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .x_desc("compute of the cloud for a token, ms")
        .y_desc("a request, s")
        .draw()
        .map_err(|e| failed(e.to_string()))?;
    let front = outcome.front.iter().map(point);
    chart
        .draw_series(front.map(|at| Circle::new(at, 1, BLACK.mix(0.25).filled())))
        .map_err(|e| failed(e.to_string()))?;
    let chosen = outcome.chosen.as_ref();
    let rings = outcome.by_split.iter().map(|plan| {
        let style = if chosen.is_some_and(|c| c.candidate == plan.candidate) {
            RED.filled()
        } else {
            BLUE.stroke_width(1)
        };
        EmptyElement::at(point(plan))
            + Circle::new((0, 0), 5, style)
            + Text::new(
                plan.candidate.split.to_string(),
                (8, -6),
                ("sans-serif", 12).into_font(),
            )
    });
    chart
        .draw_series(rings)
        .map_err(|e| failed(e.to_string()))?;
    root.present().map_err(|e| failed(e.to_string()))
}
