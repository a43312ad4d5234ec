//! Answers that were made before, by whom they were made for: a later one often says the same.

use crate::pool::Asker;
use lru::LruCache;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Between answers: no token.
pub(super) const END: u32 = u32::MAX;

/// Tokens that are kept for each asker, at most.
const EACH: usize = 8192;

/// What is counted besides the tokens and the salt for each asker, in tokens.
const ASKER: usize = 64;

/// The latest answers; clones are the same. Nobody is drafted from what was said to another.
#[derive(Debug, Clone)]
pub(crate) struct EarlierAnswers(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    /// The least recently used first to go.
    askers: LruCache<Asker, VecDeque<u32>>,
    /// Tokens of all of them, with what they cost besides.
    size: usize,
    /// The most of these.
    most: usize,
}

impl EarlierAnswers {
    /// That take so much memory, in bytes; none with 0.
    pub(crate) fn new(bytes: usize) -> Self {
        let kept = Kept {
            askers: LruCache::unbounded(),
            size: 0,
            most: bytes / size_of::<u32>(),
        };
        Self(Arc::new(Mutex::new(kept)))
    }

    /// Those of an asker, each with [`END`] behind it.
    pub(crate) fn of(&self, asker: &Asker) -> Vec<u32> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = kept.askers.get(asker);
        tokens.map_or_else(Vec::new, |tokens| tokens.iter().copied().collect())
    }

    /// Keeps another answer. The oldest go.
    pub(crate) fn keep(&self, asker: &Asker, answer: &[u32]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.most == 0 || answer.is_empty() {
            return;
        }
        let mut all = kept.askers.pop(asker).unwrap_or_default();
        kept.size -= size(asker, &all);
        all.extend(&answer[answer.len().saturating_sub(EACH - 1)..]);
        all.push_back(END);
        while all.len() > EACH {
            let first = all.iter().position(|&token| token == END);
            all.drain(..=first.unwrap_or(0));
        }
        all.shrink_to_fit();
        kept.size += size(asker, &all);
        kept.askers.put(asker.clone(), all);
        while kept.size > kept.most {
            let Some((asker, least)) = kept.askers.pop_lru() else {
                break;
            };
            kept.size -= size(&asker, &least);
        }
    }
}

/// In tokens.
fn size(asker: &Asker, tokens: &VecDeque<u32>) -> usize {
    if tokens.is_empty() {
        0
    } else {
        tokens.len() + ASKER + asker.salt.len().div_ceil(size_of::<u32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_transport::auth::Owner;

    fn asker(salt: &str) -> Asker {
        Asker {
            owner: Owner::Unknown,
            salt: salt.to_owned(),
        }
    }

    #[test]
    fn each_has_its_own_and_the_oldest_go() {
        let earlier = EarlierAnswers::new(1 << 20);
        let (one, two) = (asker("one"), asker("two"));
        earlier.keep(&one, &[1, 2]);
        earlier.keep(&two, &[3]);
        earlier.keep(&one, &[4]);
        earlier.keep(&one, &[]);
        assert_eq!(earlier.of(&one), [1, 2, END, 4, END]);
        assert_eq!(earlier.of(&two), [3, END]);
        assert!(earlier.of(&asker("three")).is_empty());
        earlier.keep(&one, &[5; EACH - 4]);
        let kept = earlier.of(&one);
        assert_eq!((kept.len(), &kept[..3]), (EACH - 1, &[4, END, 5][..]));
        let long: Vec<u32> = (0..EACH as u32 + 9).collect();
        earlier.keep(&one, &long);
        let kept = earlier.of(&one);
        assert_eq!((kept.len(), kept[0]), (EACH, 10));
    }

    #[test]
    fn the_memory_is_bounded_and_who_asks_least_goes_first() {
        let earlier = EarlierAnswers::new(4 * (2 * ASKER + 52));
        let all = ["a", "b", "c"].map(asker);
        earlier.keep(&all[0], &[1; 19]);
        earlier.keep(&all[1], &[2; 19]);
        assert_eq!(earlier.of(&all[0]).len(), 20);
        earlier.keep(&all[2], &[3; 19]);
        let left = all.each_ref().map(|asker| earlier.of(asker).len());
        assert_eq!(left, [20, 0, 20]);
        assert_eq!(earlier.0.lock().unwrap().size, 2 * (20 + ASKER + 1));
        let none = EarlierAnswers::new(0);
        none.keep(&all[0], &[1]);
        assert!(none.of(&all[0]).is_empty());
    }
}
