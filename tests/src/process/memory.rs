//! What a process holds of the machine's memory, as Linux counts it.

use std::fs;

use anyhow::{Context, Result};

/// Bytes, from `/proc/PID/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident now (`VmRSS`), mapped files included.
    pub resident: u64,
    /// The most that was ever resident (`VmHWM`).
    pub peak: u64,
}

impl Memory {
    /// Of a process that has not ended.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        Self::parse(&status).with_context(|| format!("no memory in {path}: has it ended?"))
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib * 1024)
        };
        Some(Self {
            resident: field("VmRSS:")?,
            peak: field("VmHWM:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_its_memory() {
        let before = Memory::of(std::process::id()).unwrap();
        let held = std::hint::black_box(vec![1_u8; 50 << 20]);
        let after = Memory::of(std::process::id()).unwrap();
        assert!(after.peak >= before.peak.max(held.len() as u64));
        assert!(after.resident <= after.peak);
        assert_eq!(Memory::parse("Name:\tkthreadd\n"), None);
    }
}
