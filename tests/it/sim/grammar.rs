//! The grammar of the gateway's answers: one value of each factor is one answer. The first value of
//! each factor is the honest one, so that an answer can be made simpler factor by factor.
//!
//! It knows nothing of the service. How a row becomes bytes is in [`super::render`].

/// One factor: its word in a plan, and the words of its values, the honest one first.
pub struct Factor {
    pub key: &'static str,
    pub words: &'static [&'static str],
}

/// A value of a factor.
pub trait Value: Copy + PartialEq + 'static {
    /// Which factor.
    const FACTOR: usize;
    /// All values, the honest one first.
    const ALL: &'static [Self];
    /// Its place among them.
    fn index(self) -> u8;
}

macro_rules! factors {
    ($($(#[$doc:meta])* $nth:literal $name:ident $key:literal { $($value:ident = $word:literal),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
            pub enum $name { $($value),* }

            impl $name {
                pub const ALL: &'static [Self] = &[$(Self::$value),*];
            }

            impl Value for $name {
                const FACTOR: usize = $nth;
                const ALL: &'static [Self] = Self::ALL;

                fn index(self) -> u8 {
                    self as u8
                }
            }
        )*

        /// All factors, in the order of a row.
        pub const FACTORS: [Factor; 22] = [
            $(Factor { key: $key, words: &[$($word),*] }),*
        ];
    };
}

factors! {
    /// What is answered.
    0 Channel "channel" {
        Ack = "ack", TaskStatus = "task-status", TaskResult = "task-result", ByUid = "by-uid",
        ByName = "by-name", Webhook = "webhook", Query = "query",
    }
    /// The HTTP status.
    1 Http "http" {
        Right = "right", S200 = "200", S201 = "201", S204 = "204", S302 = "302", S400 = "400",
        S401 = "401", S403 = "403", S404 = "404", S405 = "405", S408 = "408", S409 = "409",
        S422 = "422", S425 = "425", S429 = "429", S431 = "431", S500 = "500", S502 = "502",
        S503 = "503", S504 = "504",
    }
    /// `Retry-After`.
    2 Retry "retry" {
        None = "none", Zero = "0", Seven = "7", HalfMinute = "34", Day = "86400", Past = "past",
    }
    /// How the content is wrapped. `Right` is what this channel answers when all is well.
    3 Envelope "envelope" {
        Right = "right", V2 = "v2", V3 = "v3", V3Section = "v3-section", V3SectionUid = "v3-section-uid",
        List = "list", ErrorResponse = "error-response", ErrorErrors = "error-errors",
        ErrorCode = "error-code", ErrorMessage = "error-message", Processing = "processing",
        Completed = "completed", UnknownTask = "unknown-task", Empty = "{}", Unknown = "unknown",
    }
    /// Whose transaction it is about. `New` is nobody's here, and has a name of its own.
    4 Whose "uid" {
        Own = "own", Anothers = "anothers", Parents = "parents", Siblings = "siblings",
        Foreign = "foreign", New = "new", None = "none",
    }
    /// The tracking id that is shown.
    5 Named "name" {
        True = "true", Own = "own", Anothers = "anothers", Parents = "parents", Absent = "absent",
        OtherCase = "other-case", Cut = "cut",
    }
    /// The status word.
    6 Status "status" {
        True = "true", Successful = "successful", Failed = "failed", Expired = "expired",
        Error = "error", Deleted = "deleted", Permanent = "permanent", Incomplete = "incomplete",
        Pending = "pending", Initial = "initial", Unknown = "unknown", Absent = "absent",
    }
    /// The code.
    7 Code "code" {
        True = "true", S = "S.0000", F = "F.0105", E1000 = "E.1000", E1018 = "E.1018",
        E1019 = "E.1019", E1021 = "E.1021", E1023 = "E.1023", E1025 = "E.1025", E1035 = "E.1035",
        E1036 = "E.1036", E1065 = "E.1065", P0001 = "P.0001", P1019 = "P.1019", P9999 = "P.9999",
        E0638 = "E.0638", Two = "two",
    }
    /// What stands under `errors`.
    8 Errors "errors" {
        None = "none", OurField = "our-field", OtherField = "other-field", NotFound = "not-found",
        TimeOut = "time-out", InProgress = "in-progress", Already = "already",
        NotUnique = "not-unique", Proxy = "proxy", Text = "text", Nested = "nested", Empty = "empty",
    }
    /// The amount. Those in quotes are texts.
    9 Amount "amount" {
        Equal = "equal", Other = "other", Text = "text", TextDecimals = "text-decimals",
        TextMajor = "text-major", Fraction = "fraction", Null = "null", Absent = "absent",
    }
    /// The currency.
    10 Currency "currency" { Equal = "equal", Other = "other", Null = "null", Absent = "absent" }
    /// The type.
    11 Kind "type" { Equal = "equal", Other = "other", Null = "null", Absent = "absent" }
    /// The parent's uid.
    12 Parent "parent" { Equal = "equal", Other = "other", Null = "null", Absent = "absent" }
    /// Test or live.
    13 Test "test" { Equal = "equal", Other = "other", Absent = "absent" }
    /// `created_at`.
    14 Created "created" {
        Right = "right", Absent = "absent", NoZone = "no-zone", Behind3Min = "behind-3min",
        Behind1H = "behind-1h", Behind25H = "behind-25h", Ahead = "ahead", Before = "as-before",
    }
    /// `updated_at`.
    15 Updated "updated" {
        Right = "right", Absent = "absent", NoZone = "no-zone", Behind3Min = "behind-3min",
        Behind1H = "behind-1h", Behind25H = "behind-25h", Ahead = "ahead", Before = "as-before",
    }
    /// What happens to the bytes.
    16 Bytes "bytes" {
        Whole = "whole", CutAfter = "cut-after", CutWithin = "cut-within", Bom = "bom",
        BadByte = "bad-byte", HalfSurrogate = "half-surrogate", Cp1251 = "cp1251", Utf16 = "utf-16",
        DuplicateKey = "duplicate-key", Gzip = "gzip", Long = "1.1MiB", Html = "html", Empty = "empty",
    }
    /// What stands in a list beside the one it is about.
    17 List "list" {
        Alone = "alone", Empty = "empty", Older = "older", Unlike = "unlike", Nine = "9", Ten = "10",
        Eleven = "11", OursLast = "ours-last", SiblingUnreadable = "sibling-unreadable",
    }
    /// How long it lasts.
    18 Lasts "lasts" { Once = "once", On = "on" }
    /// The state of the row when it comes.
    19 When "when" {
        Submitting = "submitting", Accepted = "accepted", Processing = "processing",
        Pending = "pending", InDoubt = "in_doubt", Successful = "successful", Failed = "failed",
        Expired = "expired", Rejected = "rejected", NotSent = "not_sent",
        DuplicateDoubt = "duplicate-doubt", WebhookMeanwhile = "webhook-meanwhile",
    }
    /// Card data in it.
    20 CardData "card" {
        None = "none", Number = "number", Holder = "holder", Cvc = "cvc", Expiry = "expiry",
        HolderNames = "holder-names", CvcNames = "cvc-names", ExpiryNames = "expiry-names",
        Echoed = "echoed", OtherCase = "other-case",
    }
    /// What the database does with it.
    21 Database "db" { Takes = "takes", Refuses = "refuses", Away = "away" }
}

/// One answer: a value of each factor. Ordered by its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Row([u8; FACTORS.len()]);

impl Row {
    /// The honest answer of a channel to a row in a state.
    pub fn honest(channel: Channel, when: When) -> Self {
        Self::default().with(channel).with(when)
    }

    pub fn get<V: Value>(&self) -> V {
        V::ALL[usize::from(self.0[V::FACTOR])]
    }

    pub fn is<V: Value>(&self, value: V) -> bool {
        self.get::<V>() == value
    }

    #[must_use]
    pub fn with<V: Value>(mut self, value: V) -> Self {
        self.0[V::FACTOR] = value.index();
        self
    }

    /// The nth value of a factor, by number.
    pub fn at(&self, factor: usize) -> u8 {
        self.0[factor]
    }

    #[must_use]
    pub fn with_at(mut self, factor: usize, value: u8) -> Self {
        self.0[factor] = value;
        self
    }

    /// The factors whose value is not the first.
    pub fn odd(&self) -> impl Iterator<Item = usize> {
        let row = *self;
        (0..FACTORS.len()).filter(move |factor| row.0[*factor] != 0)
    }

    /// As it stands in a plan: `channel`, `when`, and what is not honest.
    pub fn text(&self) -> String {
        let shown = |factor: &usize| {
            self.0[*factor] != 0 || matches!(*factor, Channel::FACTOR | When::FACTOR)
        };
        let words = (0..FACTORS.len()).filter(shown).map(|factor| {
            let Factor { key, words } = &FACTORS[factor];
            format!("{key}={}", words[usize::from(self.0[factor])])
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Reads what [`BatchRow::text`] writes. The error names the word that is not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut row = Self::default();
        for word in text.split_whitespace() {
            let place = || {
                let (key, value) = word.split_once('=')?;
                let factor = FACTORS.iter().position(|factor| factor.key == key)?;
                let value = FACTORS[factor].words.iter().position(|w| *w == value)?;
                Some((factor, u8::try_from(value).ok()?))
            };
            let (factor, value) = place().ok_or_else(|| format!("not known: {word}"))?;
            row.0[factor] = value;
        }
        Ok(row)
    }

    /// Whether no two of its values exclude each other.
    pub fn is_possible(&self) -> bool {
        let odd: Vec<usize> = (0..FACTORS.len()).collect();
        odd.iter().enumerate().all(|(nth, a)| {
            let later = odd[nth + 1..].iter();
            !later
                .into_iter()
                .any(|b| forbidden((*a, self.0[*a]), (*b, self.0[*b])))
        })
    }

    /// What the content is wrapped in, where the row says no more than that it is right.
    pub fn envelope(&self) -> Envelope {
        match (self.get::<Envelope>(), self.get::<Channel>()) {
            (Envelope::Right, Channel::Ack) => Envelope::Processing,
            (Envelope::Right, Channel::TaskStatus) => Envelope::Completed,
            (Envelope::Right, Channel::ByName | Channel::Query) => Envelope::List,
            (Envelope::Right, Channel::TaskResult | Channel::ByUid | Channel::Webhook) => {
                Envelope::V2
            }
            (envelope, _) => envelope,
        }
    }

    /// Whether it is about a child: only children have parents and siblings.
    pub fn is_child(&self) -> bool {
        matches!(self.get(), Whose::Parents | Whose::Siblings)
            || self.is(Named::Parents)
            || !self.is(Parent::Equal)
            || self.is(List::SiblingUnreadable)
    }
}

/// Whether an envelope holds a transaction.
pub fn holds_transaction(envelope: Envelope) -> bool {
    matches!(
        envelope,
        Envelope::Right
            | Envelope::V2
            | Envelope::V3
            | Envelope::V3Section
            | Envelope::V3SectionUid
            | Envelope::List
    )
}

/// Factors that describe a transaction, and so need one.
const OF_TRANSACTION: [usize; 10] = [
    Whose::FACTOR,
    Named::FACTOR,
    Status::FACTOR,
    Amount::FACTOR,
    Currency::FACTOR,
    Kind::FACTOR,
    Parent::FACTOR,
    Test::FACTOR,
    Created::FACTOR,
    Updated::FACTOR,
];

/// Factors that describe a body, and so need one.
fn is_of_body(factor: usize) -> bool {
    OF_TRANSACTION.contains(&factor)
        || [
            Envelope::FACTOR,
            Code::FACTOR,
            Errors::FACTOR,
            List::FACTOR,
            CardData::FACTOR,
        ]
        .contains(&factor)
}

/// Whether two values exclude each other: one of them would say nothing beside the other.
pub fn forbidden(a: (usize, u8), b: (usize, u8)) -> bool {
    excludes(a, b) || excludes(b, a)
}

/// A value as an enum, when it is one of that factor.
fn value<V: Value>((factor, nth): (usize, u8)) -> Option<V> {
    (factor == V::FACTOR).then(|| V::ALL[usize::from(nth)])
}

fn excludes(a: (usize, u8), b: (usize, u8)) -> bool {
    let (other, is_odd) = (b.0, b.1 != 0);
    if let Some(Http::S204) = value(a) {
        // No content: neither a body nor anything that happens to its bytes.
        return is_odd && (is_of_body(other) || other == Bytes::FACTOR);
    }
    if let Some(Bytes::Html | Bytes::Empty) = value(a) {
        return is_odd && is_of_body(other);
    }
    if let Some(channel) = value::<Channel>(a) {
        return match channel {
            // A webhook is no answer; its body is damaged before it is signed.
            Channel::Webhook => {
                let is_list = value(b) == Some(Envelope::List) || other == List::FACTOR;
                let cut = value(b) == Some(Bytes::CutAfter);
                is_odd && ([Http::FACTOR, Retry::FACTOR].contains(&other) || is_list || cut)
            }
            // No more than a task's words; codings are undone by the client.
            Channel::Ack | Channel::TaskStatus | Channel::TaskResult | Channel::ByUid => {
                (is_odd && other == List::FACTOR) || value(b) == Some(Bytes::Gzip)
            }
            Channel::ByName | Channel::Query => value(b) == Some(Bytes::Gzip),
        };
    }
    if let Some(envelope) = value::<Envelope>(a) {
        let listed = matches!(envelope, Envelope::Right | Envelope::List);
        let is_error = matches!(
            envelope,
            Envelope::ErrorResponse
                | Envelope::ErrorErrors
                | Envelope::ErrorCode
                | Envelope::ErrorMessage
        );
        if is_odd && other == List::FACTOR && !listed {
            return true;
        }
        if is_odd && !holds_transaction(envelope) {
            let says = [Code::FACTOR, Errors::FACTOR].contains(&other);
            let card = other == CardData::FACTOR;
            return OF_TRANSACTION.contains(&other) || (!is_error && (says || card));
        }
        // Neither one has what is doubled, or garbled.
        let bare = matches!(envelope, Envelope::Empty);
        let garbled = matches!(
            value(b),
            Some(Bytes::BadByte | Bytes::HalfSurrogate | Bytes::Cp1251 | Bytes::DuplicateKey)
        );
        return bare && garbled;
    }
    if let Some(List::Empty) = value(a) {
        return is_odd && (OF_TRANSACTION.contains(&other) || other == CardData::FACTOR);
    }
    false
}

/// What an answer is, as somebody sees it who knows the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// True, about what was asked, whole.
    Honest,
    /// Nothing false, something missing.
    Damaged,
    /// True of something, and invites a wrong conclusion.
    Misleading,
    /// False.
    Contradicting,
}

/// What the books say of the transaction that a row is about.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// Whether there is a transaction that our request made.
    pub is_made: bool,
    /// Every status that the transaction ever had.
    pub had: Vec<String>,
}

/// The class of a row.
pub fn class(row: &Row, truth: &Truth) -> Class {
    if contradicts(row, truth) {
        return Class::Contradicting;
    }
    let misleading = !matches!(row.get(), Whose::Own | Whose::None)
        || matches!(row.get(), Named::Anothers | Named::Parents)
        || matches!(
            row.get(),
            Code::E1018 | Code::E1019 | Code::E1021 | Code::E1023
        )
        || !matches!(row.get(), Errors::None | Errors::Empty)
        || row.is(Amount::Other)
        || row.is(Currency::Other)
        || row.is(Kind::Other)
        || row.is(Parent::Other)
        || row.is(Test::Other)
        || matches!(row.get(), List::Older | List::Unlike)
        || is_odd_time(row.at(Created::FACTOR))
        || is_odd_time(row.at(Updated::FACTOR))
        || !matches!(row.get(), Http::Right | Http::S200 | Http::S201);
    let silent = [Channel::FACTOR, When::FACTOR, Lasts::FACTOR];
    match row.odd().find(|factor| !silent.contains(factor)) {
        None => Class::Honest,
        Some(_) if misleading => Class::Misleading,
        Some(_) => Class::Damaged,
    }
}

/// A clock that is wrong, and not a time that is missing.
fn is_odd_time(nth: u8) -> bool {
    nth >= Created::Behind3Min.index()
}

/// A documented refusal of what was made, "not found" of what is there, or a status that the
/// transaction never had.
fn contradicts(row: &Row, truth: &Truth) -> bool {
    let shown = row.envelope();
    if holds_transaction(shown) {
        let word = FACTORS[Status::FACTOR].words[usize::from(row.at(Status::FACTOR))];
        let told = !matches!(row.get(), Status::True | Status::Unknown | Status::Absent);
        return told && !row.is(List::Empty) && !truth.had.iter().any(|had| had == word);
    }
    let is_error = matches!(
        shown,
        Envelope::ErrorResponse
            | Envelope::ErrorErrors
            | Envelope::ErrorCode
            | Envelope::ErrorMessage
    );
    truth.is_made && is_error && (is_documented_refusal(row) || is_missing(row))
}

/// A refusal by a code of the table, told by the task or by the answer to the submit.
pub fn is_documented_refusal(row: &Row) -> bool {
    let asks_task_or_post = matches!(row.get(), Channel::Ack | Channel::TaskResult);
    let documented = row.is(Code::E1065) || (row.is(Code::E1025) && row.is(Errors::OurField));
    // The status that is right for an error of the gateway's is 422.
    let shaped = [
        Envelope::ErrorResponse,
        Envelope::ErrorErrors,
        Envelope::ErrorCode,
    ];
    let right = row.is(Http::Right) && shaped.contains(&row.envelope());
    asks_task_or_post && documented && (right || matches!(row.get(), Http::S400 | Http::S422))
}

fn is_missing(row: &Row) -> bool {
    row.is(Channel::ByUid) && row.is(Http::S404)
}

/// Whether the threat model makes such a row: whatever the gateway says of a transaction is so in its
/// books, or was. Two contradictions are made, because they happen: a documented refusal of something
/// that was made, and "not found" of a uid that exists.
pub fn is_allowed(row: &Row, truth: &Truth) -> bool {
    !contradicts(row, truth) || is_documented_refusal(row) || is_missing(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_is_written() {
        let row = Row::honest(Channel::ByName, When::InDoubt)
            .with(Amount::TextDecimals)
            .with(Bytes::HalfSurrogate)
            .with(Code::E1018);
        let text = row.text();
        let expected =
            "channel=by-name code=E.1018 amount=text-decimals bytes=half-surrogate when=in_doubt";
        assert_eq!(text, expected);
        assert_eq!(Row::parse(&text), Ok(row));
        assert_eq!(Row::parse("http=99"), Err("not known: http=99".to_owned()));
        for (factor, of) in FACTORS.iter().enumerate() {
            for value in 0..of.words.len() {
                let row = Row::default().with_at(factor, u8::try_from(value).unwrap());
                assert_eq!(Row::parse(&row.text()), Ok(row));
            }
        }
    }

    #[test]
    fn the_honest_values_never_exclude_each_other() {
        for (channel, when) in Channel::ALL
            .iter()
            .flat_map(|c| When::ALL.iter().map(move |w| (*c, *w)))
        {
            let row = Row::honest(channel, when);
            assert!(row.is_possible(), "{}", row.text());
            let truth = Truth::default();
            assert_eq!(class(&row, &truth), Class::Honest);
        }
    }

    #[test]
    fn a_value_that_needs_a_body_excludes_an_empty_one() {
        let row = Row::default().with(Bytes::Empty).with(Whose::Anothers);
        assert!(!row.is_possible());
        let row = Row::default().with(Envelope::Empty).with(Amount::Other);
        assert!(!row.is_possible());
        let webhook = Row::honest(Channel::Webhook, When::Pending);
        assert!(!webhook.with(Http::S502).is_possible());
        assert!(webhook.with(Bytes::Gzip).is_possible());
    }

    #[test]
    fn only_two_contradictions_are_made() {
        let truth = Truth {
            is_made: true,
            had: vec!["pending".to_owned(), "failed".to_owned()],
        };
        let result = Row::honest(Channel::TaskResult, When::Processing);
        let success = result.with(Status::Successful);
        assert_eq!(class(&success, &truth), Class::Contradicting);
        assert!(!is_allowed(&success, &truth));
        assert!(is_allowed(&result.with(Status::Failed), &truth));

        let refusal = result
            .with(Http::S422)
            .with(Envelope::ErrorCode)
            .with(Code::E1025)
            .with(Errors::OurField);
        assert_eq!(class(&refusal, &truth), Class::Contradicting);
        assert!(is_allowed(&refusal, &truth));
        let gone = Row::honest(Channel::ByUid, When::Pending)
            .with(Http::S404)
            .with(Envelope::ErrorResponse);
        assert_eq!(class(&gone, &truth), Class::Contradicting);
        assert!(is_allowed(&gone, &truth));
        let nothing = Truth::default();
        assert_eq!(class(&refusal, &nothing), Class::Misleading);
    }
}
