//! Rotary position embedding (RoFormer, arXiv 2104.09864) in the rotate-half layout of Hugging
//! Face checkpoints.

/// Cosines and sines of the positions of a run, computed once and used by all layers.
#[derive(Debug)]
pub(crate) struct Angles {
    /// `[positions, head_dim / 2]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
    positions: usize,
}

impl Angles {
    /// The angles of positions `start .. start + count`.
    pub(crate) fn new(inverse_frequencies: &[f32], start: usize, count: usize) -> Self {
        let of_position = |p: usize| inverse_frequencies.iter().map(move |f| p as f32 * f);
        let angles = (start..start + count).flat_map(of_position);
        let (sin, cos) = angles.map(libm::sincosf).unzip();
        Self {
            cos,
            sin,
            positions: count,
        }
    }

    /// Positions there are.
    pub(crate) fn count(&self) -> usize {
        self.positions
    }

    /// Rotates one head of the step's position number `position`, `[head_dim]`.
    pub(crate) fn rotate(&self, position: usize, head: &[f32], out: &mut [f32]) {
        let half = head.len() / 2;
        let angles = position * half..(position + 1) * half;
        let angles = self.cos[angles.clone()].iter().zip(&self.sin[angles]);
        let (first, second) = head.split_at(half);
        let (to_first, to_second) = out.split_at_mut(half);
        let from = first.iter().zip(second);
        let to = to_first.iter_mut().zip(to_second);
        for (((a, b), (to_a, to_b)), (cos, sin)) in from.zip(to).zip(angles) {
            *to_a = a * cos - b * sin;
            *to_b = b * cos + a * sin;
        }
    }
}
