//! Bits in bytes, the lowest first: bit i of a stream is bit i mod 8 of byte i / 8.

/// Appends bits to bytes. What is left of the last byte is zero.
#[derive(Debug)]
pub(crate) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    held: u64,
    bits: u32,
}

impl<'a> BitWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            held: 0,
            bits: 0,
        }
    }

    /// Appends the lowest `bits` bits of `value`, at most 32. Higher ones must be zero.
    pub(crate) fn put(&mut self, value: u32, bits: u32) {
        self.held |= u64::from(value) << self.bits;
        self.bits += bits;
        if self.bits >= 32 {
            self.out
                .extend_from_slice(&(self.held as u32).to_le_bytes());
            self.held >>= 32;
            self.bits -= 32;
        }
    }

    /// Appends `ones` one bits and a zero.
    pub(crate) fn put_unary(&mut self, mut ones: u32) {
        while ones >= 16 {
            self.put(0xffff, 16);
            ones -= 16;
        }
        self.put((1 << ones) - 1, ones + 1);
    }

    /// Fills the last byte up.
    pub(crate) fn finish(self) {
        let bytes = self.bits.div_ceil(8) as usize;
        self.out
            .extend_from_slice(&self.held.to_le_bytes()[..bytes]);
    }
}

/// Reads bits from bytes.
#[derive(Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// Begins at bit `at`, which must not be behind the end.
    pub(crate) fn at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The next `bits` bits, at most 32, or `None` when there are fewer.
    pub(crate) fn take(&mut self, bits: u32) -> Option<u32> {
        if self.at + bits as usize > 8 * self.bytes.len() {
            return None;
        }
        let first = self.at / 8;
        let word = match self.bytes.get(first..first + 8) {
            Some(eight) => u64::from_le_bytes(eight.try_into().ok()?),
            None => self.bytes[first..]
                .iter()
                .rev()
                .fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        let value = word >> (self.at % 8) & ((1 << bits) - 1);
        self.at += bits as usize;
        Some(value as u32)
    }

    /// The number of one bits before the next zero, at most `limit`.
    pub(crate) fn take_unary(&mut self, limit: u32) -> Option<u32> {
        let mut ones = 0;
        while self.take(1)? == 1 {
            ones += 1;
            if ones > limit {
                return None;
            }
        }
        Some(ones)
    }

    /// What follows the byte that the last bit was in; its other bits are dropped.
    pub(crate) fn rest(self) -> &'a [u8] {
        &self.bytes[self.at.div_ceil(8)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_are_read_as_they_are_written(items in prop::collection::vec((any::<u32>(), 0u32..=32), 0..100)) {
            let items: Vec<(u32, u32)> = items
                .into_iter()
                .map(|(value, bits)| ((u64::from(value) & ((1 << bits) - 1)) as u32, bits))
                .collect();
            let mut bytes = Vec::new();
            let mut writer = BitWriter::new(&mut bytes);
            for &(value, bits) in &items {
                writer.put(value, bits);
                writer.put_unary(bits);
            }
            writer.finish();
            bytes.push(0xa5);
            let mut reader = BitReader::new(&bytes);
            for &(value, bits) in &items {
                prop_assert_eq!(reader.take(bits), Some(value));
                prop_assert_eq!(reader.take_unary(32), Some(bits));
            }
            prop_assert_eq!(reader.rest(), &[0xa5]);
        }
    }

    #[test]
    fn there_is_nothing_behind_the_end() {
        let mut reader = BitReader::new(&[0xff]);
        assert_eq!(reader.take(7), Some(0x7f));
        assert_eq!(reader.take(2), None);
        assert_eq!(BitReader::new(&[0xff, 0xff]).take_unary(10), None);
        assert_eq!(BitReader::new(&[0xff, 0xff]).take_unary(100), None);
        assert_eq!(BitReader::new(&[]).take(0), Some(0));
    }
}
