//! From bytes to counts and answers, one connection at a time.
//!
//! Sockets and clocks are strangers here. A produce request is read as it comes, header by header: its records are
//! passed over where they lie, so that the buffer stays small enough for the processor's cache whatever a request's
//! size. Only `--verify` and the old message format wait until all of a batch is there.
//!
//! ```text
//!           other API
//! Frame ---> Whole ---> Frame
//!   | produce
//!   v
//! Topic ---> Partition ---> Batch <--> Skip
//!   ^            ^            | none left
//!   |            |            v
//!   |            '------ PartitionEnd
//!   |                         | last of the topic
//!   '----------- topic end ---+---> request end: the answer is complete, Frame
//! ```

use super::ledger::{BatchHeader, Ledger};
use crate::payload;

/// One client's bytes, and how far they have been read.
pub struct Conversation {
    port: u16,
    /// What arrived and was not read yet is `inbox[start..end]`.
    inbox: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the current frame that were not read yet.
    left: usize,
    await_: Await,
    produce: Produce,
    answer: Vec<u8>,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
enum Await {
    Frame,
    /// All of a request that is not a produce request.
    Whole,
    Topic,
    Partition,
    Batch {
        left: usize,
    },
    /// Records that nobody looks at, with what follows them in the partition.
    Skip {
        bytes: usize,
        left: usize,
    },
    PartitionEnd,
}

/// The produce request whose frame is being read.
#[derive(Clone, Copy, Debug, Default)]
struct Produce {
    version: i16,
    acks: i16,
    topics_left: usize,
    partitions_left: usize,
    /// `None` is a topic that does not exist here.
    topic: Option<u32>,
    partition: i32,
    base_offset: Option<i64>,
}

impl Conversation {
    /// A conversation with a client that finds the only broker at this port of the loopback.
    pub fn new(port: u16) -> Self {
        let (await_, produce) = (Await::Frame, Produce::default());
        Self { port, inbox: vec![0; INBOX], start: 0, end: 0, left: 0, await_, produce, answer: Vec::new() }
    }

    /// Where to put what arrives next; say how much it was by [`received`](Self::received).
    pub fn room(&mut self) -> &mut [u8] {
        let pending = self.end - self.start;
        if self.start > 0 && (pending < INBOX / 32 || self.end > self.inbox.len() / 4 * 3) {
            self.inbox.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, pending);
        }
        if self.end == self.inbox.len() {
            self.inbox.resize(2 * self.inbox.len(), 0);
        }
        &mut self.inbox[self.end..]
    }

    /// Reads what arrived, counts it, and appends to `out` what is to be answered.
    ///
    /// # Errors
    /// Bytes that are no request, or one that no producer needs: the connection is of no more use.
    pub fn received(&mut self, bytes: usize, ledger: &mut Ledger, out: &mut Vec<u8>) -> Result<(), String> {
        self.end += bytes;
        while self.step(ledger, out)? {}
        Ok(())
    }

    /// One step of the machine above; `false` if it needs more bytes.
    fn step(&mut self, ledger: &mut Ledger, out: &mut Vec<u8>) -> Result<bool, String> {
        match self.await_ {
            Await::Frame => self.on_frame(),
            Await::Whole => self.on_whole(ledger, out),
            Await::Topic => self.on_topic(),
            Await::Partition => self.on_partition(),
            Await::Batch { left: 0 } => {
                self.await_ = Await::PartitionEnd;
                Ok(true)
            }
            Await::Batch { left } => self.on_batch(left, ledger),
            Await::Skip { bytes, left } => {
                let here = bytes.min(self.end - self.start);
                self.read(here);
                self.await_ = match bytes - here {
                    0 => Await::Batch { left },
                    bytes => Await::Skip { bytes, left },
                };
                Ok(here == bytes)
            }
            Await::PartitionEnd => self.on_partition_end(ledger, out),
        }
    }

    fn on_frame(&mut self) -> Result<bool, String> {
        let here = &self.inbox[self.start..self.end];
        let mut fields = Fields { rest: here, flexible: false };
        let Some(length) = fields.i32() else { return Ok(false) };
        let Some(head) = Head::read(&mut fields) else { return Ok(false) };
        let length = usize::try_from(length).map_err(|_| format!("a frame of {length} bytes"))?;
        if head.key != PRODUCE {
            self.read(4);
            self.left = length;
            self.await_ = Await::Whole;
            return Ok(true);
        }
        if !(0..=PRODUCE_MAX).contains(&head.version) {
            return Err(format!("produce version {}: 0 to {PRODUCE_MAX} are known", head.version));
        }
        let prelude = |fields: &mut Fields<'_>| {
            if head.version >= 3 {
                fields.string()?;
            }
            let acks = fields.i16()?;
            fields.i32()?;
            Some((acks, fields.array()?))
        };
        let Some((acks, topics_left)) = prelude(&mut fields) else { return Ok(false) };
        let read = here.len() - fields.rest.len();
        self.read(4);
        self.left = length;
        self.read(read - 4);
        self.produce = Produce { version: head.version, acks, topics_left, ..Produce::default() };
        let mut answer = Answer::begin(&mut self.answer, head.correlation, head.version >= 9);
        if head.version >= 9 {
            answer.tags();
        }
        answer.array(topics_left);
        self.await_ = Await::Topic;
        Ok(true)
    }

    fn on_whole(&mut self, ledger: &mut Ledger, out: &mut Vec<u8>) -> Result<bool, String> {
        if self.end - self.start < self.left {
            return Ok(false);
        }
        let frame = &self.inbox[self.start..self.start + self.left];
        let mut fields = Fields { rest: frame, flexible: false };
        let head = Head::read(&mut fields).ok_or("a request that ends in its header")?;
        match head.key {
            API_VERSIONS => answer_api_versions(&mut self.answer, &head),
            METADATA => answer_metadata(&mut self.answer, &head, &mut fields, ledger, self.port)
                .ok_or("a metadata request that ends too early")?,
            INIT_PRODUCER_ID => answer_producer_id(&mut self.answer, &head, ledger.take_producer_id()),
            key => return Err(format!("a request with API key {key}, which was not offered")),
        }
        Answer::end(&mut self.answer, out);
        self.read(self.left);
        self.await_ = Await::Frame;
        Ok(true)
    }

    fn on_topic(&mut self) -> Result<bool, String> {
        // Not by `fields`: the name is written to the answer while it is borrowed.
        let rest = &self.inbox[self.start..self.end.min(self.start + self.left)];
        let mut fields = Fields { rest, flexible: self.produce.version >= 9 };
        let (by_id, here) = (self.produce.version >= 13, rest.len());
        let name = if by_id { fields.take(16) } else { fields.string().flatten() };
        let Some((name, partitions)) = name.zip(fields.array()) else { return self.incomplete("a topic") };
        let topic = if by_id { topic_of_id(name) } else { payload::topic_index(name) };
        let read = here - fields.rest.len();
        let mut answer = Answer { out: &mut self.answer, flexible: self.produce.version >= 9 };
        if by_id {
            answer.out.extend_from_slice(name)
        } else {
            answer.string(name)
        }
        answer.array(partitions);
        self.produce.topic = topic;
        self.produce.partitions_left = partitions;
        self.read(read);
        self.await_ = Await::Partition;
        Ok(true)
    }

    fn on_partition(&mut self) -> Result<bool, String> {
        let mut fields = self.fields();
        let here = fields.rest.len();
        let Some((partition, left)) = fields.i32().zip(fields.bytes_len()) else {
            return self.incomplete("a partition");
        };
        let read = here - fields.rest.len();
        self.produce.partition = partition;
        self.produce.base_offset = None;
        self.read(read);
        self.await_ = Await::Batch { left };
        Ok(true)
    }

    fn on_batch(&mut self, left: usize, ledger: &mut Ledger) -> Result<bool, String> {
        let here = &self.inbox[self.start..self.end];
        let topic = self.produce.topic.filter(|index| *index < ledger.shape().topics);
        if here.len() < 17 {
            return self.incomplete("a batch");
        }
        let (header, bytes) = if here[16] == 2 {
            let whole = 12 + u32::from_be_bytes(field(here, 8)) as usize;
            let needed = if ledger.shape().verify { whole } else { 61 };
            if whole < 61 || whole > left {
                return Err(format!("a batch of {whole} bytes where {left} are left"));
            }
            if here.len() < needed {
                return Ok(false);
            }
            if ledger.shape().verify {
                ledger.verify(&here[..whole]);
            }
            (header_of_batch(here, whole), whole)
        } else {
            if here.len() < left {
                return Ok(false);
            }
            let records =
                messages_in(&here[..left]).ok_or("a message set that does not end with a message")?;
            (BatchHeader { records, bytes: left, producer: None }, left)
        };
        let base = topic.and_then(|topic| ledger.on_batch(topic, self.produce.partition, &header));
        self.produce.base_offset = self.produce.base_offset.or(base);
        self.await_ = Await::Skip { bytes, left: left - bytes };
        Ok(true)
    }

    fn on_partition_end(&mut self, ledger: &mut Ledger, out: &mut Vec<u8>) -> Result<bool, String> {
        let Produce { version, topics_left, partitions_left, .. } = self.produce;
        let flexible = version >= 9;
        let (last_partition, last_topic) = (partitions_left == 1, topics_left == 1);
        let mut fields = self.fields();
        let here = fields.rest.len();
        // A partition, its topic and the request each end with tags of their own.
        let ends = 1 + usize::from(last_partition) + usize::from(last_partition && last_topic);
        if flexible && (0..ends).any(|_| fields.tags().is_none()) {
            return self.incomplete("the end of a partition");
        }
        let read = here - fields.rest.len();
        let mut answer = Answer { out: &mut self.answer, flexible };
        answer.partition(&self.produce);
        if last_partition {
            answer.tags();
        }
        self.read(read);
        if !last_partition {
            self.produce.partitions_left -= 1;
            self.await_ = Await::Partition;
            return Ok(true);
        }
        if !last_topic {
            self.produce.topics_left -= 1;
            self.await_ = Await::Topic;
            return Ok(true);
        }
        if self.left != 0 {
            return Err(format!("a produce request with {} bytes behind its end", self.left));
        }
        let mut answer = Answer { out: &mut self.answer, flexible };
        if version >= 1 {
            answer.i32(0);
        }
        answer.tags();
        ledger.on_request();
        if self.produce.acks != 0 {
            Answer::end(&mut self.answer, out);
        }
        self.await_ = Await::Frame;
        Ok(true)
    }

    /// What is here of the current frame.
    fn fields(&self) -> Fields<'_> {
        let rest = &self.inbox[self.start..self.end.min(self.start + self.left)];
        Fields { rest, flexible: self.produce.version >= 9 }
    }

    fn incomplete(&self, what: &str) -> Result<bool, String> {
        if self.end - self.start >= self.left {
            return Err(format!("a produce request that ends in {what}"));
        }
        Ok(false)
    }

    fn read(&mut self, bytes: usize) {
        self.start += bytes;
        self.left = self.left.saturating_sub(bytes);
    }
}

/// A request's header.
struct Head {
    key: i16,
    version: i16,
    correlation: i32,
}

impl Head {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (key, version, correlation) = (fields.i16()?, fields.i16()?, fields.i32()?);
        let flexible_from = match key {
            PRODUCE | METADATA => 9,
            API_VERSIONS => 3,
            INIT_PRODUCER_ID => 2,
            _ => i16::MAX,
        };
        // The client's name keeps the old form of a string in all versions.
        fields.string()?;
        fields.flexible = version >= flexible_from;
        fields.tags()?;
        Some(Self { key, version, correlation })
    }
}

fn answer_api_versions(out: &mut Vec<u8>, head: &Head) {
    let known = (0..=API_VERSIONS_MAX).contains(&head.version);
    let version = if known { head.version } else { 0 };
    let mut answer = Answer::begin(out, head.correlation, version >= 3);
    answer.i16(if known { 0 } else { UNSUPPORTED_VERSION });
    let offered = [
        (PRODUCE, PRODUCE_MAX),
        // Never asked for, but librdkafka takes brokers without it for ones that know only the old message formats.
        (FETCH, FETCH_MAX),
        (METADATA, METADATA_MAX),
        (API_VERSIONS, API_VERSIONS_MAX),
        (INIT_PRODUCER_ID, INIT_PRODUCER_ID_MAX),
    ];
    answer.array(offered.len());
    for (key, max) in offered {
        answer.i16(key);
        answer.i16(0);
        answer.i16(max);
        answer.tags();
    }
    if version >= 1 {
        answer.i32(0);
    }
    answer.tags();
}

fn answer_metadata(
    out: &mut Vec<u8>,
    head: &Head,
    fields: &mut Fields<'_>,
    ledger: &Ledger,
    port: u16,
) -> Option<()> {
    let version = head.version;
    let asked = asked_topics(version, fields, ledger.shape().topics)?;
    let mut answer = Answer::begin(out, head.correlation, version >= 9);
    answer.tags();
    if version >= 3 {
        answer.i32(0);
    }
    answer.array(1);
    answer.i32(NODE);
    answer.string(b"127.0.0.1");
    answer.i32(port.into());
    if version >= 1 {
        answer.null_string();
    }
    answer.tags();
    if version >= 2 {
        answer.string(b"sink");
    }
    if version >= 1 {
        answer.i32(NODE);
    }
    answer.array(asked.len());
    for (index, name) in &asked {
        answer.topic(version, *index, name, ledger.shape().partitions);
    }
    if (8..=10).contains(&version) {
        answer.i32(i32::MIN);
    }
    if version >= 13 {
        answer.i16(0);
    }
    answer.tags();
    Some(())
}

/// The topics that a metadata request asks for; one that does not exist has no index.
fn asked_topics(version: i16, fields: &mut Fields<'_>, topics: u32) -> Option<Vec<(Option<u32>, Vec<u8>)>> {
    let count = fields.array_or_null()?;
    let all = match count {
        None => true,
        Some(count) => version == 0 && count == 0,
    };
    if all {
        return Some((0..topics).map(|index| (Some(index), payload::topic(index).into_bytes())).collect());
    }
    let mut asked = Vec::new();
    for _ in 0..count.unwrap_or(0) {
        let id = if version >= 10 { topic_of_id(fields.take(16)?) } else { None };
        let name = fields.string()?;
        fields.tags()?;
        let index = name.map_or(id, payload::topic_index).filter(|index| *index < topics);
        let name = name.map(<[u8]>::to_vec).or(index.map(|index| payload::topic(index).into_bytes()));
        asked.push((index, name.unwrap_or_default()));
    }
    Some(asked)
}

fn answer_producer_id(out: &mut Vec<u8>, head: &Head, id: i64) {
    let mut answer = Answer::begin(out, head.correlation, head.version >= 2);
    answer.tags();
    answer.i32(0);
    answer.i16(0);
    answer.i64(id);
    answer.i16(0);
    answer.tags();
}

fn header_of_batch(batch: &[u8], bytes: usize) -> BatchHeader {
    let id = i64::from_be_bytes(field(batch, 43));
    let producer =
        (id >= 0).then(|| (id, i16::from_be_bytes(field(batch, 51)), i32::from_be_bytes(field(batch, 53))));
    BatchHeader { records: u32::from_be_bytes(field(batch, 57)), bytes, producer }
}

/// How many messages of the formats 0 and 1 these are.
fn messages_in(mut set: &[u8]) -> Option<u32> {
    let mut messages = 0;
    while !set.is_empty() {
        let size = i32::from_be_bytes(set.get(8..12)?.try_into().ok()?);
        set = set.get(12 + usize::try_from(size).ok()?..)?;
        messages += 1;
    }
    Some(messages)
}

fn topic_id(index: u32) -> [u8; 16] {
    let mut id = *b"kafka-sink..\0\0\0\0";
    id[12..].copy_from_slice(&index.to_be_bytes());
    id
}

fn topic_of_id(id: &[u8]) -> Option<u32> {
    let index = u32::from_be_bytes(id[12..].try_into().ok()?);
    (topic_id(index) == id).then_some(index)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the caller has seen that the header is whole")
}

/// Fields in the order of the wire; `None` where they end too early.
struct Fields<'a> {
    rest: &'a [u8],
    flexible: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        self.rest.split_off(..bytes)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn uvarint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = *self.rest.split_off_first()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn string(&mut self) -> Option<Option<&'a [u8]>> {
        let length =
            if self.flexible { self.uvarint()?.checked_sub(1) } else { usize::try_from(self.i16()?).ok() };
        match length {
            None => Some(None),
            Some(length) => Some(Some(self.take(length)?)),
        }
    }

    fn array_or_null(&mut self) -> Option<Option<usize>> {
        Some(if self.flexible { self.uvarint()?.checked_sub(1) } else { usize::try_from(self.i32()?).ok() })
    }

    fn array(&mut self) -> Option<usize> {
        self.array_or_null()?
    }

    fn bytes_len(&mut self) -> Option<usize> {
        self.array_or_null()?
    }

    fn tags(&mut self) -> Option<()> {
        if self.flexible {
            for _ in 0..self.uvarint()? {
                self.uvarint()?;
                let size = self.uvarint()?;
                self.take(size)?;
            }
        }
        Some(())
    }
}

/// An answer that is being written: four bytes for its length come first.
struct Answer<'a> {
    out: &'a mut Vec<u8>,
    flexible: bool,
}

impl<'a> Answer<'a> {
    fn begin(out: &'a mut Vec<u8>, correlation: i32, flexible: bool) -> Self {
        out.clear();
        out.extend_from_slice(&[0; 4]);
        let mut answer = Self { out, flexible };
        answer.i32(correlation);
        answer
    }

    fn end(answer: &mut [u8], out: &mut Vec<u8>) {
        let length = answer.len() as i32 - 4;
        answer[..4].copy_from_slice(&length.to_be_bytes());
        out.extend_from_slice(answer);
    }

    fn i16(&mut self, value: i16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn uvarint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn array(&mut self, count: usize) {
        if self.flexible { self.uvarint(count + 1) } else { self.i32(count as i32) }
    }

    fn string(&mut self, text: &[u8]) {
        if self.flexible {
            self.uvarint(text.len() + 1)
        } else {
            self.i16(text.len() as i16)
        }
        self.out.extend_from_slice(text);
    }

    fn null_string(&mut self) {
        if self.flexible { self.uvarint(0) } else { self.i16(-1) }
    }

    fn tags(&mut self) {
        if self.flexible {
            self.uvarint(0);
        }
    }

    fn topic(&mut self, version: i16, index: Option<u32>, name: &[u8], partitions: u32) {
        let partitions = if index.is_some() { partitions } else { 0 };
        self.i16(if index.is_some() { 0 } else { UNKNOWN_TOPIC_OR_PARTITION });
        self.string(name);
        if version >= 10 {
            let id = index.map_or([0; 16], topic_id);
            self.out.extend_from_slice(&id);
        }
        if version >= 1 {
            self.out.push(0);
        }
        self.array(partitions as usize);
        for partition in 0..partitions {
            self.i16(0);
            self.i32(partition as i32);
            self.i32(NODE);
            if version >= 7 {
                self.i32(0);
            }
            // The replicas, and those in sync.
            for _ in 0..2 {
                self.array(1);
                self.i32(NODE);
            }
            if version >= 5 {
                self.array(0);
            }
            self.tags();
        }
        if version >= 8 {
            self.i32(i32::MIN);
        }
        self.tags();
    }

    fn partition(&mut self, produce: &Produce) {
        self.i32(produce.partition);
        self.i16(if produce.base_offset.is_some() { 0 } else { UNKNOWN_TOPIC_OR_PARTITION });
        self.i64(produce.base_offset.unwrap_or(-1));
        if produce.version >= 2 {
            self.i64(-1);
        }
        if produce.version >= 5 {
            self.i64(0);
        }
        if produce.version >= 8 {
            self.array(0);
            self.null_string();
        }
        self.tags();
    }
}

/// A request's headers and a good part of its records; with the answers it stays in a core's own cache.
const INBOX: usize = 128 * 1024;

const NODE: i32 = 1;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;

const PRODUCE_MAX: i16 = 13;
const FETCH_MAX: i16 = 17;
const METADATA_MAX: i16 = 13;
const API_VERSIONS_MAX: i16 = 4;
const INIT_PRODUCER_ID_MAX: i16 = 5;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;

#[cfg(test)]
mod tests {
    use super::{super::ledger::Shape, *};
    use crate::wire;

    fn ledger(verify: bool) -> Ledger {
        Ledger::new(Shape { topics: 1, partitions: 6, verify, size: Some(100) })
    }

    fn batch(producer: i64, sequence: i32, count: u32) -> Vec<u8> {
        let mut batch = Vec::new();
        wire::push_batch(&mut batch, count, &payload::value(100), 1_700_000_000_000);
        wire::identify(&mut batch, producer, 0, sequence);
        wire::checksum(&mut batch);
        batch
    }

    /// Feeds bytes in pieces, and returns the answers.
    fn feed(conversation: &mut Conversation, ledger: &mut Ledger, mut bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let room = conversation.room();
            let here = piece.min(bytes.len()).min(room.len());
            room[..here].copy_from_slice(&bytes[..here]);
            bytes = &bytes[here..];
            conversation.received(here, ledger, &mut out).expect("what the test sends is well formed");
        }
        out
    }

    #[test]
    fn counts_do_not_depend_on_where_the_bytes_are_cut() {
        let batches = [batch(7, 0, 10), batch(7, 10, 3), batch(7, 0, 2000)];
        let mut stream = wire::produce_request(1, -1, &[(0, &batches[0]), (5, &batches[2])]);
        stream.extend(wire::produce_request(2, -1, &[(0, &batches[1])]));
        let mut answers = None;
        for verify in [false, true] {
            for piece in [1, 7, 61, 4096, usize::MAX] {
                let (mut ledger, mut conversation) = (ledger(verify), Conversation::new(9092));
                let out = feed(&mut conversation, &mut ledger, &stream, piece);
                let report = ledger.report();
                assert_eq!(
                    (report.requests, report.batches, report.records),
                    (2, 3, 2013),
                    "pieces of {piece}"
                );
                assert_eq!(report.partitions, 2);
                assert_eq!(report.bytes, batches.iter().map(|b| b.len() as u64).sum::<u64>());
                let errors = (report.sequence_errors, report.checksum_errors, report.record_errors);
                assert_eq!(errors, (0, 0, 0), "pieces of {piece}, verify {verify}");
                assert_eq!(&out, answers.get_or_insert_with(|| out.clone()));
            }
        }
    }

    #[test]
    fn an_answer_holds_the_offset_of_the_first_record() {
        let (mut ledger, mut conversation) = (ledger(false), Conversation::new(9092));
        let stream = wire::produce_request(1, -1, &[(3, &batch(7, 0, 10))]);
        feed(&mut conversation, &mut ledger, &stream, usize::MAX);
        let stream = wire::produce_request(2, -1, &[(3, &batch(7, 10, 1))]);
        let out = feed(&mut conversation, &mut ledger, &stream, usize::MAX);
        // Length, correlation, one topic with its name, one partition, its index and its error come before.
        let at = 4 + 4 + 4 + 2 + payload::topic(0).len() + 4 + 4 + 2;
        assert_eq!(i64::from_be_bytes(field(&out, at)), 10);
        assert_eq!(out.len() - 4, u32::from_be_bytes(field(&out, 0)) as usize);
    }

    #[test]
    fn what_is_wrong_is_counted() {
        let good = batch(7, 0, 10);
        let mut flipped = good.clone();
        *flipped.last_mut().expect("a batch is not empty") ^= 1;
        let mut other_value = good.clone();
        other_value[100] ^= 1;
        wire::checksum(&mut other_value);
        let gap = batch(7, 1, 10);
        for (batch, sequence, checksum, record) in
            [(&good, 0, 0, 0), (&flipped, 0, 1, 1), (&other_value, 0, 0, 1), (&gap, 1, 0, 0)]
        {
            let (mut ledger, mut conversation) = (ledger(true), Conversation::new(9092));
            let stream = wire::produce_request(1, -1, &[(0, batch)]);
            feed(&mut conversation, &mut ledger, &stream, usize::MAX);
            let report = ledger.report();
            let errors = (report.sequence_errors, report.checksum_errors, report.record_errors);
            assert_eq!(errors, (sequence, checksum, record));
        }
    }

    #[test]
    fn acks_0_is_not_answered() {
        let (mut ledger, mut conversation) = (ledger(false), Conversation::new(9092));
        let stream = wire::produce_request(1, 0, &[(0, &batch(7, 0, 10))]);
        assert!(feed(&mut conversation, &mut ledger, &stream, usize::MAX).is_empty());
        assert_eq!(ledger.report().records, 10);
    }
}
