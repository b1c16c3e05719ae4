//! Faults that plans have shown, each with its shrunk plan in `tests/data/plans/before`. Those of
//! [`RED`] are still there: the plan breaks exactly the rule that is named. When a fault is mended its
//! entry moves to [`MENDED`], and the plan breaks nothing.

use super::coverage::Coverage;
use super::explore::{SeedResult, on_all_cores, run_plan};
use super::plan::Plan;
use super::rules::name;
use super::shrink::{Shrinking, rule_of};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, PoisonError};
use tokio::time::Instant;

/// A plan, the rule that it breaks, and what will turn it.
type Fault = (&'static str, &'static str, &'static str);

/// Faults that are still there.
const RED: &[Fault] = &[];

/// Faults that were there.
const MENDED: &[Fault] = &[
    (
        "own-task-names-anothers-tracking-id",
        name::NO_FALSE_NO,
        "what our own task named under another name stands against a proof of absence",
    ),
    (
        "doubt-about-our-own-uid-stays-open",
        name::FINDINGS,
        "findings about our own uid heal",
    ),
    (
        "other-mode-ends-a-live-request",
        name::NO_FALSE_YES,
        "test and live never end each other",
    ),
    (
        "acquirers-section-is-taken-for-the-transaction",
        name::NO_FALSE_YES,
        "the outer uid of a flat body counts",
    ),
    (
        "older-transaction-is-not-listed",
        name::KNOWN,
        "what is not ours becomes a transaction of origin gateway",
    ),
    (
        "third-success-is-not-in-the-finding",
        name::FINDINGS,
        "open findings are brought up to date, with every uid and amount",
    ),
    (
        "success-of-anothers-uid-is-not-told",
        name::TOLD,
        "an open finding names both uids with amounts",
    ),
    (
        "empty-look-up-teaches",
        name::NOTES,
        "only an answer that holds the uid teaches",
    ),
    (
        "refused-duplicate-refund-that-happened",
        name::NO_FALSE_NO,
        "no conclusion from look-ups that cannot see children",
    ),
    (
        "error-about-the-read-refuses",
        name::NO_FALSE_NO,
        "an answer to a read is about the read",
    ),
    (
        "time-out-of-the-acquirer-refuses",
        name::NO_FALSE_NO,
        "texts of time and of unknown outcomes are doubt",
    ),
    (
        "not-unique-refuses",
        name::NO_FALSE_NO,
        "every word for a duplicate is doubt",
    ),
    (
        "refusal-by-the-task-is-final-at-once",
        name::NO_FALSE_NO,
        "a look-up comes before a refusal told by a task",
    ),
    (
        "task-runs-longer-than-it-is-kept",
        name::NO_FALSE_NO,
        "the horizon counts from the last sign of life",
    ),
    (
        "name-that-the-router-splits-is-absent",
        name::NO_FALSE_NO,
        "a control has the signs of the name",
    ),
    (
        "name-with-a-dot-is-proved-absent-without-a-control",
        name::PROOFS,
        "a control has the signs of the name",
    ),
    (
        "look-ups-are-dated-when-they-are-recorded",
        name::PROOFS,
        "a look-up is dated when it was answered",
    ),
    (
        "frozen-worker-reopens-what-was-not-found",
        name::FINALITY,
        "what was not found stays so",
    ),
    (
        "refund-under-the-parents-name-is-never-found",
        name::END,
        "children are looked up under both names",
    ),
    (
        "unreadable-result-is-asked-for-ever",
        name::LIVELY,
        "look-ups alternate with reads that tell nothing",
    ),
    (
        "told-failure-waits-for-the-next-look",
        name::DUE,
        "a signed failure makes our task due at once",
    ),
    (
        "retry-after-of-a-day-is-obeyed",
        name::DUE,
        "no header puts a look off past the pace",
    ),
    (
        "post-is-repeated-without-a-pause",
        name::BOUNDED,
        "a floor that grows, and a ceiling of attempts",
    ),
    (
        "read-is-repeated-without-a-pause",
        name::BOUNDED,
        "a floor that grows",
    ),
    (
        "silence-is-asked-at-the-ordinary-pace",
        name::BOUNDED,
        "silence counts as an error",
    ),
    (
        "undated-correction-changes-nothing",
        name::TRUTH,
        "an undated correction makes a look due",
    ),
    (
        "refund-is-posted-again-beside-another",
        name::CHILDREN,
        "stamping a child asks what opening it asks",
    ),
    (
        "void-and-refund-of-one-payment",
        name::CHILDREN,
        "what is left is counted over all kinds",
    ),
    (
        "refund-of-more-than-was-captured",
        name::CHILDREN,
        "refunds take from what was captured",
    ),
    (
        "equal-refunds-leave-together",
        name::SPACING,
        "the window counts from the send",
    ),
    (
        "chargeback-of-what-was-refunded",
        name::FINDINGS,
        "money back twice is a finding",
    ),
    (
        "open-code-under-429-is-sent-again",
        name::ONCE,
        "codes of an open outcome are doubt under 429 too",
    ),
    (
        "another-orders-transaction-in-a-refusal",
        name::FINDINGS,
        "what is told as doubtful heals where it is ours",
    ),
    (
        "second-success-is-never-seen",
        name::KNOWN,
        "re-checks ask by tracking id",
    ),
    (
        "empty-list-with-errors-is-absence",
        name::KNOWN,
        "a list with errors is read for what it shows",
    ),
    (
        "unsigned-webhook-of-a-stranger-asks-for-nothing",
        name::ACKNOWLEDGED,
        "a hint asks for a look by its uid",
    ),
    (
        "unsigned-webhook-of-a-chargeback-asks-for-nothing",
        name::ACKNOWLEDGED,
        "a hint asks for a look by its uid",
    ),
    (
        "replay-in-a-pause",
        name::POLL_INTERVAL,
        "a pause stops replays",
    ),
    (
        "task-of-a-child-is-never-asked-again",
        name::LIVELY,
        "a look by two names is one turn",
    ),
    (
        "child-with-card-data-waits-for-ever",
        name::TRUTH,
        "what waits nowhere is not accepted",
    ),
    (
        "second-success-beside-a-pending-one",
        name::KNOWN,
        "what has been pending for long is looked up by its name",
    ),
    (
        "look-by-name-fails-at-the-re-check",
        name::KNOWN,
        "a look by name stays owed where the uid alone has told something",
    ),
    (
        "name-is-not-asked-while-a-uid-tells-nothing",
        name::KNOWN,
        "the name has its turn where the uid tells nothing",
    ),
    (
        "two-chargebacks-of-one-payment",
        name::FINDINGS,
        "two chargebacks are money back twice",
    ),
    (
        "adopted-transaction-changes-its-name-and-mode",
        name::TRUTH,
        "what differs in a transaction that is ours is told, whatever name it bears by now",
    ),
    (
        "strange-name-teaches-that-look-ups-work",
        name::NOTES,
        "an ability is learned from what bears the name that was asked",
    ),
    (
        "strange-type-teaches-that-children-are-shown",
        name::NOTES,
        "an ability is learned from a child of that type",
    ),
    (
        "control-does-not-show-what-exists",
        name::TRUTH,
        "a control that shows nothing is told",
    ),
    (
        "duplicate-is-posted-again-and-again",
        name::BOUNDED,
        "what the gateway calls a duplicate is looked up, and no replay comes without a pause",
    ),
    (
        "look-ups-fail-for-days",
        name::TRUTH,
        "look-ups that fail for a day are told",
    ),
    (
        "strange-failure-beside-our-own-uid",
        name::NO_FALSE_YES,
        "a failure found beside what our own request named ends nothing",
    ),
    (
        "strange-failure-beside-a-misnamed-uid",
        name::NO_FALSE_YES,
        "a failure found beside what our own request named ends nothing",
    ),
    (
        "look-ups-break-off-for-days",
        name::TRUTH,
        "a list that broke off is a look-up that failed",
    ),
    (
        "acquirers-uid-alone-is-taken-for-the-transaction",
        name::NO_FALSE_YES,
        "the acquirer's section names no transaction, with or without the outer uid",
    ),
    (
        "check-of-a-task-that-hangs-never-asks-by-name",
        name::LIVELY,
        "where a read of the task hangs, the name that a person asked for comes first",
    ),
    (
        "check-by-a-name-that-hangs-never-asks-by-uid",
        name::LIVELY,
        "where the look-up by name hangs, the uid has its turn alone",
    ),
    (
        "second-success-beside-a-doubtful-pending-one",
        name::KNOWN,
        "what is pending is looked up by its name, and a failure beside what is open ends nothing",
    ),
    (
        "refusal-beside-a-success-that-seems-older",
        name::NO_FALSE_NO,
        "a refusal beside what could be ours is doubt",
    ),
    (
        "task-is-not-asked-again-in-doubt",
        name::LIVELY,
        "in doubt a task that left everything open is asked once more",
    ),
    (
        "check-of-a-child-without-a-pause",
        name::BOUNDED,
        "a look by two names counts by its last answer alone",
    ),
    (
        "task-of-a-child-once-names-its-parent",
        name::LIVELY,
        "in doubt a task that left everything open is asked once more",
    ),
    (
        "own-task-is-not-read-beside-a-success",
        name::KNOWN,
        "a success that our own request did not name is not settled",
    ),
];

/// Rules that answers drawn at random still break, while each of these faults has no shrunk plan of its
/// own: the layers count what breaks them, and pass over it.
const STILL: &[&str] = &[];

/// The rules that are broken on purpose while their faults are still there.
pub fn rules() -> impl Iterator<Item = &'static str> {
    let red = RED.iter().map(|(_, rule, _)| *rule);
    red.chain(STILL.iter().copied())
}

/// How many plans of misleading answers an ordinary run of the tests explores.
const WIDE: u64 = 600;

/// Reads a plan by its name, or by its path.
pub fn kept_plan(name: &str) -> Plan {
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let kept = base
        .join("tests/data/plans/before")
        .join(format!("{name}.plan"));
    let path = if kept.exists() { kept } else { base.join(name) };
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Plan::read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Rules that are not looked at, to see what else is broken: `RECONCILER_IGNORE=known,told`.
pub fn is_ignored(rule: &str) -> bool {
    static IGNORED: LazyLock<String> =
        LazyLock::new(|| std::env::var("RECONCILER_IGNORE").unwrap_or_default());
    IGNORED.split(',').any(|ignored| ignored == rule)
}

fn told_of(name: &str) -> SeedResult {
    run_plan(kept_plan(name), None, false)
}

/// Each known fault is seen by the rule that it breaks, and no mended one is there again.
#[test]
fn known_faults_are_where_they_are_known_to_be() {
    let wrong = |(file, rule, mend): &Fault| {
        let told = told_of(file);
        let broken = rule_of(&told).map(str::to_owned);
        (broken.as_deref() != Some(*rule)).then(|| {
            let what = told.broken.unwrap_or_default();
            format!("{file} no longer breaks {rule:?} ({mend}): {what:?}")
        })
    };
    let mut lines: Vec<String> = RED.iter().filter_map(wrong).collect();
    for (file, ..) in MENDED {
        lines.extend(
            told_of(file)
                .broken
                .map(|what| format!("{file} breaks {what}")),
        );
    }
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// Every plan that is kept stands in one of the tables, and says in plain words what goes wrong.
#[test]
fn every_kept_plan_is_in_a_table() {
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/plans/before");
    for entry in std::fs::read_dir(base).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "plan") {
            continue;
        }
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let is_listed = RED.iter().chain(MENDED).any(|(file, ..)| *file == name);
        assert!(is_listed, "{name} is in no table");
        let text = std::fs::read_to_string(&path).expect("a plan");
        assert!(
            text.starts_with("# ") && text.lines().count() < 60,
            "{name}"
        );
    }
}

/// What each kept plan breaks, for who writes a table: `RECONCILER_PLANS=1`.
#[test]
fn kept_plans_are_listed() {
    if std::env::var_os("RECONCILER_PLANS").is_none() {
        return;
    }
    let base = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/plans/before");
    let mut names: Vec<String> = std::fs::read_dir(base)
        .expect("the folder")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter_map(|name| Some(name.strip_suffix(".plan")?.to_owned()))
        .collect();
    names.sort();
    for name in names {
        let told = told_of(&name);
        println!(
            "{name}\n    {}",
            told.broken.as_deref().unwrap_or("NOTHING")
        );
    }
}

/// What plans of a layer have broken, by rule: where each plan came from, and what it broke.
type Broken = BTreeMap<String, Vec<(u64, String)>>;

/// What the runs of a layer have met.
#[derive(Debug, Default)]
pub struct Met {
    /// The rows of the grammar that decided something.
    pub decided: Coverage,
    /// Runs in which the design itself allowed a false no.
    pub by_design: u64,
    /// Runs whose chain came about to its end.
    pub linked: u64,
}

/// Runs a layer. What is broken and not red on purpose is made small and printed.
pub fn explore_layer(
    layer: &str,
    (first, count): (u64, u64),
    plan: impl Fn(u64) -> Plan + Sync,
) -> Met {
    let found: Mutex<Broken> = Mutex::default();
    let met: Mutex<Met> = Mutex::default();
    let started = Instant::now();
    on_all_cores(first, |nth| {
        if nth - first >= count {
            return ControlFlow::Break(());
        }
        let told = run_plan(plan(nth), None, false);
        let mut all = met.lock().unwrap_or_else(PoisonError::into_inner);
        all.decided.join(&told.decided);
        all.by_design += u64::from(told.is_by_design);
        all.linked += u64::from(told.is_linked);
        drop(all);
        if let Some(rule) = rule_of(&told) {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            let what = told.broken.clone().unwrap_or_default();
            found.entry(rule.to_owned()).or_default().push((nth, what));
        }
        ControlFlow::Continue(())
    });
    let met = met.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{layer}: {count} plans in {:.1?}; {} with a false no that the design allows",
        started.elapsed(),
        met.by_design
    );
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let shows = std::env::var_os("RECONCILER_SHOW").is_some();
    let mut unknown = Vec::new();
    for (rule, all) in &mut found {
        all.sort();
        println!("{:>5}  {rule}", all.len());
        let is_red = rules().any(|red| red == rule);
        for (nth, what) in all.iter().filter(|_| shows) {
            println!("{layer} {nth} breaks {what}");
        }
        if !is_red {
            unknown.push((all[0].0, all[0].1.clone()));
        }
    }
    for (nth, what) in &unknown {
        if let Some(small) = Shrinking::of(plan(*nth)) {
            println!("# {what}\n{}{}\n", small.plan.text(), small.line("FILE"));
        }
    }
    assert!(unknown.is_empty(), "{layer}: {unknown:#?}");
    met
}

/// Several misleading answers at once break no rule but those that are red on purpose.
#[test]
fn misleading_answers_break_no_rule() {
    let first = super::number("RECONCILER_FIRST_SEED").unwrap_or(0);
    let count = super::number("RECONCILER_WIDE").unwrap_or(WIDE);
    let met = explore_layer("wide seed", (first, count), Plan::wide);
    met.decided.print();
}

/// Makes one plan small: `RECONCILER_WIDE_SEED=12`, or `RECONCILER_ODD=12`, `RECONCILER_SEQUENCE=12` of the
/// other layers.
#[test]
fn one_of_a_layer() {
    let seed = super::number("RECONCILER_WIDE_SEED").map(Plan::wide);
    let odd = super::number("RECONCILER_ODD").and_then(|nth| {
        let all = super::layers::one_odd_answer();
        all.get(usize::try_from(nth).ok()?).cloned()
    });
    let sequence = super::number("RECONCILER_SEQUENCE").and_then(|nth| {
        let all = super::sequences::plans();
        all.get(usize::try_from(nth).ok()?).cloned()
    });
    let Some(plan) = seed.or(odd).or(sequence) else {
        return;
    };
    let Some(small) = Shrinking::of(plan) else {
        println!("nothing is broken");
        return;
    };
    let told = run_plan(small.plan.clone(), None, true);
    println!(
        "{}\n# {}\n{}",
        told.story(),
        small.rule(),
        small.plan.text()
    );
}

/// The names of the rules stand in the tables as the rules have them.
#[test]
fn the_tables_name_rules() {
    let all = [
        name::ONCE,
        name::CHILDREN,
        name::SPACING,
        name::POLL_INTERVAL,
        name::NO_FALSE_NO,
        name::NO_FALSE_YES,
        name::ONE_OWNER,
        name::TOLD,
        name::KNOWN,
        name::ACKNOWLEDGED,
        name::DUE,
        name::LIVELY,
        name::BOUNDED,
        name::PROOFS,
        name::NOTES,
        name::FINDINGS,
        name::END,
        name::FINALITY,
        name::TRUTH,
    ];
    for (file, rule, _) in RED.iter().chain(MENDED) {
        assert!(all.contains(rule), "{file}: {rule}");
    }
}
