//! How keys and values become bytes.

use std::borrow::Cow;

use crate::{error::BoxError, record::Headers};

/// What a serializer returns: bytes, borrowed or owned, or `None` for null.
pub type Serialized<'a> = Result<Option<Cow<'a, [u8]>>, BoxError>;

/// Turns keys or values of type `T` into bytes. Runs on the thread that calls `send`.
///
/// A record without a key or value is sent with null there, and the serializer is not asked. A serializer that fails
/// or panics makes `send` fail, and nothing is taken.
///
/// ```
/// use kafka_producer::{Headers, Serialized, Serializer};
///
/// struct Temperature;
///
/// impl Serializer<f32> for Temperature {
///     fn serialize<'a>(&self, _topic: &str, headers: &mut Headers, data: &'a f32) -> Serialized<'a> {
///         headers.add("unit", Some(b"celsius"));
///         Ok(Some(data.to_be_bytes().to_vec().into()))
///     }
/// }
/// ```
pub trait Serializer<T: ?Sized>: Send + Sync {
    /// The bytes for `data`. Headers may be added to the record; they count towards its size.
    fn serialize<'a>(&self, topic: &str, headers: &mut Headers, data: &'a T) -> Serialized<'a>;
}

/// Bytes as they are: whatever is `AsRef<[u8]>`. What a [`Producer`](crate::Producer) uses unless told otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesSerializer;

impl<T: AsRef<[u8]> + ?Sized> Serializer<T> for BytesSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a T) -> Serialized<'a> {
        Ok(Some(Cow::Borrowed(data.as_ref())))
    }
}

/// JSON by `serde_json`: any [`serde::Serialize`]. Needs the feature `json`.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonSerializer;

#[cfg(feature = "json")]
impl<T: serde::Serialize + ?Sized> Serializer<T> for JsonSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a T) -> Serialized<'a> {
        Ok(Some(Cow::Owned(serde_json::to_vec(data)?)))
    }
}
