//! A range coder of the asymmetric kind (rANS, Duda, arXiv 1311.2540), a byte at a time.
//!
//! Symbols have frequencies out of [`TOTAL`]. The encoder takes them last first and writes bytes
//! that the decoder reads front to back. The state begins at 1 and not, as is usual, at its lower
//! bound: the first symbols fill it before any byte is written, so a frame costs no bytes for the
//! state but what does not fill the last of its three. A decoder that does not end at 1 with nothing
//! left has read something else; one that does most likely has not.

/// Bits of all frequencies together.
pub(crate) const TOTAL_BITS: u32 = 12;
/// The sum of a table's frequencies.
pub(crate) const TOTAL: u32 = 1 << TOTAL_BITS;
/// The state is at least this when bytes have been written or are left: it has 16 to 24 bits.
const LOWER: u32 = 1 << 16;
const STATE_BYTES: usize = 3;
/// The most bytes of a symbol.
const MOST_BYTES: usize = 2;

/// A symbol's place among all: `frequency` of [`TOTAL`], behind `start` of other symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) start: u16,
    pub(crate) frequency: u16,
}

impl Share {
    /// The value of `bits` bits, at most 12, all values alike.
    pub(crate) fn uniform(value: u32, bits: u32) -> Self {
        let frequency = TOTAL >> bits;
        Self {
            start: (value * frequency) as u16,
            frequency: frequency as u16,
        }
    }
}

/// Appends the encoding of `shares`, in the order in which a decoder meets them.
pub(crate) fn encode(shares: &[Share], out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + MOST_BYTES * shares.len(), 0);
    let (mut state, mut end) = (1u32, begin);
    for share in shares.iter().rev() {
        let frequency = u32::from(share.frequency);
        let limit = ((LOWER >> TOTAL_BITS) << 8) * frequency;
        // Both bytes are put down, and as many stay as there should be: nobody could foretell a
        // branch.
        let bytes = u32::from(state >= limit) + u32::from(state >> 8 >= limit);
        out[end..end + MOST_BYTES].copy_from_slice(&(state as u16).to_le_bytes());
        end += bytes as usize;
        state >>= 8 * bytes;
        let quotient = divide(state, frequency);
        let rest = state - quotient * frequency;
        state = (quotient << TOTAL_BITS) + rest + u32::from(share.start);
    }
    out.truncate(end);
    out.extend_from_slice(&state.to_le_bytes()[..STATE_BYTES]);
    out[begin..].reverse();
}

/// ⌈2³⁶ / f⌉ of every frequency f.
static RECIPROCALS: [u64; TOTAL as usize + 1] = reciprocals();

const fn reciprocals() -> [u64; TOTAL as usize + 1] {
    let mut all = [0; TOTAL as usize + 1];
    let mut frequency = 1;
    while frequency < all.len() {
        all[frequency] = (1u64 << 36).div_ceil(frequency as u64);
        frequency += 1;
    }
    all
}

/// ⌊state / frequency⌋ of a state of at most 24 bits: the reciprocal is less than 2¹² / 2³⁶ / f too
/// large, which times 2²⁴ is less than 1 / f. A division takes three times as long.
#[inline]
fn divide(state: u32, frequency: u32) -> u32 {
    ((u64::from(state) * RECIPROCALS[frequency as usize]) >> 36) as u32
}

/// Reads symbols. It never fails: what runs out of bytes ends in a state other than 1, or not at
/// the end, which [`Decoder::is_done`] tells.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    state: u32,
    bytes: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// `None` for fewer bytes than the state has.
    pub(crate) fn new(bytes: &'a [u8]) -> Option<Self> {
        let (state, bytes) = bytes.split_at_checked(STATE_BYTES)?;
        Some(Self {
            state: state.iter().fold(0, |s, &b| (s << 8) | u32::from(b)),
            bytes,
        })
    }

    /// Goes on where [`Decoder::pause`] stopped, with the bytes that were left there.
    pub(crate) fn resume(state: u32, bytes: &'a [u8]) -> Self {
        Self { state, bytes }
    }

    /// The state, and how many bytes are left: what [`Decoder::resume`] needs to go on.
    pub(crate) fn pause(&self) -> (u32, usize) {
        (self.state, self.bytes.len())
    }

    /// Where among [`TOTAL`] the next symbol lies.
    #[inline]
    pub(crate) fn peek(&self) -> u32 {
        self.state & (TOTAL - 1)
    }

    /// Goes behind that symbol.
    #[inline]
    pub(crate) fn advance(&mut self, share: Share) {
        let slot = self.peek();
        // A state below the total is one that a damaged frame runs dry in.
        self.state =
            u32::from(share.frequency) * (self.state >> TOTAL_BITS) + slot - u32::from(share.start);
        if let Some(&next) = self.bytes.first_chunk::<MOST_BYTES>() {
            // None, one or two bytes, without a branch: nobody could foretell it.
            let missing = u32::from(self.state < LOWER) + u32::from(self.state < LOWER >> 8);
            let next = u32::from(u16::from_be_bytes(next)) >> (16 - 8 * missing);
            self.state = (self.state << (8 * missing)) | next;
            self.bytes = &self.bytes[missing as usize..];
        }
        // At the end, and in damaged frames.
        if self.state < LOWER {
            self.fill();
        }
    }

    #[cold]
    fn fill(&mut self) {
        while self.state < LOWER
            && let Some((&byte, rest)) = self.bytes.split_first()
        {
            self.state = (self.state << 8) | u32::from(byte);
            self.bytes = rest;
        }
    }

    /// The next value of `bits` bits, at most 12.
    #[inline]
    pub(crate) fn uniform(&mut self, bits: u32) -> u32 {
        let value = self.peek() >> (TOTAL_BITS - bits);
        self.advance(Share::uniform(value, bits));
        value
    }

    /// Whether all that was written has been read, and nothing else.
    pub(crate) fn is_done(&self) -> bool {
        self.state == 1 && self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two symbols: one of 4,095 in 4,096, one of 1.
    const RARE: [Share; 2] = [
        Share {
            start: 0,
            frequency: 4095,
        },
        Share {
            start: 4095,
            frequency: 1,
        },
    ];

    proptest! {
        #[test]
        fn symbols_are_read_as_they_are_written(
            symbols in prop::collection::vec((0u32..4096, 0u32..=12, any::<bool>(), 0u8..20), 0..300),
        ) {
            let mut shares = Vec::new();
            for &(value, bits, uniform, rare) in &symbols {
                shares.push(if uniform { Share::uniform(value >> (12 - bits), bits) } else { RARE[usize::from(rare == 0)] });
            }
            let mut bytes = Vec::new();
            encode(&shares, &mut bytes);
            let mut decoder = Decoder::new(&bytes).unwrap();
            for (&(value, bits, uniform, rare), &share) in symbols.iter().zip(&shares) {
                if uniform { prop_assert_eq!(decoder.uniform(bits), value >> (12 - bits)) } else {
                    prop_assert_eq!(decoder.peek() == 4095, rare == 0);
                    decoder.advance(share);
                }
            }
            prop_assert!(decoder.is_done());
        }
    }

    proptest! {
        #[test]
        fn a_quotient_is_exact(state in 0u32..1 << 24, frequency in 1u32..=TOTAL) {
            prop_assert_eq!(divide(state, frequency), state / frequency);
            let multiple = state / frequency * frequency;
            prop_assert_eq!(divide(multiple, frequency), multiple / frequency);
            prop_assert_eq!(divide(multiple.saturating_sub(1), frequency), multiple.saturating_sub(1) / frequency);
        }
    }

    #[test]
    fn the_overhead_is_less_than_a_byte() {
        let shares: Vec<_> = (0..1000).map(|i| Share::uniform(i % 256, 8)).collect();
        let mut bytes = Vec::new();
        encode(&shares, &mut bytes);
        assert!(bytes.len() <= 1001, "{}", bytes.len());
    }

    #[test]
    fn bytes_too_many_are_noticed_and_too_few_nearly_always() {
        let shares: Vec<_> = (0..50).map(|i| Share::uniform(i * 5, 8)).collect();
        let mut bytes = Vec::new();
        encode(&shares, &mut bytes);
        let done = |bytes: &[u8]| {
            let mut decoder = Decoder::new(bytes).unwrap();
            (0..50).for_each(|_| _ = decoder.uniform(8));
            decoder.is_done()
        };
        assert!(done(&bytes));
        let missed = (3..bytes.len()).filter(|&l| done(&bytes[..l])).count();
        assert!(10 * missed < bytes.len(), "{missed}");
        bytes.push(0);
        assert!(!done(&bytes));
        assert!(Decoder::new(&bytes[..2]).is_none());
    }
}
