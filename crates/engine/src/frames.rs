//! Rows to frames and back, several frames at once where there is enough to do.

use crate::error::EngineError;
use crate::parallel::{in_parts, threads_for};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use tandem_codec::{Codec, Decoder, Encoded, Encoder, FramePosition, Limits, Profile};

/// Values below which a thread takes longer to start than to do its part.
const WORTH_A_THREAD: usize = 1 << 14;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FrameCodec {
    /// The codec.
    pub codec: Codec,
    /// Whether the receiver has the cut's profile too. Without one it makes no difference.
    pub calibrated: bool,
}

impl FrameCodec {
    /// A codec whose frames every receiver reads.
    pub fn uncalibrated(codec: Codec) -> Self {
        Self {
            codec,
            calibrated: false,
        }
    }
}

/// Encoders of one cut, by what they write; one for each thread that has been of use.
#[derive(Debug, Default)]
pub(crate) struct FrameEncoders {
    profile: Option<Arc<Profile>>,
    encoders: HashMap<FrameCodec, Vec<Encoder>>,
}

impl FrameEncoders {
    pub(crate) fn new(profile: Option<Arc<Profile>>) -> Self {
        Self {
            profile,
            encoders: HashMap::new(),
        }
    }

    /// Encodes `values`, `[rows, hidden]`, in frames of at most `rows` rows.
    pub(crate) fn encode(
        &mut self,
        codec: FrameCodec,
        values: &[f32],
        hidden: usize,
        rows: usize,
    ) -> Result<Vec<(Bytes, Encoded)>, EngineError> {
        let mut chunks: Vec<&[f32]> = values.chunks(rows * hidden).collect();
        let threads = threads_for(chunks.len(), values.len(), WORTH_A_THREAD);
        let profile = self.profile.as_ref().filter(|_| codec.calibrated);
        let encoders = self.encoders.entry(codec).or_default();
        while encoders.len() < threads {
            encoders.push(Encoder::new(codec.codec, profile));
        }
        let frames = in_parts(&mut encoders[..threads], &mut chunks, |encoder, chunk| {
            let mut bytes = Vec::new();
            let encoded = encoder.encode(chunk, hidden, &mut bytes)?;
            Ok((Bytes::from(bytes), encoded))
        });
        frames.into_iter().collect()
    }
}

/// Decoders of one session.
#[derive(Debug)]
pub(crate) struct FrameDecoders {
    profile: Option<Arc<Profile>>,
    decoders: Vec<Decoder>,
    /// How far the frame is read that a step goes on with.
    reading: Option<FramePosition>,
}

/// Rows of a frame that one decoder reads.
struct Part {
    frame: Bytes,
    from: FramePosition,
    rows: usize,
}

impl FrameDecoders {
    pub(crate) fn new(profile: Option<Arc<Profile>>) -> Self {
        Self {
            profile,
            decoders: Vec::new(),
            reading: None,
        }
    }

    /// Takes the next `rows` rows off consecutive frames, or all there are: `[rows, hidden]`. Frames
    /// that were read to their end leave `frames`; of one that was not, the next call reads the rest.
    /// The first row is at `position`.
    pub(crate) fn take_rows(
        &mut self,
        frames: &mut Vec<Bytes>,
        rows: usize,
        position: usize,
        limits: Limits,
    ) -> Result<Vec<f32>, EngineError> {
        let mut parts = self.parts(frames, rows, position, limits)?;
        let bytes: usize = parts.iter().map(|part| part.frame.len()).sum();
        let threads = threads_for(parts.len(), bytes, WORTH_A_THREAD);
        while self.decoders.len() < threads {
            self.decoders.push(Decoder::new(self.profile.clone()));
        }
        let decode = |decoder: &mut Decoder, part: &mut Part| {
            let (mut values, mut at) = (Vec::new(), part.from.clone());
            decoder
                .decode_rows(&part.frame, &mut at, part.rows, &mut values)
                .map(|()| (values, at))
        };
        let decoded = in_parts(&mut self.decoders[..threads], &mut parts, decode);
        let mut values = Vec::new();
        let mut last = None;
        for part in decoded {
            let (rows, at) = part.map_err(|source| EngineError::Decode {
                position: position + values.len() / limits.hidden,
                source,
            })?;
            last = Some(at);
            if values.is_empty() {
                values = rows;
            } else {
                values.extend_from_slice(&rows);
            }
        }
        self.reading = last.filter(|at| at.rows_left() > 0);
        let unread = usize::from(self.reading.is_some());
        frames.drain(..parts.len().saturating_sub(unread));
        Ok(values)
    }

    /// Leaves the frame that was being read.
    pub(crate) fn forget_frame(&mut self) {
        self.reading = None;
    }

    fn parts(
        &mut self,
        frames: &[Bytes],
        mut rows: usize,
        position: usize,
        limits: Limits,
    ) -> Result<Vec<Part>, EngineError> {
        let mut reading = self.reading.take();
        let mut parts = Vec::new();
        let mut before = 0;
        for frame in frames {
            if rows == 0 {
                break;
            }
            let from = match reading.take() {
                Some(at) => at,
                None => FramePosition::begin(frame, limits).map_err(|source| {
                    let position = position + before;
                    EngineError::Decode { position, source }
                })?,
            };
            let part = Part {
                frame: frame.clone(),
                rows: rows.min(from.rows_left()),
                from,
            };
            rows -= part.rows;
            before += part.rows;
            parts.push(part);
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_made_at_once_are_those_made_one_by_one() {
        let hidden = 512;
        let values: Vec<f32> = (0..130 * hidden).map(|i| (i as f32 * 0.37).sin()).collect();
        let codec = FrameCodec::uncalibrated(Codec::TabQ);
        let frames = FrameEncoders::default()
            .encode(codec, &values, hidden, 7)
            .unwrap();
        assert_eq!(frames.len(), 19);
        let mut encoder = Encoder::new(Codec::TabQ, None);
        for ((bytes, encoded), chunk) in frames.iter().zip(values.chunks(7 * hidden)) {
            let mut alone = Vec::new();
            assert_eq!(encoder.encode(chunk, hidden, &mut alone).unwrap(), *encoded);
            assert_eq!(alone, *bytes);
        }
        let frames: Vec<Bytes> = frames.into_iter().map(|(bytes, _)| bytes).collect();
        let limits = Limits {
            max_rows: 64,
            hidden,
        };
        let mut decoders = FrameDecoders::new(None);
        let all = |frames: &[Bytes]| {
            FrameDecoders::new(None).take_rows(&mut frames.to_vec(), usize::MAX, 100, limits)
        };
        let decoded = all(&frames).unwrap();
        assert_eq!(decoded.len(), values.len());
        // A few rows at a time, whatever frames they are in.
        let (mut left, mut joined) = (frames.clone(), Vec::new());
        for rows in [1, 5, 1, 13, 40, 2, 300] {
            let part = decoders.take_rows(&mut left, rows, 0, limits).unwrap();
            joined.extend(part);
        }
        assert_eq!(joined, decoded);
        assert!(left.is_empty());
        let mut damaged = frames;
        damaged[3] = Bytes::from_static(&[9]);
        let refused = all(&damaged).unwrap_err();
        assert!(
            matches!(refused, EngineError::Decode { position: 121, .. }),
            "{refused}"
        );
    }
}
