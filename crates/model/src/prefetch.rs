//! Asking memory for what is read soon: a processor that looks for streams itself begins anew with each page.

#![allow(unsafe_code)]

/// Bytes that memory hands over at once.
const LINE: usize = 64;

/// Has memory fetch `count` bytes of these from `at` on, as far as there are so many.
#[inline(always)]
pub(crate) fn prefetch(bytes: &[u8], at: usize, count: usize) {
    let end = bytes.len().min(at + count);
    for line in (at..end).step_by(LINE) {
        prefetch_line(bytes.as_ptr().wrapping_add(line));
    }
}

/// Has memory fetch the line at an address. Nothing is read, whatever the address.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unused_unsafe, reason = "needed by older compilers only")]
pub(crate) fn prefetch_line(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: this reads nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn prefetch_line(line: *const u8) {
    // SAFETY: this reads nothing, whatever the address.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) line, options(nostack, preserves_flags, readonly))
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
pub(crate) fn prefetch_line(_: *const u8) {}
