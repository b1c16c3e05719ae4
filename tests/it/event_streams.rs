//! The danger: a reader that follows the feed while much is written misses something, reads it
//! twice or out of order, or holds up a stop.

use crate::world::{KEY, Merchant, Setup, World, eventually, payment};
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// A reader of Server-Sent Events.
struct Stream {
    response: reqwest::Response,
    text: String,
}

/// An event as it stands in a stream.
#[derive(Debug)]
struct Event {
    id: i64,
    kind: String,
    data: Value,
}

impl Stream {
    async fn open(merchant: &Merchant, query: &str, last: Option<&str>) -> reqwest::Response {
        let mut request = reqwest::Client::builder()
            .build()
            .unwrap()
            .get(merchant.url(&merchant.path(&format!("events{query}"))))
            .bearer_auth(KEY)
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        #[expect(clippy::disallowed_methods, reason = "the tests' own client")]
        request.send().await.unwrap()
    }

    async fn follow(merchant: &Merchant, query: &str, last: Option<&str>) -> Self {
        let response = Self::open(merchant, query, last).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next block; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let piece = self.response.chunk().await.ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }

    /// The next event, past comments and what is said of retries.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name).map(str::to_owned))
            };
            if let (Some(id), Some(kind), Some(data)) =
                (field("id: "), field("event: "), field("data: "))
            {
                let data = serde_json::from_str(&data).unwrap();
                return Some(Event {
                    id: id.parse().unwrap(),
                    kind,
                    data,
                });
            }
        }
    }
}

#[test]
fn a_stream_sends_the_feed_and_continues() {
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-stream-1").await.expect(200);
        let mut stream = Stream::follow(world, "", None).await;
        assert_eq!(stream.block().await.unwrap(), "retry: 1000");
        let before = world.events().await;
        for event in &before {
            let told = stream.next().await.unwrap();
            assert_eq!(
                (&told.data, &told.data["type"]),
                (event, &Value::from(&*told.kind))
            );
            assert_eq!(told.data["seq"], told.id);
        }
        world.pay_and_wait("ok-stream-2").await.expect(200);
        let last = i64::try_from(before.len()).unwrap();
        let told = stream.next().await.unwrap();
        assert_eq!(
            (told.id, &told.data["transaction"]["tracking_id"]),
            (last + 1, &"ok-stream-2".into())
        );
        // One that comes back says how far it came; that counts more than where it once began.
        let mut back = Stream::follow(world, "?after=0", Some(&last.to_string())).await;
        assert_eq!(back.next().await.unwrap().id, last + 1);
        let mut after = Stream::follow(world, &format!("?after={last}"), None).await;
        assert_eq!(after.next().await.unwrap().id, last + 1);
        let wrong = Stream::open(world, "", Some("x")).await;
        assert_eq!(wrong.status(), 422);
    });
}

#[test]
fn a_silent_stream_shows_that_it_lives() {
    Setup::default().run(async |world| {
        let mut stream = Stream::follow(world, "", None).await;
        assert_eq!(stream.block().await.unwrap(), "retry: 1000");
        let beat = tokio::time::timeout(Duration::from_secs(18), stream.block()).await;
        assert_eq!(beat.unwrap().unwrap(), ":");
    });
}

#[test]
fn a_stop_closes_streams() {
    Setup::default().run(async |world| {
        let mut stream = Stream::follow(world, "", None).await;
        let (ended, ()) = tokio::join!(stream.next(), async {
            tokio::time::timeout(Duration::from_secs(5), world.stop())
                .await
                .unwrap();
        });
        assert!(ended.is_none());
        world.start().await;
    });
}

#[test]
fn streams_are_limited_per_client() {
    Setup::default().run(async |world| {
        let mut open = Vec::new();
        for _ in 0..32 {
            open.push(Stream::follow(world, "", None).await);
        }
        let refused = Stream::open(world, "", None).await;
        assert_eq!(refused.status(), 429);
        assert!(refused.headers().contains_key("retry-after"));
        world.get("events").await.expect(200);
        open.clear();
        world.pay_and_wait("ok-room").await.expect(200);
        eventually("there is room again", async || {
            (Stream::open(world, "", None).await.status() == 200).then_some(())
        })
        .await;
    });
}

/// How many payments are made under the readers' eyes.
const MANY: usize = 300;

#[test]
fn readers_see_no_gap_while_replicas_write() {
    Setup::default()
        .set("follow", "lease", "\"20s\"")
        .run(async |world| {
            let (second, other) = world.replica().await;
            let both = [&**world, &other];
            let names: Vec<String> = (0..MANY).map(|n| format!("ok-load-{n}")).collect();
            let writing = async {
                for some in names.chunks(50) {
                    let pays = some
                        .iter()
                        .enumerate()
                        .map(|(n, name)| both[n % 2].post("payments", payment(name)));
                    futures_util::future::join_all(pays).await;
                }
            };
            let pages = futures_util::future::join_all(both.map(polled));
            let streams = futures_util::future::join_all(both.map(streamed));
            let ((), pages, streams, looks) =
                tokio::join!(writing, pages, streams, looked_at(world));
            assert!(looks > 20, "{looks}");
            let all = world.events().await;
            for read in pages.iter().chain(&streams) {
                assert_eq!(read.as_slice(), &all[..read.len()]);
            }
            second.stop().await;
        });
}

fn is_end(event: &Value, ends: &mut usize) -> bool {
    *ends += usize::from(event["type"] == "transaction.finalized");
    *ends == MANY
}

/// Reads page by page without a rest, from where the last page ended.
async fn polled(merchant: &Merchant) -> Vec<Value> {
    let (mut all, mut ends) = (Vec::new(), 0);
    loop {
        let path = merchant.path(&format!("events?after={}&limit=500", all.len()));
        let page = merchant
            .raw(Method::GET, &path, &[], "")
            .await
            .expect(200)
            .json;
        for event in page["events"].as_array().unwrap() {
            assert_eq!(event["seq"].as_u64(), Some(all.len() as u64 + 1), "a gap");
            all.push(event.clone());
            if is_end(event, &mut ends) {
                return all;
            }
        }
    }
}

async fn streamed(merchant: &Merchant) -> Vec<Value> {
    let mut stream = Stream::follow(merchant, "", None).await;
    let (mut all, mut ends) = (Vec::new(), 0);
    loop {
        let event = stream.next().await.unwrap();
        assert_eq!(event.id, all.len() as i64 + 1, "a gap");
        all.push(event.data.clone());
        if is_end(&event.data, &mut ends) {
            return all;
        }
    }
}

/// Looks at the whole table again and again: at no moment is there a number without all before it.
async fn looked_at(world: &World) -> usize {
    let sql = "SELECT json_build_object('count', count(*), 'last', coalesce(max(seq), 0),
        'ends', count(*) FILTER (WHERE type = 'transaction.finalized'))::text
        FROM events WHERE shop_id = '1001'";
    let mut looks = 0;
    loop {
        let seen: Value = serde_json::from_str(&world.database.one::<String>(sql).await).unwrap();
        assert_eq!(seen["count"], seen["last"], "a gap");
        looks += 1;
        if seen["ends"] == MANY {
            return looks;
        }
    }
}
