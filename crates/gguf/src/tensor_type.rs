//! GGUF's tensor types: their numbers, names and block sizes, as ggml.h and ggml-common.h define them.

/// How a tensor's values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types, reason = "the format's own names")]
pub(crate) enum TensorType {
    F32,
    F16,
    BF16,
    F64,
    I8,
    I16,
    I32,
    I64,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_K,
    IQ1_S,
    IQ1_M,
    IQ2_XXS,
    IQ2_XS,
    IQ2_S,
    IQ3_XXS,
    IQ3_S,
    IQ4_NL,
    IQ4_XS,
    TQ1_0,
    TQ2_0,
    MXFP4,
    NVFP4,
    Q1_0,
}

impl TensorType {
    /// Every type: number in the file, name, values in a block, bytes of a block.
    const TABLE: [(Self, u32, &'static str, u64, u64); 34] = [
        (Self::F32, 0, "F32", 1, 4),
        (Self::F16, 1, "F16", 1, 2),
        (Self::BF16, 30, "BF16", 1, 2),
        (Self::F64, 28, "F64", 1, 8),
        (Self::I8, 24, "I8", 1, 1),
        (Self::I16, 25, "I16", 1, 2),
        (Self::I32, 26, "I32", 1, 4),
        (Self::I64, 27, "I64", 1, 8),
        (Self::Q4_0, 2, "Q4_0", 32, 18),
        (Self::Q4_1, 3, "Q4_1", 32, 20),
        (Self::Q5_0, 6, "Q5_0", 32, 22),
        (Self::Q5_1, 7, "Q5_1", 32, 24),
        (Self::Q8_0, 8, "Q8_0", 32, 34),
        (Self::Q8_1, 9, "Q8_1", 32, 40),
        (Self::Q2_K, 10, "Q2_K", 256, 84),
        (Self::Q3_K, 11, "Q3_K", 256, 110),
        (Self::Q4_K, 12, "Q4_K", 256, 144),
        (Self::Q5_K, 13, "Q5_K", 256, 176),
        (Self::Q6_K, 14, "Q6_K", 256, 210),
        (Self::Q8_K, 15, "Q8_K", 256, 292),
        (Self::IQ1_S, 19, "IQ1_S", 256, 50),
        (Self::IQ1_M, 29, "IQ1_M", 256, 56),
        (Self::IQ2_XXS, 16, "IQ2_XXS", 256, 66),
        (Self::IQ2_XS, 17, "IQ2_XS", 256, 74),
        (Self::IQ2_S, 22, "IQ2_S", 256, 82),
        (Self::IQ3_XXS, 18, "IQ3_XXS", 256, 98),
        (Self::IQ3_S, 21, "IQ3_S", 256, 110),
        (Self::IQ4_NL, 20, "IQ4_NL", 32, 18),
        (Self::IQ4_XS, 23, "IQ4_XS", 256, 136),
        (Self::TQ1_0, 34, "TQ1_0", 256, 54),
        (Self::TQ2_0, 35, "TQ2_0", 256, 66),
        (Self::MXFP4, 39, "MXFP4", 32, 17),
        (Self::NVFP4, 40, "NVFP4", 64, 36),
        (Self::Q1_0, 41, "Q1_0", 128, 18),
    ];

    /// The type with this number in a file.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::TABLE
            .iter()
            .find(|row| row.1 == number)
            .map(|row| row.0)
    }

    /// The type with this name.
    #[cfg(test)]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::TABLE
            .iter()
            .find(|row| row.2 == name)
            .map(|row| row.0)
    }

    /// The type's name in GGUF.
    pub(crate) fn name(self) -> &'static str {
        Self::TABLE[self as usize].2
    }

    /// Values in one block. Every one divides 256.
    pub(crate) fn block_values(self) -> u64 {
        Self::TABLE[self as usize].3
    }

    /// Bytes of one block.
    pub(crate) fn block_bytes(self) -> u64 {
        Self::TABLE[self as usize].4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_types() {
        for (place, row) in TensorType::TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, place, "{}", row.2);
            assert_eq!(256 % row.3, 0, "{}", row.2);
            assert_eq!(TensorType::from_number(row.1), Some(row.0));
        }
    }
}
