//! Which tests run, against what, and what is said about those that do not.
//!
//! | found | what happens |
//! |---|---|
//! | Java and Maven | clusters are started as tests ask for them, one at a time |
//! | no Java or no Maven | the tests are ignored, and the reason and the remedy are printed |
//! | `REQUIRE_KAFKA=1` | what would be ignored for want of Java or Maven fails |
//! | `KAFKA_BOOTSTRAP=host:port` | tests run against that cluster; those that kill its brokers or read their disks are ignored |
//! | `KAFKA_VERSIONS=all`, or `2.8.2,3.9.2` | what every version must take runs against those, see `versions.rs` |
//! | `CHAOS_MINUTES=n`, `CHAOS_SEED=n` | how long chaos lasts, and which one it is, see `chaos.rs` |

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::{Command, ExitCode},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use libtest_mimic::{Arguments, Trial};

use super::{
    cluster::{Cluster, Spec},
    jars,
    kafka::Kafka,
    process,
};

/// A test and the cluster that it wants.
pub(crate) struct Case {
    name: String,
    spec: Spec,
    body: Body,
    limit: Duration,
}

#[derive(Clone, Copy)]
enum Body {
    Any(fn(&Kafka)),
    Owned(fn(&mut Cluster)),
}

/// A test that any cluster will do for, as long as topics can be created there.
pub(crate) fn any(spec: Spec, name: impl Into<String>, body: fn(&Kafka)) -> Case {
    Case { name: name.into(), spec, body: Body::Any(body), limit: TEST_LIMIT }
}

/// A test that lays hands on the brokers: on their processes, their settings or their disks.
pub(crate) fn owned(spec: Spec, name: impl Into<String>, body: fn(&mut Cluster)) -> Case {
    Case { name: name.into(), spec, body: Body::Owned(body), limit: TEST_LIMIT }
}

impl Case {
    /// It takes so much longer than the others may.
    pub(crate) fn and_lasts(self, longer: Duration) -> Self {
        Self { limit: self.limit + longer, ..self }
    }
}

/// Runs what the command line selects, and says at the end how much of it met a real Kafka.
pub(crate) fn run(cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A cluster takes all of a small machine, and there is one at a time.
    arguments.test_threads.get_or_insert(1);
    let selected = cases.iter().filter(|case| !arguments.list && is_selected(&arguments, &case.name));
    let lab = Arc::new(Lab::new(selected.map(|case| case.spec.version).collect()));
    let trials = cases.into_iter().map(|case| trial(&lab, case)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    lab.tidy_up();
    if !arguments.list {
        lab.report();
    }
    conclusion.exit_code()
}

/// What the tests of one run share.
struct Lab {
    /// `KAFKA_BOOTSTRAP`.
    foreign: Option<String>,
    /// `REQUIRE_KAFKA`.
    required: bool,
    /// Versions that were asked for and cannot be had.
    missing: BTreeMap<&'static str, Missing>,
    lent: Mutex<Lent>,
    /// How many tests ran against what.
    ran: Mutex<BTreeMap<String, u32>>,
}

/// Why there is no Kafka.
#[derive(Clone)]
struct Missing {
    /// In a line.
    reason: String,
    /// What helps, or what a tool said.
    more: String,
}

/// The cluster in use. A test that wants another one ends it: three brokers and one more would crowd a small machine.
enum Lent {
    Nothing,
    Ours(Cluster),
    Foreign(Kafka),
}

impl Lab {
    fn new(versions: BTreeSet<&'static str>) -> Self {
        let foreign = env::var("KAFKA_BOOTSTRAP").ok().filter(|value| !value.is_empty());
        let find = |version| {
            // The tools are always needed; a foreign cluster brings its brokers itself.
            let wanted = [Some(jars::TOOLS), Some(version).filter(|_| foreign.is_none())];
            look_for_java().and_then(|()| wanted.into_iter().flatten().try_for_each(look_for_jars))
        };
        let missing =
            versions.into_iter().filter_map(|version| Some((version, find(version).err()?))).collect();
        Self {
            required: env::var("REQUIRE_KAFKA").is_ok_and(|value| !matches!(&*value, "" | "0")),
            missing,
            lent: Mutex::new(Lent::Nothing),
            ran: Mutex::default(),
            foreign,
        }
    }

    /// Why a test cannot run, if a cluster that was named is the reason.
    fn unfit(&self, case: &Case) -> Option<&'static str> {
        self.foreign.as_ref()?;
        match case.body {
            Body::Owned(_) => Some("needs brokers of its own, and KAFKA_BOOTSTRAP is set"),
            Body::Any(_) if case.spec.version != jars::TOOLS => Some("KAFKA_BOOTSTRAP says which Kafka"),
            Body::Any(_) => None,
        }
    }

    /// Runs a test on the cluster that it wants; panics as the test does.
    fn run(&self, case: &Case) -> Result<(), String> {
        let mut lent = lock(&self.lent);
        let target = self.foreign.clone().unwrap_or_else(|| case.spec.version.into());
        lent.prepare(case.spec, self.foreign.as_ref())?;
        *lock(&self.ran).entry(target).or_default() += 1;
        let _limit = kill_process_after(case.limit, case.name.clone());
        let tested = catch_unwind(AssertUnwindSafe(|| match (case.body, &mut *lent) {
            (Body::Any(test), Lent::Ours(cluster)) => test(cluster.kafka()),
            (Body::Any(test), Lent::Foreign(kafka)) => test(kafka),
            (Body::Owned(test), Lent::Ours(cluster)) => test(cluster),
            _ => unreachable!("a cluster that fits was prepared"),
        }));
        tested.or_else(|panic| {
            if let Lent::Ours(cluster) = &*lent {
                cluster.print_log_tails();
            }
            resume_unwind(panic)
        })
    }

    fn tidy_up(&self) {
        if let Lent::Foreign(kafka) = std::mem::replace(&mut *lock(&self.lent), Lent::Nothing)
            && let Err(e) = kafka.delete_created_topics()
        {
            eprintln!("the topics of this run could not be deleted: {e}");
        }
    }

    fn report(&self) {
        let ran = lock(&self.ran);
        let targets: Vec<_> = ran.keys().map(String::as_str).collect();
        match ran.values().sum::<u32>() {
            0 => println!("real Kafka: 0 ran"),
            n => println!("real Kafka: {n} ran against {}", targets.join(", ")),
        }
        // One missing thing is missing for every version.
        let reasons: BTreeMap<_, _> =
            self.missing.values().map(|missing| (&missing.reason, &missing.more)).collect();
        for (reason, more) in reasons {
            println!("real Kafka: {reason}: {more}");
        }
    }
}

impl Lent {
    fn prepare(&mut self, spec: Spec, foreign: Option<&String>) -> Result<(), String> {
        if let Some(bootstrap) = foreign {
            if !matches!(self, Self::Foreign(_)) {
                *self = Self::Foreign(Kafka::at(bootstrap.clone())?);
            }
            return Ok(());
        }
        if let Self::Ours(cluster) = self
            && cluster.spec() == spec
        {
            match cluster.heal() {
                Ok(()) => return Ok(()),
                Err(e) => {
                    eprintln!("the cluster did not recover from the last test, here is another one: {e}")
                }
            }
        }
        // The old one ends before the new one starts.
        *self = Self::Nothing;
        *self = Self::Ours(Cluster::start(spec)?);
        Ok(())
    }
}

fn trial(lab: &Arc<Lab>, case: Case) -> Trial {
    let plural = if case.spec.nodes == 1 { "" } else { "s" };
    let ours = || format!("{}, {} broker{plural}", case.spec.version, case.spec.nodes);
    let kind = lab.foreign.clone().unwrap_or_else(ours);
    let name = case.name.clone();
    let ignored = |why: String| Trial::test(&name, || Ok(())).with_kind(why).with_ignored_flag(true);
    if let Some(why) = lab.unfit(&case) {
        return ignored(why.into());
    }
    match lab.missing.get(case.spec.version).cloned() {
        Some(missing) if lab.required => {
            let failure = format!("REQUIRE_KAFKA is set: {}: {}", missing.reason, missing.more);
            Trial::test(name, move || Err(failure.into())).with_kind(kind)
        }
        Some(missing) => ignored(missing.reason),
        None => {
            let lab = Arc::clone(lab);
            Trial::test(name, move || Ok(lab.run(&case)?)).with_kind(kind)
        }
    }
}

/// As libtest-mimic decides it: what is not selected is not worth a download.
fn is_selected(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| if arguments.exact { name == filter } else { name.contains(&**filter) };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

fn look_for_java() -> Result<(), Missing> {
    // `java -version` speaks on standard error: `openjdk version "17.0.15" 2025-04-15`.
    let said = Command::new("java").arg("-version").output().map(|out| out.stderr).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let major =
        said.split('"').nth(1).and_then(|version| version.split(['.', '-', '+']).next()?.parse::<u32>().ok());
    match major {
        Some(JAVA..) => Ok(()),
        Some(older) => Err(Missing { reason: format!("Java {older} is too old"), more: INSTALL.into() }),
        None => Err(Missing { reason: "Java is not installed".into(), more: INSTALL.into() }),
    }
}

fn look_for_jars(version: &str) -> Result<(), Missing> {
    if !jars::are_cached(version) && !process::exists("mvn", "--version") {
        return Err(Missing { reason: "Maven is not installed".into(), more: INSTALL.into() });
    }
    let fetched = jars::folder(version).map(drop);
    fetched.map_err(|more| Missing { reason: format!("Kafka {version} could not be fetched"), more })
}

/// Ends the process if what is returned is not dropped in time: a test that hangs would hide every result, its own too.
fn kill_process_after(limit: Duration, test: String) -> mpsc::Sender<()> {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{test} still runs after {limit:?}: the process ends here");
            std::process::exit(1);
        }
    });
    done
}

/// A test that failed has left nothing half done in here: the locks guard what is whole between two tests.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Several times what the longest test takes on a busy machine, but for what is [said](Case::and_lasts) to take longer.
const TEST_LIMIT: Duration = Duration::from_secs(300);
/// What Kafka 4 runs on.
const JAVA: u32 = 17;
const INSTALL: &str = "apt-get install openjdk-17-jdk-headless maven";
