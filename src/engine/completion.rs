//! The end of a batch: its callbacks, then its handles.

use std::sync::Arc;

use crate::{
    error::{DeliveryError, guarded},
    handoff::{PendingCallback, Run, Settling},
    record::RecordMetadata,
};

/// How a batch ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Acknowledged { base_offset: Option<i64>, append_time: Option<i64> },
    Failed(DeliveryError),
}

/// A batch with callbacks on its way to the thread that runs them.
pub(crate) struct CompletedBatch {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) outcome: Outcome,
    pub(super) runs: Vec<Run>,
    pub(super) callbacks: Vec<(i32, PendingCallback)>,
    pub(super) charge: usize,
}

impl CompletedBatch {
    /// Runs the callbacks in the order of the records, then completes the handles: whoever returns from `get()` finds
    /// the callback done. Returns the bytes to give back to `buffer.memory`.
    pub(crate) fn run(mut self) -> usize {
        for (index, callback) in std::mem::take(&mut self.callbacks) {
            let outcome = self.outcome_of(index, &callback);
            let call = callback.call;
            // A panic in one callback is that callback's own affair.
            if guarded(|| call(outcome)).is_err() {
                log::error!(
                    "a delivery callback panicked (topic {}, partition {})",
                    self.topic,
                    self.partition
                );
            }
        }
        let mut settling = Settling::new();
        settle(&mut settling, self.runs, &self.outcome);
        settling.finish();
        self.charge
    }

    fn outcome_of(&self, index: i32, callback: &PendingCallback) -> Result<RecordMetadata, DeliveryError> {
        match &self.outcome {
            Outcome::Failed(error) => Err(error.clone()),
            Outcome::Acknowledged { base_offset, append_time } => Ok(RecordMetadata {
                topic: Arc::clone(&self.topic),
                partition: self.partition,
                offset: base_offset.map_or(-1, |base| base + i64::from(index)),
                timestamp: append_time.unwrap_or(callback.timestamp),
                serialized_key_size: callback.key_size,
                serialized_value_size: callback.value_size,
            }),
        }
    }
}

/// Completes the handles of a batch's runs.
pub(super) fn settle(settling: &mut Settling, runs: Vec<Run>, outcome: &Outcome) {
    let mut index = 0;
    for run in runs {
        let len = run.len() as i64;
        match outcome {
            Outcome::Acknowledged { base_offset, append_time } => {
                settling.acknowledge(run, base_offset.map(|base| base + index), *append_time);
            }
            Outcome::Failed(error) => settling.fail(run, error.clone()),
        }
        index += len;
    }
}
