//! How many drafts are worth their rows.

use super::round_time::RoundTime;

/// How many times its time a row has to be worth.
const WORTH: f64 = 1.2;

/// How long drafts are worth their rows.
#[derive(Debug)]
pub(super) struct Worth {
    time: RoundTime,
    /// What the round trip takes with those so far.
    seconds: f64,
    /// Tokens that it brings.
    tokens: f64,
    /// That all of them are right.
    chance: f64,
}

impl Worth {
    /// Of a round trip without drafts so far.
    pub(super) fn of(time: RoundTime) -> Self {
        Self {
            time,
            seconds: time.first,
            tokens: 1.0,
            chance: 1.0,
        }
    }

    /// Whether another draft is worth its row, which is right with this chance if all before it are; counts it if it is.
    pub(super) fn has(&mut self, own: f64) -> bool {
        let chance = self.chance * own;
        if chance * self.seconds <= WORTH * self.time.each * self.tokens {
            return false;
        }
        self.chance = chance;
        self.seconds += self.time.each;
        self.tokens += chance;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_drafted_where_rows_cost_little_and_drafts_are_right() {
        let count = |first: f64, each: f64, chance: f64| {
            let mut worth = Worth::of(RoundTime { first, each });
            (0..30).take_while(|_| worth.has(chance)).count()
        };
        assert!((20..=30).contains(&count(0.1, 0.003, 0.95)));
        assert!((5..10).contains(&count(0.1, 0.003, 0.7)));
        assert_eq!(count(0.1, 0.003, 0.02), 0);
        assert!((1..4).contains(&count(0.02, 0.005, 0.7)));
        assert_eq!(count(0.02, 0.019, 0.7), 0);
    }
}
