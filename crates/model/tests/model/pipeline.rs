//! Segments in a row, as an edge and a cloud form them: rows leave one as plain values and enter
//! the next. What comes out of each is kept and compared with the reference.

use crate::fixture::{Fixture, Reference};
use tandem_model::{KvCache, Segment};
use tandem_shape::LayerRange;

pub(crate) struct Pipeline<'a> {
    stages: Vec<Stage<'a>>,
    /// The embedding's rows.
    embedded: Vec<f32>,
    logits: Vec<f32>,
}

struct Stage<'a> {
    segment: &'a Segment,
    cache: KvCache,
    /// The residual after this stage, `[positions, hidden]`.
    output: Vec<f32>,
}

/// The largest max|a − b| / max|b| of a row, over all rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Errors {
    /// Of the embedding and the residual after every stage.
    pub(crate) hidden: f64,
    pub(crate) logits: f64,
}

impl<'a> Pipeline<'a> {
    /// Runs each part's layers in its segment, which may hold more, with `capacity` positions.
    pub(crate) fn new(parts: &[(&'a Segment, LayerRange)], capacity: usize) -> Self {
        let stage = |&(segment, range): &(&'a Segment, LayerRange)| Stage {
            segment,
            cache: segment.kv_cache(range, capacity).unwrap(),
            output: Vec::new(),
        };
        Self {
            stages: parts.iter().map(stage).collect(),
            embedded: Vec::new(),
            logits: Vec::new(),
        }
    }

    /// One segment with one cache for all of its layers.
    pub(crate) fn at_once(fixture: &Fixture, segment: &'a Segment) -> Self {
        Self::new(
            &[(segment, segment.range())],
            fixture.reference.tokens.len(),
        )
    }

    /// One segment with a cache for each of its layers, so that every residual comes out.
    pub(crate) fn layer_by_layer(fixture: &Fixture, segment: &'a Segment) -> Self {
        let layer = |l| (segment, fixture.range(l, l + 1));
        let parts: Vec<_> = (0..fixture.config.layers).map(layer).collect();
        Self::new(&parts, fixture.reference.tokens.len())
    }

    /// Runs `tokens` behind the positions run so far, in one step.
    pub(crate) fn step(&mut self, tokens: &[u32]) {
        let mut rows = self.stages[0].segment.embed(tokens).unwrap();
        self.embedded.extend(&rows);
        for stage in &mut self.stages {
            rows = stage.segment.forward(rows, &mut stage.cache).unwrap();
            stage.output.extend(&rows);
        }
        let last = self.stages.last().unwrap();
        self.logits
            .extend(last.segment.logits(&rows, tokens.len()).unwrap());
    }

    /// Runs `tokens` in steps of `rows`.
    pub(crate) fn steps_of(&mut self, rows: usize, tokens: &[u32]) {
        tokens.chunks(rows).for_each(|chunk| self.step(chunk));
    }

    /// Forgets the positions from `position` on, in every stage.
    pub(crate) fn truncate(&mut self, position: usize) {
        let config = self.stages[0].segment.config();
        let (hidden, vocabulary) = (config.hidden, config.vocabulary);
        for stage in &mut self.stages {
            stage.cache.truncate(position);
            stage.output.truncate(position * hidden);
        }
        self.embedded.truncate(position * hidden);
        self.logits.truncate(position * vocabulary);
    }

    /// The residual after the last stage, `[positions, hidden]`.
    pub(crate) fn output(&self) -> &[f32] {
        &self.stages.last().unwrap().output
    }

    /// The logits, `[positions, vocabulary]`.
    pub(crate) fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Compares all positions with the reference, whose tokens must be those that were run.
    pub(crate) fn errors(&self, reference: &Reference) -> Errors {
        let config = self.stages[0].segment.config();
        let embedding = worst_row(&self.embedded, &reference.hidden[0], config.hidden);
        let outputs = self.stages.iter().map(|stage| {
            let expected = &reference.hidden[stage.cache.range().end()];
            worst_row(&stage.output, expected, config.hidden)
        });
        Errors {
            hidden: outputs.fold(embedding, f64::max),
            logits: worst_row(&self.logits, &reference.logits, config.vocabulary),
        }
    }
}

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "hidden {:.1e}, logits {:.1e}", self.hidden, self.logits)
    }
}

impl Errors {
    pub(crate) fn worst(self) -> f64 {
        self.hidden.max(self.logits)
    }
}

/// max|a − b| / max|b| of the worst row; a value that is not a number is infinitely wrong.
fn worst_row(found: &[f32], expected: &[f32], width: usize) -> f64 {
    assert_eq!(found.len(), expected.len(), "not the same positions");
    let row = |(a, b): (&[f32], &[f32])| {
        let largest = b.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let wrong = |(a, b): (&f32, &f32)| {
            if a.is_finite() {
                f64::from((a - b).abs()) / f64::from(largest)
            } else {
                f64::INFINITY
            }
        };
        a.iter().zip(b).map(wrong).fold(0.0, f64::max)
    };
    let rows = found.chunks(width).zip(expected.chunks(width));
    rows.map(row).fold(0.0, f64::max)
}
