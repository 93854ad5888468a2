//! What goes in and what comes out: [`ProducerRecord`], [`Headers`], [`RecordMetadata`].

use std::{fmt, sync::Arc};

use crate::wire::record::Header;

/// A record to send: a topic and, each optional, a key, a value, a partition, a timestamp and headers.
///
/// It borrows everything; [`send`](crate::Producer::send) copies what it accepts, so a refused record has cost
/// nothing and the caller still has it. Cloning copies the references (and the headers, if there are any).
///
/// ```
/// use kafka_producer::ProducerRecord;
///
/// let record = ProducerRecord::new("orders", "42 apples").key("customer-7").header("trace", b"a1");
/// assert_eq!(record.topic(), "orders");
/// ```
///
/// The type parameters are what the producer's serializers take; the default takes whatever is `AsRef<[u8]>`: strings,
/// byte slices, vectors.
pub struct ProducerRecord<'a, K: ?Sized = [u8], V: ?Sized = [u8]> {
    topic: &'a str,
    partition: Option<i32>,
    timestamp: Option<i64>,
    key: Option<&'a K>,
    value: Option<&'a V>,
    headers: Headers,
}

impl<'a> ProducerRecord<'a> {
    /// A record with a value of bytes or a string.
    pub fn new<V: AsRef<[u8]> + ?Sized>(topic: &'a str, value: &'a V) -> Self {
        Self::with_value(topic, Some(value.as_ref()))
    }

    /// A record without a value: on a compacted topic it deletes what was written under its key.
    pub fn tombstone(topic: &'a str) -> Self {
        Self::with_value(topic, None)
    }

    /// Sets the key, bytes or a string. Records with the same key go to the same partition, in the order sent, as long
    /// as the topic's number of partitions stays the same.
    #[must_use]
    pub fn key<K: AsRef<[u8]> + ?Sized>(self, key: &'a K) -> Self {
        self.with_key(Some(key.as_ref()))
    }
}

impl<'a, K: ?Sized, V: ?Sized> ProducerRecord<'a, K, V> {
    /// A record for a producer with serializers of its own: `value` is what the value serializer takes.
    pub fn with_value(topic: &'a str, value: Option<&'a V>) -> Self {
        Self { topic, partition: None, timestamp: None, key: None, value, headers: Headers::new() }
    }

    /// Sets the key to what the producer's key serializer takes.
    #[must_use]
    pub fn with_key(self, key: Option<&'a K>) -> Self {
        Self { key, ..self }
    }

    /// Sets the partition; neither the key nor a partitioner chooses then.
    ///
    /// A partition that the topic does not have is waited for up to `max.block.ms`, since partitions can be added.
    #[must_use]
    pub fn partition(self, partition: i32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// Sets the timestamp, in milliseconds since 1970-01-01 UTC.
    ///
    /// Without it a record gets the time of its `send`, to within `linger.ms`: a producer that sends more often than
    /// once a millisecond does not read the clock for every record, and may stamp a record with the time of one sent
    /// up to `linger.ms` earlier. Whoever sends more slowly gets the exact millisecond.
    #[must_use]
    pub fn timestamp(self, timestamp: i64) -> Self {
        Self { timestamp: Some(timestamp), ..self }
    }

    /// Adds a header; several may have the same key, and their order is kept.
    #[must_use]
    pub fn header(mut self, key: &str, value: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        self.headers.add(key, Some(value.as_ref()));
        self
    }

    /// Replaces all headers.
    #[must_use]
    pub fn headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }

    /// The topic's name.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The partition that was set.
    pub fn partition_ref(&self) -> Option<i32> {
        self.partition
    }

    /// The timestamp that was set.
    pub fn timestamp_ref(&self) -> Option<i64> {
        self.timestamp
    }

    /// The key that was set.
    pub fn key_ref(&self) -> Option<&'a K> {
        self.key
    }

    /// The value that was set.
    pub fn value_ref(&self) -> Option<&'a V> {
        self.value
    }

    /// The headers that were set.
    pub fn headers_ref(&self) -> &Headers {
        &self.headers
    }

    pub(crate) fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }
}

impl<K: ?Sized, V: ?Sized> Clone for ProducerRecord<'_, K, V> {
    fn clone(&self) -> Self {
        Self { headers: self.headers.clone(), ..*self }
    }
}

/// Names where the record goes and never what it says: keys and values may be secrets.
impl<K: ?Sized, V: ?Sized> fmt::Debug for ProducerRecord<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerRecord")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("timestamp", &self.timestamp)
            .field("has_key", &self.key.is_some())
            .field("has_value", &self.value.is_some())
            .field("headers", &self.headers.len())
            .finish()
    }
}

/// The headers of a record: pairs of a name and bytes or nothing, in order; a name may come more than once.
///
/// ```
/// use kafka_producer::{Headers, ProducerRecord};
///
/// let mut headers = Headers::new();
/// headers.add("trace", Some(b"a1"));
/// headers.add("trace", Some(b"b2"));
/// headers.add("empty", None);
/// assert_eq!(headers.last("trace"), Some(Some(&b"b2"[..])));
/// assert_eq!(headers.last("empty"), Some(None));
/// assert_eq!(headers.last("missing"), None);
/// let record = ProducerRecord::new("orders", "42 apples").headers(headers);
/// # assert_eq!(record.headers_ref().len(), 3);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<Header>,
}

impl Headers {
    /// No headers; allocates nothing.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Adds a header at the end. `None` is a header without a value, which is not the same as an empty value.
    pub fn add(&mut self, key: &str, value: Option<&[u8]>) {
        self.entries.push((key.into(), value.map(Into::into)));
    }

    /// Removes every header of that name and says how many there were.
    pub fn remove(&mut self, key: &str) -> usize {
        let before = self.entries.len();
        self.entries.retain(|(k, _)| **k != *key);
        before - self.entries.len()
    }

    /// The value of the last header of that name.
    pub fn last(&self, key: &str) -> Option<Option<&[u8]>> {
        self.iter().filter(|&(k, _)| k == key).last().map(|(_, v)| v)
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.entries.iter().map(|(k, v)| (&**k, v.as_deref()))
    }

    pub(crate) fn entries(&self) -> &[Header] {
        &self.entries
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Names of headers, never their values.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(k, _)| k)).finish()
    }
}

impl<'k, 'v> FromIterator<(&'k str, Option<&'v [u8]>)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'k str, Option<&'v [u8]>)>>(pairs: I) -> Self {
        let mut headers = Self::new();
        for (key, value) in pairs {
            headers.add(key, value);
        }
        headers
    }
}

/// Where an acknowledged record lies.
///
/// ```
/// use kafka_producer::{Producer, ProducerConfig, ProducerRecord};
/// # let cluster = kafka_producer::testing::Cluster::builder().topic("orders", 1).start()?;
/// # let producer = Producer::new(ProducerConfig::new(&cluster.bootstrap()))?;
///
/// let metadata = producer.send(ProducerRecord::new("orders", "42 apples").timestamp(1_700_000_000_000))?.get()?;
/// assert_eq!((metadata.topic(), metadata.partition(), metadata.offset()), ("orders", 0, 0));
/// assert_eq!(metadata.timestamp(), 1_700_000_000_000);
/// assert_eq!(metadata.serialized_key_size(), -1); // no key
/// assert_eq!(metadata.to_string(), "orders-0@0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) serialized_key_size: i32,
    pub(crate) serialized_value_size: i32,
}

impl RecordMetadata {
    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset in the partition, or -1 if it is not known: with `acks=0` no broker says, and for a batch that the
    /// broker already had it may have forgotten where.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Whether the offset is known.
    pub fn has_offset(&self) -> bool {
        self.offset >= 0
    }

    /// Milliseconds since 1970-01-01 UTC: the broker's time of appending if the topic has
    /// `message.timestamp.type=LogAppendTime`, else the record's own.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// Whether the timestamp is known.
    pub fn has_timestamp(&self) -> bool {
        self.timestamp >= 0
    }

    /// The key's length in bytes, -1 for no key.
    pub fn serialized_key_size(&self) -> i32 {
        self.serialized_key_size
    }

    /// The value's length in bytes, -1 for no value.
    pub fn serialized_value_size(&self) -> i32 {
        self.serialized_value_size
    }
}

/// `topic-partition@offset`, as in Java.
impl fmt::Display for RecordMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.topic, self.partition, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_bytes_is_a_key_and_a_value() {
        let owned = String::from("v");
        let bytes = vec![1_u8];
        let record = ProducerRecord::new("t", &owned).key(&bytes);
        assert_eq!(record.key_ref(), Some(&[1_u8][..]));
        assert_eq!(record.value_ref(), Some(&b"v"[..]));
        assert_eq!(ProducerRecord::tombstone("t").key("k").value_ref(), None);
    }

    #[test]
    fn headers_keep_their_order_and_repeat() {
        let mut headers = Headers::new();
        headers.add("a", Some(b"1"));
        headers.add("b", None);
        headers.add("a", Some(b""));
        assert_eq!(headers.last("a"), Some(Some(&b""[..])));
        assert_eq!(headers.last("b"), Some(None));
        assert_eq!(headers.last("c"), None);
        assert_eq!(headers.remove("a"), 2);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn payloads_do_not_show_in_debug_text() {
        let record = ProducerRecord::new("t", "secret-value").key("secret-key").header("h", "secret-header");
        let text = format!("{record:?} {:?}", record.headers_ref());
        assert!(!text.contains("secret"), "{text}");
    }
}
