//! The danger: a rule of the house that nobody holds. The compiler refuses circles between crates
//! and not inside one; this is the referee.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rank of each module. Lower ones never import higher ones, those of one rank not each other.
const RANKS: &[(&str, u8)] = &[
    ("view", 0),
    ("config", 0),
    ("metrics", 0),
    ("store", 1),
    ("observation", 2),
    ("ledger", 3),
    ("submit", 4),
    ("delivery", 5),
    ("follow", 5),
    ("http", 5),
    ("api", 6),
    ("ops", 6),
    ("webhooks", 6),
    ("app", 7),
    ("probe", 7),
    ("cli", 8),
    ("main", 9),
    ("lib", 9),
];

/// The rooms, and which of ours each may depend on. Their tests may depend on more.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "reconciler",
        &[
            "reconciler-audit",
            "reconciler-domain",
            "reconciler-gateway",
            "reconciler-leaves",
            "reconciler-words",
        ],
    ),
    ("reconciler-leaves", &[]),
    ("reconciler-words", &[]),
    ("reconciler-domain", &["reconciler-words"]),
    (
        "reconciler-gateway",
        &["reconciler-domain", "reconciler-leaves", "reconciler-words"],
    ),
    ("reconciler-audit", &["reconciler-words"]),
    ("unonapay-twin", &["reconciler-leaves"]),
    ("reconciler-testkit", &["reconciler-leaves"]),
    (
        "reconciler-demo",
        &["reconciler-leaves", "reconciler-testkit"],
    ),
];

/// The longest file and the longest function, in lines.
const LONGEST: (usize, usize) = (600, 70);

struct Source {
    path: PathBuf,
    /// The top-level module that it belongs to.
    module: String,
    /// How deep it lies below the root of the crate.
    depth: usize,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The lines of code, with their numbers; whole-line comments are left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(n, line)| (n + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn sources(root: &str) -> Vec<Source> {
    fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let mut files = Vec::new();
    walk(&base, &mut files);
    files.sort();
    let read = |file: PathBuf| {
        let path = file.strip_prefix(&base).unwrap().with_extension("");
        let mut parts: Vec<String> = path
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        if parts.last().is_some_and(|last| last == "mod") {
            parts.pop();
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let path = file
            .strip_prefix(env!("CARGO_MANIFEST_DIR"))
            .unwrap()
            .to_owned();
        let module = parts.first().map_or(root, String::as_str).to_owned();
        Source {
            path,
            module,
            depth: parts.len(),
            text,
        }
    };
    files.into_iter().map(read).collect()
}

/// What the service and its rooms are made of, and the integration tests.
fn all_sources() -> Vec<Source> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rooms = std::fs::read_dir(base.join("crates")).unwrap();
    let mut roots = vec!["src".to_owned(), "tests/it".to_owned()];
    roots.extend(rooms.map(|room| {
        let room = room.unwrap().file_name();
        format!("crates/{}/src", room.to_string_lossy())
    }));
    roots.iter().flat_map(|root| sources(root)).collect()
}

/// The top-level modules that a line names by `crate::…`.
fn named(line: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, prefix) in line.match_indices("crate::") {
        let before = line[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &line[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let (mut depth, mut word) = (0, String::new());
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.extend(first_word(&std::mem::take(&mut word)));
                        }
                        _ if depth == 0 => word.push(c),
                        _ => {}
                    }
                }
                found.extend(first_word(&word));
            }
            None => found.extend(first_word(rest)),
        }
    }
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text
        .trim()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn imports_are_read_in_every_spelling() {
    let of = |line: &str| named(line).into_iter().collect::<Vec<_>>();
    assert_eq!(of("use crate::store::State;"), ["store"]);
    assert_eq!(
        of("let x = crate::ledger::x() + crate::store::x();"),
        ["ledger", "store"]
    );
    assert_eq!(
        of("use crate::{http, config::{Config, Follow}, metrics::Metrics};"),
        ["config", "http", "metrics"]
    );
    assert_eq!(
        of("pub(crate) fn x(), \"mycrate::nothing\" $crate::macros"),
        [""; 0]
    );
}

/// Cargo refuses circles between rooms; which rooms a room may know at all is said here.
#[test]
fn crates_depend_only_on_allowed_crates() {
    let cargo = std::process::Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let packages = told["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let listed: BTreeSet<&str> = ROOMS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, listed);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let (_, may) = ROOMS.iter().find(|(room, _)| *room == name).unwrap();
        let needs = package["dependencies"].as_array().unwrap().iter();
        let needs = needs.filter(|needed| needed["kind"].is_null());
        let needs = needs.filter_map(|needed| needed["name"].as_str());
        let broken: Vec<&str> = needs
            .filter(|n| names.contains(n) && !may.contains(n))
            .collect();
        assert!(broken.is_empty(), "{name} may not depend on {broken:?}");
    }
}

#[test]
fn modules_import_downwards_only() {
    let ranks: BTreeMap<&str, u8> = RANKS.iter().copied().collect();
    let mut broken = Vec::new();
    for source in sources("src") {
        let module = source.module.as_str();
        let rank = *ranks
            .get(module)
            .unwrap_or_else(|| panic!("{module} has no rank"));
        // The whole text, so that a group over several lines is one line here.
        let code: Vec<&str> = source.code().map(|(_, line)| line.trim()).collect();
        for other in named(&code.join(" ")) {
            let Some(theirs) = ranks.get(other.as_str()) else {
                continue;
            };
            if other != module && *theirs >= rank {
                broken.push(format!("{} imports {other}", source.name()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "against the ranks:\n{}",
        broken.join("\n")
    );
}

#[test]
fn no_module_climbs_out_of_itself() {
    let mut broken = Vec::new();
    for source in sources("src")
        .into_iter()
        .filter(|s| !["lib", "main"].contains(&&*s.module))
    {
        for (number, line) in source.code() {
            let mut climbs = 0;
            while line.contains(&"super::".repeat(climbs + 1)) {
                climbs += 1;
            }
            // A module inside the file lies one deeper.
            let inner = usize::from(line.starts_with(' '));
            if climbs >= source.depth + inner {
                broken.push(format!("{}:{number}: {}", source.name(), line.trim()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "these reach the root by super::\n{}",
        broken.join("\n")
    );
}

#[test]
fn sql_is_in_the_store_and_in_the_audit_alone() {
    let mut broken = Vec::new();
    for source in all_sources() {
        // The auditor has statements of its own, and the private server makes whole databases.
        let may = [
            "src/store",
            "crates/audit/src/sql.rs",
            "crates/testkit",
            "tests",
        ];
        if may.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for (number, line) in source.code() {
            let calls = [
                "query!",
                "query_as!",
                "query_scalar!",
                "sqlx::query",
                "query_scalar(",
                "query_as(",
                ".execute(&mut",
                "QueryBuilder",
            ];
            if calls.iter().any(|call| line.contains(call)) {
                broken.push(format!("{}:{number}: {}", source.name(), line.trim()));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "sql outside the store:\n{}",
        broken.join("\n")
    );
}

#[test]
fn every_statement_names_itself() {
    let mut broken = Vec::new();
    let audit = sources("crates/audit/src");
    for source in sources("src/store").into_iter().chain(audit) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let call = ["query!(", "query_as!(", "query_scalar!("]
                .iter()
                .any(|c| line.contains(c));
            let near = lines[at..(at + 4).min(lines.len())].concat();
            if call && !near.contains("-- ") {
                broken.push(format!("{}:{}", source.name(), at + 1));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "statements without a name:\n{}",
        broken.join("\n")
    );
}

#[test]
fn no_pub_type_name_is_defined_twice_in_a_crate() {
    let mut places: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for source in all_sources() {
        let mut parts = source.path.iter().map(|part| part.to_string_lossy());
        let first = parts.next().unwrap_or_default();
        let root = match &*first {
            "crates" => format!("crates/{}", parts.next().unwrap_or_default()),
            _ => first.into_owned(),
        };
        for (number, line) in source.code() {
            if let Some(name) = pub_type(line) {
                let place = format!("{}:{number}", source.name());
                let key = (root.clone(), name.to_owned());
                places.entry(key).or_default().push(place);
            }
        }
    }
    let twice = places.iter().filter(|(_, places)| places.len() > 1);
    let twice: Vec<String> = twice
        .map(|((_, name), places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert!(twice.is_empty(), "defined twice:\n{}", twice.join("\n"));
}

/// Returns the name of the type that a line defines for others.
fn pub_type(line: &str) -> Option<&str> {
    let mut words = line.trim_start().split([' ', '<', '(', ';', '{', ':']);
    let is_pub = words.next() == Some("pub");
    let mut words = words.skip_while(|word| word.ends_with(')') || word.is_empty());
    let is_type = matches!(
        words.next(),
        Some("struct" | "enum" | "trait" | "type" | "union")
    );
    words
        .next()
        .filter(|name| is_pub && is_type && name.starts_with(char::is_alphabetic))
}

#[test]
fn pub_types_are_found_in_every_spelling() {
    assert_eq!(pub_type("pub struct A<'a>(B);"), Some("A"));
    assert_eq!(pub_type("    pub(crate) enum A {"), Some("A"));
    assert_eq!(pub_type("pub(super) type A = B;"), Some("A"));
    assert_eq!(pub_type("pub trait A: B {"), Some("A"));
    assert_eq!(pub_type("struct A;"), None);
    assert_eq!(pub_type("pub fn a() {"), None);
    assert_eq!(pub_type("    type A = B;"), None);
    assert_eq!(pub_type("pub struct $name;"), None);
}

#[test]
fn every_file_begins_with_a_module_comment() {
    for source in all_sources() {
        assert!(
            source.text.starts_with("//!"),
            "{} does not begin with //!",
            source.name()
        );
    }
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let mut broken = Vec::new();
    for source in all_sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        if lines.len() > LONGEST.0 {
            broken.push(format!("{} has {} lines", source.name(), lines.len()));
        }
        // A table of cases may be long.
        let is_test = source
            .path
            .components()
            .any(|part| part.as_os_str() == "tests");
        let functions = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| is_function(line));
        for (at, line) in functions.filter(|_| !is_test) {
            if let Some(length) = length(&lines[at..]).filter(|length| *length > LONGEST.1) {
                broken.push(format!(
                    "{}:{}: {length} lines of {}",
                    source.name(),
                    at + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(broken.is_empty(), "too long:\n{}", broken.join("\n"));
}

/// The lines of the function that begins here; `None` when it has no body of its own lines.
fn length(lines: &[&str]) -> Option<usize> {
    let head = lines
        .iter()
        .position(|line| line.ends_with(['{', ';', '}']))?;
    let first = lines.first().filter(|_| lines[head].ends_with('{'))?;
    let end = format!("{}}}", &first[..first.len() - first.trim_start().len()]);
    lines
        .iter()
        .position(|line| **line == end)
        .map(|end| end + 1)
}

#[test]
fn functions_are_measured_to_their_last_line() {
    let of = |text: &str| length(&text.lines().collect::<Vec<_>>());
    assert_eq!(
        of("fn a() {\n    b();\n    if c {\n    }\n}\nfn d() {}"),
        Some(5)
    );
    assert_eq!(
        of("    fn a(\n        b: B,\n    ) -> C\n    where\n        D: E,\n    {\n    }"),
        Some(7)
    );
    assert_eq!(of("fn a() {}"), None);
    assert_eq!(of("    fn a();\n    fn b() {\n    }"), None);
}

fn is_function(line: &str) -> bool {
    let mut words = line.trim_start().split(' ');
    words.find(|word| !word.starts_with("pub") && !["const", "async", "unsafe"].contains(word))
        == Some("fn")
}
