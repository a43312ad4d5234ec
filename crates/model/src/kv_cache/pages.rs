//! Pages: memory for 32 positions of a layer, taken as sessions grow, and used again.

use crate::error::{ModelError, Result};
use bytemuck::{Pod, Zeroable};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Free pages that are kept beyond as many as are in use.
const SPARE: usize = 64;

/// What a page is filled with before it is taken: in tests what spoils any sum that it gets into.
const FILL: u8 = if cfg!(test) { 0xff } else { 0 };

/// Memory for the keys and values of all sessions of a segment, in pages of [`PANEL`](super::PANEL) positions of
/// one layer each.
#[derive(Debug, Clone)]
pub struct KvMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    page_bytes: usize,
    in_use: AtomicUsize,
    free: Mutex<Vec<Box<[Line]>>>,
}

/// Bytes that numbers of any type may lie in.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

/// A page, given back on drop.
pub(crate) struct Page {
    lines: Box<[Line]>,
    in_use: InUse,
}

/// Pages of memory that lies elsewhere, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct InUse {
    memory: KvMemory,
    pages: usize,
}

impl KvMemory {
    /// Pages of so many bytes, none of which is allocated yet.
    pub(crate) fn new(page_bytes: usize) -> Self {
        Self(Arc::new(Shared {
            page_bytes,
            in_use: AtomicUsize::new(0),
            free: Mutex::default(),
        }))
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> u64 {
        self.0.page_bytes as u64
    }

    /// Pages that sessions hold.
    pub fn pages_in_use(&self) -> usize {
        self.0.in_use.load(Ordering::Relaxed)
    }

    /// Takes a page.
    ///
    /// # Errors
    /// When the system has no memory.
    pub(crate) fn take(&self) -> Result<Page> {
        let free = self.free().pop();
        let mut lines = match free {
            Some(lines) => lines,
            None => self.allocate()?,
        };
        bytemuck::cast_slice_mut::<Line, u8>(&mut lines).fill(FILL);
        Ok(Page {
            lines,
            in_use: self.count(1),
        })
    }

    /// Counts pages whose memory is not of here.
    pub(crate) fn count(&self, pages: usize) -> InUse {
        self.0.in_use.fetch_add(pages, Ordering::Relaxed);
        InUse {
            memory: self.clone(),
            pages,
        }
    }

    fn allocate(&self) -> Result<Box<[Line]>> {
        let bytes = self.0.page_bytes;
        let lines = bytes.div_ceil(size_of::<Line>());
        bytemuck::allocation::try_zeroed_slice_box(lines)
            .map_err(|()| ModelError::NoMemory { bytes })
    }

    fn give_back(&self, lines: Box<[Line]>) {
        let mut free = self.free();
        free.push(lines);
        free.truncate(self.pages_in_use() + SPARE);
    }

    fn free(&self) -> MutexGuard<'_, Vec<Box<[Line]>>> {
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Page {
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines)
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({} bytes)", self.bytes().len())
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.in_use
            .memory
            .give_back(std::mem::take(&mut self.lines));
    }
}

impl InUse {
    /// Counts so many from now on.
    pub(crate) fn set(&mut self, pages: usize) {
        let in_use = &self.memory.0.in_use;
        in_use.fetch_add(pages, Ordering::Relaxed);
        in_use.fetch_sub(self.pages, Ordering::Relaxed);
        self.pages = pages;
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_taken_again_and_spoilt_before() {
        let memory = KvMemory::new(3 * 64);
        let mut first = memory.take().unwrap();
        first.bytes_mut().fill(7);
        let at = first.bytes().as_ptr();
        assert_eq!(memory.pages_in_use(), 1);
        drop(first);
        assert_eq!(memory.pages_in_use(), 0);
        let again = memory.take().unwrap();
        assert_eq!(again.bytes().as_ptr(), at);
        assert_eq!(again.bytes(), [FILL; 3 * 64]);
    }

    #[test]
    fn many_free_pages_go_back_to_the_system() {
        let memory = KvMemory::new(64);
        let pages: Vec<Page> = (0..1000).map(|_| memory.take().unwrap()).collect();
        drop(pages);
        assert_eq!(memory.pages_in_use(), 0);
        let free = memory.free().len();
        assert!((SPARE..=SPARE + 1).contains(&free), "{free}");
    }

    #[test]
    fn memory_that_lies_elsewhere_is_counted() {
        let memory = KvMemory::new(64);
        let mut elsewhere = memory.count(3);
        let _page = memory.take().unwrap();
        elsewhere.set(5);
        assert_eq!(memory.pages_in_use(), 6);
        drop(elsewhere);
        assert_eq!(memory.pages_in_use(), 1);
    }
}
