//! Metrics as Kafka's own tools print them: `group:name:{tags} : value`, sorted.

use std::io::{self, Write};

use kafka_producer::{Metric, Metrics};

pub(crate) fn print(metrics: &Metrics, out: &mut impl Write) -> io::Result<()> {
    let mut rows: Vec<(String, f64)> = metrics.iter().map(|metric| (name(metric), metric.value())).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    writeln!(out, "\n{:width$}   Value", "Metric Name")?;
    for (name, value) in rows {
        writeln!(out, "{name:width$} : {value:.3}")?;
    }
    Ok(())
}

fn name(metric: &Metric) -> String {
    let tags: Vec<_> = metric.tags().iter().map(|(tag, value)| format!("{tag}={value}")).collect();
    format!("{}:{}:{{{}}}", metric.group(), metric.name(), tags.join(", "))
}
