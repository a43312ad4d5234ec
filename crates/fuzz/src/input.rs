//! Bytes as a source of small choices.

/// Numbers at which arithmetic goes wrong.
const EDGES: [u32; 16] = [
    0,
    1,
    31,
    32,
    33,
    64,
    127,
    128,
    255,
    256,
    257,
    65_535,
    65_536,
    i32::MAX as u32,
    u32::MAX - 1,
    u32::MAX,
];

/// What is left of an input. Where nothing is left, choices are zeros.
#[derive(Debug, Clone)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&byte, rest)) => {
                self.0 = rest;
                byte
            }
            None => 0,
        }
    }

    /// One of so many choices.
    pub(crate) fn choice(&mut self, of: u8) -> u8 {
        self.byte() % of
    }

    /// A number, mostly `expected` or near it, and sometimes one that is not.
    pub(crate) fn near(&mut self, expected: u32) -> u32 {
        match self.byte() {
            byte @ 0..0xc0 if byte & 1 == 0 => expected,
            byte @ 0..0xc0 => expected.wrapping_add(u32::from(byte)).wrapping_sub(96),
            byte => EDGES[usize::from(byte) % EDGES.len()],
        }
    }

    /// A piece with its length in a byte before it.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (piece, rest) = self.0.split_at(length);
        self.0 = rest;
        piece
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
