//! An answer beside the one that was made alone.

use crate::asking::Answer;

/// Whether an answer kept its promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same ids, text and log probabilities, to the bit.
    Same,
    /// Something differs.
    Changed,
    /// It failed, and what came until then is the beginning of the same.
    Failed,
    /// It never began: its client is told to ask again.
    Refused,
    /// It failed with its edge, which was killed.
    LostWithEdge,
}

impl Verdict {
    /// Compares an answer; `with_edge` says that its edge was killed under it.
    pub(crate) fn of(answer: &Answer, alone: &Answer, with_edge: bool) -> Self {
        let begins_alike = alone.ids.starts_with(&answer.ids)
            && alone.text.starts_with(&answer.text)
            && alone.logprobs.starts_with(&answer.logprobs);
        let ends_alike = || {
            let end = |answer: &Answer| {
                let finished = answer.finished.as_ref()?;
                Some((
                    finished.finish_reason,
                    finished.completion_tokens,
                    finished.prompt_tokens,
                ))
            };
            (answer.ids.len(), answer.text.len(), answer.logprobs.len())
                == (alone.ids.len(), alone.text.len(), alone.logprobs.len())
                && end(answer) == end(alone)
        };
        match &answer.failure {
            _ if !begins_alike => Self::Changed,
            Some(_) if with_edge => Self::LostWithEdge,
            Some(_) if answer.refused => Self::Refused,
            Some(_) => Self::Failed,
            None if ends_alike() => Self::Same,
            None => Self::Changed,
        }
    }
}

/// Where an answer first differs, for people.
pub(crate) fn difference(answer: &Answer, alone: &Answer) -> String {
    let differs = |found: &[u32], expected: &[u32]| {
        let pairs = found.iter().zip(expected);
        pairs
            .take_while(|(found, expected)| found == expected)
            .count()
    };
    let alike = differs(&answer.ids, &alone.ids);
    if alike < answer.ids.len().max(alone.ids.len()) {
        let around = |ids: &[u32]| {
            format!(
                "{:?}",
                &ids[alike.min(ids.len())..(alike + 5).min(ids.len())]
            )
        };
        return format!(
            "token {alike} of {} (alone {}): {} instead of {}",
            answer.ids.len(),
            alone.ids.len(),
            around(&answer.ids),
            around(&alone.ids)
        );
    }
    let at = (answer.logprobs.iter().zip(&alone.logprobs))
        .position(|(found, expected)| found != expected);
    match at {
        Some(at) => format!(
            "log probability {at}: {:?} instead of {:?}",
            answer.logprobs[at], alone.logprobs[at]
        ),
        None => format!(
            "the same ids, but {:?}, {} log probabilities, text {:?} instead of {:?}, {}, {:?}",
            answer.finished,
            answer.logprobs.len(),
            answer.text,
            alone.finished,
            alone.logprobs.len(),
            alone.text
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_proto::v1;

    fn answer(ids: &[u32], failure: Option<&str>) -> Answer {
        Answer {
            ids: ids.to_vec(),
            text: ids.iter().map(u32::to_string).collect(),
            finished: failure.is_none().then(v1::Finished::default),
            failure: failure.map(str::to_owned),
            ..Answer::default()
        }
    }

    #[test]
    fn every_token_counts() {
        let alone = answer(&[1, 2, 3], None);
        for (ids, failure, with_edge, verdict) in [
            (&[1, 2, 3][..], None, false, Verdict::Same),
            (&[1, 2], None, false, Verdict::Changed),
            (&[1, 2, 3, 3], None, false, Verdict::Changed),
            (&[1, 3, 3], None, false, Verdict::Changed),
            (&[1, 2], Some("gone"), false, Verdict::Failed),
            (&[1, 2], Some("gone"), true, Verdict::LostWithEdge),
            (&[1, 3], Some("gone"), true, Verdict::Changed),
        ] {
            let found = Verdict::of(&answer(ids, failure), &alone, with_edge);
            assert_eq!(found, verdict, "{ids:?} {failure:?}");
        }
    }
}
