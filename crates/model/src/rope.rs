//! Rotary position embedding (RoFormer, arXiv 2104.09864) in the rotate-half layout of Hugging
//! Face checkpoints.

/// Cosines and sines of the positions of a step's rows, computed once and used by all layers.
#[derive(Debug)]
pub(crate) struct Angles {
    /// `[positions, head_dim / 2]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    /// The angles of runs of positions, each from a first one on and so many: one run's behind the other's.
    pub(crate) fn new(
        inverse_frequencies: &[f32],
        runs: impl IntoIterator<Item = (usize, usize), IntoIter: Clone>,
    ) -> Self {
        let runs = runs.into_iter();
        let positions: usize = runs.clone().map(|(_, count)| count).sum();
        let room = || Vec::with_capacity(positions * inverse_frequencies.len());
        let (mut cos, mut sin) = (room(), room());
        for position in runs.flat_map(|(start, count)| start..start + count) {
            for frequency in inverse_frequencies {
                let (s, c) = libm::sincosf(position as f32 * frequency);
                sin.push(s);
                cos.push(c);
            }
        }
        Self { cos, sin }
    }

    /// Rotates one head of the row whose position is number `row` of these, `[head_dim]`.
    pub(crate) fn rotate(&self, row: usize, head: &[f32], out: &mut [f32]) {
        let half = head.len() / 2;
        let angles = row * half..(row + 1) * half;
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
