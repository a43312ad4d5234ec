//! A metadata value: how it is read, and what lies in a list of them.

use std::ops::Range;

use crate::header::{Reader, Stop};

/// Files state how many keys they have; none has a thousand.
const MAX_KEYS: u64 = 1 << 16;
/// Lists of lists occur in no model's metadata.
const MAX_NESTING: u32 = 4;

/// One value. Integers of every width are alike, as are floating-point numbers; texts and lists are
/// ranges of the header's bytes.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Int(i128),
    Float(f64),
    Bool(bool),
    Text(Range<usize>),
    List {
        kind: Kind,
        count: u64,
        place: Range<usize>,
    },
}

/// A value's type in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    List,
    U64,
    I64,
    F64,
}

impl Kind {
    /// The types, each in the place of its number.
    const IN_ORDER: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::List,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn from_number(number: u32) -> Result<Self, Stop> {
        let kind = usize::try_from(number)
            .ok()
            .and_then(|place| Self::IN_ORDER.get(place));
        kind.copied()
            .ok_or_else(|| Stop::Damaged(format!("{number} is no type of a metadata value")))
    }

    /// Bytes of a value, `None` where they vary.
    pub(crate) fn width(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::List => None,
        }
    }
}

/// The keys of a file in its order, before the bytes that their values point into are complete.
pub(crate) struct Keys(pub(crate) Vec<(String, Value)>);

/// Reads `count` keys with their values.
pub(crate) fn read_keys(reader: &mut Reader<'_>, count: u64) -> Result<Keys, Stop> {
    if count > MAX_KEYS {
        return Err(Stop::Damaged(format!(
            "{count} metadata keys are announced"
        )));
    }
    let mut keys = Vec::new();
    for _ in 0..count {
        let name = reader.name()?;
        let kind = Kind::from_number(reader.u32()?)?;
        keys.push((name, read_value(reader, kind, 0)?));
    }
    Ok(Keys(keys))
}

fn read_value(reader: &mut Reader<'_>, kind: Kind, nesting: u32) -> Result<Value, Stop> {
    if let Some(width) = kind.width() {
        let place = reader.take(width)?;
        return Ok(number_at(kind, reader.bytes(place)));
    }
    if kind == Kind::Text {
        return Ok(Value::Text(reader.string()?));
    }
    if nesting == MAX_NESTING {
        return Err(Stop::Damaged(format!(
            "lists are nested more than {MAX_NESTING} deep"
        )));
    }
    let kind = Kind::from_number(reader.u32()?)?;
    let count = reader.u64()?;
    let start = reader.position();
    match kind.width() {
        Some(width) => {
            reader.take_fields(count, width)?;
        }
        None => {
            // An element takes eight bytes at least, so the file's end bounds this.
            for _ in 0..count {
                read_value(reader, kind, nesting + 1)?;
            }
        }
    }
    Ok(Value::List {
        kind,
        count,
        place: start..reader.position(),
    })
}

/// The text or list at `position` of a list that has been read, and where the next one begins.
pub(crate) fn element_at(bytes: &[u8], kind: Kind, position: usize) -> (Value, usize) {
    if kind == Kind::Text {
        let start = position + 8;
        let end = start + le_u64(&bytes[position..start]) as usize;
        return (Value::Text(start..end), end);
    }
    let start = position + 12;
    let number = le_u64(&bytes[position..position + 4]) as usize;
    let count = le_u64(&bytes[position + 4..start]);
    let inner = Kind::IN_ORDER[number];
    let end = match inner.width() {
        Some(width) => start + (count * width) as usize,
        None => (0..count).fold(start, |place, _| element_at(bytes, inner, place).1),
    };
    (
        Value::List {
            kind: inner,
            count,
            place: start..end,
        },
        end,
    )
}

/// A number that fills `field`.
pub(crate) fn number_at(kind: Kind, field: &[u8]) -> Value {
    let bits = le_u64(field);
    match kind {
        Kind::F32 => Value::Float(f64::from(f32::from_bits(bits as u32))),
        Kind::F64 => Value::Float(f64::from_bits(bits)),
        Kind::I64 => Value::Int((bits as i64).into()),
        Kind::I32 => Value::Int((bits as i32).into()),
        Kind::I16 => Value::Int((bits as i16).into()),
        Kind::I8 => Value::Int((bits as i8).into()),
        Kind::Bool => Value::Bool(bits != 0),
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 | Kind::Text | Kind::List => {
            Value::Int(bits.into())
        }
    }
}

/// Up to eight bytes as a number, the first one lowest.
pub(crate) fn le_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
