//! What is asked of Hearth's management API: what was recorded, what lives, what works here.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::hearth::Hearth;
use crate::http::{self, Connection};

/// How long a stem may take to be ready: the slowest isolation's start, on a machine with other work.
const STEM: Duration = Duration::from_secs(20);
const RECORDS: Duration = Duration::from_secs(10);

/// A connection to the API that is used again and again.
#[derive(Debug)]
pub struct Api {
    connection: Connection,
    host: SocketAddr,
    headers: String,
}

// === impl Api ===

impl Api {
    pub fn open(hearth: &Hearth) -> anyhow::Result<Self> {
        let headers = format!("authorization: Bearer {}\r\n", hearth.token()?);
        Ok(Self { connection: Connection::open(hearth.control())?, host: hearth.control(), headers })
    }

    /// One request; its answer as JSON.
    pub fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let path = format!("/api/v1/{path}");
        let body = body.map(Value::to_string).unwrap_or_default();
        let response = self.connection.call(&http::request(method, self.host, &path, &self.headers, &body))?;
        let text = String::from_utf8_lossy(response.body);
        ensure!((200..300).contains(&response.status), "{method} {path} gave {}: {text}", response.status);
        if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text).with_context(|| text.into_owned()) }
    }
}

impl Hearth {
    /// The newest records of a function's calls, at least `count` of them. Records are written behind the calls, so
    /// they are waited for.
    pub fn records(&self, name: &str, count: usize) -> anyhow::Result<Vec<Value>> {
        let until = Instant::now() + RECORDS;
        loop {
            let mut answer = self.get(&format!("functions/{name}/invocations?limit={}", count.clamp(1, 1000)))?;
            let Some(Value::Array(records)) = answer.get_mut("invocations").map(Value::take) else {
                bail!("no list of invocations in {answer}");
            };
            if records.len() >= count.min(1000) {
                return Ok(records);
            }
            ensure!(Instant::now() < until, "{name} was called {count} times and has {} records", records.len());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// How many instances of a function live now.
    pub fn instances(&self, name: &str) -> anyhow::Result<usize> {
        let answer = self.get(&format!("instances?function={name}"))?;
        let list = answer.get("instances").and_then(Value::as_array);
        Ok(list.with_context(|| format!("no list of instances in {answer}"))?.len())
    }

    /// Why an isolation does not work here; none if it does.
    pub fn lacks(&self, isolation: &str) -> anyhow::Result<Option<String>> {
        let answer = self.get("doctor")?;
        let known = answer.get("isolations").and_then(Value::as_array).into_iter().flatten();
        let one = known.into_iter().find(|one| one.get("isolation").and_then(Value::as_str) == Some(isolation));
        let Some(one) = one else { return Ok(Some("it is not built in".into())) };
        if one.get("works").and_then(Value::as_bool) == Some(true) {
            return Ok(None);
        }
        let findings = one.get("findings").and_then(Value::as_array).into_iter().flatten();
        let missing = findings.filter(|found| found.get("severity").and_then(Value::as_str) == Some("missing"));
        let states: Vec<_> = missing.filter_map(|found| found.get("state")?.as_str()).collect();
        Ok(Some(states.join("; ")))
    }

    /// Waits until a stem of that isolation is ready and none is being made.
    pub fn until_stem(&self, isolation: &str) -> anyhow::Result<()> {
        let until = Instant::now() + STEM;
        loop {
            let answer = self.get("instances")?;
            let number = |one: &Value, key: &str| one.get(key).and_then(Value::as_u64).unwrap_or(0);
            let stems = answer.get("stems").and_then(Value::as_array).into_iter().flatten();
            let (mut ready, mut starting) = (0, 0);
            for one in stems {
                starting += number(one, "starting");
                if one.get("isolation").and_then(Value::as_str) == Some(isolation) {
                    ready += number(one, "ready");
                }
            }
            if ready > 0 && starting == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < until, "no stem of {isolation} was ready within {STEM:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a function has no instance.
    pub fn until_none(&self, name: &str, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        while self.instances(name)? > 0 {
            ensure!(Instant::now() < until, "an instance of {name} still lives after {limit:?} without a call");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits until so many instances of a function are up and were left alone long enough to be frozen.
    pub fn until_frozen(&self, name: &str, count: usize, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        loop {
            let answer = self.get(&format!("instances?function={name}"))?;
            let list = answer.get("instances").and_then(Value::as_array).into_iter().flatten();
            let frozen = list.filter(|one| one.get("state").and_then(Value::as_str) == Some("frozen")).count();
            if frozen >= count {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{frozen} of {count} instances of {name} are frozen after {limit:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Removes a function.
    pub fn remove(&self, name: &str) -> anyhow::Result<()> {
        Api::open(self)?.call("DELETE", &format!("functions/{name}"), None).map(|_| ())
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        Api::open(self)?.call("GET", path, None)
    }
}
