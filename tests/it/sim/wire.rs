//! What has travelled between the service and the gateway, as the books sent it, and what was asked
//! when. The rules read it; nothing else does.

use super::books::Transaction;
use super::replies::Reply;
use domain::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An answer, or a webhook, that has reached the service.
#[derive(Debug, Clone)]
pub struct Read {
    pub channel: String,
    pub about: String,
    /// The transactions that it shows whole, as it shows them.
    pub told: Vec<Transaction>,
    /// What stands in it by uid and name.
    pub holds: Vec<Transaction>,
    pub at: Timestamp,
}

/// An answer as it was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub channel: String,
    pub about: String,
    pub status: u16,
    pub body: Vec<u8>,
    pub shows: Vec<String>,
    /// What stands in it by uid and name.
    pub holds: Vec<Transaction>,
    pub at: Timestamp,
}

/// A look that is owed for a webhook without a signature.
#[derive(Debug, Clone)]
pub struct Owed {
    pub uid: String,
    pub name: String,
    pub until: Timestamp,
}

/// Everything that has travelled.
#[derive(Debug, Default)]
pub struct Wire {
    reads: HashMap<[u8; 32], Vec<Read>>,
    pub sent: Vec<Sent>,
    /// When each channel was asked about a subject.
    pub asked: BTreeMap<(String, String), Vec<Timestamp>>,
    /// The transactions that some recorded answer or webhook has shown, and since when.
    pub told: BTreeMap<String, Timestamp>,
    /// Each of them as it was shown: what differs in anything but its times counts once.
    pub told_as: BTreeMap<String, Vec<Transaction>>,
    /// The same of what stands in a recorded answer or webhook, whether or not it can be read with care.
    pub held_as: BTreeMap<String, Vec<Transaction>>,
    /// What was told of the ends of transactions: the first of equal webhooks makes a look due.
    pub ends_told: BTreeSet<(String, String)>,
    /// The transactions that were shown by the result of a task of ours.
    pub named_by_task: BTreeSet<String>,
    pub owed: Vec<Owed>,
    /// Orders that were answered in a way that contradicts the books, and when first.
    pub contradicted: BTreeMap<String, Timestamp>,
    /// When equal children were sent to the gateway, and under which name.
    pub left: BTreeMap<String, Vec<(String, Timestamp)>>,
    /// Names that may yet arrive.
    pub travelling: BTreeMap<String, u32>,
    /// Reads that got no answer, and when that was known.
    pub silent: Vec<(String, String, Timestamp)>,
    /// When the shop was paused.
    pub paused_at: Option<Timestamp>,
}

impl Wire {
    pub fn asked(&mut self, channel: &str, about: &str, now: Timestamp) {
        let key = (channel.to_owned(), about.to_owned());
        self.asked.entry(key).or_default().push(now);
    }

    pub fn sent(&mut self, channel: &str, about: &str, reply: &Reply, now: Timestamp) {
        self.sent.push(Sent {
            channel: channel.to_owned(),
            about: about.to_owned(),
            status: reply.status,
            body: if reply.cut {
                Vec::new()
            } else {
                reply.body.clone()
            },
            shows: reply.told.iter().map(|t| t.uid.clone()).collect(),
            holds: reply.holds.clone(),
            at: now,
        });
    }

    /// It has reached the service, and the service has it.
    pub fn read(
        &mut self,
        sha256: [u8; 32],
        channel: &str,
        about: &str,
        (told, holds): (&[Transaction], &[Transaction]),
        at: Timestamp,
    ) {
        let one = Read {
            channel: channel.to_owned(),
            about: about.to_owned(),
            told: told.to_vec(),
            holds: holds.to_vec(),
            at,
        };
        self.reads.entry(sha256).or_default().push(one);
    }

    /// A transaction was shown so in what is recorded.
    pub fn is_told(&mut self, told: &Transaction, now: Timestamp) {
        self.told.entry(told.uid.clone()).or_insert(now);
        put_last(&mut self.told_as, told);
        put_last(&mut self.held_as, told);
    }

    /// A transaction stands so in what is recorded.
    pub fn is_held(&mut self, held: &Transaction) {
        put_last(&mut self.held_as, held);
    }

    /// All that was recorded of a transaction, the latest last.
    pub fn versions(&self, uid: &str) -> &[Transaction] {
        self.told_as.get(uid).map_or(&[], Vec::as_slice)
    }

    /// Whether it was told with this status.
    pub fn was_told_as(&self, uid: &str, status: &str) -> bool {
        self.versions(uid).iter().any(|told| told.status == status)
    }

    /// What is being recorded, by the digest of its bytes.
    pub fn of(&self, sha256: &[u8; 32]) -> &[Read] {
        self.reads.get(sha256).map_or(&[], Vec::as_slice)
    }

    /// All answers of a channel about a subject.
    pub fn answers<'a>(
        &'a self,
        channel: &'a str,
        about: &'a str,
    ) -> impl Iterator<Item = &'a Sent> {
        let all = self.sent.iter();
        all.filter(move |sent| sent.channel == channel && sent.about == about)
    }
}

/// Notes a transaction as the latest that was said of it.
fn put_last(all: &mut BTreeMap<String, Vec<Transaction>>, told: &Transaction) {
    let known = all.entry(told.uid.clone()).or_default();
    let same = |one: &Transaction| {
        let of = |t: &Transaction| (t.kind.clone(), t.amount, t.currency.clone(), t.test);
        let who = |t: &Transaction| (t.name.clone(), t.parent.clone(), t.status.clone());
        (of(one), who(one)) == (of(told), who(told))
    };
    // The last one is what was told last.
    if let Some(nth) = known.iter().position(same) {
        known.remove(nth);
    }
    known.push(told.clone());
}
