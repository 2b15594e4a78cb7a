//! The machine that an experiment ran on.

use serde::Serialize;

/// What a report says of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name, as the kernel gives it.
    pub processor: String,
    /// Threads that run at a time.
    pub threads: usize,
    /// Operating system and instruction set.
    pub system: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let description = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = description.lines().find_map(|line| line.strip_prefix("model name"));
        let name = name.map(|rest| rest.trim_start_matches([' ', '\t', ':']).trim());
        Machine {
            processor: name.filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned(),
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}
