//! What a broker's error code means for a batch: one table.
//!
//! Where it differs from Java, it is to be honest about what may lie in the log: a code that leaves open whether the
//! batch was appended (UNKNOWN_SERVER_ERROR above all) is retried under the same sequence and never given up as
//! "not written".

use crate::error::ErrorCode;

/// What to do with a batch after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in the log, at the offset of the answer.
    Delivered,
    /// It is in the log from an earlier attempt; the broker no longer knows where.
    DeliveredEarlier,
    /// Send the same bytes again. `refresh`: the leader is in doubt, ask for metadata.
    Retry { refresh: bool, may_have_been_written: bool },
    /// The broker misses what came before it. If nothing is missing any more, the sequence is restarted.
    OutOfOrder,
    /// The batch is too large for the broker: send it in pieces. A single record fails.
    Split,
    /// The id or the epoch is not valid any more: a new producer id is needed, and the batch fails.
    NewProducerId,
    /// Give up.
    Fail { may_have_been_written: bool },
}

/// The verdict on `code`. `attempt` counts from 1, under the present sequence. `open`: what became of an earlier one of
/// these attempts is not known.
pub(super) fn judge(code: ErrorCode, idempotent: bool, attempt: u32, open: bool) -> Verdict {
    let refresh = code.is_invalid_metadata();
    match code {
        ErrorCode::NONE => Verdict::Delivered,
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER if idempotent && open => Verdict::DeliveredEarlier,
        // A duplicate of something that was never sent, or that was refused every time: the numbers were taken by
        // another batch. Calling this one delivered would lose its records silently.
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER if idempotent => Verdict::OutOfOrder,
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID if idempotent => {
            Verdict::OutOfOrder
        }
        ErrorCode::INVALID_PRODUCER_EPOCH if idempotent => Verdict::NewProducerId,
        ErrorCode::MESSAGE_TOO_LARGE => Verdict::Split,
        // A disk or a cable flips bits once; an encoder that is wrong is wrong every time.
        ErrorCode::CORRUPT_MESSAGE if attempt > CORRUPT_ATTEMPTS => {
            Verdict::Fail { may_have_been_written: false }
        }
        ErrorCode::REQUEST_TIMED_OUT
        | ErrorCode::NETWORK_EXCEPTION
        | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
        | ErrorCode::KAFKA_STORAGE_ERROR => Verdict::Retry { refresh, may_have_been_written: true },
        ErrorCode::BROKER_NOT_AVAILABLE => Verdict::Retry { refresh: true, may_have_been_written: false },
        _ if code.is_retriable() => Verdict::Retry { refresh, may_have_been_written: false },
        // Indefinite: the broker does not say whether it appended. With a sequence a retry finds out.
        _ if code == ErrorCode::UNKNOWN_SERVER_ERROR || code.name().is_none() => {
            if idempotent {
                Verdict::Retry { refresh: false, may_have_been_written: true }
            } else {
                Verdict::Fail { may_have_been_written: true }
            }
        }
        _ => Verdict::Fail { may_have_been_written: false },
    }
}

/// Whether a batch that ends with this code for good may lie in the log all the same.
#[cfg(feature = "testing")]
pub(crate) fn leaves_in_doubt(code: ErrorCode) -> bool {
    let (Verdict::Retry { may_have_been_written, .. } | Verdict::Fail { may_have_been_written }) =
        judge(code, false, 1, false)
    else {
        return false;
    };
    may_have_been_written
}

/// How often a batch that a broker calls corrupt is sent, always with identical bytes.
const CORRUPT_ATTEMPTS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_by_code() {
        use Verdict::*;
        let retry = |refresh, may_have_been_written| Retry { refresh, may_have_been_written };
        let fail = |may_have_been_written| Fail { may_have_been_written };
        for (code, idempotent, attempt, want) in [
            (0, true, 1, Delivered),
            (-1, true, 1, retry(false, true)),
            (-1, false, 1, fail(true)),
            (2, true, 1, retry(false, false)),
            (2, true, 4, fail(false)),
            (3, true, 1, retry(true, false)),
            (5, true, 1, retry(true, false)),
            (6, true, 1, retry(true, false)),
            (7, true, 1, retry(false, true)),
            (8, true, 1, retry(true, false)),
            (9, true, 1, retry(true, false)),
            (10, true, 1, Split),
            (10, false, 1, Split),
            (13, true, 1, retry(true, true)),
            (17, true, 1, fail(false)),
            (18, true, 1, fail(false)),
            (19, true, 1, retry(false, false)),
            (20, true, 1, retry(false, true)),
            (21, true, 1, fail(false)),
            (29, true, 1, fail(false)),
            (31, true, 1, fail(false)),
            (32, true, 1, fail(false)),
            (35, true, 1, fail(false)),
            (42, true, 1, fail(false)),
            (43, true, 1, fail(false)),
            (44, true, 1, fail(false)),
            (45, true, 1, OutOfOrder),
            (45, false, 1, fail(false)),
            (46, true, 2, DeliveredEarlier),
            (46, true, 1, OutOfOrder),
            (46, false, 1, fail(false)),
            (47, true, 1, NewProducerId),
            (51, true, 1, retry(false, false)),
            (56, true, 1, retry(true, true)),
            (59, true, 1, OutOfOrder),
            (72, true, 1, retry(true, false)),
            (74, true, 1, retry(true, false)),
            (75, true, 1, retry(false, false)),
            (76, true, 1, fail(false)),
            (87, true, 1, fail(false)),
            (89, true, 1, retry(false, false)),
            (90, true, 1, fail(false)),
            (100, true, 1, retry(true, false)),
            (103, true, 1, retry(true, false)),
            (9999, true, 1, retry(false, true)),
            (9999, false, 1, fail(true)),
        ] {
            let verdict = judge(ErrorCode(code), idempotent, attempt, attempt > 1);
            assert_eq!(verdict, want, "{code} idempotent={idempotent}");
        }
    }

    #[test]
    fn a_duplicate_is_delivered_only_if_an_attempt_may_have_done_it() {
        let code = ErrorCode::DUPLICATE_SEQUENCE_NUMBER;
        assert_eq!(judge(code, true, 2, true), Verdict::DeliveredEarlier);
        assert_eq!(judge(code, true, 2, false), Verdict::OutOfOrder);
    }
}
