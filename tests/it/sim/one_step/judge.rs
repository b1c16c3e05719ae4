//! The rules of one step. They know what would have been true, since the answer was made from it, and
//! never ask the service for that.

use super::stage::{ANOTHERS, Done, OURS, PARENTS, SIBLINGS, Stage, Way, is_final};
use crate::sim::grammar::{
    Amount, Bytes, CardData, Channel, Code, Created, Currency, Envelope, Errors, Http, Kind, List,
    Named, Parent, Retry, Row, Status, Test, Updated, When, Whose, holds_transaction,
};
use crate::sim::render::{Entry, told};
use domain::{Fact, State};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// The rules, as they stand in the table of what is red.
pub mod rule {
    pub const WORKS: &str = "works";
    pub const NO_FALSE_YES: &str = "no false yes";
    pub const NO_FALSE_NO: &str = "no false no";
    pub const LOOKED_FIRST: &str = "looked up before a task's refusal is final";
    pub const ONCE: &str = "once";
    pub const ONE_OWNER: &str = "one owner";
    pub const TOLD: &str = "told";
    pub const KEPT: &str = "kept";
    pub const KNOWN: &str = "known";
    pub const DUE: &str = "due";
    pub const BOUNDED: &str = "bounded";
    pub const ACKNOWLEDGED: &str = "acknowledged";
    pub const EMPTY: &str = "empty";
    pub const NOTES: &str = "notes";
    pub const CARD: &str = "card";
}

/// A rule that is broken, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub rule: &'static str,
    pub what: String,
}

/// Judges one step; every rule that is broken is named once.
pub fn judge(stage: &Stage, row: &Row, done: &Done) -> Vec<Broken> {
    let case = Case { stage, row, done };
    let rules: [(&'static str, Option<String>); 15] = [
        (rule::WORKS, done.failed.clone()),
        (rule::NO_FALSE_YES, case.no_false_yes()),
        (rule::NO_FALSE_NO, case.no_false_no()),
        (rule::LOOKED_FIRST, case.looked_first()),
        (rule::ONCE, case.once()),
        (rule::ONE_OWNER, case.one_owner()),
        (rule::TOLD, case.told()),
        (rule::KEPT, case.kept()),
        (rule::KNOWN, case.known()),
        (rule::DUE, case.due()),
        (rule::BOUNDED, case.bounded()),
        (rule::ACKNOWLEDGED, case.acknowledged()),
        (rule::EMPTY, case.empty()),
        (rule::NOTES, case.notes()),
        (rule::CARD, case.card()),
    ];
    let broken = rules.into_iter().filter_map(|(rule, what)| {
        let what = what?;
        Some(Broken { rule, what })
    });
    broken.collect()
}

/// Whether the design itself lets a row end on what it did not make: such steps are counted apart.
pub fn is_by_design(stage: &Stage, row: &Row, done: &Done) -> bool {
    let case = Case { stage, row, done };
    let (before, after) = (done.before.state, done.after.state);
    let entry = case.about();
    before != after && case.is_nameless() && !case.may_end_on(&entry, after)
}

struct Case<'a> {
    stage: &'a Stage,
    row: &'a Row,
    done: &'a Done,
}

impl Case<'_> {
    /// The transaction that it tells of first.
    fn about(&self) -> Entry {
        told(self.row, &self.done.scene.about, &self.done.scene.names)
    }

    /// Whether somebody who knows every encoding reads all of it.
    fn is_readable(&self) -> bool {
        !matches!(
            self.row.get(),
            Bytes::CutWithin | Bytes::Long | Bytes::Html | Bytes::Empty
        ) && !self.row.is(Http::S204)
    }

    /// Whether it tells of a transaction, under a status under which transactions are told.
    fn tells(&self) -> bool {
        let told = matches!(self.row.get(), Http::Right | Http::S200 | Http::S201);
        let has_uid = !self.row.is(Whose::None) && !self.row.is(List::Empty);
        self.is_readable() && told && has_uid && holds_transaction(self.row.envelope())
    }

    /// Whether the amount says something that can be one.
    fn has_amount(&self) -> bool {
        !matches!(self.row.get(), Amount::TextMajor | Amount::Fraction)
    }

    fn is_own_name(&self, entry: &Entry) -> bool {
        let names = &self.done.scene.names;
        let name = entry.name.as_deref();
        let parents = self.stage.is_child && name == Some(names.parents.as_str());
        name == Some(names.own.as_str()) || name.is_none() || parents
    }

    /// Whether our row may end on what is told of this transaction.
    fn may_end_on(&self, entry: &Entry, state: State) -> bool {
        let row = self.row;
        let known = self.done.before.derived().uid;
        let bound = known.as_ref().is_some_and(|uid| uid.as_str() == entry.uid);
        let alike = row.is(Amount::Equal)
            | row.is(Amount::Text)
            | row.is(Amount::TextDecimals)
            | row.is(Amount::Null)
            | row.is(Amount::Absent);
        let alike = alike && !row.is(Currency::Other) && !row.is(Kind::Other);
        let alike = alike && !row.is(Parent::Other) && !row.is(Test::Other);
        let is_anothers = [ANOTHERS, PARENTS, SIBLINGS].contains(&entry.uid.as_str());
        let older = matches!(
            row.get(),
            Created::Behind3Min | Created::Behind1H | Created::Behind25H
        );
        // Found by name, it is told that it was made before we asked.
        let by_task = !matches!(Way::of(row.get()), Way::Asked);
        let older = older && entry.uid != OURS && !by_task;
        // Where our own task has named one, another ends it only as a success.
        let other = self.is_named() && !bound && !by_task && state != State::Successful;
        let named = bound || self.is_own_name(entry);
        let says = says(row, entry) == Some(state);
        alike && !is_anothers && !older && !other && named && says
    }

    /// It ends only on what our request made, or on what is alike in everything.
    fn no_false_yes(&self) -> Option<String> {
        let (before, after) = (&self.done.before, &self.done.after);
        let ended = matches!(
            after.state,
            State::Successful | State::Failed | State::Expired
        );
        let uid = after.derived().uid;
        let moved = before.state != after.state || before.derived().uid != uid;
        let uid = uid.map(|uid| uid.to_string()).unwrap_or_default();
        if !ended || !moved {
            let strange = !uid.is_empty() && moved && !self.is_in_books(&uid);
            return strange.then(|| format!("it is bound to {uid}, which is no transaction"));
        }
        let entry = self.about();
        let other = self.row.is(List::Empty) || entry.uid != uid;
        let right = !other && (self.may_end_on(&entry, after.state) || self.is_nameless());
        (!right).then(|| format!("it is {} by {uid}", after.state))
    }

    /// What our own task, the answer to our own request, or a look-up by our name shows without a tracking
    /// id and alike in everything else is ours by design: refunds and voids have none as a rule.
    fn is_nameless(&self) -> bool {
        let answers_ours = !matches!(self.row.get(), Channel::ByUid | Channel::Webhook);
        let named = self.row.with(Named::True);
        let mut entry = self.about();
        entry.name = None;
        let case = Case {
            row: &named,
            ..*self
        };
        let alike = case.may_end_on(&entry, self.done.after.state);
        answers_ours && self.row.is(Named::Absent) && alike
    }

    /// Whether our own task has named our transaction before.
    fn is_named(&self) -> bool {
        matches!(
            self.stage.when,
            When::Pending | When::Successful | When::Failed | When::Expired
        )
    }

    fn is_in_books(&self, uid: &str) -> bool {
        let scene = &self.done.scene;
        let known = [OURS, ANOTHERS, PARENTS, SIBLINGS].contains(&uid);
        known || scene.about.uid == uid || scene.beside.iter().any(|entry| entry.uid == uid)
    }

    /// It never ends as "it did not happen", but by a documented refusal of it.
    fn no_false_no(&self) -> Option<String> {
        let (before, after) = (self.done.before.state, self.done.after.state);
        let ended = matches!(after, State::Rejected | State::NotFound) && before != after;
        let right = after == State::Rejected && may_reject(self.row, self.stage.is_child);
        (ended && !right).then(|| format!("it was {before} and is {after}"))
    }

    /// What a task refuses is looked up before that is final, where look-ups can show it.
    fn looked_first(&self) -> Option<String> {
        let (before, after) = (self.done.before.state, self.done.after.state);
        let by_task = matches!(self.row.get(), Channel::TaskStatus | Channel::TaskResult);
        let ended = by_task && after == State::Rejected && before != after;
        (ended && !self.stage.is_child).then(|| "a task's refusal is final at once".to_owned())
    }

    /// It goes back to where it is sent again only when the gateway says that it did not take it.
    fn once(&self) -> Option<String> {
        let (before, after) = (self.done.before.state, self.done.after.state);
        let back = matches!(after, State::Accepted | State::NotSent) && before != after;
        let right = self.row.is(Channel::Ack) && self.row.is(Http::S429) && !leaves_open(self.row);
        (back && !right).then(|| format!("it was {before} and is {after}"))
    }

    /// No uid of one is another's.
    fn one_owner(&self) -> Option<String> {
        let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for stored in self.done.db.transactions.values() {
            let name = stored.opening.tracking_id.as_ref();
            let name = name.map(ToString::to_string).unwrap_or_default();
            if let Some(uid) = stored.derived().uid {
                owners.entry(uid.to_string()).or_default().push(name);
            }
        }
        let twice = owners.into_iter().find(|(_, names)| names.len() > 1)?;
        Some(format!("{} belongs to {}", twice.0, twice.1.join(" and ")))
    }

    /// A state that rests on another uid than our task named is told, with both and their amounts.
    fn told(&self) -> Option<String> {
        let uid = self.done.after.derived().uid?.to_string();
        if !self.is_named() || uid == OURS {
            return None;
        }
        // What was told without an amount can be named without one.
        let has_amount = matches!(
            self.row.get(),
            Amount::Equal | Amount::Other | Amount::Text | Amount::TextDecimals
        );
        let told = self.done.db.findings.iter().any(|row| {
            let names = |uid: &str, amount: bool| {
                let mut all = row.uids.iter();
                let named = all.find(|mention| mention.uid == uid);
                named.is_some_and(|mention| mention.amount.is_some() || !amount)
            };
            row.is_open && names(OURS, true) && names(&uid, has_amount)
        });
        (!told).then(|| format!("no finding names {OURS} and {uid} with their amounts"))
    }

    /// What came is kept, as its SHA-256.
    fn kept(&self) -> Option<String> {
        let body = &self.done.rendered.body;
        // A webhook that is longer is refused.
        if self.row.is(Channel::Webhook) && self.row.is(Bytes::Long) {
            return None;
        }
        let sha256: [u8; 32] = Sha256::digest(body).into();
        let db = &self.done.db;
        let evidence = db.evidence.values().flatten();
        let is_there = evidence.into_iter().any(|e| e.body_sha256 == sha256)
            || db.orphans.values().any(|o| o.row.body_sha256 == sha256);
        (!is_there).then(|| "no evidence has the bytes that came".to_owned())
    }

    /// What is told under a name of ours, or below a uid of ours, is known from then on.
    fn known(&self) -> Option<String> {
        let readable = self.tells();
        if !readable {
            return None;
        }
        let listed = self.row.envelope() == Envelope::List;
        let beside = self.done.scene.beside.iter().filter(|_| listed);
        let beside = beside.filter(|_| !self.row.is(List::SiblingUnreadable));
        let all = beside.cloned().chain([self.about()]);
        let names = &self.done.scene.names;
        let unknown = all.into_iter().find(|entry| {
            let name = entry.name.as_deref().unwrap_or_default();
            let shown = !matches!(
                self.row.get(),
                Named::Absent | Named::OtherCase | Named::Cut
            );
            let named = [&names.own, &names.anothers, &names.parents]
                .iter()
                .any(|ours| *ours == name);
            let parent = entry.parent.as_deref();
            let below = parent == Some(PARENTS) && self.row.is(Parent::Equal);
            ((named && shown) || below) && !self.is_known(&entry.uid)
        })?;
        Some(format!("{} is known to nobody", unknown.uid))
    }

    fn is_known(&self, uid: &str) -> bool {
        let db = &self.done.db;
        let names = |row: &reconciler::store::DiscrepancyRow| {
            row.is_open
                && (row.subject.contains(uid)
                    || row.uid.as_deref() == Some(uid)
                    || row.detail.contains(uid))
        };
        db.uids.contains_key(uid)
            || db.transactions.values().any(|row| {
                let derived = row.derived().uid;
                derived.is_some_and(|known| known.as_str() == uid)
            })
            || db.findings.iter().any(names)
    }

    /// The next look is where the pace of its age puts it.
    fn due(&self) -> Option<String> {
        let after = &self.done.after;
        let now = self.stage.now;
        let check = self
            .done
            .db
            .checks
            .get(&self.stage.id)
            .map(|check| check.due_at);
        if after.state.is_final() {
            return self.contradicts().then_some(()).and_then(|()| {
                let late = check.is_none_or(|due| due > now.plus(Duration::from_secs(3_600)));
                late.then(|| "what contradicts a final state makes no look due".to_owned())
            });
        }
        let put_off = self.row.is(Channel::Ack) && self.row.is(Http::S429);
        let most = match after.state {
            State::InDoubt => 66 + 15 * 60,
            _ if put_off => 3_600,
            _ => 75,
        };
        // Doubt that is no duplicate's has the ordinary pace.
        let duplicate = self.stage.when == When::DuplicateDoubt || self.row.is(Code::E1018);
        let most = if after.state == State::InDoubt && !duplicate {
            75
        } else {
            most
        };
        let Some(due) = check else {
            return Some(format!("it is {} and nothing is due", after.state));
        };
        if due > now.plus(Duration::from_secs(most)) {
            return Some(format!(
                "due in {:?}, the pace says {most} s",
                due.since(now)
            ));
        }
        let at_once = now.plus(Duration::from_secs(1));
        (self.hurries() && due > at_once)
            .then(|| format!("our own task is asked in {:?}", due.since(now)))
    }

    /// A signed failure of what our own task still works at.
    fn hurries(&self) -> bool {
        let failed = self.row.is(Status::Failed) && matches!(self.row.get(), Code::True | Code::F);
        let alike = Row::honest(Channel::Webhook, When::Processing).with(Status::Failed);
        let alike = alike
            .with(self.row.get::<Code>())
            .with(self.row.get::<Envelope>());
        let own = *self.row == alike && self.stage.when == When::Processing;
        failed && own && self.tells()
    }

    /// A readable word about our own uid that differs from the final state which we show.
    fn contradicts(&self) -> bool {
        let own = self.row.is(Whose::Own) && is_final(self.stage.when) && self.has_amount();
        let known = self.done.before.derived().uid;
        let bound = known.is_some_and(|uid| uid.as_str() == OURS);
        let older = matches!(
            self.row.get(),
            Updated::Behind1H | Updated::Behind25H | Updated::Before
        );
        let fits = !matches!(self.row.get(), Channel::Ack | Channel::TaskStatus);
        let alike = self.row.is(Named::True) && !self.row.is(Kind::Other) && !older;
        let entry = self.about();
        let differs = says(self.row, &entry) != Some(self.done.after.state);
        own && bound && fits && alike && self.tells() && differs
    }

    /// `Retry-After` brings no look nearer than the pace.
    fn bounded(&self) -> Option<String> {
        if !matches!(self.row.get(), Retry::Zero | Retry::Past) {
            return None;
        }
        let check = self.done.db.checks.get(&self.stage.id)?.due_at;
        let read = matches!(
            self.row.get(),
            Http::S429 | Http::S502 | Http::S503 | Http::S504
        );
        let open = !self.done.after.state.is_final();
        let soon = check < self.stage.now.plus(Duration::from_secs(1));
        // What nobody asked for in its own time moves no look, not even one that is late already.
        let before = self.stage.db.checks.get(&self.stage.id);
        let unmoved = before.is_some_and(|before| before.due_at == check);
        let is_look = !matches!(self.row.get(), Channel::Ack | Channel::Query);
        let soon = soon && (is_look || !unmoved);
        (read && open && soon).then(|| "it is asked again at once".to_owned())
    }

    /// A webhook that is answered 200 is applied, or looked up, or a finding.
    fn acknowledged(&self) -> Option<String> {
        if !self.row.is(Channel::Webhook) || !self.tells() {
            return None;
        }
        let about = self.about();
        let soon = self.stage.now.plus(Duration::from_secs(60));
        let check = self.done.db.checks.get(&self.stage.id);
        let due = check.is_some_and(|check| check.due_at <= soon);
        let applied = self.is_known(&about.uid) || due;
        let opened = self.done.db.findings.len() > self.stage.db.findings.len();
        (!applied && !opened).then(|| "a webhook is answered, and nothing comes of it".to_owned())
    }

    /// Only a plain list with no row, beside no error, is an empty look-up.
    fn empty(&self) -> Option<String> {
        let mut facts = self.done.learned.iter().flat_map(|learned| &learned.facts);
        let counted = facts.any(|fact| matches!(fact, Fact::LookupEmpty));
        let right = self.row.is(List::Empty)
            && self.row.envelope() == Envelope::List
            && self.row.is(Errors::None)
            && matches!(self.row.get(), Http::Right | Http::S200)
            && self.is_readable();
        (counted && !right).then(|| "it counts as an empty look-up".to_owned())
    }

    /// Only an answer that itself holds our uid teaches that look-ups work.
    fn notes(&self) -> Option<String> {
        let holds = self.tells() && self.row.is(Whose::Own);
        let by_name = self.is_own_name(&self.about());
        // Whoever made it, it is found under our name.
        let under_ours =
            self.row.is(Whose::Foreign) || (self.row.is(Whose::New) && self.row.is(Named::Own));
        let right = (holds || (under_ours && self.tells())) && by_name;
        (self.done.noted && !right).then(|| "\"look-ups work\" is noted".to_owned())
    }

    /// No card data in anything that is kept.
    fn card(&self) -> Option<String> {
        if self.row.is(CardData::None) {
            return None;
        }
        let card = &self.done.scene.about.card;
        let needles = [
            card.number.clone(),
            card.holder.to_lowercase(),
            card.cvc.clone(),
            card.expiry.1.to_string(),
        ];
        kept_texts(self.done).into_iter().find_map(|(place, text)| {
            let text = text.to_lowercase().replace('\0', "");
            let needle = needles.iter().find(|needle| stands_in(&text, needle))?;
            Some(format!("{needle} stands in {place}"))
        })
    }
}

/// Everything that a step has left behind, as text.
fn kept_texts(done: &Done) -> Vec<(&'static str, String)> {
    let mut texts = Vec::new();
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for piece in done.db.evidence.values().flatten() {
        texts.push(("evidence", lossy(&piece.row.body)));
        texts.push(("a note", format!("{:?}", piece.row.note)));
    }
    for orphan in done.db.orphans.values() {
        texts.push(("an orphan", lossy(&orphan.row.body)));
        texts.push(("an orphan's note", orphan.row.note.clone()));
    }
    for finding in &done.db.findings {
        texts.push(("a finding", finding.detail.clone()));
    }
    for row in done.db.transactions.values() {
        let summary = serde_json::to_string(&row.summary).unwrap_or_default();
        texts.push(("a summary", summary));
    }
    texts
}

/// Whether it stands there by itself and not within a longer word.
fn stands_in(text: &str, needle: &str) -> bool {
    text.match_indices(needle).any(|(at, found)| {
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let before = text[..at].chars().next_back();
        let after = text[at + found.len()..].chars().next();
        !is_word(before) && !is_word(after)
    })
}

/// The final state that a transaction's status and code say; `None`: not final.
fn says(row: &Row, entry: &Entry) -> Option<State> {
    let open_code = matches!(
        row.get(),
        Code::P0001
            | Code::P1019
            | Code::P9999
            | Code::E1000
            | Code::E1018
            | Code::E1035
            | Code::E1036
    );
    if row.is(Status::Absent) {
        return None;
    }
    match entry.status.as_str() {
        "successful" => Some(State::Successful),
        "failed" => Some(State::Failed),
        "expired" => Some(State::Expired),
        "error" | "deleted" | "permanent" if !open_code => Some(State::Failed),
        _ => None,
    }
}

/// Whether an error leaves open what became of the request.
fn leaves_open(row: &Row) -> bool {
    let code = matches!(
        row.get(),
        Code::E1000
            | Code::E1018
            | Code::E1019
            | Code::E1035
            | Code::E1036
            | Code::P0001
            | Code::P1019
            | Code::P9999
            | Code::Two
    );
    let text = matches!(
        row.get(),
        Errors::InProgress | Errors::Already | Errors::NotUnique | Errors::TimeOut
    );
    let is_error = matches!(
        row.envelope(),
        Envelope::ErrorResponse
            | Envelope::ErrorErrors
            | Envelope::ErrorCode
            | Envelope::ErrorMessage
    );
    (code && is_error) || text
}

/// Whether it is a documented refusal of a request: by a code of the table, or by errors about what such
/// a request has, under a status with which the gateway refuses.
pub fn may_reject(row: &Row, is_child: bool) -> bool {
    let status: u16 = match row.get() {
        Http::Right => 422,
        _ => super::status_word(row).parse().unwrap_or(0),
    };
    let unreadable = matches!(
        row.get(),
        Bytes::CutWithin | Bytes::Long | Bytes::Html | Bytes::Empty
    );
    let on_submit = row.is(Channel::Ack);
    if on_submit && matches!(status, 401 | 403) {
        return unreadable || !leaves_open(row);
    }
    let by_task = matches!(row.get(), Channel::TaskStatus | Channel::TaskResult);
    let heard =
        (on_submit && (400..=499).contains(&status)) || (by_task && matches!(status, 400 | 422));
    let envelope = row.get::<Envelope>();
    // What has no uid and a code is an error, in version 3.
    let bare = matches!(
        envelope,
        Envelope::V3 | Envelope::V3Section | Envelope::V3SectionUid
    ) && row.is(Whose::None);
    let is_error = matches!(
        envelope,
        Envelope::ErrorResponse
            | Envelope::ErrorErrors
            | Envelope::ErrorCode
            | Envelope::ErrorMessage
    ) || bare;
    if unreadable || !heard || !is_error {
        return false;
    }
    let coded = !row.is(Code::True) || envelope == Envelope::ErrorCode;
    if coded {
        let documented = matches!(row.get(), Code::True | Code::E1025 | Code::E1065)
            || (on_submit && row.is(Code::E1021));
        return documented;
    }
    let fields = match row.get() {
        Errors::OurField | Errors::NotFound | Errors::Text => true,
        Errors::Nested => !is_child,
        _ => false,
    };
    fields && envelope != Envelope::ErrorMessage && !matches!(status, 408 | 409 | 425)
}
