//! Makes a plan that breaks a rule as small as it can be, with the same rule still broken.

use super::explore::{SeedResult, run_plan};
use super::grammar::{Channel, Row, Value as _, When};
use super::plan::{Course, Ends, MessageFate, Plan};
use super::plan_text::{SETTINGS, set_back};
use std::time::Duration;

/// How many runs a plan may take to become small.
const MAX_STEPS: u32 = 400;

/// A plan, and the rule that it breaks.
pub struct Shrinking {
    pub plan: Plan,
    rule: String,
    runs: u32,
}

/// The rule that a run broke.
pub fn rule_of(told: &SeedResult) -> Option<&str> {
    let broken = told.broken.as_deref()?;
    broken.split_once(": ").map(|(rule, _)| rule)
}

/// The plan without chance: what chance has added is planned.
pub fn without_chance(plan: &Plan, happened: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.exchanges.extend(happened.exchanges.iter().cloned());
    plan.places.clone_from(&happened.places);
    plan.commits.clone_from(&happened.commits);
    for chance in ["crash", "stall", "lost", "odd_answer", "commit_lost"] {
        set_back(&mut plan, chance);
    }
    if plan.webhook_lost < 1.0 {
        set_back(&mut plan, "webhook_lost");
    }
    plan
}

impl Shrinking {
    /// The smallest plan that was found to break the same rule.
    pub fn of(plan: Plan) -> Option<Self> {
        let told = run_plan(plan.clone(), None, false);
        let rule = rule_of(&told)?.to_owned();
        let mut this = Self {
            plan,
            rule,
            runs: 1,
        };
        let certain = without_chance(&this.plan, &told.happened);
        this.try_plan(certain);
        let mut before = String::new();
        while before != this.plan.text() && this.runs < MAX_STEPS {
            before = this.plan.text();
            this.drop_parts();
            this.settle();
            this.simplify_orders();
            this.simplify_rows();
        }
        Some(this)
    }

    /// Keeps a plan that breaks the same rule.
    fn try_plan(&mut self, plan: Plan) -> bool {
        if self.runs >= MAX_STEPS || plan == self.plan {
            return false;
        }
        self.runs += 1;
        let told = run_plan(plan.clone(), None, false);
        let same = rule_of(&told) == Some(self.rule.as_str());
        if same {
            self.plan = plan;
        }
        same
    }

    /// Drops orders, acts and faults: halves first, then single ones.
    fn drop_parts(&mut self) {
        self.drop_from(|plan| &mut plan.places);
        self.drop_from(|plan| &mut plan.exchanges);
        self.drop_from(|plan| &mut plan.commits);
        self.drop_from(|plan| &mut plan.chain);
        self.drop_from(|plan| &mut plan.acts);
        self.drop_from(|plan| &mut plan.strangers);
        self.drop_from(|plan| &mut plan.orders);
        self.drop_from(|plan| &mut plan.outages);
        self.drop_from(|plan| &mut plan.retentions);
    }

    fn drop_from<T: Clone>(&mut self, part: impl Fn(&mut Plan) -> &mut Vec<T>) {
        let mut size = part(&mut self.plan).len();
        while size > 0 {
            let mut begin = 0;
            while begin < part(&mut self.plan).len() {
                let mut plan = self.plan.clone();
                let all = part(&mut plan);
                let end = (begin + size).min(all.len());
                all.drain(begin..end);
                if !self.try_plan(plan) {
                    begin += size;
                }
            }
            size /= 2;
        }
    }

    /// Sets settings to what is usual.
    fn settle(&mut self) {
        for key in SETTINGS {
            let mut plan = self.plan.clone();
            if *key != "end" && set_back(&mut plan, key) {
                plan.end = plan.faults_until + Duration::from_secs(100 * 3600);
                self.try_plan(plan);
            }
        }
    }

    /// Plain orders with plain courses, at round times.
    fn simplify_orders(&mut self) {
        for nth in 0..self.plan.orders.len() {
            self.try_with(|plan| plan.orders[nth].twice = false);
            self.try_with(|plan| plan.orders[nth].card_data = false);
            self.try_with(|plan| plan.orders[nth].respond_async = false);
            self.try_with(|plan| plan.orders[nth].test = false);
            let name = self.plan.orders[nth].name.clone();
            if self.plan.course(&name, 1).is_none() {
                let plain = Course {
                    name,
                    nth: 1,
                    takes: Duration::from_secs(3),
                    ends: Ends::Successful,
                    later: Duration::ZERO,
                    pending: false,
                    corrected: None,
                    again: None,
                };
                self.try_with(|plan| plan.courses.push(plain));
            }
            for size in [3600, 60, 1] {
                self.try_with(|plan| {
                    let begins = plan.orders[nth].begins.as_secs();
                    plan.orders[nth].begins = Duration::from_secs(begins / size * size);
                });
            }
        }
        for nth in 0..self.plan.strangers.len() {
            self.try_with(|plan| plan.strangers[nth].told = false);
            self.try_with(|plan| {
                let at = plan.strangers[nth].at.as_secs();
                plan.strangers[nth].at = Duration::from_secs(at / 60 * 60);
            });
        }
    }

    fn try_with(&mut self, change: impl FnOnce(&mut Plan)) {
        let mut plan = self.plan.clone();
        change(&mut plan);
        self.try_plan(plan);
    }

    /// Factors at their honest values, and once instead of for ever.
    fn simplify_rows(&mut self) {
        for nth in 0..self.plan.exchanges.len() {
            self.try_with(|plan| plan.exchanges[nth].last = plan.exchanges[nth].first);
            let Some(MessageFate::Row(row, taken)) =
                self.plan.exchanges.get(nth).map(|e| e.fate.clone())
            else {
                continue;
            };
            let mut row: Row = row;
            let fixed = [Channel::FACTOR, When::FACTOR];
            let odd: Vec<usize> = row.odd().filter(|odd| !fixed.contains(odd)).collect();
            for factor in odd {
                let simpler = row.with_at(factor, 0);
                let mut plan = self.plan.clone();
                plan.exchanges[nth].fate = MessageFate::Row(simpler, taken);
                if self.try_plan(plan) {
                    row = simpler;
                }
            }
        }
    }

    /// What to run to see it again.
    pub fn line(&self, file: &str) -> String {
        format!(
            "RECONCILER_PLAN={file} cargo test --locked --test it sim::one_plan -- --nocapture # {}",
            self.rule
        )
    }

    pub fn rule(&self) -> &str {
        &self.rule
    }
}
