//! Bytes as the moves of an edge.
//!
//! A move is a byte that says which, and the bytes of its fields. An edge that plays by the rules keeps count of its epoch
//! and of its position; so does this, and fields are what they should be, or near it, or far off.

use crate::input::Input;
use bytes::Bytes;
use prost::Message as _;
use tandem_codec::{Codec, Encoder};
use tandem_proto::v1::infer_request::Message;
use tandem_proto::v1::{self, Feature};

/// Values a row of the cloud's model.
const HIDDEN: usize = 48;

/// Tokens of it.
const VOCABULARY: u32 = 320;

/// One move.
#[derive(Debug)]
pub(super) enum Move {
    /// A message.
    Send(Bytes),
    /// Bytes that need not be a message.
    SendNonsense(Bytes),
    /// Waits for a token.
    Wait,
    /// Breaks the connection, and begins a stream over another.
    Cut,
    /// Lets go of the stream, and begins another.
    Leave,
}

/// The moves of an input.
pub(super) struct Moves<'a> {
    input: Input<'a>,
    open: &'a v1::Open,
    epoch: u32,
    /// Behind the rows that were sent.
    position: u32,
    split: u32,
}

impl<'a> Moves<'a> {
    pub(super) fn new(input: Input<'a>, open: &'a v1::Open) -> Self {
        Self {
            input,
            open,
            epoch: 0,
            position: 0,
            split: 0,
        }
    }

    /// A token of a position has come.
    pub(super) fn sampled(&mut self, position: u32) {
        self.position = position;
    }

    /// The next move, while there is something left.
    pub(super) fn next(&mut self) -> Option<Move> {
        if self.input.is_empty() {
            return None;
        }
        let message = match self.input.choice(16) {
            0 => Message::Open(self.open()),
            1 => {
                let mut open = self.open();
                self.epoch = self.input.near(self.epoch.wrapping_add(1));
                self.position = self.input.near(self.position);
                open.features = vec![Feature::Replay.into(), Feature::Resume.into()];
                open.resume = Some(v1::Resume {
                    epoch: self.epoch,
                    position: self.position,
                });
                Message::Open(open)
            }
            2 | 3 => Message::Run(self.run()),
            4..=6 => Message::Rows(self.rows(false)),
            7 => Message::Rows(self.rows(true)),
            8 => {
                self.epoch = self.input.near(self.epoch.wrapping_add(1));
                self.position = self.input.near(self.position / 2);
                Message::Truncate(v1::Truncate {
                    epoch: self.epoch,
                    position: self.position,
                })
            }
            9 => Message::Ping(v1::Ping {
                nonce: u64::from(self.input.byte()),
                padding: vec![0; self.size()],
                reply_bytes: self.input.near(16),
            }),
            10 => Message::Close(v1::Close {}),
            11 => {
                let nonsense = Bytes::copy_from_slice(self.input.piece());
                return Some(Move::SendNonsense(nonsense));
            }
            12 | 13 => return Some(Move::Wait),
            14 => return Some(Move::Cut),
            _ => return Some(Move::Leave),
        };
        let request = v1::InferRequest {
            message: Some(message),
        };
        Some(Move::Send(request.encode_to_vec().into()))
    }

    /// What opens a session, perhaps with one field that is not as it should be.
    fn open(&mut self) -> v1::Open {
        (self.epoch, self.position) = (0, 0);
        let mut open = self.open.clone();
        let features = self.input.byte();
        let asked = [
            (1, Feature::Replay),
            (2, Feature::Resume),
            (4, Feature::Prefixes),
            (8, Feature::Drafts),
        ];
        let asked = asked.iter().filter(|(bit, _)| features & bit != 0);
        open.features = asked.map(|(_, feature)| i32::from(*feature)).collect();
        self.split = u32::from(self.input.choice(4));
        open.split = self.split;
        match self.input.byte() {
            1 => open.versions = None,
            2 => {
                open.versions = Some(v1::VersionRange {
                    min: self.input.near(1),
                    max: self.input.near(1),
                });
            }
            3 => open.features.push(self.input.near(1).cast_signed()),
            4 => open.weights_fingerprint = self.input.piece().to_vec(),
            5 => open.files_fingerprint = self.input.piece().to_vec(),
            6 => open.tokenizer_fingerprint = self.input.piece().to_vec(),
            7 => open.split = self.input.near(1),
            8 => {
                let name = String::from_utf8_lossy(self.input.piece());
                open.codecs = vec![name.into_owned()];
            }
            9 => open.session_id = self.input.piece().to_vec(),
            10 => open.context = self.input.near(64),
            11 => open.profile_fingerprint = self.input.piece().to_vec(),
            12 => {
                let profile = include_bytes!("../../../../codec/tests/golden/cut.profile");
                open.profile = profile.to_vec();
                let fingerprint = super::super::PROFILE.fingerprint();
                open.profile_fingerprint = fingerprint.to_vec();
                self.damage(&mut open.profile);
            }
            13 => open.replays = self.input.near(1),
            14 => open.page_names = self.input.piece().chunks(16).map(<[u8]>::to_vec).collect(),
            15 => {
                open.resume = Some(v1::Resume {
                    epoch: self.input.near(1),
                    position: self.input.near(0),
                });
            }
            _ => {}
        }
        open
    }

    fn run(&mut self) -> v1::Run {
        let mut run = v1::Run {
            epoch: self.input.near(self.epoch),
            ..v1::Run::default()
        };
        let which = self.input.byte();
        if which & 1 != 0 {
            run.max_tokens = self.input.near(2);
        }
        if which & 2 != 0 {
            run.eos_token_ids = self.ids();
        }
        if which & 4 != 0 {
            run.history_token_ids = self.ids();
        }
        if which & 8 != 0 {
            run.answered = self.input.near(1);
        }
        if which & 16 != 0 {
            run.timeout_millis = u64::from(self.input.near(1000));
        }
        if which & 32 != 0 {
            run.traceparent = String::from_utf8_lossy(self.input.piece()).into_owned();
            run.tracestate = String::from_utf8_lossy(self.input.piece()).into_owned();
        }
        if which & 64 != 0 {
            run.sampling = Some(self.sampling());
        }
        run
    }

    fn sampling(&mut self) -> v1::SamplingParameters {
        let mut parameters = v1::SamplingParameters {
            seed: Some(u64::from(self.input.byte())),
            ..v1::SamplingParameters::default()
        };
        let which = self.input.byte();
        let fields = [
            &mut parameters.temperature,
            &mut parameters.top_p,
            &mut parameters.min_p,
            &mut parameters.repetition_penalty,
            &mut parameters.presence_penalty,
            &mut parameters.frequency_penalty,
        ];
        for (bit, field) in fields.into_iter().enumerate() {
            if which >> bit & 1 != 0 {
                *field = Some(match self.input.byte() {
                    255 => f32::NAN,
                    254 => f32::INFINITY,
                    253 => -1.0,
                    byte => f32::from(byte) / 128.0,
                });
            }
        }
        if which & 64 != 0 {
            parameters.top_k = Some(self.input.near(40));
            parameters.logprobs = Some(self.input.near(2));
        }
        if which & 128 != 0 {
            let biases = self.ids().into_iter();
            parameters.logit_bias = biases
                .map(|token_id| v1::LogitBias {
                    token_id,
                    bias: -100.0,
                })
                .collect();
        }
        parameters
    }

    /// Rows of the session's split, behind those before.
    fn rows(&mut self, many: bool) -> v1::Rows {
        let count = match (many, self.input.byte()) {
            (false, byte) => u32::from(byte % 4) + 1,
            (true, byte) => u32::from(byte) + 1,
        };
        let start = self.input.near(self.position);
        let mut rows = v1::Rows {
            epoch: self.input.near(self.epoch),
            start,
            count: self.input.near(count),
            want: self.want(),
            ..v1::Rows::default()
        };
        let which = self.input.byte();
        if self.split == 0 || which & 1 != 0 {
            let first = u32::from(self.input.byte());
            rows.token_ids = (first..first + count).map(|id| id % VOCABULARY).collect();
        }
        if self.split > 0 {
            let mut frame = self.frame(count as usize, which >> 1);
            if which & 64 != 0 {
                self.damage(&mut frame);
            }
            rows.crc32c = crc32c::crc32c(&frame);
            if which & 128 != 0 {
                rows.crc32c ^= 1;
            }
            rows.frame = frame.into();
        }
        self.position = start.wrapping_add(count);
        rows
    }

    /// A token mostly, or one of each row.
    fn want(&mut self) -> i32 {
        match self.input.byte() {
            byte if byte & 1 == 0 => v1::Want::Token.into(),
            byte if byte & 2 == 0 => v1::Want::EachToken.into(),
            byte => i32::from(byte) - 95,
        }
    }

    fn frame(&mut self, count: usize, codec: u8) -> Vec<u8> {
        let codec = Codec::ALL[usize::from(codec) % Codec::ALL.len()];
        let scale = f32::from(self.input.byte()) / 64.0;
        let values = (0..count * HIDDEN).map(|i| (i as f32 * 0.7).sin() * scale);
        let values: Vec<f32> = values.collect();
        let mut frame = Vec::new();
        let encoded = Encoder::new(codec, None).encode(&values, HIDDEN, &mut frame);
        encoded.expect("finite rows can be encoded");
        frame
    }

    /// Changes a byte, cuts bytes off, or puts others in their place.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let place = usize::from(self.input.byte());
        match self.input.choice(4) {
            0 => {}
            1 => bytes.truncate(place),
            2 => *bytes = self.input.piece().to_vec(),
            _ => {
                let value = self.input.byte();
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = value;
                }
            }
        }
    }

    /// A few token ids, mostly of the vocabulary.
    fn ids(&mut self) -> Vec<u32> {
        let ids = self.input.piece().iter();
        ids.map(|&byte| u32::from(byte) + u32::from(byte == u8::MAX) * VOCABULARY)
            .collect()
    }

    /// A small size, or one about a limit.
    fn size(&mut self) -> usize {
        match self.input.byte() {
            255 => 65_537,
            254 => 65_536,
            small => usize::from(small),
        }
    }
}
