//! When to look, learned: how long transactions of one shop and type take until they are final, how
//! often no webhook tells, and which moments of looking that makes worth a request.
//!
//! It is the inspection problem of reliability theory (Barlow, Hunter and Proschan, 1963): something
//! ends at a random moment, a look costs something, and so does not knowing. The distribution is
//! a decayed histogram; the cheapest sequence of looks over its buckets is found backwards, from the
//! last bucket to the first. `docs/adr/0008-looks-are-placed-by-what-they-cost.md` tells why.
//!
//! What it deliberately cannot do: look earlier or later than the settings allow, or conclude anything
//! about a transaction. Whatever was learned, a wrong forecast costs requests or time, never truth.

use crate::Timestamp;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// How many buckets a histogram has.
pub const BUCKETS: usize = 64;

/// Upper end of the first bucket, in seconds.
const MIN_BUCKET_SECONDS: f64 = 0.2;

/// Lower end of the last bucket, in seconds.
const MAX_BUCKET_SECONDS: f64 = 86_400.0;

/// So many transactions must have ended before what they tell is acted on.
const MIN_SAMPLES: f64 = 30.0;

/// After this the past counts half.
const HALF_LIFE_SECONDS: f64 = 2.0 * 3_600.0;

/// Time alone does not wear the past down further than to this weight: a quiet night is no reason to
/// know nothing in the morning.
const MIN_WEIGHT: f64 = 60.0;

/// The weight above which new counts push out old ones.
const MAX_WEIGHT: f64 = 4_000.0;

/// The same for webhooks, whose failures come and go quickly.
const MAX_WEBHOOK_WEIGHT: f64 = 300.0;

/// So many ends in a row that webhooks told leave no doubt in them: what may still be lost is found at
/// the longest pause that the settings allow.
const TRUSTED_WEBHOOKS: f64 = 100.0;

/// Less than this of one missed end is none: it has faded behind many that were told.
const MIN_MISS_WEIGHT: f64 = 0.05;

/// The weight of what was never seen: an end at any age, each octave as likely as the next. Without
/// it a transaction that outlives all others would be believed to be immortal.
const PRIOR_WEIGHT: f64 = 1.0;

/// Price of a request, as a share of the median time to final: how long one transaction may wait to
/// save a request. Chosen by measurement (`docs/performance.md`).
const PRICE_FACTOR: f64 = 0.3;

/// Lowest price of a request, in seconds.
const MIN_PRICE_SECONDS: f64 = 0.3;

/// Highest price of a request, in seconds.
const MAX_PRICE_SECONDS: f64 = 60.0;

/// How far the price may rise where requests are short.
const MAX_PRICE_MULTIPLIER: f64 = 256.0;

/// Samples after which a forecast is rebuilt.
const REBUILD_SAMPLES: f64 = 8.0;

/// Share of the weight of all samples after which a forecast is rebuilt, if that is more.
const REBUILD_SHARE: f64 = 1.0 / 16.0;

/// So long after our question a webhook has come "after all".
const WEBHOOK_GRACE: Duration = Duration::from_secs(60);

/// What was seen of one shop and type: times to final, and whether webhooks told them.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyHistory {
    counts: [f32; BUCKETS],
    told: f32,
    missed: f32,
    at: Timestamp,
}

/// One transaction that has ended, or news of the way in which it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionSample {
    /// A webhook told of its end, after this time if that is known.
    ByWebhook(Option<Duration>),
    /// We had to ask.
    ByAsking(Option<Duration>),
    /// The webhook came after all, hardly later than our question.
    WebhookAfterAll,
}

impl Default for LatencyHistory {
    fn default() -> Self {
        Self {
            counts: [0.0; BUCKETS],
            told: 0.0,
            missed: 0.0,
            at: Timestamp::from_micros(0),
        }
    }
}

impl LatencyHistory {
    /// From stored numbers; `None` where they are not what [`LatencyHistory::counts`] and
    /// [`LatencyHistory::webhook_hits_and_misses`] gave. Counts over other buckets than ours would be times that
    /// nobody saw. Of missed ends there may be fewer than none (see [`LatencyHistory::merge`]).
    pub fn restore(counts: &[f32], told: f32, missed: f32, at: Timestamp) -> Option<Self> {
        let sound = |count: &f32| count.is_finite() && *count >= 0.0;
        let counts: [f32; BUCKETS] = counts.try_into().ok()?;
        let usable = counts.iter().all(sound) && sound(&told) && missed.is_finite();
        usable.then_some(Self {
            counts,
            told,
            missed,
            at,
        })
    }

    /// The counts, to be stored.
    pub fn counts(&self) -> &[f32] {
        &self.counts
    }

    /// How many ends a webhook told, and how many we had to ask for; decayed.
    pub fn webhook_hits_and_misses(&self) -> (f32, f32) {
        (self.told, self.missed)
    }

    /// As of when it is.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.told == 0.0 && self.missed == 0.0 && self.weight() == 0.0
    }

    /// How much was seen; decayed.
    pub fn weight(&self) -> f64 {
        self.counts.iter().map(|count| f64::from(*count)).sum()
    }

    /// The share of ends that no webhook tells: one half while nothing is known. The doubt fades with
    /// what is known and ends, so that webhooks which were not seen to fail do not go on being paid for.
    fn lost(&self) -> f64 {
        let (told, missed) = (
            f64::from(self.told.max(0.0)),
            f64::from(self.missed.max(0.0)),
        );
        if told >= TRUSTED_WEBHOOKS && missed < MIN_MISS_WEIGHT {
            return 0.0;
        }
        let doubt = 1.0 / (1.0 + told + missed);
        (missed + doubt / 2.0) / (told + missed + doubt)
    }

    /// Takes in what was seen at a moment.
    pub fn see(&mut self, seen: CompletionSample, at: Timestamp) {
        self.age(at);
        let took = match seen {
            CompletionSample::ByWebhook(took) => {
                self.told += 1.0;
                took
            }
            CompletionSample::ByAsking(took) => {
                self.missed += 1.0;
                took
            }
            CompletionSample::WebhookAfterAll => {
                // May fall below nothing in what is still to be merged.
                self.missed -= 1.0;
                self.told += 1.0;
                None
            }
        };
        if let Some(took) = took {
            self.counts[bucket(took.as_secs_f64())] += 1.0;
        }
        self.bound();
    }

    /// What two have seen, neither of which saw what the other saw. In either alone fewer than none
    /// may be missed: one replica asked, and the webhook came to the other.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let at = self.at.max(other.at);
        let (mut one, mut two) = (self.clone(), other.clone());
        one.age(at);
        two.age(at);
        for (slot, count) in one.counts.iter_mut().zip(two.counts) {
            *slot += count;
        }
        one.told += two.told;
        one.missed += two.missed;
        one.bound();
        one
    }

    /// Lets the past fade up to a moment.
    fn age(&mut self, to: Timestamp) {
        let passed = to.since(self.at).as_secs_f64();
        let total = self.weight();
        self.at = self.at.max(to);
        if total > MIN_WEIGHT {
            self.scale((-passed / HALF_LIFE_SECONDS).exp2().max(MIN_WEIGHT / total));
        }
    }

    fn bound(&mut self) {
        let total = self.weight();
        if total > MAX_WEIGHT {
            self.scale(MAX_WEIGHT / total);
        }
        let known = f64::from(self.told.abs() + self.missed.abs());
        if known > MAX_WEBHOOK_WEIGHT {
            let by = single(MAX_WEBHOOK_WEIGHT / known);
            self.told *= by;
            self.missed *= by;
        }
    }

    fn scale(&mut self, by: f64) {
        let by = single(by);
        for count in &mut self.counts {
            *count *= by;
        }
    }
}

/// Counts are kept in single precision: they are estimates.
#[expect(clippy::cast_possible_truncation, reason = "an estimate")]
fn single(value: f64) -> f32 {
    value as f32
}

/// The ends of the buckets, in seconds: the first begins at zero, the others grow by one factor.
static EDGES: LazyLock<[f64; BUCKETS + 1]> = LazyLock::new(|| {
    let factor = (MAX_BUCKET_SECONDS / MIN_BUCKET_SECONDS).powf(1.0 / (COUNT - 1.0));
    let mut edges = [0.0; BUCKETS + 1];
    let mut end = MIN_BUCKET_SECONDS;
    for edge in &mut edges[1..] {
        *edge = end;
        end *= factor;
    }
    edges
});

/// The number of buckets, to calculate with.
#[expect(clippy::cast_precision_loss, reason = "a small number")]
const COUNT: f64 = BUCKETS as f64;

/// The bucket of a time. The last one takes all that is longer.
fn bucket(seconds: f64) -> usize {
    let ended = EDGES[1..BUCKETS].partition_point(|edge| *edge < seconds);
    ended.min(BUCKETS - 1)
}

/// How long a transaction took by the gateway's own clock, from our stamp: its `ended`, where that can
/// be true. A clock that is a little ahead of ours has told of "just now"; one that is behind tells
/// nothing, and then only a webhook's arrival does, since what we found when we asked says more of us.
pub fn gateway_duration(
    sent: Timestamp,
    ended: Option<Timestamp>,
    heard: Timestamp,
    by_webhook: bool,
    tolerance: Duration,
) -> Option<Duration> {
    // Whole seconds are the beginning of the second in which it was.
    let whole = |at: Timestamp| at.micros().rem_euclid(1_000_000) == 0;
    let ended = ended.map(|at| {
        let middle = at.plus(Duration::from_millis(500));
        if whole(at) && at <= heard {
            middle.min(heard)
        } else {
            at
        }
    });
    match ended {
        Some(at) if at >= sent && at <= heard => Some(at.since(sent)),
        Some(at) if at > heard && at <= heard.plus(tolerance) => Some(heard.since(sent)),
        _ => by_webhook.then(|| heard.since(sent)),
    }
}

/// Whether a webhook that came so long after we knew would have told in time.
pub fn is_in_time(after: Duration) -> bool {
    after <= WEBHOOK_GRACE
}

/// How dear requests are at a shop: the price doubles while they are short, and falls back after.
#[must_use]
pub fn price_multiplier(before: f64, short: bool) -> f64 {
    let next = if short { before * 2.0 } else { before / 2.0 };
    next.clamp(1.0, MAX_PRICE_MULTIPLIER)
}

/// What was learned, made ready for decisions: the distribution, and the least cost of all further
/// looks from each edge on.
#[derive(Debug, Clone)]
pub struct Forecast {
    edges: [f64; BUCKETS + 1],
    /// The share that has not ended at each edge.
    open: [f64; BUCKETS + 1],
    /// The seconds that all have spent open until each edge: the integral of `open`.
    spent: [f64; BUCKETS + 1],
    /// The least cost from each edge on.
    cost: [f64; BUCKETS + 1],
    price: f64,
    lost: f64,
}

impl Forecast {
    /// Of what was seen; `None` while that is too little. `thrift` multiplies the price of a request.
    pub fn of(experience: &LatencyHistory, thrift: f64) -> Option<Self> {
        let total = experience.weight();
        if total < MIN_SAMPLES {
            return None;
        }
        let edges = *EDGES;
        let mut open = [1.0; BUCKETS + 1];
        let mut spent = [0.0; BUCKETS + 1];
        for i in 0..BUCKETS {
            let seen = f64::from(experience.counts[i]) + PRIOR_WEIGHT / COUNT;
            open[i + 1] = (open[i] - seen / (total + PRIOR_WEIGHT)).max(0.0);
            spent[i + 1] = spent[i] + (edges[i + 1] - edges[i]) * (open[i] + open[i + 1]) / 2.0;
        }
        let middle = open[1..]
            .partition_point(|open| *open > 0.5)
            .min(BUCKETS - 1);
        let median = f64::midpoint(edges[middle], edges[middle + 1]);
        let mut forecast = Self {
            edges,
            open,
            spent,
            cost: [0.0; BUCKETS + 1],
            price: thrift.clamp(1.0, MAX_PRICE_MULTIPLIER)
                * (PRICE_FACTOR * median).clamp(MIN_PRICE_SECONDS, MAX_PRICE_SECONDS),
            lost: experience.lost(),
        };
        for i in (0..BUCKETS).rev() {
            let here = forecast.point(i);
            let later = (i + 1..=BUCKETS).map(|j| forecast.cost_of(here, forecast.point(j)));
            forecast.cost[i] = later.fold(f64::INFINITY, f64::min);
        }
        Some(forecast)
    }

    /// The pause until the next look at a transaction of this age that is known to be open: between
    /// `least` and `longest`, whatever was learned.
    pub fn next_interval(&self, age: Duration, least: Duration, longest: Duration) -> Duration {
        let longest = longest.max(least);
        let from = age.as_secs_f64();
        let (soonest, latest) = (from + least.as_secs_f64(), from + longest.as_secs_f64());
        let here = self.at(from);
        if here.open <= 0.0 {
            return longest;
        }
        let edges = (1..=BUCKETS)
            .filter(|i| self.edges[*i] > soonest && self.edges[*i] < latest)
            .map(|i| self.point(i));
        let best = [self.at(soonest), self.at(latest)]
            .into_iter()
            .chain(edges)
            .map(|point| (self.cost_of(here, point), point.at))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let at = best.map_or(latest, |(_, at)| at);
        Duration::try_from_secs_f64(at - from)
            .unwrap_or(longest)
            .clamp(least, longest)
    }

    /// The cost of looking at `to` when it is known to be open at `from`, and of the best that follows.
    /// There is a look unless a webhook came before; what no webhook tells waits for it.
    fn cost_of(&self, from: ForecastPoint, to: ForecastPoint) -> f64 {
        if from.open <= 0.0 {
            return 0.0;
        }
        let still = to.open / from.open;
        let waited = (to.at - from.at) - (to.spent - from.spent) / from.open;
        self.price * (still + self.lost * (1.0 - still)) + self.lost * waited + still * to.cost
    }

    fn point(&self, index: usize) -> ForecastPoint {
        ForecastPoint {
            at: self.edges[index],
            open: self.open[index],
            spent: self.spent[index],
            cost: self.cost[index],
        }
    }

    /// Any age, between two edges.
    fn at(&self, seconds: f64) -> ForecastPoint {
        let low = bucket(seconds);
        let (a, b) = (self.point(low), self.point(low + 1));
        let part = ((seconds - a.at) / (b.at - a.at)).clamp(0.0, 1.0);
        let open = a.open + (b.open - a.open) * part;
        ForecastPoint {
            at: seconds,
            open,
            spent: a.spent + (seconds - a.at) * (a.open + open) / 2.0,
            cost: a.cost + (b.cost - a.cost) * part,
        }
    }
}

/// What is known of one shop and type, and the forecast that it makes.
#[derive(Debug, Clone, Default)]
pub struct ForecastModel {
    known: LatencyHistory,
    forecast: Option<Arc<Forecast>>,
    news: f64,
}

impl ForecastModel {
    /// Takes in what was seen; makes the forecast anew when enough is new.
    pub fn see(&mut self, seen: CompletionSample, at: Timestamp, thrift: f64) {
        self.known.see(seen, at);
        self.news += 1.0;
        if self.news >= REBUILD_SAMPLES.max(self.known.weight() * REBUILD_SHARE) {
            self.replace(self.known.clone(), thrift);
        }
    }

    /// Knows this from now on.
    pub fn replace(&mut self, known: LatencyHistory, thrift: f64) {
        self.forecast = Forecast::of(&known, thrift).map(Arc::new);
        self.known = known;
        self.news = 0.0;
    }

    /// What to expect, if enough is known.
    pub fn forecast(&self) -> Option<&Arc<Forecast>> {
        self.forecast.as_ref()
    }
}

/// One age on a forecast.
#[derive(Debug, Clone, Copy)]
struct ForecastPoint {
    at: f64,
    open: f64,
    spent: f64,
    cost: f64,
}
