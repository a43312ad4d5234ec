//! A measured quantity as a function of one number: rows, or a context.

use serde::{Deserialize, Serialize};

/// Points of a function that never falls, straight between them and beyond the last.
///
/// Beyond the last point it goes on as between the last two; before the first it is flat. What is
/// measured is noisy: a point below one to its left is raised to it, so that a search may rely on
/// the function never falling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(f64, f64)>", into = "Vec<(f64, f64)>")]
pub struct Curve(Vec<(f64, f64)>);

/// Points that make no [`Curve`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCurve {
    /// There is none.
    #[error("a curve needs a point")]
    Empty,
    /// A coordinate is not finite, or below zero.
    #[error("point {0} of a curve is not finite, or below zero")]
    Coordinate(usize),
    /// Two points have one abscissa.
    #[error("two points of a curve lie at one place")]
    Twice,
}

impl Curve {
    /// A curve through points in any order.
    ///
    /// # Errors
    /// When there is no point, one lies twice, or one is not finite or below zero.
    pub fn new(mut points: Vec<(f64, f64)>) -> Result<Self, InvalidCurve> {
        let bad = |&(x, y): &(f64, f64)| !(x.is_finite() && y.is_finite() && x >= 0.0 && y >= 0.0);
        if let Some(number) = points.iter().position(bad) {
            return Err(InvalidCurve::Coordinate(number));
        }
        if points.is_empty() {
            return Err(InvalidCurve::Empty);
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if points.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(InvalidCurve::Twice);
        }
        let mut highest = 0.0f64;
        for (_, y) in &mut points {
            highest = highest.max(*y);
            *y = highest;
        }
        Ok(Self(points))
    }

    /// The same value everywhere; zero for one that cannot be.
    pub fn constant(value: f64) -> Self {
        Self(vec![(0.0, if value > 0.0 { value } else { 0.0 })])
    }

    /// The value at `x`.
    pub fn at(&self, x: f64) -> f64 {
        let points = &self.0;
        let behind = points.partition_point(|point| point.0 <= x);
        if behind == 0 || points.len() == 1 {
            return points[0].1;
        }
        let right = behind.min(points.len() - 1);
        let ((x0, y0), (x1, y1)) = (points[right - 1], points[right]);
        y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    }

    /// The points.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.0
    }
}

impl TryFrom<Vec<(f64, f64)>> for Curve {
    type Error = InvalidCurve;

    fn try_from(points: Vec<(f64, f64)>) -> Result<Self, InvalidCurve> {
        Self::new(points)
    }
}

impl From<Curve> for Vec<(f64, f64)> {
    fn from(curve: Curve) -> Self {
        curve.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_straight_between_points_and_never_falls() {
        let curve = Curve::new(vec![(4.0, 8.0), (0.0, 2.0), (2.0, 6.0), (3.0, 5.0)]).unwrap();
        // (3, 5) lies below (2, 6) and is raised to 6.
        for (x, y) in [
            (0.0, 2.0),
            (1.0, 4.0),
            (2.0, 6.0),
            (2.5, 6.0),
            (3.5, 7.0),
            (6.0, 12.0),
        ] {
            assert_eq!(curve.at(x), y, "at {x}");
        }
        let late = Curve::new(vec![(10.0, 1.0), (20.0, 3.0)]).unwrap();
        assert_eq!(late.at(0.0), 1.0);
        assert_eq!(Curve::constant(3.0).at(1e9), 3.0);
        assert_eq!(Curve::constant(-1.0).at(0.0), 0.0);
    }

    #[test]
    fn what_is_no_curve_is_refused() {
        assert_eq!(Curve::new(vec![]), Err(InvalidCurve::Empty));
        assert_eq!(
            Curve::new(vec![(1.0, 1.0), (1.0, 2.0)]),
            Err(InvalidCurve::Twice)
        );
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(
                Curve::new(vec![(0.0, 1.0), (1.0, bad)]),
                Err(InvalidCurve::Coordinate(1))
            );
        }
    }
}
