//! Child processes that never outlive the tests, and commands that never run for ever.
//!
//! Knows nothing of Kafka. A [`Process`] is killed and waited for when it is dropped, also while a test panics. Where
//! util-linux's `setpriv` exists, the kernel kills it too if the test process itself is killed.

use std::{
    fs,
    io::{self, BufReader, Read, Write},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{LazyLock, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// A running child.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: Command) -> io::Result<Self> {
        let (reply, child) = mpsc::channel();
        SPAWNER
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send((command, reply))
            .expect("the spawner ends with the process");
        child.recv().expect("the spawner answers every command").map(Self)
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Sends a signal by its name. An error is one of the command `kill`; a process that has ended takes no signals.
    pub(super) fn signal(&mut self, name: &str) -> Result<(), String> {
        if !self.is_running() {
            return Err(format!("process {} has ended, it takes no SIG{name}", self.0.id()));
        }
        match Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("kill -s {name} {}: {status}", self.0.id())),
            Err(e) => Err(format!("cannot run kill: {e}")),
        }
    }

    /// SIGKILL, and returns when the process is gone.
    pub(crate) fn kill(&mut self) {
        // Both fail only for a process that was waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// See [`peak_memory`]; `None` once it has ended.
    pub(crate) fn peak_memory(&self) -> Option<usize> {
        peak_memory(self.0.id())
    }

    /// Waits for the end; `None` if it did not come within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        poll_until(limit, || self.0.try_wait().ok().flatten())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command for `program` that dies with the test process where that can be had.
pub(crate) fn bound_command(program: &str) -> Command {
    if !*HAS_SETPRIV {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

/// The most memory that a process ever had at once, in bytes. Linux tells.
pub(crate) fn peak_memory(process: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))?;
    peak.trim().parse().ok().map(|kilobytes: usize| kilobytes * 1024)
}

/// Whether `program` can be started at all.
pub(super) fn exists(program: &str, harmless_argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(harmless_argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs a command to its end, feeding it `input` and handing its standard output to `read` as it comes.
///
/// A command that fails, or is not done within `limit`, is an error that ends with what it said on standard error.
pub(crate) fn run<T>(
    what: &str,
    mut command: Command,
    input: &[u8],
    limit: Duration,
    read: impl FnOnce(BufReader<ChildStdout>) -> T,
) -> Result<T, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::start(command).map_err(|e| format!("{what}: cannot start: {e}"))?;
    let mut stdin = process.0.stdin.take().expect("stdin is piped");
    let stdout = process.0.stdout.take().expect("stdout is piped");
    let mut stderr = process.0.stderr.take().expect("stderr is piped");
    let began = Instant::now();
    let process = Mutex::new(process);
    let lock = || process.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        // A command that ends before it has read everything says why in its exit status.
        scope.spawn(move || drop(stdin.write_all(input)));
        let said = scope.spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        // A panic in `read` drops `done`, and the command is killed as it is when its time is over: the scope could
        // not end before it.
        let (done, ended) = mpsc::channel::<()>();
        let watchdog = scope.spawn(move || {
            let late = ended.recv_timeout(limit).is_err();
            if late {
                lock().kill();
            }
            late
        });
        let output = read(BufReader::with_capacity(1 << 16, stdout));
        let status = poll_until(limit.saturating_sub(began.elapsed()), || lock().0.try_wait().ok().flatten());
        if status.is_some() {
            let _ = done.send(());
        }
        drop(done);
        let late = watchdog.join().expect("the watchdog does not panic");
        let said = said.join().expect("the reader of standard error does not panic");
        match status {
            Some(status) if status.success() => Ok(output),
            Some(status) if !late => Err(format!("{what}: {status}: {}", tail(&said, 20))),
            _ => Err(format!("{what}: not done within {limit:?}: {}", tail(&said, 20))),
        }
    })
}

/// Asks until there is an answer; `None` if there was none within `limit`.
pub(crate) fn poll_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// The last `lines` lines of a text.
pub(super) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// Every child is started by one thread that lives as long as the process: the kernel's "kill it when the parent dies"
/// means the parent *thread*, and a thread that runs one test ends long before its cluster may.
static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, queue) = mpsc::channel::<Order>();
    thread::spawn(move || {
        for (mut command, reply) in queue {
            let _ = reply.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

static HAS_SETPRIV: LazyLock<bool> = LazyLock::new(|| {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
});

/// Another process's state can only be asked for, again and again; a JVM takes a second to start.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
