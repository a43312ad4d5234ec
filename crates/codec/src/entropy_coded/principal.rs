//! The principal directions of sample rows, as reflections.

/// Rounds of the iteration. Directions that are still mixed then are nearly as good either way.
const ROUNDS: usize = 12;

/// Vectors of `count` reflections that turn the principal directions of `rows`, `[rows, hidden]`,
/// into axes: `[count, hidden]`.
///
/// Directions are those of the greatest variance, found by orthogonal iteration (Golub
/// and Van Loan, Matrix Computations, 8.2.4). Which axis a direction becomes is a matter of choice;
/// it is the one it lies nearest to, so that the other channels are disturbed least.
pub(super) fn principal_reflectors(rows: &[f32], hidden: usize, count: usize) -> Vec<i16> {
    let samples = rows.len() / hidden;
    let count = count.min(hidden / 4).min(samples / 8);
    if count == 0 {
        return Vec::new();
    }
    let covariance = covariance(rows, hidden);
    let mut basis: Vec<Vec<f64>> = (0..count)
        .map(|i| (0..hidden).map(|j| pseudo_random(i * hidden + j)).collect())
        .collect();
    orthonormalise(&mut basis);
    for _ in 0..ROUNDS {
        for direction in &mut basis {
            *direction = covariance
                .chunks_exact(hidden)
                .map(|row| row.iter().zip(&*direction).map(|(c, d)| c * d).sum())
                .collect();
        }
        orthonormalise(&mut basis);
    }
    reflections(basis, hidden)
}

fn covariance(rows: &[f32], hidden: usize) -> Vec<f64> {
    const BLOCK: usize = 64;
    let mut sums = vec![0.0f64; hidden * hidden];
    let mut block = vec![0.0f32; hidden];
    for chunk in rows.chunks(BLOCK * hidden) {
        for i in 0..hidden {
            block.fill(0.0);
            for row in chunk.chunks_exact(hidden) {
                let value = row[i];
                for (sum, other) in block[..=i].iter_mut().zip(row) {
                    *sum += value * other;
                }
            }
            let into = &mut sums[i * hidden..=i * hidden + i];
            into.iter_mut()
                .zip(&block)
                .for_each(|(sum, b)| *sum += f64::from(*b));
        }
    }
    for i in 0..hidden {
        for j in 0..i {
            sums[j * hidden + i] = sums[i * hidden + j];
        }
    }
    sums
}

/// Gram and Schmidt's way, twice for accuracy. A direction that vanishes is left as it is: zero.
fn orthonormalise(basis: &mut [Vec<f64>]) {
    for i in 0..basis.len() {
        let (before, rest) = basis.split_at_mut(i);
        let direction = &mut rest[0];
        for _ in 0..2 {
            for other in &*before {
                let along = dot(direction, other);
                direction
                    .iter_mut()
                    .zip(other)
                    .for_each(|(d, o)| *d -= along * o);
            }
        }
        let length = dot(direction, direction).sqrt();
        if length > 1e-12 {
            direction.iter_mut().for_each(|d| *d /= length);
        }
    }
}

/// Householder's factorisation, each direction reflected to the free axis it is nearest to.
fn reflections(mut basis: Vec<Vec<f64>>, hidden: usize) -> Vec<i16> {
    let mut vectors = Vec::new();
    let mut taken = vec![false; hidden];
    for i in 0..basis.len() {
        let direction = basis[i].clone();
        let nearest = (0..hidden)
            .filter(|&axis| !taken[axis])
            .max_by(|&a, &b| direction[a].abs().total_cmp(&direction[b].abs()));
        let Some(axis) = nearest else { break };
        let rest: f64 = (0..hidden)
            .filter(|&a| !taken[a])
            .map(|a| direction[a] * direction[a])
            .sum();
        let mut vector: Vec<f64> = (0..hidden)
            .map(|a| if taken[a] { 0.0 } else { direction[a] })
            .collect();
        // Away from zero, so that nothing cancels.
        vector[axis] += rest.sqrt().copysign(direction[axis]);
        let square = dot(&vector, &vector);
        taken[axis] = true;
        if square < 1e-12 {
            continue;
        }
        for direction in &mut basis[i..] {
            let along = 2.0 * dot(direction, &vector) / square;
            direction
                .iter_mut()
                .zip(&vector)
                .for_each(|(d, v)| *d -= along * v);
        }
        let greatest = vector
            .iter()
            .fold(0.0f64, |greatest, v| greatest.max(v.abs()));
        let scale = f64::from(i16::MAX) / greatest;
        vectors.extend(vector.iter().map(|v| (v * scale).round() as i16));
    }
    vectors
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Anything that is not orthogonal to what is looked for: the same on every machine.
fn pseudo_random(seed: usize) -> f64 {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}
