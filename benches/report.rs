//! Report: the printed table and the JSON file.

use crate::load::Outcome;
use serde_json::{Map, Value, json};

/// All results, by section.
#[derive(Default)]
pub struct Report(Map<String, Value>);

/// Returns the median.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    let middle = |at: usize| all.get(at).copied().unwrap_or(0.0);
    (middle(all.len() / 2) + middle(all.len().saturating_sub(1) / 2)) / 2.0
}

/// Returns the ratio `a / b`, rounded to two decimals.
pub fn ratio(a: f64, b: f64) -> f64 {
    (a / b * 100.0).round() / 100.0
}

/// Returns the median of the ratios of each round. A temporary slowdown of the machine affects both
/// sides of a round.
pub fn in_pairs(ours: &[Outcome], theirs: &[Outcome]) -> f64 {
    let pairs = ours.iter().zip(theirs);
    ratio(
        median(pairs.map(|(a, b)| a.per_second() / b.per_second())),
        1.0,
    )
}

impl Report {
    /// Adds a section that compares the service's rounds with the plain handler's.
    pub fn sides(&mut self, name: &str, service: &[Outcome], plain: &[Outcome], more: Value) {
        let rates = |side: &[Outcome]| -> Vec<f64> {
            side.iter().map(|o| o.per_second().round()).collect()
        };
        let unexpected = |side: &[Outcome]| side.iter().map(|o| o.unexpected.len()).sum::<usize>();
        let (ours, theirs) = (
            median(service.iter().map(Outcome::per_second)),
            median(plain.iter().map(Outcome::per_second)),
        );
        let mut section = json!({
            "service_per_s": ours.round(),
            "plain_per_s": theirs.round(),
            "service_to_plain": in_pairs(service, plain),
            "service_rounds": rates(service),
            "plain_rounds": rates(plain),
            "service_p99_ms": median(service.iter().map(|o| o.quantile_ms(0.99))),
            "plain_p99_ms": median(plain.iter().map(|o| o.quantile_ms(0.99))),
            "service_unexpected": unexpected(service),
            "plain_unexpected": unexpected(plain),
        });
        if let (Some(section), Value::Object(more)) = (section.as_object_mut(), more) {
            section.extend(more);
        }
        self.section(name, section);
    }

    /// Adds a section.
    pub fn section(&mut self, name: &str, section: Value) {
        println!("{name}: {section}");
        self.0.insert(name.to_owned(), section);
    }

    /// Prints the report, one line per result.
    pub fn print(&self) {
        println!();
        for (name, section) in &self.0 {
            for (key, value) in section.as_object().into_iter().flatten() {
                println!("{name:11} {key:32} {value}");
            }
        }
    }

    /// Writes the JSON file.
    pub fn write(&self) {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        std::fs::create_dir_all(&directory).expect("a directory");
        let text = serde_json::to_string_pretty(&self.0).expect("JSON");
        std::fs::write(directory.join("latest.json"), text).expect("a file");
        println!("\nwritten: {}", directory.join("latest.json").display());
    }
}
