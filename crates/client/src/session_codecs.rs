//! How the rows of one session may be written.

use tandem_codec::Codec;
use tandem_engine::FrameCodec;
use tandem_model::PAGE_POSITIONS;

/// How the rows of an answer were written, so that they can be written so again.
#[derive(Debug, Clone, Default)]
pub(crate) struct WrittenRows {
    /// Up to which position, in which codec, from position 0 on.
    runs: Vec<(usize, FrameCodec)>,
}

impl WrittenRows {
    /// Notes `count` rows from position `start` on, and forgets what was noted behind it.
    pub(crate) fn note(&mut self, start: usize, count: usize, codec: FrameCodec) {
        self.truncate(start);
        let end = start + count;
        match self.runs.last_mut() {
            Some((last, same)) if *same == codec => *last = end,
            _ => self.runs.push((end, codec)),
        }
    }

    /// Forgets all positions from `position` on.
    pub(crate) fn truncate(&mut self, position: usize) {
        let kept = self.runs.partition_point(|&(end, _)| end < position);
        self.runs.truncate(kept + 1);
        if let Some((end, _)) = self.runs.last_mut() {
            *end = position.min(*end);
        }
        if position == 0 {
            self.runs.clear();
        }
    }

    /// How the row at a position was written, and up to which position those behind it were too.
    pub(crate) fn at(&self, position: usize) -> Option<(FrameCodec, usize)> {
        let at = self.runs.partition_point(|&(end, _)| end <= position);
        self.runs.get(at).map(|&(end, codec)| (codec, end))
    }

    /// How the rows of the page at a position are written again, where that is in one codec: what was not written before
    /// is written in `next`.
    pub(crate) fn of_page(&self, start: usize, next: FrameCodec) -> Option<FrameCodec> {
        match self.at(start) {
            None => Some(next),
            Some((codec, end)) if end >= start + PAGE_POSITIONS => Some(codec),
            Some((codec, end)) => (end == self.len() && codec == next).then_some(codec),
        }
    }

    /// All codecs in it.
    pub(crate) fn codecs(&self) -> impl Iterator<Item = FrameCodec> {
        self.runs.iter().map(|&(_, codec)| codec)
    }

    /// Positions that are known.
    pub(crate) fn len(&self) -> usize {
        self.runs.last().map_or(0, |&(end, _)| end)
    }
}

/// The codecs that edge and cloud have in common.
#[derive(Debug, Clone)]
pub struct SessionCodecs {
    /// The best first, at least one.
    offered: Vec<Codec>,
    /// Whether the cloud reads what our profile writes.
    shared_profile: bool,
}

impl SessionCodecs {
    /// Of our `codecs`, the best first, those that the cloud knows by name; all where it knows none, which
    /// it says itself.
    pub fn new(codecs: &[Codec], known: &[String], shared_profile: bool) -> Self {
        let is_known = |codec: &Codec| known.iter().any(|name| name == codec.name());
        let offered: Vec<Codec> = codecs.iter().copied().filter(is_known).collect();
        Self {
            offered: if offered.is_empty() {
                codecs.to_vec()
            } else {
                offered
            },
            shared_profile,
        }
    }

    /// Their names, the best first.
    pub fn names(&self) -> Vec<String> {
        let names = self.offered.iter().map(|codec| codec.name().to_owned());
        names.collect()
    }

    /// Whether rows may be written by the profile of the cut.
    pub fn by_profile(&self) -> bool {
        self.shared_profile && self.offered.iter().any(|codec| codec.is_read_by_profile())
    }

    /// Whether the cloud reads rows that are written so.
    pub fn can_write(&self, codec: FrameCodec) -> bool {
        let may_calibrate = self.shared_profile || !codec.codec.is_read_by_profile();
        self.offered.contains(&codec.codec) && (may_calibrate || !codec.calibrated)
    }

    /// How the row at a position is written: as it was before, or as the link allows.
    pub(crate) fn of_row(&self, before: &WrittenRows, position: usize, codec: Codec) -> FrameCodec {
        match before.at(position) {
            Some((codec, _)) if self.can_write(codec) => codec,
            _ => self.written(codec),
        }
    }

    /// How rows are written that the link allows `codec` for: in the smallest codec of the session
    /// that is as large, or its best.
    pub fn written(&self, codec: Codec) -> FrameCodec {
        let as_large = |offered: &&Codec| offered.typical_bits() >= codec.typical_bits();
        let codec = self.offered.iter().rfind(as_large);
        let codec = codec.or(self.offered.first()).copied().unwrap_or_default();
        FrameCodec {
            codec,
            calibrated: self.shared_profile || !codec.is_read_by_profile(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_known_by_the_codec_that_they_were_written_in() {
        let [a, b] = [Codec::F32, Codec::Bf16].map(FrameCodec::uncalibrated);
        let mut written = WrittenRows::default();
        assert_eq!(written.at(0), None);
        written.note(0, 10, a);
        written.note(10, 5, a);
        written.note(15, 1, b);
        assert_eq!(written.at(0), Some((a, 15)));
        assert_eq!(written.at(14), Some((a, 15)));
        assert_eq!(written.at(15), Some((b, 16)));
        assert_eq!((written.at(16), written.len()), (None, 16));
        written.truncate(12);
        assert_eq!((written.at(11), written.at(12)), (Some((a, 12)), None));
        // Rows behind a truncation were written otherwise.
        written.note(12, 2, b);
        assert_eq!(
            (written.at(11), written.at(12)),
            (Some((a, 12)), Some((b, 14)))
        );
        written.note(3, 1, b);
        assert_eq!(
            (written.at(2), written.at(3), written.len()),
            (Some((a, 3)), Some((b, 4)), 4)
        );
        written.truncate(0);
        assert_eq!((written.at(0), written.len()), (None, 0));
    }
}
