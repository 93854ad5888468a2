//! Prometheus' text format, version 0.0.4.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use super::metric::{Metric, MetricKind};

/// All metrics of a name stand together, as the format wants it. What is not a number yet is left out.
pub(super) fn write(metrics: &[Metric], out: &mut impl Write) -> fmt::Result {
    let mut families: BTreeMap<String, Vec<&Metric>> = BTreeMap::new();
    for metric in metrics.iter().filter(|metric| !metric.value.is_nan()) {
        families.entry(name(metric)).or_default().push(metric);
    }
    for (name, metrics) in families {
        let kind = match metrics[0].kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        writeln!(out, "# HELP {name} {}", metrics[0].description)?;
        writeln!(out, "# TYPE {name} {kind}")?;
        for metric in metrics {
            let labels: Vec<String> = (metric.tags.iter())
                .map(|(label, value)| format!("{}=\"{}\"", label.replace('-', "_"), escaped(value)))
                .collect();
            writeln!(out, "{name}{{{}}} {}", labels.join(","), metric.value)?;
        }
    }
    Ok(())
}

/// The group becomes a prefix: nothing for the producer itself, `topic` and `node` for its parts.
fn name(metric: &Metric) -> String {
    let part = match metric.group {
        "producer-metrics" => String::new(),
        group => format!("{}_", group.trim_start_matches("producer-").trim_end_matches("-metrics")),
    };
    format!("kafka_producer_{part}{}", metric.name).replace('-', "_")
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_together_and_labels_are_escaped() {
        let metric = |group, name, topic: &str, value, kind| Metric {
            group,
            name,
            description: "What it is",
            tags: [("client-id", "a\"b\\c\nd".to_owned()), ("topic", topic.to_owned())].into(),
            value,
            kind,
        };
        let metrics = [
            metric("producer-metrics", "record-send-total", "", 3.0, MetricKind::Counter),
            metric("producer-topic-metrics", "byte-rate", "a", 0.5, MetricKind::Gauge),
            metric("producer-topic-metrics", "compression-rate", "a", f64::NAN, MetricKind::Gauge),
            metric("producer-topic-metrics", "byte-rate", "b", 2.0, MetricKind::Gauge),
        ];
        let mut text = String::new();
        write(&metrics, &mut text).unwrap();
        assert_eq!(
            text,
            "# HELP kafka_producer_record_send_total What it is\n\
             # TYPE kafka_producer_record_send_total counter\n\
             kafka_producer_record_send_total{client_id=\"a\\\"b\\\\c\\nd\",topic=\"\"} 3\n\
             # HELP kafka_producer_topic_byte_rate What it is\n\
             # TYPE kafka_producer_topic_byte_rate gauge\n\
             kafka_producer_topic_byte_rate{client_id=\"a\\\"b\\\\c\\nd\",topic=\"a\"} 0.5\n\
             kafka_producer_topic_byte_rate{client_id=\"a\\\"b\\\\c\\nd\",topic=\"b\"} 2\n"
        );
    }
}
