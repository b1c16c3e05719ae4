//! What is to happen in one run, as data: settings of the world, what merchants want, what the gateway
//! makes of it, and what goes wrong where. What a plan leaves open is drawn from its seed
//! ([`super::dice`]); as text a plan is in [`super::plan_text`], and [`super::seeds`] makes one of a seed.

use super::grammar::Database;
use domain::TransactionType;
use reconciler::config::FollowMode;
use std::time::Duration;

/// The shop of all runs.
pub const SHOP: &str = "1001";

pub const HOUR: Duration = Duration::from_secs(3600);

/// One thing that a merchant wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub name: String,
    pub kind: TransactionType,
    pub amount: i64,
    pub card_data: bool,
    pub respond_async: bool,
    /// Posted a second time at once, to whichever replica.
    pub twice: bool,
    pub begins: Duration,
    /// The order of which it is a child.
    pub parent: Option<String>,
    pub test: bool,
}

/// What the gateway makes of the nth arrival of a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    pub name: String,
    pub nth: u64,
    /// How long its task runs.
    pub takes: Duration,
    pub ends: Ends,
    /// It ends so much later than its task; at the same time when zero.
    pub later: Duration,
    /// A webhook tells that it is pending.
    pub pending: bool,
    /// Changed by hand so long after its end.
    pub corrected: Option<Duration>,
    /// Each webhook is sent once more so much later.
    pub again: Option<Duration>,
}

/// How an arrival ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Successful,
    Failed,
    Expired,
    /// Made, and never ended.
    Open,
    /// Made and successful; the task says 500.
    Crashed,
    /// Not made; the task says that it was refused.
    Refused,
    /// Not made; the task says 500.
    Broke,
}

/// A transaction that somebody else makes at the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Stranger {
    pub uid: String,
    /// The name under which it is filed.
    pub name: String,
    pub kind: TransactionType,
    pub amount: i64,
    pub status: String,
    /// The parent's uid.
    pub parent: Option<String>,
    pub test: bool,
    pub at: Duration,
    /// How old it is then.
    pub age: Duration,
    /// A webhook tells of it.
    pub told: bool,
}

/// What happens to exchanges with the gateway: the nth to the last of a channel about a subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// `ack`, `status`, `result`, `uid`, `name` or `webhook`.
    pub channel: String,
    /// A tracking id, a task or a uid.
    pub about: String,
    pub first: u64,
    pub last: u64,
    pub fate: MessageFate,
}

/// What happens to one exchange.
#[derive(Debug, Clone, PartialEq)]
pub enum MessageFate {
    /// The question does not arrive.
    Lost,
    /// Nobody listens: no byte leaves.
    Refused,
    /// A POST arrives when nobody waits for it any more.
    Late(Duration),
    /// It arrives twice.
    Doubled,
    AnswerLost,
    Cut,
    /// The gateway does nothing, and answers so (one of [`super::odd`]).
    Odd(String),
    /// An answer of the grammar; a POST is taken before it, or not.
    Row(super::grammar::Row, bool),
}

/// A task of a replica dies or stalls where it waits for the nth time.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub place: String,
    pub group: u32,
    pub nth: u64,
    /// `None`: it dies.
    pub stalls: Option<Duration>,
}

/// The nth commit of a replica loses its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitFault {
    pub group: u32,
    pub nth: u64,
    pub takes_place: bool,
}

/// One link of a chain of events: each waits for the one before it.
#[derive(Debug, Clone, PartialEq)]
pub enum Link {
    /// The next exchange of a channel about a subject goes so.
    Exchange {
        channel: String,
        about: String,
        fate: MessageFate,
    },
    /// The next replica that has an answer in hand dies with it, or stalls.
    Falls { stalls: Option<Duration> },
    /// The answer of the next commit is lost.
    Commit { takes_place: bool },
}

/// What a person does.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// An order, or `-`.
    pub name: String,
    pub at: Duration,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Check,
    Failed,
    NotFound,
    NotSent,
    InDoubt,
    /// The merchant posts the same again.
    Post,
    Pause,
    Resume,
    /// Webhooks that nobody signed, as anybody could send them.
    Forge,
}

/// What the gateway's own acts look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notices {
    Signed,
    Unsigned,
    None,
}

/// For which equal requests within 30 seconds the gateway says `E.1018`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thirty {
    Off,
    Children,
    All,
}

/// Which names the gateway's router takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Router {
    All,
    /// What follows a dot is a format.
    Dot,
    /// A percent-encoded colon stays so.
    Colon,
    /// Names are compared without regard to case.
    Case,
}

/// The settings of a world, in one place with their words: see [`super::plan_text`].
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub seed: u64,
    pub replicas: u32,
    /// Chances at each place where a task waits.
    pub crash: f64,
    pub stall: f64,
    /// Chances of each exchange with the gateway.
    pub lost: f64,
    pub odd_answer: f64,
    /// Chance of each commit.
    pub commit_lost: f64,
    /// Chance of each delivery of a webhook.
    pub webhook_lost: f64,
    /// Chance of each transaction of the gateway.
    pub correction: f64,
    /// Chance of each transaction's webhooks to be sent again much later.
    pub renotified: f64,
    pub trust: bool,
    pub honours: bool,
    pub follow: FollowMode,
    /// The gateway files children under their own name.
    pub own_children: bool,
    /// Look-ups by tracking id show children.
    pub children_shown: bool,
    /// The gateway refuses what is more than the rest of a parent.
    pub enforced: bool,
    pub thirty: Thirty,
    /// Its `E.1018` comes with the earlier transaction.
    pub names_earlier: bool,
    pub newest_first: bool,
    pub notices: Notices,
    /// Bodies of version 3; the acquirer's section may have a uid of its own.
    pub flat: bool,
    pub section_uid: bool,
    /// A status that is not 200 can be read once.
    pub status_once: bool,
    pub router: Router,
    /// Look-ups find nothing for anybody.
    pub empty: bool,
    /// Look-ups by tracking id fail until the faults end.
    pub blind: bool,
    /// How far the gateway's clock is behind the database's, or ahead of it.
    pub behind: Duration,
    pub ahead: Duration,
    /// How long a transaction cannot be looked up after it was made.
    pub lag: Duration,
    pub faults_until: Duration,
    pub end: Duration,
    pub orders: Vec<Order>,
    pub courses: Vec<Course>,
    pub strangers: Vec<Stranger>,
    pub exchanges: Vec<Exchange>,
    pub places: Vec<Place>,
    pub commits: Vec<CommitFault>,
    pub chain: Vec<Link>,
    pub acts: Vec<Act>,
    pub outages: Vec<(Duration, Duration)>,
    /// When evidence has become older than it is kept.
    pub retentions: Vec<Duration>,
}

impl Default for Plan {
    /// A world in which all goes well.
    fn default() -> Self {
        Self {
            seed: 0,
            replicas: 1,
            crash: 0.0,
            stall: 0.0,
            lost: 0.0,
            odd_answer: 0.0,
            commit_lost: 0.0,
            webhook_lost: 0.0,
            correction: 0.0,
            renotified: 0.0,
            trust: false,
            honours: false,
            follow: FollowMode::Result,
            own_children: true,
            children_shown: true,
            enforced: false,
            thirty: Thirty::Off,
            names_earlier: false,
            newest_first: true,
            notices: Notices::Signed,
            flat: false,
            section_uid: false,
            status_once: false,
            router: Router::All,
            empty: false,
            blind: false,
            behind: Duration::ZERO,
            ahead: Duration::ZERO,
            lag: Duration::ZERO,
            faults_until: HOUR,
            end: 101 * HOUR,
            orders: Vec::new(),
            courses: Vec::new(),
            strangers: Vec::new(),
            exchanges: Vec::new(),
            places: Vec::new(),
            commits: Vec::new(),
            chain: Vec::new(),
            acts: Vec::new(),
            outages: Vec::new(),
            retentions: Vec::new(),
        }
    }
}

/// A name as it stands in tasks and uids, which have no other signs.
pub fn plain(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.chars()
        .map(|c| if plain(c) { c } else { '_' })
        .collect()
}

impl Plan {
    /// What happens to the nth exchange of a channel about a subject, when that is planned.
    pub fn fate(&self, channel: &str, about: &str, nth: u64) -> Option<&MessageFate> {
        let meant = |one: &&Exchange| {
            one.channel == channel && one.about == about && (one.first..=one.last).contains(&nth)
        };
        self.exchanges.iter().find(meant).map(|one| &one.fate)
    }

    /// All that is planned for exchanges.
    pub fn fates(&self) -> impl Iterator<Item = &MessageFate> {
        let linked = self.chain.iter().filter_map(|link| match link {
            Link::Exchange { fate, .. } => Some(fate),
            Link::Falls { .. } | Link::Commit { .. } => None,
        });
        self.exchanges.iter().map(|one| &one.fate).chain(linked)
    }

    pub fn course(&self, name: &str, nth: u64) -> Option<&Course> {
        let mut all = self.courses.iter();
        all.find(|one| one.name == name && one.nth == nth)
    }

    pub fn order(&self, name: &str) -> Option<&Order> {
        self.orders.iter().find(|order| order.name == name)
    }

    /// Nobody dies, stalls or is cut off, and nothing goes wrong by chance: what does is planned, and
    /// is about answers.
    pub fn is_calm(&self) -> bool {
        let chances = [
            self.crash,
            self.stall,
            self.lost,
            self.odd_answer,
            self.commit_lost,
        ];
        let whole = chances.iter().all(|chance| *chance == 0.0);
        let takes_down =
            |fate: &MessageFate| matches!(fate, MessageFate::Row(row, _) if row.is(Database::Away));
        let answers = |link: &Link| matches!(link, Link::Exchange { .. });
        whole
            && self.places.is_empty()
            && self.commits.is_empty()
            && self.outages.is_empty()
            && self.chain.iter().all(answers)
            && !self.fates().any(takes_down)
    }
}
