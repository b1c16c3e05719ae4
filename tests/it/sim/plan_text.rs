//! Plans as text: one line for each thing, settings that are as usual left out.
//!
//! ```text
//! # in plain words
//! set seed=17 lag=120s
//! order order-0 payment 1500 at=100s card
//! course order-0 1 takes=3s ends=failed
//! stranger uid-y name=order-0 payment 1500 successful at=130s told
//! exchange result task-order-0-1 1..3 row channel=task-result http=502 when=processing
//! place commit 1 4 dies
//! commit 1 3 lost
//! then exchange ack order-0 row channel=ack http=429
//! then dies
//! act order-0 check at=1h
//! outage 100s..130s
//! retention 2h
//! ```

use super::grammar::Row;
use super::plan::{
    Act, CommitFault, Course, Ends, Exchange, Link, MessageFate, Notices, Order, Place, Plan,
    Router, Stranger, Thirty, What,
};
use domain::TransactionType;
use reconciler::config::FollowMode;
use std::fmt::Write;
use std::time::Duration;

/// A value that has a word.
trait Word: Sized {
    fn word(&self) -> String;
    fn read(word: &str) -> Option<Self>;
}

macro_rules! words {
    ($($type:ident { $($value:ident = $word:literal),* $(,)? })*) => {
        $(impl Word for $type {
            fn word(&self) -> String {
                match self { $(Self::$value => $word),* }.to_owned()
            }

            fn read(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$value),)* _ => None }
            }
        })*
    };
}

words! {
    Ends {
        Successful = "successful", Failed = "failed", Expired = "expired", Open = "open",
        Crashed = "crashed", Refused = "refused", Broke = "broke",
    }
    Notices { Signed = "signed", Unsigned = "unsigned", None = "none" }
    Thirty { Off = "off", Children = "children", All = "all" }
    Router { All = "all", Dot = "dot", Colon = "colon", Case = "case" }
    What {
        Check = "check", Failed = "failed", NotFound = "not_found", NotSent = "not_sent",
        InDoubt = "in_doubt", Post = "post", Pause = "pause", Resume = "resume", Forge = "forge",
    }
    FollowMode { Result = "result", Status = "status" }
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl Word for $type {
            fn word(&self) -> String {
                self.to_string()
            }

            fn read(word: &str) -> Option<Self> {
                word.parse().ok()
            }
        })*
    };
}

plain!(u32, u64, i64, f64, bool, String);

impl Word for TransactionType {
    fn word(&self) -> String {
        self.as_str().to_owned()
    }

    fn read(word: &str) -> Option<Self> {
        Self::parse(word)
    }
}

impl Word for Duration {
    fn word(&self) -> String {
        let seconds = self.as_secs();
        match (self.subsec_micros(), seconds) {
            (0, seconds) if seconds > 0 && seconds % 3600 == 0 => format!("{}h", seconds / 3600),
            (0, seconds) => format!("{seconds}s"),
            (micros, seconds) => {
                let part = format!("{micros:06}");
                format!("{seconds}.{}s", part.trim_end_matches('0'))
            }
        }
    }

    fn read(word: &str) -> Option<Self> {
        if let Some(hours) = word.strip_suffix('h') {
            return Some(Self::from_secs(3600 * hours.parse::<u64>().ok()?));
        }
        let (whole, part) = word
            .strip_suffix('s')
            .map(|w| w.split_once('.').unwrap_or((w, "")))?;
        let micros = format!("{part:0<6}").get(..6)?.parse::<u64>().ok()?;
        Some(Self::from_secs(whole.parse().ok()?) + Self::from_micros(micros))
    }
}

/// Names each setting once: how it is shown when it is not as usual, and how it is read.
macro_rules! settings {
    ($($field:ident),* $(,)?) => {
        fn settings(plan: &Plan) -> Vec<(&'static str, String)> {
            let usual = Plan::default();
            let mut all = Vec::new();
            $(if plan.$field != usual.$field {
                all.push((stringify!($field), plan.$field.word()));
            })*
            all
        }

        fn set(plan: &mut Plan, key: &str, word: &str) -> Option<()> {
            match key {
                $(stringify!($field) => plan.$field = Word::read(word)?,)*
                _ => return None,
            }
            Some(())
        }

        /// Sets a setting back to what is usual; `false` when it is so already.
        pub fn set_back(plan: &mut Plan, key: &str) -> bool {
            let usual = Plan::default();
            match key {
                $(stringify!($field) if plan.$field != usual.$field => {
                    plan.$field = usual.$field;
                    true
                })*
                _ => false,
            }
        }

        /// The names of all settings.
        pub const SETTINGS: &[&str] = &[$(stringify!($field)),*];
    };
}

settings! {
    seed, replicas, crash, stall, lost, odd_answer, commit_lost, webhook_lost, correction,
    renotified, trust, honours, follow, own_children, children_shown, enforced, thirty,
    names_earlier, newest_first, notices, flat, section_uid, status_once, router, empty, blind,
    behind, ahead, lag, faults_until, end,
}

/// The words of a line that are set, one after the other.
struct Line(String);

impl Line {
    fn of(words: &[String]) -> Self {
        Self(words.join(" "))
    }

    fn flag(mut self, word: &str, is_set: bool) -> Self {
        if is_set {
            write!(self.0, " {word}").expect("a string");
        }
        self
    }

    fn key<T: Word>(self, key: &str, value: Option<&T>) -> Self {
        match value {
            Some(value) => {
                let word = format!("{key}={}", value.word());
                self.flag(&word, true)
            }
            None => self,
        }
    }
}

fn nonzero(time: &Duration) -> Option<&Duration> {
    (!time.is_zero()).then_some(time)
}

impl Plan {
    /// The plan as text.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for chunk in settings(self).chunks(6) {
            let words = chunk.iter().map(|(key, word)| format!(" {key}={word}"));
            lines.push(format!("set{}", words.collect::<String>()));
        }
        lines.extend(self.orders.iter().map(order_text));
        lines.extend(self.courses.iter().map(course_text));
        lines.extend(self.strangers.iter().map(stranger_text));
        lines.extend(self.exchanges.iter().map(exchange_text));
        for one in &self.places {
            let what = one
                .stalls
                .map_or("dies".to_owned(), |by| format!("stalls={}", by.word()));
            let place = one.place.replace(' ', "_");
            lines.push(format!("place {place} {} {} {what}", one.group, one.nth));
        }
        for one in &self.commits {
            let what = if one.takes_place { "untold" } else { "lost" };
            lines.push(format!("commit {} {} {what}", one.group, one.nth));
        }
        lines.extend(self.chain.iter().map(link_text));
        for one in &self.acts {
            lines.push(format!(
                "act {} {} at={}",
                one.name,
                one.what.word(),
                one.at.word()
            ));
        }
        for (begins, ends) in &self.outages {
            lines.push(format!("outage {}..{}", begins.word(), ends.word()));
        }
        lines.extend(
            self.retentions
                .iter()
                .map(|at| format!("retention {}", at.word())),
        );
        lines.join("\n") + "\n"
    }

    /// Reads a plan; says which line it cannot read.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut plan = Self::default();
        for line in text.lines() {
            let bare = line.split('#').next().unwrap_or("").trim();
            if !bare.is_empty() {
                plan.read_line(bare)
                    .ok_or_else(|| format!("not read: {line}"))?;
            }
        }
        Ok(plan)
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (first, words) = words.split_first()?;
        match *first {
            "set" => {
                for word in words {
                    let (key, value) = word.split_once('=')?;
                    set(self, key, value)?;
                }
            }
            "order" => self.orders.push(order(words)?),
            "course" => self.courses.push(course(words)?),
            "stranger" => self.strangers.push(stranger(words)?),
            "exchange" => self.exchanges.push(exchange(words)?),
            "place" => self.places.push(place(words)?),
            "commit" => self.commits.push(CommitFault {
                group: Word::read(words.first()?)?,
                nth: Word::read(words.get(1)?)?,
                takes_place: *words.get(2)? == "untold",
            }),
            "then" => self.chain.push(link(words)?),
            "act" => self.acts.push(Act {
                name: (*words.first()?).to_owned(),
                what: Word::read(words.get(1)?)?,
                at: key(words, "at")?,
            }),
            "outage" => {
                let (begins, ends) = words.first()?.split_once("..")?;
                self.outages.push((Word::read(begins)?, Word::read(ends)?));
            }
            "retention" => self.retentions.push(Word::read(words.first()?)?),
            _ => return None,
        }
        Some(())
    }
}

/// The value of a key, when it is there and can be read.
fn key<T: Word>(words: &[&str], key: &str) -> Option<T> {
    let value = |word: &&str| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    T::read(&words.iter().find_map(value)?)
}

fn order_text(one: &Order) -> String {
    let words = [
        "order",
        &one.name,
        one.kind.as_str(),
        &one.amount.to_string(),
    ];
    Line::of(&words.map(str::to_owned))
        .key("at", Some(&one.begins))
        .key("parent", one.parent.as_ref())
        .flag("card", one.card_data)
        .flag("async", one.respond_async)
        .flag("twice", one.twice)
        .flag("test", one.test)
        .0
}

fn order(words: &[&str]) -> Option<Order> {
    Some(Order {
        name: (*words.first()?).to_owned(),
        kind: Word::read(words.get(1)?)?,
        amount: Word::read(words.get(2)?)?,
        card_data: words.contains(&"card"),
        respond_async: words.contains(&"async"),
        twice: words.contains(&"twice"),
        begins: key(words, "at")?,
        parent: key(words, "parent"),
        test: words.contains(&"test"),
    })
}

fn course_text(one: &Course) -> String {
    let words = ["course".to_owned(), one.name.clone(), one.nth.to_string()];
    Line::of(&words)
        .key("takes", Some(&one.takes))
        .key("ends", Some(&one.ends))
        .key("later", nonzero(&one.later))
        .flag("pending", one.pending)
        .key("corrected", one.corrected.as_ref())
        .key("again", one.again.as_ref())
        .0
}

fn course(words: &[&str]) -> Option<Course> {
    Some(Course {
        name: (*words.first()?).to_owned(),
        nth: Word::read(words.get(1)?)?,
        takes: key(words, "takes")?,
        ends: key(words, "ends")?,
        later: key(words, "later").unwrap_or_default(),
        pending: words.contains(&"pending"),
        corrected: key(words, "corrected"),
        again: key(words, "again"),
    })
}

fn stranger_text(one: &Stranger) -> String {
    let amount = one.amount.to_string();
    let words = [
        "stranger",
        &one.uid,
        one.kind.as_str(),
        &amount,
        &one.status,
    ];
    Line::of(&words.map(str::to_owned))
        .key("name", Some(&one.name))
        .key("at", Some(&one.at))
        .key("age", nonzero(&one.age))
        .key("parent", one.parent.as_ref())
        .flag("test", one.test)
        .flag("told", one.told)
        .0
}

fn stranger(words: &[&str]) -> Option<Stranger> {
    Some(Stranger {
        uid: (*words.first()?).to_owned(),
        kind: Word::read(words.get(1)?)?,
        amount: Word::read(words.get(2)?)?,
        status: (*words.get(3)?).to_owned(),
        name: key(words, "name")?,
        at: key(words, "at")?,
        age: key(words, "age").unwrap_or_default(),
        parent: key(words, "parent"),
        test: words.contains(&"test"),
        told: words.contains(&"told"),
    })
}

fn exchange_text(one: &Exchange) -> String {
    let nth = match (one.first, one.last) {
        (first, last) if first == last => first.to_string(),
        (first, u64::MAX) => format!("{first}.."),
        (first, last) => format!("{first}..{last}"),
    };
    let fate = fate_text(&one.fate);
    format!("exchange {} {} {nth} {fate}", one.channel, one.about)
}

fn fate_text(fate: &MessageFate) -> String {
    match fate {
        MessageFate::Lost => "lost".to_owned(),
        MessageFate::Refused => "refused".to_owned(),
        MessageFate::Late(by) => format!("late={}", by.word()),
        MessageFate::Doubled => "doubled".to_owned(),
        MessageFate::AnswerLost => "answer-lost".to_owned(),
        MessageFate::Cut => "cut".to_owned(),
        MessageFate::Odd(word) => format!("odd={word}"),
        MessageFate::Row(row, taken) => {
            let taken = if *taken { "" } else { " untaken" };
            format!("row{taken} {}", row.text())
        }
    }
}

fn link_text(link: &Link) -> String {
    match link {
        Link::Exchange {
            channel,
            about,
            fate,
        } => format!("then exchange {channel} {about} {}", fate_text(fate)),
        Link::Falls { stalls: None } => "then dies".to_owned(),
        Link::Falls { stalls: Some(by) } => format!("then stalls={}", by.word()),
        Link::Commit { takes_place: true } => "then untold".to_owned(),
        Link::Commit { takes_place: false } => "then lost".to_owned(),
    }
}

fn link(words: &[&str]) -> Option<Link> {
    let (first, rest) = words.split_first()?;
    match *first {
        "exchange" => Some(Link::Exchange {
            channel: (*rest.first()?).to_owned(),
            about: (*rest.get(1)?).to_owned(),
            fate: fate(rest.get(2..)?)?,
        }),
        "dies" => Some(Link::Falls { stalls: None }),
        "untold" => Some(Link::Commit { takes_place: true }),
        "lost" => Some(Link::Commit { takes_place: false }),
        stalls => Some(Link::Falls {
            stalls: Some(Word::read(stalls.strip_prefix("stalls=")?)?),
        }),
    }
}

fn exchange(words: &[&str]) -> Option<Exchange> {
    let nth = words.get(2)?;
    let (first, last) = match nth.split_once("..") {
        None => (Word::read(nth)?, Word::read(nth)?),
        Some((first, "")) => (Word::read(first)?, u64::MAX),
        Some((first, last)) => (Word::read(first)?, Word::read(last)?),
    };
    let fate = fate(words.get(3..)?)?;
    Some(Exchange {
        channel: (*words.first()?).to_owned(),
        about: (*words.get(1)?).to_owned(),
        first,
        last,
        fate,
    })
}

fn fate(words: &[&str]) -> Option<MessageFate> {
    let (what, rest) = words.split_first()?;
    Some(match what.split_once('=') {
        Some(("late", by)) => MessageFate::Late(Word::read(by)?),
        Some(("odd", word)) => MessageFate::Odd(word.to_owned()),
        Some(_) => return None,
        None => match *what {
            "lost" => MessageFate::Lost,
            "refused" => MessageFate::Refused,
            "doubled" => MessageFate::Doubled,
            "answer-lost" => MessageFate::AnswerLost,
            "cut" => MessageFate::Cut,
            "row" => {
                let taken = !rest.contains(&"untaken");
                let rest = rest.iter().copied().filter(|word| *word != "untaken");
                let rest: Vec<&str> = rest.collect();
                MessageFate::Row(Row::parse(&rest.join(" ")).ok()?, taken)
            }
            _ => return None,
        },
    })
}

fn place(words: &[&str]) -> Option<Place> {
    let what = *words.get(3)?;
    Some(Place {
        place: (*words.first()?).replace('_', " "),
        group: Word::read(words.get(1)?)?,
        nth: Word::read(words.get(2)?)?,
        stalls: match what.strip_prefix("stalls=") {
            Some(by) => Some(Word::read(by)?),
            None => (what == "dies").then_some(None)?,
        },
    })
}

#[test]
fn a_plan_is_read_as_it_was_written() {
    for seed in 0..200 {
        let plan = Plan::of(seed);
        let again = Plan::read(&plan.text()).expect("a plan");
        assert_eq!(again, plan, "{}", plan.text());
        assert!(plan.text().lines().count() < 60);
    }
    assert!(Plan::read("set nothing=1").is_err());
}
