//! What a machine is called, so that what was measured on one is not believed of another; and how much
//! memory it has for this process.

/// The processor's model as the system names it, and how many there are for this process.
pub fn processor() -> String {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model_name(&info).unwrap_or(std::env::consts::ARCH);
    format!("{count} × {model}")
}

/// Of `/proc/cpuinfo`: x86-64 has a `model name`, ARM boards a `Model` or a `CPU part`.
fn model_name(info: &str) -> Option<&str> {
    let value = |key: &str| {
        let mut lines = info.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(name, _)| name.trim() == key)?;
        Some(value.trim()).filter(|value| !value.is_empty())
    };
    ["model name", "Model", "CPU part"]
        .into_iter()
        .find_map(value)
}

/// A word for the machine as it runs now: processes that say the same share its processors, in containers
/// too. It is not what the system calls itself by. Empty where the system does not tell.
pub fn running_host() -> String {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if boot.is_empty() {
        return String::new();
    }
    let hash = blake3::derive_key("tandem running host v1", &boot);
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Processors of the machine, whatever part of them is this process's; `None` where the system does not tell.
pub fn processors() -> Option<usize> {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    ranges(online.trim())
}

/// How many numbers there are in `0-3,8,10-11`.
fn ranges(text: &str) -> Option<usize> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_add(1)?.checked_sub(first)
    };
    text.split(',').map(count).sum()
}

/// Bytes that this process may come to take, what it has already included: a container's limit, or
/// what the system has available; `None` where neither is told.
pub fn memory_limit() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let info = read("/proc/meminfo");
    let available = info.as_deref().and_then(available_bytes);
    let available = available.map(|bytes| bytes + resident_bytes().unwrap_or(0));
    let limit = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    available.into_iter().chain(limit).min()
}

fn available_bytes(info: &str) -> Option<u64> {
    let line = info.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// Bytes of this process that are in memory now; `None` where the system does not tell.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_name_is_found_on_either_kind_of_machine() {
        let x86 = "processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags\t: fpu\n";
        assert_eq!(model_name(x86), Some("AMD EPYC 9R14"));
        let pi = "processor\t: 0\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5\n";
        assert_eq!(model_name(pi), Some("Raspberry Pi 5"));
        assert_eq!(model_name("model name\t:\n"), None);
        assert!(processor().contains('×'));
    }

    #[test]
    fn a_host_is_the_same_for_all_its_processes_and_not_called_by_its_own_name() {
        let host = running_host();
        assert_eq!(host, running_host());
        assert_eq!(host.len(), 16);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert!(!boot.replace('-', "").contains(&host));
        assert!(processors().unwrap() >= 1);
    }

    #[test]
    fn processors_are_counted_in_ranges() {
        assert_eq!(ranges("0"), Some(1));
        assert_eq!(ranges("0-3,8,10-11"), Some(7));
        for bad in ["", "a", "3-1", "0-", "0-18446744073709551615"] {
            assert_eq!(ranges(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let info = "MemTotal:  24 kB\nMemAvailable:   12 kB\n";
        assert_eq!(available_bytes(info), Some(12 << 10));
        assert_eq!(available_bytes("MemAvailable: much\n"), None);
        let resident = resident_bytes().unwrap();
        assert!(memory_limit().unwrap() > resident && resident > 1 << 20);
    }
}
