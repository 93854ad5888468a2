//! How keys and values become bytes: [`Serializer`], and Java's stock ones in Java's encodings.
//!
//! Refuses to know schemas: a format that needs one is a `Serializer` of the application's own, as `docs/serializers.md`
//! shows.

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
/// `ByteArraySerializer`, `BytesSerializer` and `ByteBufferSerializer` in Java.
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

/// Strings as UTF-8: whatever is `AsRef<str>`. Writes what [`BytesSerializer`] writes, and takes nothing but text.
#[derive(Clone, Copy, Debug, Default)]
pub struct StringSerializer;

impl<T: AsRef<str> + ?Sized> Serializer<T> for StringSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a T) -> Serialized<'a> {
        Ok(Some(Cow::Borrowed(data.as_ref().as_bytes())))
    }
}

/// An `i16` as two bytes, the highest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShortSerializer;

impl Serializer<i16> for ShortSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a i16) -> Serialized<'a> {
        owned(data.to_be_bytes())
    }
}

/// An `i32` as four bytes, the highest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntegerSerializer;

impl Serializer<i32> for IntegerSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a i32) -> Serialized<'a> {
        owned(data.to_be_bytes())
    }
}

/// An `i64` as eight bytes, the highest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct LongSerializer;

impl Serializer<i64> for LongSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a i64) -> Serialized<'a> {
        owned(data.to_be_bytes())
    }
}

/// An `f32` as the four bytes of IEEE 754, the highest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct FloatSerializer;

impl Serializer<f32> for FloatSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a f32) -> Serialized<'a> {
        owned(data.to_be_bytes())
    }
}

/// An `f64` as the eight bytes of IEEE 754, the highest first. As in Java, all that are not a number are written alike.
#[derive(Clone, Copy, Debug, Default)]
pub struct DoubleSerializer;

impl Serializer<f64> for DoubleSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a f64) -> Serialized<'a> {
        // Java's doubleToLongBits has one NaN. Equal keys must have equal bytes, or they part ways.
        let bits = if data.is_nan() { JAVAS_NAN } else { data.to_bits() };
        owned(bits.to_be_bytes())
    }
}

/// A `bool` as one byte, 1 or 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct BooleanSerializer;

impl Serializer<bool> for BooleanSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a bool) -> Serialized<'a> {
        owned([u8::from(*data)])
    }
}

/// A UUID as its text of 36 characters, in small letters, as Java's `UUIDSerializer` writes it.
///
/// Takes the sixteen bytes, the highest first, or the same as a `u128`: what `as_bytes` and `as_u128` of the crate `uuid`
/// return.
///
/// ```
/// use kafka_producer::{Headers, Serializer, UuidSerializer};
///
/// let id = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128;
/// let bytes = UuidSerializer.serialize("orders", &mut Headers::default(), &id)?;
/// assert_eq!(bytes.as_deref(), Some(&b"01234567-89ab-cdef-0123-456789abcdef"[..]));
/// # Ok::<(), kafka_producer::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct UuidSerializer;

impl Serializer<u128> for UuidSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a u128) -> Serialized<'a> {
        owned(uuid_text(*data))
    }
}

impl Serializer<[u8; 16]> for UuidSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, data: &'a [u8; 16]) -> Serialized<'a> {
        owned(uuid_text(u128::from_be_bytes(*data)))
    }
}

/// Null, always: for topics whose records have no key, or no value.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoidSerializer;

impl Serializer<()> for VoidSerializer {
    fn serialize<'a>(&self, _topic: &str, _headers: &mut Headers, _data: &'a ()) -> Serialized<'a> {
        Ok(None)
    }
}

fn uuid_text(id: u128) -> String {
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn owned<'a>(bytes: impl Into<Vec<u8>>) -> Serialized<'a> {
    Ok(Some(Cow::Owned(bytes.into())))
}

const JAVAS_NAN: u64 = 0x7ff8_0000_0000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    /// As kafka-clients 4.4 writes them.
    #[test]
    fn stock_serializers_write_what_javas_write() {
        fn hex<T: ?Sized>(serializer: impl Serializer<T>, data: &T) -> String {
            match serializer.serialize("t", &mut Headers::default(), data).expect("it takes everything") {
                Some(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                None => "null".to_owned(),
            }
        }
        const UUID: u128 = 0x0123_abcd_4567_89ef_0123_4567_89ab_cdef;
        const UUID_TEXT: &str = "30313233616263642d343536372d383965662d303132332d343536373839616263646566";
        for (ours, javas) in [
            (hex(ShortSerializer, &-2), "fffe"),
            (hex(ShortSerializer, &258), "0102"),
            (hex(IntegerSerializer, &16_909_060), "01020304"),
            (hex(IntegerSerializer, &i32::MIN), "80000000"),
            (hex(LongSerializer, &-1), "ffffffffffffffff"),
            (hex(LongSerializer, &72_623_859_790_382_856), "0102030405060708"),
            (hex(FloatSerializer, &1.5), "3fc00000"),
            (hex(FloatSerializer, &-0.0), "80000000"),
            (hex(FloatSerializer, &f32::from_bits(0xffc0_0001)), "ffc00001"),
            (hex(DoubleSerializer, &-2.5), "c004000000000000"),
            (hex(DoubleSerializer, &f64::NEG_INFINITY), "fff0000000000000"),
            (hex(DoubleSerializer, &f64::from_bits(0xfff8_0000_0000_0001)), "7ff8000000000000"),
            (hex(BooleanSerializer, &true), "01"),
            (hex(BooleanSerializer, &false), "00"),
            (hex(UuidSerializer, &UUID), UUID_TEXT),
            (hex(UuidSerializer, &UUID.to_be_bytes()), UUID_TEXT),
            (hex(VoidSerializer, &()), "null"),
            (hex(StringSerializer, "gr\u{fc}n\u{1f600}\0"), "6772c3bc6ef09f988000"),
            (hex(StringSerializer, &String::new()), ""),
            (hex(BytesSerializer, &[1_u8, 0xff]), "01ff"),
        ] {
            assert_eq!(ours, javas);
        }
    }
}
