//! The bytes before a GGUF file's tensors, read as they are needed and no further.
//!
//! Every length that the file states is compared with what is left of the file before anything is
//! read or allocated for it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Longer headers are refused. A vocabulary of 256,000 tokens with its merges takes about 16 MiB.
const MAX_BYTES: u64 = 256 << 20;
/// The first read, which most small headers fit into.
const FIRST_READ: u64 = 64 << 10;

/// Why the header cannot be read further.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The header is not what the format calls for.
    Damaged(String),
    /// The system could not read.
    Io(io::Error),
}

/// Reads fields one after the other. What has been read stays, so that values can be ranges of it.
pub(crate) struct Reader<'a> {
    file: &'a File,
    file_bytes: u64,
    bytes: Vec<u8>,
    position: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `file`, which has `file_bytes` bytes.
    pub(crate) fn new(file: &'a File, file_bytes: u64) -> Self {
        Self {
            file,
            file_bytes,
            bytes: Vec::new(),
            position: 0,
        }
    }

    /// Where the next field begins.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// What lies at a place that was taken.
    pub(crate) fn bytes(&self, place: Range<usize>) -> &[u8] {
        &self.bytes[place]
    }

    /// What was read, up to the end of the last field.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.position);
        self.bytes
    }

    /// The next `count` bytes, as their place in what [`Self::into_bytes`] gives.
    pub(crate) fn take(&mut self, count: u64) -> Result<Range<usize>, Stop> {
        let start = self.position;
        let end = count
            .checked_add(start as u64)
            .filter(|end| *end <= self.file_bytes)
            .ok_or_else(|| {
                Stop::Damaged(format!(
                    "{count} bytes are announced at byte {start}, beyond the file's end"
                ))
            })?;
        if end > MAX_BYTES {
            return Err(Stop::Damaged(format!(
                "the metadata is longer than {} MiB",
                MAX_BYTES >> 20
            )));
        }
        if end > self.bytes.len() as u64 {
            self.read_to(end).map_err(Stop::Io)?;
        }
        self.position = end as usize;
        Ok(start..self.position)
    }

    /// The next `count` fields of `width` bytes each.
    pub(crate) fn take_fields(&mut self, count: u64, width: u64) -> Result<Range<usize>, Stop> {
        let bytes = count.checked_mul(width).ok_or_else(|| {
            Stop::Damaged(format!(
                "{count} fields are announced at byte {}",
                self.position
            ))
        })?;
        self.take(bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Stop> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Stop> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length and as many bytes.
    pub(crate) fn string(&mut self) -> Result<Range<usize>, Stop> {
        let length = self.u64()?;
        self.take(length)
    }

    /// A string that must be UTF-8: a name.
    pub(crate) fn name(&mut self) -> Result<String, Stop> {
        let place = self.string()?;
        let start = place.start;
        match std::str::from_utf8(&self.bytes[place]) {
            Ok(name) => Ok(name.to_owned()),
            Err(error) => Err(Stop::Damaged(format!(
                "the name at byte {start} is not UTF-8: {error}"
            ))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let place = self.take(N as u64)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.bytes[place]);
        Ok(bytes)
    }

    /// Reads on until at least `end`, twice as far as before where the file goes on that long.
    fn read_to(&mut self, end: u64) -> io::Result<()> {
        let held = self.bytes.len();
        let ahead = (2 * held as u64)
            .clamp(FIRST_READ, MAX_BYTES)
            .min(self.file_bytes);
        let end = end.max(ahead) as usize;
        self.bytes.resize(end, 0);
        self.file
            .read_exact_at(&mut self.bytes[held..], held as u64)
    }
}
