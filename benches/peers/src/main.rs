//! Builds the drivers, runs them in rounds against the sink, and writes what came out.

#![forbid(unsafe_code)]

mod runner;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;

use runner::{drivers, goals, machine, markdown, plan, plot, results::Results, rounds};

#[derive(Parser)]
#[command(about = "Kafka producers side by side: the same records into the same sink")]
struct Flags {
    /// A few workloads with fewer records; ends within two minutes once everything is built.
    #[arg(long)]
    quick: bool,
    /// Rounds of each workload; each runs every driver once.
    #[arg(long)]
    rounds: Option<u32>,
    /// Only these workloads; --list says which there are.
    #[arg(long)]
    workload: Vec<String>,
    /// Only rows of these drivers, and of kafka-producer itself; --list says which there are.
    #[arg(long)]
    driver: Vec<String>,
    /// The producer's core and the sink's.
    #[arg(long, value_delimiter = ',', num_args = 2, default_value = "0,1")]
    cores: Vec<usize>,
    /// Where table and plot go. Without it, docs/benchmarks if no workload and no driver was chosen, else nowhere.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write table and plot anew from what an earlier run has measured.
    #[arg(long, value_name = "RESULTS")]
    render: Option<PathBuf>,
    /// Print the names of workloads and drivers.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every run was as it should be.
fn run(flags: &Flags) -> Result<bool, String> {
    if flags.list {
        list();
        return Ok(true);
    }
    if let Some(file) = &flags.render {
        let results = Results::read(file)?;
        return report(flags, &results).map(|()| true);
    }
    let workloads = chosen(flags)?;
    let mut results = Results::new(flags.quick, machine::describe()?);
    let built = drivers::build(&workloads, &mut results)?;
    let end = flags.quick.then(|| Instant::now() + QUICK);
    let setting = rounds::Setting {
        cores: [flags.cores[0], flags.cores[1]],
        rounds: flags.rounds,
        java_warmup: if flags.quick { QUICK_JAVA_WARMUP } else { JAVA_WARMUP },
    };
    let kept = built.folder.join("peers-results.json");
    for (index, workload) in workloads.iter().enumerate() {
        let left = (workloads.len() - index) as u32;
        let until = end.map(|end| Instant::now() + end.saturating_duration_since(Instant::now()) / left);
        rounds::run(workload, until, &built, &setting, &mut results);
        // After each, so that a run which is cut off leaves what it has.
        results.write(&kept)?;
    }
    report(flags, &results)?;
    eprintln!("\nAll single runs: {}", kept.display());
    Ok(results.failures().is_empty())
}

fn chosen(flags: &Flags) -> Result<Vec<plan::Workload>, String> {
    let mut workloads = plan::workloads(flags.quick);
    for name in &flags.workload {
        if !plan::workloads(false).iter().any(|workload| workload.id == *name) {
            return Err(format!("there is no workload {name}: see --list"));
        }
    }
    if !flags.workload.is_empty() {
        // One that the quick run leaves out may still be asked for.
        workloads = plan::workloads(false);
        workloads.retain(|workload| flags.workload.contains(&workload.id));
        if flags.quick {
            workloads.iter_mut().for_each(plan::Workload::shorten);
        }
    }
    for name in &flags.driver {
        if drivers::Driver::by_name(name).is_none() {
            return Err(format!("there is no driver {name}: see --list"));
        }
    }
    if !flags.driver.is_empty() {
        for workload in &mut workloads {
            workload.contestants.retain(|contestant| {
                let name = contestant.driver.name();
                name == drivers::Driver::Ours.name() || flags.driver.iter().any(|chosen| chosen == name)
            });
        }
    }
    Ok(workloads)
}

fn report(flags: &Flags, results: &Results) -> Result<(), String> {
    let table = markdown::page(results);
    println!("{table}\n{}", goals::page(results));
    let whole = flags.workload.is_empty() && flags.driver.is_empty();
    let default = whole.then(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks"));
    let Some(folder) = flags.out.clone().or(default) else { return Ok(()) };
    let name = if results.quick { "quick" } else { "README" };
    let write = |name: String, text: &str| -> io::Result<()> {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), text)
    };
    write(format!("{name}.md"), &table)
        .and_then(|()| write(markdown::plot_name(results).to_owned(), &plot::svg(results)))
        .map_err(|error| format!("cannot write to {}: {error}", folder.display()))
}

fn list() {
    println!("workloads (* in the quick run):");
    let quick: Vec<_> = plan::workloads(true).into_iter().map(|workload| workload.id).collect();
    for workload in plan::workloads(false) {
        let mark = if quick.contains(&workload.id) { '*' } else { ' ' };
        println!("  {mark} {:20} {}", workload.id, workload.title);
    }
    println!("drivers:");
    for driver in drivers::Driver::ALL {
        println!("    {}", driver.name());
    }
}

/// Two minutes, less what the last round may take longer than those before it.
const QUICK: Duration = Duration::from_secs(105);

/// What the JIT compiler needs to come to rest.
const JAVA_WARMUP: f64 = 8.0;

const QUICK_JAVA_WARMUP: f64 = 2.0;
