//! What each codec makes of this model's rows at each cut: bytes, and the time to write and read them.

use super::measured::{MeasuredCodec, MeasuredCut};
use std::sync::Arc;
use std::time::Instant;
use tandem_codec::{Codec, Decoder, Encoder, Limits, Profile};
use tandem_engine::{Front, Profiles};
use tandem_shape::Fingerprint;

/// Measures all codecs at each cut of a front on the rows of some tokens.
///
/// # Errors
/// When the model or a codec refuses the tokens.
pub fn codec_costs(
    front: &Front,
    profiles: &Profiles,
    tokens: &[u32],
    frame_bytes: usize,
    mut on_cut: impl FnMut(usize),
) -> anyhow::Result<Vec<MeasuredCodec>> {
    let hidden = front.config().hidden;
    let mut codecs: Vec<(Codec, Vec<MeasuredCut>)> = Codec::ALL.map(|c| (c, Vec::new())).into();
    for (number, rows) in front.rows_by_cut(tokens)?.iter().enumerate() {
        let split = number + 1;
        // The first token's row is like no other: it comes once a session.
        let rows = rows
            .get(hidden..)
            .filter(|rest| !rest.is_empty())
            .unwrap_or(rows);
        for (codec, cuts) in &mut codecs {
            let profile = profiles.of(split).filter(|_| codec.uses_profile());
            cuts.push(cost(*codec, profile, rows, hidden, frame_bytes)?);
        }
        on_cut(split);
    }
    let measured = |(codec, cuts): (Codec, Vec<MeasuredCut>)| MeasuredCodec {
        name: codec.to_string(),
        cuts,
    };
    Ok(codecs.into_iter().map(measured).collect())
}

fn cost(
    codec: Codec,
    profile: Option<&Arc<Profile>>,
    rows: &[f32],
    hidden: usize,
    frame_bytes: usize,
) -> anyhow::Result<MeasuredCut> {
    let count = rows.len() / hidden;
    let row_bytes = codec.typical_bits() * hidden as f64 / 8.0;
    let rows_a_frame = (frame_bytes as f64 / row_bytes).max(1.0) as usize;
    let mut encoder = Encoder::new(codec, profile);
    let mut decoder = Decoder::new(profile.cloned());
    let limits = Limits {
        max_rows: count,
        hidden,
    };
    let (mut alone, mut encode, mut decode) = (0, Vec::new(), Vec::new());
    for row in rows.chunks(hidden) {
        let mut frame = Vec::new();
        let began = Instant::now();
        encoder.encode(row, hidden, &mut frame)?;
        encode.push(began.elapsed());
        alone += frame.len();
        let (began, mut values) = (Instant::now(), Vec::new());
        decoder.decode(&frame, limits, &mut values)?;
        decode.push(began.elapsed());
    }
    let mut together = 0;
    for part in rows.chunks(rows_a_frame * hidden) {
        let mut frame = Vec::new();
        encoder.encode(part, hidden, &mut frame)?;
        together += frame.len();
    }
    encode.sort();
    decode.sort();
    Ok(MeasuredCut {
        decode_bytes: alone as f64 / count as f64,
        prefill_bytes: together as f64 / count as f64,
        encode_seconds: encode[count / 2].as_secs_f64(),
        decode_seconds: decode[count / 2].as_secs_f64(),
        profile: profile.map(|p| Fingerprint(p.fingerprint()).to_string()),
    })
}
