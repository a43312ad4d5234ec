//! model.safetensors, written by as many threads as there are processors.
//!
//! The file's layout is known before the first value is: so each thread takes the next piece of some
//! tensor, reads its blocks, turns them into numbers and writes them where they belong. Pieces are
//! small, so memory does not grow with the model.

use std::fs::File;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::container::Container;
use crate::error::GgufError;
use crate::plan::{Planned, Source, paired_row};
use crate::{Dtype, OnProgress, Progress};

/// Values in one piece: 1 MiB of 32-bit numbers, which stay in a processor's cache.
/// A multiple of 256, so that a piece of a row ends where a block does.
const PIECE: u64 = 1 << 18;
/// More threads would wait for the disk.
const MAX_THREADS: usize = 16;
/// Reports that may lie unread before a thread waits.
const REPORTS: usize = 64;
/// Bytes after which what is written is sent to the disk. Left to itself, the system begins with that
/// when a tenth of the memory waits, and the end of a smaller file is then one long wait.
const FLUSH: u64 = 128 << 20;

/// A run of values of one tensor.
struct Piece<'a> {
    tensor: &'a Planned,
    values: Range<u64>,
    /// Where its first value goes in the file.
    place: u64,
}

/// Writes the planned tensors of `container` to a new file at `path` and waits until they are on the disk.
///
/// # Errors
/// [`GgufError::NotFinite`], [`GgufError::Io`], [`GgufError::Interrupted`].
pub(crate) fn write(
    container: &Container,
    planned: &[Planned],
    path: &Path,
    dtype: Dtype,
    progress: OnProgress<'_>,
) -> Result<(), GgufError> {
    let (header, total) = safetensors_header(planned, dtype);
    let out = File::create_new(path).map_err(GgufError::io(path))?;
    out.write_all_at(&header, 0).map_err(GgufError::io(path))?;

    let pieces = pieces(planned, header.len() as u64, dtype);
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (reports, heard) = sync_channel(REPORTS);
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_THREADS);
    let outcome = thread::scope(|scope| {
        for _ in 0..threads {
            let mut worker = Worker {
                container,
                out: &out,
                path,
                dtype,
                raw: Vec::new(),
                values: Vec::new(),
            };
            let (pieces, next, stop, reports) = (&pieces, &next, &stop, reports.clone());
            scope.spawn(move || worker.run(pieces, next, stop, &reports));
        }
        drop(reports);
        let (flushes, to_flush) = sync_channel(1);
        let flusher = scope.spawn(|| to_flush.into_iter().try_for_each(|()| out.sync_data()));
        let (mut done, mut flushed) = (0, 0);
        let mut outcome = progress_of(progress, done, total);
        for report in heard {
            let step = report.and_then(|bytes| {
                done += bytes;
                progress_of(progress, done, total)
            });
            // The first error is the one to tell; the others may follow from the stop.
            outcome = outcome.and(step);
            stop.fetch_or(outcome.is_err(), Ordering::Relaxed);
            // A flusher that is busy takes the next call; one that has failed says so at the end.
            if done >= flushed + FLUSH && flushes.try_send(()).is_ok() {
                flushed = done;
            }
        }
        drop(flushes);
        // A thread that panics takes this one with it at the scope's end.
        let flushed = flusher.join().unwrap_or(Ok(()));
        outcome.and(flushed.map_err(GgufError::io(path)))
    });
    outcome?;
    out.sync_all().map_err(GgufError::io(path))
}

fn progress_of(progress: OnProgress<'_>, done: u64, total: u64) -> Result<(), GgufError> {
    match progress(Progress::Writing { done, total }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(GgufError::Interrupted),
    }
}

/// The file's first bytes, as Python's `json.dumps` with `separators=(",", ":")` writes them, and the
/// number of bytes of tensors that follow.
fn safetensors_header(planned: &[Planned], dtype: Dtype) -> (Vec<u8>, u64) {
    let name = match dtype {
        Dtype::F32 => "F32",
        Dtype::Bf16 => "BF16",
    };
    let mut text = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    let mut end = 0;
    for tensor in planned {
        let begin = end;
        end += dtype.width() * tensor.values();
        let shape = tensor
            .shape
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(",");
        // Names are this crate's own: they hold nothing that needs an escape.
        text.push_str(&format!(
            ",\"{}\":{{\"dtype\":\"{name}\",\"shape\":[{shape}],\"data_offsets\":[{begin},{end}]}}",
            tensor.name
        ));
    }
    text.push('}');
    // The length prefix is 8 bytes, so padding the header to 8 aligns the data.
    let padded = text.len().next_multiple_of(8);
    let mut header = (padded as u64).to_le_bytes().to_vec();
    header.extend_from_slice(text.as_bytes());
    header.resize(8 + padded, b' ');
    (header, end)
}

fn pieces(planned: &[Planned], data_start: u64, dtype: Dtype) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut place = data_start;
    for tensor in planned {
        let total = tensor.values();
        // A vector whose elements change places is taken whole: its blocks are scattered.
        let step = if tensor.paired_heads.is_some() && tensor.shape.len() == 1 {
            total
        } else {
            PIECE
        };
        for start in (0..total).step_by(step as usize) {
            let values = start..total.min(start + step);
            let bytes = dtype.width() * (values.end - values.start);
            pieces.push(Piece {
                tensor,
                values,
                place,
            });
            place += bytes;
        }
    }
    pieces
}

/// One thread's files and memory.
struct Worker<'a> {
    container: &'a Container,
    out: &'a File,
    path: &'a Path,
    dtype: Dtype,
    raw: Vec<u8>,
    values: Vec<f32>,
}

impl Worker<'_> {
    /// Works on the next piece that nobody has taken until none is left or `stop` is set.
    fn run(
        &mut self,
        pieces: &[Piece<'_>],
        next: &AtomicUsize,
        stop: &AtomicBool,
        reports: &SyncSender<Result<u64, GgufError>>,
    ) {
        while !stop.load(Ordering::Relaxed) {
            let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let report = self.write(piece);
            let failed = report.is_err();
            if reports.send(report).is_err() || failed {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Writes one piece; returns its bytes.
    fn write(&mut self, piece: &Piece<'_>) -> Result<u64, GgufError> {
        self.values.clear();
        self.values
            .resize((piece.values.end - piece.values.start) as usize, 0.0);
        if let Some(source) = &piece.tensor.source {
            self.read(piece, source)
                .map_err(GgufError::io(self.container.metadata.path()))?;
            if !all_finite(&self.values) {
                return Err(GgufError::NotFinite {
                    name: source.name.clone(),
                });
            }
        }
        match self.dtype {
            Dtype::F32 => self.put(piece, bytemuck::cast_slice(&self.values)),
            Dtype::Bf16 => {
                let narrow: Vec<u16> = self.values.iter().copied().map(to_bf16).collect();
                self.put(piece, bytemuck::cast_slice(&narrow))
            }
        }
    }

    fn put(&self, piece: &Piece<'_>, bytes: &[u8]) -> Result<u64, GgufError> {
        self.out
            .write_all_at(bytes, piece.place)
            .map_err(GgufError::io(self.path))?;
        Ok(bytes.len() as u64)
    }

    /// Fills `self.values` with the piece's values, in Hugging Face's order.
    fn read(&mut self, piece: &Piece<'_>, source: &Source) -> std::io::Result<()> {
        let Some(heads) = piece.tensor.paired_heads else {
            return self.read_run(source, piece.values.clone(), 0);
        };
        let head_dim = piece.tensor.shape[0] / heads;
        let columns = piece.tensor.columns();
        if piece.tensor.shape.len() == 1 {
            self.read_run(source, piece.values.clone(), 0)?;
            let stored = self.values.clone();
            for (row, value) in self.values.iter_mut().enumerate() {
                *value = stored[paired_row(row as u64, head_dim) as usize];
            }
            return Ok(());
        }
        let mut start = piece.values.start;
        while start < piece.values.end {
            let (row, column) = (start / columns, start % columns);
            let end = piece.values.end.min((row + 1) * columns);
            let stored = paired_row(row, head_dim) * columns + column;
            self.read_run(
                source,
                stored..stored + (end - start),
                (start - piece.values.start) as usize,
            )?;
            start = end;
        }
        Ok(())
    }

    /// Reads a run of stored values that begins and ends with a block, into `self.values` from `to` on.
    fn read_run(&mut self, source: &Source, run: Range<u64>, to: usize) -> std::io::Result<()> {
        let kind = source.stored.kind;
        let (values, bytes) = (kind.block_values(), kind.block_bytes());
        self.raw
            .resize(((run.end - run.start) / values * bytes) as usize, 0);
        let place = source.stored.offset + run.start / values * bytes;
        self.container.file.read_exact_at(&mut self.raw, place)?;
        let count = (run.end - run.start) as usize;
        (source.rule)(&self.raw, &mut self.values[to..to + count]);
        Ok(())
    }
}

/// Whether no value is infinite or not a number: without a branch a value, so that it runs many at once.
fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7F80_0000;
    values.chunks(64).all(|chunk| {
        !chunk.iter().fold(false, |bad, value| {
            bad | (value.to_bits() & EXPONENT == EXPONENT)
        })
    })
}

/// A finite number as bfloat16, to the nearest, ties to even.
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_the_nearest_and_ties_to_even() {
        const STEP: f32 = 0.0078125;
        let values = [
            1.0,
            1.0 + STEP / 2.0,
            1.0 + 3.0 * STEP / 2.0,
            1.004,
            -2.5,
            3e38,
            0.0,
            -0.0,
            f32::MAX,
        ];
        // Half a step above 1 is a tie that goes down to even, one and a half one that goes up.
        let expected = [
            0x3F80, 0x3F80, 0x3F82, 0x3F81, 0xC020, 0x7F62, 0x0000, 0x8000, 0x7F80,
        ];
        assert_eq!(values.map(to_bf16), expected);
    }

    #[test]
    fn what_is_not_finite_is_found_wherever_it_lies() {
        let mut values = vec![1.0; 200];
        assert!(all_finite(&values));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for place in [0, 63, 64, 199] {
                values[place] = bad;
                assert!(!all_finite(&values));
                values[place] = f32::MIN;
            }
        }
    }
}
