//! Brokers with which there is no common version: the error names the broker, what it offers and what is needed. No real
//! broker from Kafka 2.1 on is like that, so these are those of `testing::Cluster`.

use kafka_producer::{
    ErrorCode, Producer, ProducerConfig, ProducerRecord,
    testing::{Api, Cluster},
};

#[test]
fn versions_that_do_not_meet_are_named() {
    for (api, offered, needed) in [
        (Api::Produce, 0..=2, "Produce in versions 0 to 2, and 3 to 13 are needed"),
        (Api::Metadata, 0..=0, "Metadata in versions 0 to 0, and 1 to 13 are needed"),
    ] {
        let cluster = Cluster::builder().topic("t", 1).start().expect("loopback is there");
        cluster.set_versions(api, offered);
        let producer = producer(&cluster);
        let (text, retriable) = error_of_a_send(&producer);
        assert!(text.contains(needed), "{text}");
        assert!(text.contains(&cluster.address(1).to_string()), "the broker is named: {text}");
        assert_eq!(cluster.record_count("t"), 0);
        // Only what was never asked for, metadata within its time, can be had by waiting.
        assert_eq!(retriable, api == Api::Metadata, "{text}");

        // The broker is replaced by one of another version: the producer needs not be.
        cluster.set_versions(api, 0..=13);
        let sent = (0..10).find_map(|_| producer.send(ProducerRecord::new("t", "v")).ok()?.get().ok());
        assert!(sent.is_some(), "{api:?}: {}", error_of_a_send(&producer).0);
        assert_eq!(cluster.violations(), [] as [String; 0]);
    }
}

/// As with real brokers that are older: the newest version that both know is used, whichever it is.
#[test]
fn the_newest_common_version_is_used_whichever_it_is() {
    for newest in 3..=13 {
        let cluster = Cluster::builder().topic("t", 1).start().expect("loopback is there");
        cluster.set_versions(Api::Produce, 0..=newest);
        cluster.set_versions(Api::Metadata, 0..=newest.max(1));
        cluster.set_versions(Api::ApiVersions, 0..=newest.min(3));
        cluster.set_versions(Api::InitProducerId, 0..=newest.min(5));
        let producer = producer(&cluster);
        let metadata = producer.send(ProducerRecord::new("t", "v")).expect("the record is good").get();
        assert_eq!(metadata.map(|m| m.offset()).map_err(|e| e.to_string()), Ok(0), "Produce {newest}");
        assert_eq!(cluster.violations(), [] as [String; 0]);
    }
}

fn producer(cluster: &Cluster) -> Producer {
    let config = ProducerConfig::new(&cluster.bootstrap()).set("max.block.ms", "1500");
    Producer::new(config).expect("the settings are good")
}

/// What a record's failure says, and whether it may be tried again.
fn error_of_a_send(producer: &Producer) -> (String, bool) {
    match producer.send(ProducerRecord::new("t", "v")) {
        Ok(future) => {
            let error = future.get().expect_err("nobody can take it");
            assert_eq!(error.code(), Some(ErrorCode::UNSUPPORTED_VERSION), "{error}");
            assert!(!error.may_have_been_written() && !error.is_fatal(), "{error}");
            (error.to_string(), error.is_retriable())
        }
        Err(error) => (error.to_string(), error.is_retriable()),
    }
}
