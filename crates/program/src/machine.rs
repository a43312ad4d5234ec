//! What a machine is called, so that what was measured on one is not believed of another; and how much
//! memory it has for this process.

use std::path::{Path, PathBuf};

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
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo_bytes(&info, "MemAvailable:");
    let available = available.map(|bytes| bytes + resident_bytes().unwrap_or(0));
    available.into_iter().chain(cgroup_limit()).min()
}

/// Bytes that this process may take at all: its control groups' limit or the machine's memory, whichever is
/// less, whatever of it others use now; `None` where neither is told.
pub fn memory_total() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let own = meminfo_bytes(&info, "MemTotal:");
    own.into_iter().chain(cgroup_limit()).min()
}

/// The least memory limit of the control groups that this process is in, of version 1 or 2.
fn cgroup_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let read = |path: PathBuf| -> Option<u64> {
        // Version 2 writes `max` where there is no limit, version 1 a number larger than any memory.
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    limit_files(&groups).into_iter().filter_map(read).min()
}

/// The files that may hold a limit: of each group in `/proc/self/cgroup` and of those around it, as each
/// limits what is inside. In a container the group's own path is often not there, and its root is.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let around = Path::new(group.trim_start_matches('/')).ancestors();
        files.extend(around.map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

fn meminfo_bytes(info: &str, field: &str) -> Option<u64> {
    let line = info.lines().find_map(|l| l.strip_prefix(field))?;
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
        assert_eq!(meminfo_bytes(info, "MemAvailable:"), Some(12 << 10));
        assert_eq!(meminfo_bytes(info, "MemTotal:"), Some(24 << 10));
        assert_eq!(meminfo_bytes("MemTotal: much\n", "MemTotal:"), None);
        let resident = resident_bytes().unwrap();
        assert!(memory_limit().unwrap() > resident && resident > 1 << 20);
        assert!(memory_total().unwrap() >= memory_limit().unwrap());
        assert_eq!(memory_total(), memory_total());
    }

    #[test]
    fn limits_are_looked_for_in_both_versions_of_control_groups() {
        let files = |groups: &str| -> Vec<String> {
            let files = limit_files(groups).into_iter();
            files.map(|file| file.display().to_string()).collect()
        };
        assert_eq!(files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        assert_eq!(
            files("0::/system.slice/edge.service\n"),
            [
                "/sys/fs/cgroup/system.slice/edge.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(
            files("9:cpu,cpuacct:/a\n4:memory:/a\n1:name=systemd:/\n"),
            [
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
        assert_eq!(files("nonsense\n"), Vec::<String>::new());
    }
}
