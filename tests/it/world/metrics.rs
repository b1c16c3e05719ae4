//! Parses the service's metrics.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The whole text.
    pub text: String,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Parses the text format.
    pub fn read(text: String) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        Self { text, samples }
    }

    /// Returns the sum of the samples of one family that have all of these labels.
    pub fn sum(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples
            .iter()
            .filter(|(name, _)| {
                let (bare, rest) = name.split_once('{').unwrap_or((name, ""));
                bare == family
                    && labels
                        .iter()
                        .all(|(key, value)| rest.contains(&format!("{key}=\"{value}\"")))
            })
            .map(|(_, value)| value)
            .sum()
    }
}
