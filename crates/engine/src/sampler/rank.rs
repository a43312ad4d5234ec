//! The order of likelihood, and the k tokens that come first in it.

use super::peak;

/// Logits that are skipped together when none can be among the best.
const BLOCK: usize = 256;

/// A token as a number that sorts by rank: the highest logit first, the lowest id first among equal
/// ones. `logit` is not NaN.
pub(super) fn key(logit: f32, id: u32) -> u64 {
    // −0.0 becomes 0.0, which it is equal to.
    let bits = (logit + 0.0).to_bits();
    let negative = bits >> 31 == 1;
    // Bits of floats sort like their magnitudes.
    let descending = if negative {
        bits
    } else {
        !bits & (u32::MAX >> 1)
    };
    u64::from(descending) << 32 | u64::from(id)
}

/// The id in a rank key.
pub(super) fn id(key: u64) -> u32 {
    key as u32
}

/// The logit in a rank key.
pub(super) fn logit(key: u64) -> f32 {
    let descending = (key >> 32) as u32;
    let negative = descending >> 31 == 1;
    f32::from_bits(if negative {
        descending
    } else {
        !descending & (u32::MAX >> 1)
    })
}

/// Puts the rank keys of the `k` most likely tokens into `best`, in no particular order; fewer where
/// fewer are not masked with −∞. `logits` have passed [`peak::Peak::of`].
///
/// One pass: what has been seen is cut back to the best k each time it has doubled, so that the
/// time is linear for any order of the logits, and most blocks are passed over by their maximum.
pub(super) fn best(logits: &[f32], k: usize, best: &mut Vec<u64>) {
    best.clear();
    if k == 0 {
        return;
    }
    let full = (2 * k).max(2 * BLOCK);
    // A later token that only equals the k-th has a higher id, so it ranks behind.
    let mut threshold = f32::NEG_INFINITY;
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        if peak::highest(block) <= threshold {
            continue;
        }
        let start = index * BLOCK;
        for (offset, &logit) in block.iter().enumerate() {
            if logit > threshold {
                best.push(key(logit, (start + offset) as u32));
            }
        }
        if best.len() >= full {
            threshold = cut(best, k);
        }
    }
    if best.len() > k {
        cut(best, k);
    }
}

/// Cuts `keys`, of which there are more than `k`, back to the first k and gives the last's logit.
fn cut(keys: &mut Vec<u64>, k: usize) -> f32 {
    let (_, last, _) = keys.select_nth_unstable(k - 1);
    let logit = logit(*last);
    keys.truncate(k);
    logit
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_sort_by_logit_and_then_id() {
        let ordered = [
            (f32::MAX, 9),
            (1.5, 3),
            (1.0, 0),
            (1.0, 7),
            (f32::MIN_POSITIVE, 1),
            (0.0, 1),
            (-0.0, 2),
            (0.0, 3),
            (-f32::MIN_POSITIVE, 0),
            (-1.0, 0),
            (-1.5, 0),
            (f32::MIN, 0),
            (f32::NEG_INFINITY, 0),
            (f32::NEG_INFINITY, u32::MAX),
        ];
        for pair in ordered.windows(2) {
            let ((left, left_id), (right, right_id)) = (pair[0], pair[1]);
            assert!(key(left, left_id) < key(right, right_id), "{pair:?}");
        }
        for (value, token) in ordered {
            assert_eq!(logit(key(value, token)), value);
            assert_eq!(id(key(value, token)), token);
        }
    }

    proptest! {
        #[test]
        fn the_best_are_those_of_a_full_sort(
            logits in prop::collection::vec(
                prop_oneof![9 => (-300_i16..300).prop_map(f32::from), 1 => Just(f32::NEG_INFINITY)],
                1..4000,
            ),
            order in 0..3,
            k in 1_usize..1200,
        ) {
            let mut logits = logits;
            match order {
                0 => {}
                1 => logits.sort_by(f32::total_cmp),
                _ => logits.sort_by(|a, b| b.total_cmp(a)),
            }
            let mut naive: Vec<_> = (0..logits.len()).filter(|&i| logits[i].is_finite()).collect();
            naive.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
            naive.truncate(k);
            let mut keys = Vec::new();
            best(&logits, k, &mut keys);
            keys.sort_unstable();
            let ids: Vec<_> = keys.iter().map(|&key| id(key) as usize).collect();
            prop_assert_eq!(ids, naive);
        }
    }
}
