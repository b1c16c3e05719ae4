//! What has travelled between the service and the gateway, as the books sent it, and what was asked
//! when. The rules read it; nothing else does.

use super::replies::Reply;
use domain::Timestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An answer, or a webhook, that has reached the service.
#[derive(Debug, Clone)]
pub struct Read {
    pub channel: String,
    pub about: String,
    /// The transactions that it shows whole.
    pub shows: Vec<String>,
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
    /// The transactions that were shown by the result of a task of ours.
    pub named_by_task: BTreeSet<String>,
    pub owed: Vec<Owed>,
    /// Orders that were answered in a way that contradicts the books, and when first.
    pub contradicted: BTreeMap<String, Timestamp>,
    /// When each name was sent to the gateway.
    pub left: BTreeMap<String, Vec<Timestamp>>,
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
            shows: reply.shows.clone(),
            at: now,
        });
    }

    /// It has reached the service, and the service has it.
    pub fn read(
        &mut self,
        sha256: [u8; 32],
        channel: &str,
        about: &str,
        shows: &[String],
        at: Timestamp,
    ) {
        let one = Read {
            channel: channel.to_owned(),
            about: about.to_owned(),
            shows: shows.to_vec(),
            at,
        };
        self.reads.entry(sha256).or_default().push(one);
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
