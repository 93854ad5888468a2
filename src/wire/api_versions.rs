//! ApiVersions: which requests a broker understands, in which versions, and which features the cluster has agreed on.
//!
//! The first exchange on a connection, at a time when neither side knows the other. Hence its privileges: the
//! response has the old header in every version, and a broker that does not understand the request answers in the
//! layout of version 0.

use super::{
    api::ApiKey,
    primitives::{DecodeError, Reader, escaped, put_i32, put_nullable_string, put_string, put_tags_empty},
};
use crate::error::ErrorCode;

/// Both names must match `[A-Za-z0-9](?:[A-Za-z0-9\-.]*[A-Za-z0-9])?`, or the broker refuses the connection.
pub(crate) struct ApiVersionsRequest<'a> {
    pub(crate) software_name: &'a str,
    pub(crate) software_version: &'a str,
    /// Whom the request is meant for (KIP-1242): a broker of another cluster or with another id refuses it. From
    /// version 5; `None` asks for no check.
    pub(crate) addressee: Option<(&'a str, i32)>,
}

impl ApiVersionsRequest<'_> {
    pub(crate) fn encode(&self, version: i16, out: &mut Vec<u8>) {
        if version >= 3 {
            put_string(out, true, self.software_name);
            put_string(out, true, self.software_version);
            if version >= 5 {
                put_nullable_string(out, true, self.addressee.map(|(cluster, _)| cluster));
                put_i32(out, self.addressee.map_or(-1, |(_, node)| node));
            }
            put_tags_empty(out);
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ApiVersionsResponse {
    pub(crate) error: ErrorCode,
    /// Key, lowest version, highest version, as the broker put them: in any order, perhaps twice, perhaps absurd.
    pub(crate) api_keys: Vec<(i16, i16, i16)>,
    pub(crate) throttle_time_ms: i32,
    /// Name, highest level, lowest level.
    pub(crate) finalized_features: Vec<(String, i16, i16)>,
    /// -1 if the broker does not say.
    pub(crate) finalized_features_epoch: i64,
}

impl ApiVersionsResponse {
    /// Reads what follows the response header. `version` is that of the request; the answer to a version that the
    /// broker does not speak is in the layout of version 0.
    pub(crate) fn decode(version: i16, bytes: &[u8]) -> Result<Self, DecodeError> {
        let error = ErrorCode(Reader::new(bytes).i16("error code")?);
        let (likely, other) =
            if error == ErrorCode::UNSUPPORTED_VERSION { (0, version) } else { (version, 0) };
        Self::decode_as(likely, bytes).or_else(|error| Self::decode_as(other, bytes).map_err(|_| error))
    }

    fn decode_as(version: i16, bytes: &[u8]) -> Result<Self, DecodeError> {
        let flexible = ApiKey::ApiVersions.is_flexible(version);
        let mut r = Reader::new(bytes);
        let error = ErrorCode(r.i16("error code")?);
        let api_keys = r.list(flexible, MIN_RANGE_LEN, "api versions", |r| {
            let range = (r.i16("api key")?, r.i16("lowest version")?, r.i16("highest version")?);
            if flexible {
                r.skip_tags()?;
            }
            Ok(range)
        })?;
        let throttle_time_ms = if version >= 1 { r.i32("throttle time")? } else { 0 };
        let mut response = Self {
            error,
            api_keys,
            throttle_time_ms,
            finalized_features: Vec::new(),
            finalized_features_epoch: -1,
        };
        if flexible {
            r.tags(|tag, r| {
                match tag {
                    1 => response.finalized_features_epoch = r.i64("features epoch")?,
                    2 => {
                        response.finalized_features = r.list(true, MIN_RANGE_LEN, "features", |r| {
                            let name = escaped(r.string(true, "feature")?);
                            // The highest level comes first here, other than in the list of versions.
                            let feature = (name, r.i16("highest level")?, r.i16("lowest level")?);
                            r.skip_tags()?;
                            Ok(feature)
                        })?;
                    }
                    _ => {}
                }
                Ok(())
            })?;
        }
        r.finish("ApiVersions response")?;
        Ok(response)
    }
}

/// Three numbers of two bytes; or, for a feature, two of them, an empty name and no tags.
const MIN_RANGE_LEN: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCE: [u8; 6] = [0, 0, 0, 0, 0, 13];
    const API_VERSIONS: [u8; 6] = [0, 18, 0, 0, 0, 2];

    fn keys(error: u8, ranges: &[[u8; 6]]) -> Vec<u8> {
        let mut bytes = vec![0, error, 0, 0, 0, ranges.len() as u8];
        bytes.extend(ranges.as_flattened());
        bytes
    }

    #[test]
    fn a_version_that_the_broker_does_not_speak_is_answered_in_the_first_layout() {
        for version in 0..=4 {
            let listed = ApiVersionsResponse::decode(version, &keys(35, &[API_VERSIONS])).unwrap();
            assert_eq!(listed.error, ErrorCode::UNSUPPORTED_VERSION);
            assert_eq!(listed.api_keys, [(18, 0, 2)]);
            let bare = ApiVersionsResponse::decode(version, &keys(35, &[])).unwrap();
            assert_eq!(bare.api_keys, []);
        }
    }

    #[test]
    fn an_answer_that_makes_sense_in_the_first_layout_only_is_taken_in_it() {
        for version in 0..=4 {
            let response = ApiVersionsResponse::decode(version, &keys(0, &[PRODUCE, API_VERSIONS])).unwrap();
            assert_eq!(response.api_keys, [(0, 0, 13), (18, 0, 2)]);
            assert_eq!(response.throttle_time_ms, 0);
        }
    }

    #[test]
    fn unsupported_version_in_the_layout_asked_for_is_taken_too() {
        let response = ApiVersionsResponse::decode(4, &[0, 35, 1, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(response.error, ErrorCode::UNSUPPORTED_VERSION);
    }

    #[test]
    fn a_header_with_tags_where_none_belong_is_refused() {
        let body = b"\0\0\x02\0\0\0\0\0\x0d\0\0\0\0\0\0";
        assert!(ApiVersionsResponse::decode(4, body).is_ok());
        let shifted = [&[0], &body[..]].concat();
        assert!(ApiVersionsResponse::decode(4, &shifted).is_err());
    }

    #[test]
    fn absurd_lists_are_values_and_left_to_the_caller() {
        let many = vec![[0x7f, 0xff, 0x80, 0, 0x7f, 0xff]; 100_000];
        let mut bytes = vec![0, 0, 0, 1, 0x86, 0xa0];
        bytes.extend(many.as_flattened());
        assert_eq!(ApiVersionsResponse::decode(0, &bytes).unwrap().api_keys.len(), 100_000);
        let twice = keys(0, &[PRODUCE, [0, 0, 0, 9, 0, 1]]);
        assert_eq!(ApiVersionsResponse::decode(0, &twice).unwrap().api_keys, [(0, 0, 13), (0, 9, 1)]);
    }
}
