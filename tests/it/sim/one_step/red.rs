//! What is known to go wrong, each with the smallest answer that shows it; and what went wrong once. Both
//! are lists beside the plans, in `tests/data/plans/before`.

use crate::sim::grammar::{FACTORS, Row};

/// A fault: the plan that shows it, the rule that the plan breaks, and which others are of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: String,
    pub rule: String,
    /// An answer that has these values and breaks the rule is of this kind.
    pub kind: String,
    /// Which mend turns it.
    pub mend: String,
}

fn read(file: &str) -> String {
    let path = format!(
        "{}/tests/data/plans/before/{file}",
        env!("CARGO_MANIFEST_DIR")
    );
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Red today: `red.txt`. Each turns with its mend, and moves to `mended.txt`.
pub fn red() -> Vec<Fault> {
    let fault = |line: &str| {
        let parts: Vec<&str> = line.split(" | ").collect();
        let [file, rule, kind, mend] = parts.as_slice() else {
            panic!("not four parts: {line}");
        };
        let [file, rule, kind, mend] = [file, rule, kind, mend].map(|part| (*part).to_owned());
        Fault {
            file,
            rule,
            kind,
            mend,
        }
    };
    lines(&read("red.txt")).map(fault).collect()
}

/// Plans that were red once, and break nothing any more: `mended.txt`.
pub fn mended() -> Vec<String> {
    lines(&read("mended.txt")).map(str::to_owned).collect()
}

/// A plan: a line that tells what goes wrong, and the row.
pub fn plan(file: &str) -> (String, Row) {
    let text = read(file);
    let (told, row) = text.split_once('\n').expect("two lines");
    let told = told.strip_prefix("# ").expect("what goes wrong, first");
    (told.to_owned(), Row::parse(row).expect("a row"))
}

/// Whether a row is of a fault's kind.
pub fn is_of_kind(row: &Row, kind: &str) -> bool {
    kind.split_whitespace().all(|word| {
        let of = Row::parse(word).expect("a value");
        let (key, _) = word.split_once('=').expect("key=value");
        let factor = FACTORS.iter().position(|f| f.key == key).expect("a factor");
        row.at(factor) == of.at(factor)
    })
}
