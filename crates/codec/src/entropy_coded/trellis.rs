//! Trellis-coded quantisation (Marcellin and Fischer 1990), in the form that video coding gives it
//! ("dependent quantisation", ITU-T H.266): two quantisers of one step, half a step apart, and a
//! machine of eight states, moved on by each index' parity, that says which one is next.
//!
//! ```text
//! quantiser 0   … −2  −1   0   1   2 …      index k stands for k steps
//! quantiser 1   … −1½  −½  0  ½  1½  …      index k stands for k − sign(k) / 2 steps
//! ```
//!
//! A decoder follows the states. An encoder looks for the sequence of indices that is nearest, all
//! told, to the values it has (Viterbi 1967): points half a step apart to choose from, at the price
//! of whole ones. At equal error that saves about a sixth of a bit a value.

use super::tables::{Band, Tables};
use crate::rounding::NEAREST_LIMIT;

/// States of the machine. Row by row it begins in state 0.
pub(crate) const STATES: usize = 8;

/// The state behind a state, by the parity of the index' magnitude. Ungerboeck's code of eight
/// states (1982), as JPEG 2000 part 2 uses it.
const NEXT: [[u8; 2]; STATES] = [
    [0, 1],
    [3, 2],
    [5, 4],
    [6, 7],
    [1, 0],
    [2, 3],
    [4, 5],
    [7, 6],
];

/// The two ways into each state: the state before, and the parity.
const PREVIOUS: [[(u8, u8); 2]; STATES] = previous();

const fn previous() -> [[(u8, u8); 2]; STATES] {
    let mut ways = [[(0, 0); 2]; STATES];
    let mut found = [0; STATES];
    let mut state = 0;
    while state < STATES {
        let mut parity = 0;
        while parity < 2 {
            let next = NEXT[state][parity] as usize;
            ways[next][found[next]] = (state as u8, parity as u8);
            found[next] += 1;
            parity += 1;
        }
        state += 1;
    }
    ways
}

/// What a value was quantised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Index {
    /// An index.
    Coded(i32),
    /// None: the value is written apart.
    Escaped,
}

/// Which quantiser a state uses.
#[inline]
pub(crate) fn quantiser(state: u8) -> usize {
    usize::from(state & 1)
}

/// The state behind `state` and an index. An escape counts as 0.
#[inline]
pub(crate) fn next(state: u8, index: i32) -> u8 {
    NEXT[usize::from(state)][(index & 1) as usize]
}

/// What an index stands for, in steps.
#[inline]
pub(crate) fn point(quantiser: usize, index: i32) -> f32 {
    match quantiser {
        0 => index as f32,
        _ => index as f32 - 0.5 * index.signum() as f32,
    }
}

/// The best index of one quantiser and parity for a value.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    index: Index,
    cost: f32,
}

/// The search's memory.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// By value: the best index by quantiser and parity.
    candidates: Vec<[Index; 4]>,
    /// By value: for each state, which of the two ways into it was taken.
    ways: Vec<u8>,
}

impl Search {
    /// Quantises `values`, in steps, to the indices of least `error² + lambda · bits`.
    pub(crate) fn quantise(
        &mut self,
        values: &[f32],
        bands: &[Band],
        tables: &Tables,
        lambda: f32,
        indices: &mut Vec<Index>,
    ) {
        self.candidates.clear();
        self.ways.clear();
        let mut costs = [f32::INFINITY; STATES];
        costs[0] = 0.0;
        for (&value, &band) in values.iter().zip(bands) {
            let found = candidates(value, band, tables, lambda);
            let mut reached = [0.0; STATES];
            let mut taken = 0u8;
            for (state, ways) in PREVIOUS.iter().enumerate() {
                let cost = |(from, parity): (u8, u8)| {
                    costs[usize::from(from)] + found[2 * quantiser(from) + usize::from(parity)].cost
                };
                let (first, second) = (cost(ways[0]), cost(ways[1]));
                reached[state] = first.min(second);
                taken |= u8::from(second < first) << state;
            }
            costs = reached;
            self.candidates.push(found.map(|c| c.index));
            self.ways.push(taken);
        }
        let last = (0..STATES).min_by(|&a, &b| costs[a].total_cmp(&costs[b]));
        self.trace_back(last.unwrap_or(0), indices);
    }

    fn trace_back(&self, mut state: usize, indices: &mut Vec<Index>) {
        indices.clear();
        for (candidates, taken) in self.candidates.iter().zip(&self.ways).rev() {
            let (from, parity) = PREVIOUS[state][usize::from(taken >> state & 1)];
            indices.push(candidates[2 * quantiser(from) + usize::from(parity)]);
            state = usize::from(from);
        }
        indices.reverse();
    }
}

/// The best index of a value for each quantiser and parity, in the order of
/// `2 · quantiser + parity`.
fn candidates(value: f32, band: Band, tables: &Tables, lambda: f32) -> [Candidate; 4] {
    let mut best = [Candidate {
        index: Index::Escaped,
        cost: f32::INFINITY,
    }; 4];
    // Farther out nothing is told apart, and all escapes.
    let magnitude = value.abs().min(NEAREST_LIMIT);
    let sign = if value < 0.0 { -1 } else { 1 };
    for quantiser in 0..2 {
        let table = tables.get(quantiser, band);
        // The indices around the magnitude, and 0, which is cheap.
        let below = (magnitude + 0.5 * quantiser as f32) as i32;
        let mut offer = |index: i32| {
            let error = magnitude - point(quantiser, index);
            let (part, _) = band.split(sign * index);
            let bits = table.cost(part) + f32::from(band.shift);
            let cost = error * error + lambda * bits;
            let place = &mut best[2 * quantiser + (index & 1) as usize];
            if cost < place.cost {
                *place = Candidate {
                    index: Index::Coded(sign * index),
                    cost,
                };
            }
        };
        offer(below);
        offer(below + 1);
        if (1..=2).contains(&below) {
            offer(0);
        }
        // Written apart it has next to no error, and moves on as 0 does.
        let place = &mut best[2 * quantiser];
        if place.cost.is_infinite() {
            *place = Candidate {
                index: Index::Escaped,
                cost: lambda * table.escape_cost(),
            };
        }
    }
    best
}

/// Quantises `values`, in steps, each to the nearest index of quantiser 0.
pub(crate) fn quantise_plainly(
    values: &[f32],
    bands: &[Band],
    tables: &Tables,
    indices: &mut Vec<Index>,
) {
    indices.clear();
    indices.extend(values.iter().zip(bands).map(|(&value, &band)| {
        let index = crate::rounding::nearest(value);
        match tables.get(0, band).share(band.split(index).0) {
            Some(_) => Index::Coded(index),
            None => Index::Escaped,
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_reached_in_two_ways() {
        for (state, ways) in PREVIOUS.iter().enumerate() {
            assert_ne!(ways[0], ways[1]);
            for &(from, parity) in ways {
                assert_eq!(
                    usize::from(NEXT[usize::from(from)][usize::from(parity)]),
                    state
                );
            }
        }
    }

    #[test]
    fn a_parity_is_that_of_the_magnitude() {
        for index in 0..5 {
            assert_eq!(next(3, index), next(3, -index));
        }
        assert_eq!(point(1, -2), -1.5);
        assert_eq!(point(1, 0), 0.0);
        assert_eq!(point(0, -2), -2.0);
    }
}
