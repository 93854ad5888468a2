//! librdkafka through its C API: `rd_kafka_produce`, one record a call.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, Thread},
};

use clap::Parser;
use kafka_producer_peers::{
    drive::{self, Producer, Record, Timer},
    flags::{Acks, Flags, Mode, Variant},
    payload,
};
use rdkafka_sys::bindings::{
    RD_KAFKA_MSG_F_BLOCK, RD_KAFKA_MSG_F_COPY, rd_kafka_conf_new, rd_kafka_conf_res_t, rd_kafka_conf_set,
    rd_kafka_conf_set_dr_msg_cb, rd_kafka_conf_t, rd_kafka_err2str, rd_kafka_flush, rd_kafka_last_error,
    rd_kafka_message_t, rd_kafka_new, rd_kafka_poll, rd_kafka_produce, rd_kafka_resp_err_t, rd_kafka_t,
    rd_kafka_topic_new, rd_kafka_topic_t, rd_kafka_type_t, rd_kafka_version_str,
};

struct Librdkafka {
    handle: *mut rd_kafka_t,
    topics: Vec<*mut rd_kafka_topic_t>,
    /// Whether a thread of its own asks for delivery reports; otherwise the sending thread does.
    polled: bool,
}

// SAFETY: librdkafka's handles may be used by any number of threads at once; they are never destroyed here.
unsafe impl Sync for Librdkafka {}

/// Somebody who waits for one record at a time.
struct Waiter {
    done: AtomicBool,
    thread: Thread,
}

impl Producer for Librdkafka {
    type Sender<'a> = Box<Waiter>;

    fn sender(&self) -> Box<Waiter> {
        Box::new(Waiter { done: AtomicBool::new(false), thread: thread::current() })
    }

    fn send(&self, _: &mut Box<Waiter>, record: Record<'_>) {
        self.produce(record, ptr::null_mut());
    }

    fn send_timed(&self, _: &mut Box<Waiter>, record: Record<'_>, timer: Timer) {
        self.produce(record, Box::into_raw(Box::new(timer)).cast());
    }

    fn send_and_wait(&self, waiter: &mut Box<Waiter>, record: Record<'_>) {
        waiter.done.store(false, Ordering::Relaxed);
        self.produce(record, ptr::from_ref::<Waiter>(waiter).cast_mut().cast());
        while !waiter.done.load(Ordering::Acquire) {
            if self.polled {
                thread::park();
            } else {
                // SAFETY: the handle is alive.
                unsafe { rd_kafka_poll(self.handle, POLL_MS) };
            }
        }
    }

    fn flush(&self) {
        // SAFETY: the handle is alive.
        let error = unsafe { rd_kafka_flush(self.handle, FLUSH_MS) };
        assert_eq!(error, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, "{}", text_of(error));
    }
}

impl Librdkafka {
    fn start(flags: &Flags) -> Self {
        let properties = [
            ("bootstrap.servers", flags.bootstrap.clone()),
            ("acks", flags.acks_property().to_owned()),
            ("enable.idempotence", (flags.acks == Acks::All).to_string()),
            ("max.in.flight.requests.per.connection", "5".to_owned()),
            ("linger.ms", flags.linger_ms.to_string()),
            ("batch.size", flags.batch_size.to_string()),
            ("compression.type", flags.compression.clone()),
            // Only bytes shall bound a batch and the queue, as everywhere else.
            ("batch.num.messages", "1000000".to_owned()),
            ("queue.buffering.max.messages", "10000000".to_owned()),
            ("queue.buffering.max.kbytes", (flags.buffer_bytes / 1024).to_string()),
            ("message.max.bytes", "8388608".to_owned()),
            ("partitioner", "murmur2_random".to_owned()),
        ];
        let polled = flags.variant == Variant::Callback || matches!(flags.mode, Mode::Fanin | Mode::Rate);
        // SAFETY: the configuration is made, filled and given to `rd_kafka_new`, which owns it from then on. The texts
        // outlive the calls.
        unsafe {
            let conf = rd_kafka_conf_new();
            for (name, value) in &properties {
                set(conf, name, value);
            }
            for (name, value) in &flags.property {
                set(conf, name, value);
            }
            match flags.mode {
                // Without a callback nothing is reported, which is what costs least.
                Mode::Throughput if flags.variant == Variant::Plain => {}
                Mode::Throughput => rd_kafka_conf_set_dr_msg_cb(conf, Some(delivered)),
                Mode::Latency | Mode::Fanin => rd_kafka_conf_set_dr_msg_cb(conf, Some(delivered_to_waiter)),
                Mode::Rate => rd_kafka_conf_set_dr_msg_cb(conf, Some(delivered_to_timer)),
            }
            let mut error = [0 as c_char; 512];
            let handle =
                rd_kafka_new(rd_kafka_type_t::RD_KAFKA_PRODUCER, conf, error.as_mut_ptr(), error.len());
            assert!(!handle.is_null(), "{:?}", CStr::from_ptr(error.as_ptr()));
            let topic = |index| {
                let name = CString::new(payload::topic(index)).expect("the name has no zero byte");
                rd_kafka_topic_new(handle, name.as_ptr(), ptr::null_mut())
            };
            let this = Self { handle, topics: (0..flags.topics).map(topic).collect(), polled };
            if polled {
                this.poll_in_background();
            }
            this
        }
    }

    fn poll_in_background(&self) {
        let handle = self.handle as usize;
        thread::spawn(move || {
            loop {
                // SAFETY: the handle is never destroyed.
                unsafe { rd_kafka_poll(handle as *mut rd_kafka_t, POLL_MS) };
            }
        });
    }

    fn produce(&self, record: Record<'_>, opaque: *mut c_void) {
        let (key, key_len) = record.key.map_or((ptr::null(), 0), |key| (key.as_ptr(), key.len()));
        // SAFETY: with F_COPY the key and the value are copied before the call returns; the topic is alive.
        let outcome = unsafe {
            rd_kafka_produce(
                self.topics[record.topic],
                PARTITION_OPEN,
                RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_BLOCK,
                record.value.as_ptr().cast_mut().cast(),
                record.value.len(),
                key.cast(),
                key_len,
                opaque,
            )
        };
        if outcome != 0 {
            // SAFETY: no arguments.
            panic!("librdkafka refused a record: {}", text_of(unsafe { rd_kafka_last_error() }));
        }
    }
}

unsafe extern "C" fn delivered(_: *mut rd_kafka_t, message: *const rd_kafka_message_t, _: *mut c_void) {
    // SAFETY: librdkafka hands over a message that is valid during the call.
    let error = unsafe { (*message).err };
    if error != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        // A panic must not cross into C.
        eprintln!("librdkafka lost a record: {}", text_of(error));
        std::process::abort();
    }
}

unsafe extern "C" fn delivered_to_waiter(
    rk: *mut rd_kafka_t,
    message: *const rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: as above; what went in with the record is the waiter, which stays where it is until `done`, and is not
    // touched after that.
    unsafe {
        delivered(rk, message, opaque);
        let waiter = (*message)._private.cast::<Waiter>();
        let thread = (*waiter).thread.clone();
        (*waiter).done.store(true, Ordering::Release);
        thread.unpark();
    }
}

unsafe extern "C" fn delivered_to_timer(
    rk: *mut rd_kafka_t,
    message: *const rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: as above; what went in with the record is null or a boxed timer, and comes out once.
    unsafe {
        delivered(rk, message, opaque);
        let timer = (*message)._private.cast::<Timer>();
        if !timer.is_null() {
            Box::from_raw(timer).done();
        }
    }
}

/// # Safety
/// `conf` is a configuration that nobody owns yet.
unsafe fn set(conf: *mut rd_kafka_conf_t, name: &str, value: &str) {
    let (c_name, c_value) =
        (CString::new(name).expect("no zero byte"), CString::new(value).expect("no zero byte"));
    let mut error = [0 as c_char; 512];
    // SAFETY: the texts and the buffer outlive the call.
    unsafe {
        let outcome =
            rd_kafka_conf_set(conf, c_name.as_ptr(), c_value.as_ptr(), error.as_mut_ptr(), error.len());
        let text = CStr::from_ptr(error.as_ptr());
        assert_eq!(outcome, rd_kafka_conf_res_t::RD_KAFKA_CONF_OK, "{name}={value}: {text:?}");
    }
}

fn text_of(error: rd_kafka_resp_err_t) -> String {
    // SAFETY: it returns a static text for every code.
    unsafe { CStr::from_ptr(rd_kafka_err2str(error)) }.to_string_lossy().into_owned()
}

fn main() {
    let flags = Flags::parse();
    let modes = [Mode::Throughput, Mode::Latency, Mode::Fanin, Mode::Rate];
    drive::only("librdkafka", &flags, &modes, &[Variant::Plain, Variant::Callback]);
    let producer = Librdkafka::start(&flags);
    // SAFETY: it returns a static text.
    let version = unsafe { CStr::from_ptr(rd_kafka_version_str()) }.to_string_lossy().into_owned();
    drive::run("librdkafka", Some(version), &flags, &producer);
}

/// `RD_KAFKA_PARTITION_UA`, a macro that the bindings leave out: the library chooses.
const PARTITION_OPEN: i32 = -1;

const POLL_MS: c_int = 100;

const FLUSH_MS: c_int = 120_000;
