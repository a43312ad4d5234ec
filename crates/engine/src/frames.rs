//! Rows to frames and back, several frames at once where there is enough to do.

use crate::error::EngineError;
use bytes::Bytes;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tandem_codec::{Codec, Decoder, Encoded, Encoder, Limits, Profile};

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
        let chunks: Vec<&[f32]> = values.chunks(rows * hidden).collect();
        let threads = threads(chunks.len(), values.len());
        let profile = self.profile.as_ref().filter(|_| codec.calibrated);
        let encoders = self.encoders.entry(codec).or_default();
        while encoders.len() < threads {
            encoders.push(Encoder::new(codec.codec, profile));
        }
        in_parts(&mut encoders[..threads], &chunks, |encoder, chunk| {
            let mut bytes = Vec::new();
            let encoded = encoder.encode(chunk, hidden, &mut bytes)?;
            Ok((Bytes::from(bytes), encoded))
        })
    }
}

/// Decoders of one session.
#[derive(Debug)]
pub(crate) struct FrameDecoders {
    profile: Option<Arc<Profile>>,
    decoders: Vec<Decoder>,
}

impl FrameDecoders {
    pub(crate) fn new(profile: Option<Arc<Profile>>) -> Self {
        Self {
            profile,
            decoders: Vec::new(),
        }
    }

    /// Decodes consecutive frames, the first of which begins at `position`: `[rows, hidden]`.
    pub(crate) fn decode(
        &mut self,
        frames: &[Bytes],
        position: usize,
        limits: Limits,
    ) -> Result<Vec<f32>, EngineError> {
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let threads = threads(frames.len(), bytes);
        while self.decoders.len() < threads {
            self.decoders.push(Decoder::new(self.profile.clone()));
        }
        let decode = |decoder: &mut Decoder, frame: &Bytes| {
            let mut rows = Vec::new();
            decoder.decode(frame, limits, &mut rows)?;
            Ok(rows)
        };
        let decoded = in_parts(&mut self.decoders[..threads], frames, |decoder, frame| {
            Ok(decode(decoder, frame))
        })?;
        let mut values = Vec::new();
        for rows in decoded {
            let rows = rows.map_err(|source| EngineError::Decode {
                position: position + values.len() / limits.hidden,
                source,
            })?;
            match values.is_empty() {
                true => values = rows,
                false => values.extend_from_slice(&rows),
            }
        }
        Ok(values)
    }
}

fn threads(items: usize, work: usize) -> usize {
    match (work / WORTH_A_THREAD).min(items) {
        0 | 1 => 1,
        // This reads files, which takes longer than encoding a row.
        several => several.min(std::thread::available_parallelism().map_or(1, NonZeroUsize::get)),
    }
}

/// Does `work` with every item, each worker a run of them, and returns the results in order.
fn in_parts<W: Send, I: Sync, T: Send>(
    workers: &mut [W],
    items: &[I],
    work: impl Fn(&mut W, &I) -> Result<T, EngineError> + Sync,
) -> Result<Vec<T>, EngineError> {
    let part = items.len().div_ceil(workers.len().max(1)).max(1);
    let run = |(worker, items): (&mut W, &[I])| -> Result<Vec<T>, EngineError> {
        items.iter().map(|item| work(worker, item)).collect()
    };
    let mut parts = workers.iter_mut().zip(items.chunks(part));
    let Some(first) = parts.next() else {
        return Ok(Vec::new());
    };
    std::thread::scope(|scope| {
        let run = &run;
        let others: Vec<_> = parts.map(|part| scope.spawn(move || run(part))).collect();
        let mut all = run(first)?;
        for other in others {
            let result = other.join();
            all.extend(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
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
        let decoded = decoders.decode(&frames, 0, limits).unwrap();
        assert_eq!(decoded.len(), values.len());
        let mut damaged = frames;
        damaged[3] = Bytes::from_static(&[9]);
        let refused = decoders.decode(&damaged, 100, limits).unwrap_err();
        assert!(
            matches!(refused, EngineError::Decode { position: 121, .. }),
            "{refused}"
        );
    }
}
