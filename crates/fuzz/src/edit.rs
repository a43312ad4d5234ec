//! Small changes to bytes, of which a strategy makes lists that shrink.

/// One change. Places and lengths are taken modulo what there is, so that every edit fits every input.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Flips a bit.
    Flip(usize, u8),
    /// Sets a byte.
    Set(usize, u8),
    /// Writes the lowest bytes of a number, the lowest first.
    Number {
        /// Where.
        place: usize,
        /// What.
        number: u64,
        /// How many bytes of it.
        bytes: usize,
    },
    /// Takes some bytes out.
    Delete(usize, usize),
    /// Repeats some bytes.
    Repeat(usize, usize),
    /// Puts bytes in.
    Insert(usize, Vec<u8>),
    /// Goes on as another seed, from a place in it on.
    Splice {
        /// Where this one ends.
        place: usize,
        /// The other's number.
        seed: usize,
        /// Where the other begins.
        from: usize,
    },
}

/// The most bytes that an edited input has.
const MOST: usize = 64 << 10;

/// Applies edits to bytes, one after the other. `seeds` are what may be spliced.
pub fn apply(mut bytes: Vec<u8>, edits: &[Edit], seeds: &[Vec<u8>]) -> Vec<u8> {
    for edit in edits {
        change(&mut bytes, edit, seeds);
        bytes.truncate(MOST);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, edit: &Edit, seeds: &[Vec<u8>]) {
    let length = bytes.len();
    let at = |place: usize| place % (length + 1);
    let part = |place: usize, count: usize| at(place)..length.min(at(place) + 1 + count);
    match edit {
        Edit::Flip(place, bit) => {
            if let Some(byte) = bytes.get_mut(at(*place)) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Edit::Set(place, value) => {
            if let Some(byte) = bytes.get_mut(at(*place)) {
                *byte = *value;
            }
        }
        Edit::Number {
            place,
            number,
            bytes: count,
        } => {
            let number = number.to_le_bytes();
            let target = bytes[at(*place)..].iter_mut();
            target
                .zip(&number[..*count])
                .for_each(|(to, from)| *to = *from);
        }
        Edit::Delete(place, count) => {
            bytes.drain(part(*place, *count));
        }
        Edit::Repeat(place, count) => {
            let piece = bytes[part(*place, *count)].to_vec();
            bytes.splice(at(*place)..at(*place), piece);
        }
        Edit::Insert(place, piece) => {
            bytes.splice(at(*place)..at(*place), piece.iter().copied());
        }
        Edit::Splice { place, seed, from } => {
            bytes.truncate(at(*place));
            if let Some(other) = seeds.get(seed % seeds.len().max(1)) {
                bytes.extend_from_slice(&other[from % (other.len() + 1)..]);
            }
        }
    }
}
