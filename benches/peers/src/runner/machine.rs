//! Where the figures come from: the processor, the kernel, the compiler, and whether something else was running.

use std::{fs, process::Command, thread};

/// Name and value, for the head of the table.
pub(crate) fn describe() -> Result<Vec<(String, String)>, String> {
    for tool in ["taskset", "timeout"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return Err(format!("{tool} is missing: it comes with util-linux or coreutils"));
        }
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        return Err("one core is too few: the producer and the sink need one each".to_owned());
    }
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let mut facts = vec![
        ("Processor", format!("{}, {cores} cores", model.map_or("unknown", |(_, name)| name.trim()))),
        ("Kernel", format!("Linux {}", release())),
        ("Rust", output("rustc", &["--version"])),
    ];
    let load = read("/proc/loadavg");
    if let Some(load) = load.split(' ').next().and_then(|load| load.parse::<f64>().ok())
        && load > BUSY
    {
        facts.push(("Disturbed", format!("other programs were running: a load of {load} at the start")));
    }
    Ok(facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The kernel's version without its builder's additions.
fn release() -> String {
    let release = read("/proc/sys/kernel/osrelease");
    release.trim().split('-').next().unwrap_or_default().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// What building and starting this program leaves behind is less.
const BUSY: f64 = 1.5;
