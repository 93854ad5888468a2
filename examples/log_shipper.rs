//! Sends the lines of a log file while another program writes it, through rotation, truncation and restarts.
//!
//! ```text
//! cargo run --example log_shipper -- --bootstrap-server localhost:9092 --topic logs --file /var/log/app.log
//! ```
//!
//! Lines are sent a batch at a time. When all of a batch is acknowledged, the place behind it is written to a file
//! beside the log; a new start goes on from there. So each line arrives at least once: after a crash, those of one batch
//! may arrive twice. The file's path is the key of all its records, so they lie in one partition, in the order of the
//! file; of lines that arrive twice, the first ones are in that order.
//!
//! A rotated log is looked for in the folder of the log. What it cannot do: lines that were truncated away, compressed
//! or deleted before it read them are gone; and if the log was rotated more than once while it was not running, it reads
//! the file that it was in and the newest, and none between.

mod shared;

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use kafka_producer::{DeliveryFuture, Producer, ProducerRecord};

use shared::{Connection, Failure, termination::Stop};

/// Sends each line of a file, and those that are added to it, as records.
#[derive(clap::Parser)]
#[command(name = "log_shipper")]
struct Flags {
    #[command(flatten)]
    connection: Connection,
    /// The topic to send to.
    #[arg(long)]
    topic: String,
    /// The log. It need not exist yet.
    #[arg(long)]
    file: PathBuf,
    /// Where to remember how far it came; FILE.shipped if not given.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Without a memory, begin with the first line, and not at the end of the file.
    #[arg(long)]
    from_start: bool,
}

fn main() -> ExitCode {
    shared::run(|flags: Flags| {
        // A cluster that is away is waited for: a line that was given up could not be sent later, behind others.
        let patience = [("delivery.timeout.ms", Some(FOREVER)), ("max.block.ms", Some(FOREVER))];
        let producer = Producer::new(flags.connection.config(&[], &patience)?)?;
        let stop = Stop::on_signal({
            let producer = producer.clone();
            // It waits for a cluster that does not answer. What is not acknowledged is sent by the next start.
            move || drop(producer.close_timeout(Duration::ZERO))
        })?;
        let mut shipped = 0;
        let outcome = ship(&flags, &producer, &stop, &mut shipped);
        let closed = producer.close();
        let was_asked = stop.is_asked();
        stop.ended();
        writeln!(io::stdout(), "{shipped} lines sent")?;
        match outcome {
            Err(failure) if was_asked => {
                log::info!("what is left is for the next start: {failure}");
                Ok(())
            }
            outcome => outcome.and(closed.map_err(Failure::from)),
        }
    })
}

/// Until a signal asks for the end.
fn ship(flags: &Flags, producer: &Producer, stop: &Stop, shipped: &mut usize) -> Result<(), Failure> {
    let memory = Memory::new(flags);
    let mut log = Log::open(&flags.file, memory.recall()?, flags.from_start)?;
    // What is written from now on is found again, even if nothing is acknowledged before a crash.
    memory.remember(log.place)?;
    while !stop.is_asked() {
        let batch = log.read_batch()?;
        if batch.lines().next().is_some() {
            let (acknowledged, outcome) = send(flags, producer, &batch);
            *shipped += acknowledged;
            log.place = batch.place_behind(acknowledged);
            memory.remember(log.place)?;
            outcome?;
        } else if !log.follow_rotation()? {
            stop.wait(POLL);
        }
    }
    Ok(())
}

/// Returns how many lines were acknowledged before the first that was not, and why that was not.
fn send(flags: &Flags, producer: &Producer, batch: &Batch) -> (usize, Result<(), Failure>) {
    let key = flags.file.as_os_str().as_encoded_bytes();
    let mut sent: Vec<DeliveryFuture> = Vec::new();
    let mut outcome: Result<(), Failure> = Ok(());
    for line in batch.lines() {
        match producer.send(ProducerRecord::new(&flags.topic, line).key(key)) {
            Ok(delivery) => sent.push(delivery),
            Err(error) => {
                outcome = Err(error.into());
                break;
            }
        }
    }
    for (i, delivery) in sent.iter().enumerate() {
        if let Err(error) = delivery.get() {
            return (i, Err(error.into()));
        }
    }
    (sent.len(), outcome)
}

/// How far it came, in a file.
struct Memory(PathBuf);

impl Memory {
    fn new(flags: &Flags) -> Self {
        Self(flags.state.clone().unwrap_or_else(|| with_suffix(&flags.file, ".shipped")))
    }

    fn recall(&self) -> Result<Option<Place>, Failure> {
        match fs::read_to_string(&self.0) {
            Ok(text) => match text.parse() {
                Ok(place) => Ok(Some(place)),
                Err(()) => Err(format!("{}: not what log_shipper has written", self.0.display()).into()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(about(&self.0, error)),
        }
    }

    /// The file is replaced as a whole: a crash leaves the old one or the new one.
    fn remember(&self, place: Option<Place>) -> Result<(), Failure> {
        let Some(place) = place else { return Ok(()) };
        let new = with_suffix(&self.0, ".new");
        let written = File::create(&new).and_then(|mut file| {
            writeln!(file, "{} {} {}", place.file, place.position, place.checksum)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&new, &self.0)).map_err(|error| about(&self.0, error))
    }
}

/// A place in a file that other programs may rename, replace and truncate.
#[derive(Clone, Copy)]
struct Place {
    file: u64,
    position: u64,
    /// Of the bytes before it, [`REMEMBERED`] at most: they say whether this is still the same file.
    checksum: u32,
}

impl Place {
    fn start(file: u64) -> Self {
        Self { file, position: 0, checksum: crc32c::crc32c(&[]) }
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split_whitespace();
        let mut word = || words.next().ok_or(());
        Ok(Self {
            file: word()?.parse().map_err(drop)?,
            position: word()?.parse().map_err(drop)?,
            checksum: word()?.parse().map_err(drop)?,
        })
    }
}

/// The file that is being read. After a rotation it has another name than the log, and its last lines come first.
struct Log {
    path: PathBuf,
    /// `None` as long as there is no log.
    file: Option<File>,
    /// Behind the last line that is acknowledged; there if `file` is.
    place: Option<Place>,
    /// Nothing more will be written to it.
    is_complete: bool,
}

impl Log {
    fn open(path: &Path, remembered: Option<Place>, from_start: bool) -> Result<Self, Failure> {
        let mut log = Self { path: path.to_owned(), file: None, place: None, is_complete: false };
        if let Some(place) = remembered {
            match find(path, place).map_err(|error| about(path, error))? {
                Some(file) => (log.file, log.place) = (Some(file), Some(place)),
                None => eprintln!(
                    "the file that it was in is gone, and lines may be with it; it goes on with {}",
                    path.display()
                ),
            }
        }
        if log.file.is_none() && log.open_newest()? && remembered.is_none() && !from_start {
            log.go_to_end().map_err(|error| about(path, error))?;
        }
        Ok(log)
    }

    /// Opens what has the log's name now, at its start; false if nothing has.
    fn open_newest(&mut self) -> Result<bool, Failure> {
        let opened = File::open(&self.path).and_then(|file| Ok((identity(&file.metadata()?), file)));
        match opened {
            Ok((id, file)) => {
                (self.file, self.place, self.is_complete) = (Some(file), Some(Place::start(id)), false);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(about(&self.path, error)),
        }
    }

    /// Behind the last whole line.
    fn go_to_end(&mut self) -> io::Result<()> {
        if let (Some(file), Some(place)) = (&mut self.file, &mut self.place) {
            let length = file.metadata()?.len();
            let last = bytes(file, length.saturating_sub(BATCH), length.min(BATCH))?;
            let begun = last.iter().rev().take_while(|&&byte| byte != b'\n').count();
            place.position = length.saturating_sub(begun as u64);
            let before = place.position.min(REMEMBERED);
            place.checksum = crc32c::crc32c(&bytes(file, place.position - before, before)?);
        }
        Ok(())
    }

    /// The whole lines behind the place, and a few bytes before it.
    fn read_batch(&mut self) -> Result<Batch, Failure> {
        let (Some(file), Some(place)) = (&mut self.file, &mut self.place) else {
            return Ok(Batch::default());
        };
        let mut most = BATCH;
        loop {
            let before = place.position.min(REMEMBERED);
            let read = bytes(file, place.position - before, before + most);
            let bytes = read.map_err(|error| about(&self.path, error))?;
            let start = before as usize;
            if bytes.get(..start).is_none_or(|known| crc32c::crc32c(known) != place.checksum) {
                log::info!("{} was truncated, and is read from its start", self.path.display());
                *place = Place::start(place.file);
                continue;
            }
            let is_full = bytes.len() - start == most as usize;
            let end = match bytes[start..].iter().rposition(|&byte| byte == b'\n') {
                Some(last) => start + last + 1,
                // Nobody ends this line any more.
                None if self.is_complete && !is_full => bytes.len(),
                None if is_full => {
                    most *= 2;
                    continue;
                }
                None => start,
            };
            return Ok(Batch { place: Some(*place), bytes, start, end });
        }
    }

    /// At the end of a file that has lost its name to another: goes on to that. False if all stays as it is.
    fn follow_rotation(&mut self) -> Result<bool, Failure> {
        let Some(place) = self.place else {
            return self.open_newest();
        };
        match fs::metadata(&self.path) {
            // Who rotates a log makes the new file first and tells its writer then. As long as the new one is empty,
            // lines may still be written to the old one.
            Ok(newest) if identity(&newest) != place.file && newest.len() > 0 => {
                if self.is_complete {
                    return self.open_newest();
                }
                self.is_complete = true;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(about(&self.path, error)),
        }
    }
}

/// Lines that are sent together.
#[derive(Default)]
struct Batch {
    place: Option<Place>,
    /// From a few bytes before the place on.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Batch {
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.parts().map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes[self.start..self.end].split_inclusive(|&byte| byte == b'\n')
    }

    fn place_behind(&self, lines: usize) -> Option<Place> {
        let length: usize = self.parts().take(lines).map(<[u8]>::len).sum();
        let end = self.start + length;
        self.place.map(|place| {
            let position = place.position + length as u64;
            let before = position.min(REMEMBERED) as usize;
            Place { position, checksum: crc32c::crc32c(&self.bytes[end - before..end]), ..place }
        })
    }
}

/// The file with that place in it: the log itself, or one in its folder, to which it was renamed.
fn find(path: &Path, place: Place) -> io::Result<Option<File>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let others = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    for candidate in [path.to_owned()].into_iter().chain(others) {
        // One that may not be looked at, or that vanishes meanwhile, is not the one.
        let Ok(metadata) = fs::metadata(&candidate) else { continue };
        if !metadata.is_file() || identity(&metadata) != place.file || metadata.len() < place.position {
            continue;
        }
        let mut file = File::open(&candidate)?;
        let before = place.position.min(REMEMBERED);
        if crc32c::crc32c(&bytes(&mut file, place.position - before, before)?) == place.checksum {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// Up to `most` bytes from `position` on.
fn bytes(file: &mut File, position: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(position))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a file keeps when it is renamed.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

/// What a file keeps when it is renamed.
#[cfg(not(unix))]
fn identity(metadata: &Metadata) -> u64 {
    let created = metadata.created().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    created.map_or(0, |since| since.as_nanos() as u64)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn about(path: &Path, error: io::Error) -> Failure {
    format!("{}: {error}", path.display()).into()
}

/// How long it sleeps at the end of the file.
const POLL: Duration = Duration::from_millis(100);
/// How much is read and sent before it waits for acknowledgements; so much may arrive twice after a crash. A line may
/// be longer.
const BATCH: u64 = 1 << 20;
/// Enough bytes to tell one log from another by: most lines begin with a time.
const REMEMBERED: u64 = 256;
/// In milliseconds: the most that Java takes.
const FOREVER: &str = "2147483647";
