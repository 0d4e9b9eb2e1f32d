//! What a deploy leaves as it was on a function that exists, for telling.

use control::{FunctionView, FunctionWrite};
use model::FunctionSpec;

use super::access;

/// What an existing function keeps that differs from the default and was not said: for telling.
pub fn kept(before: &FunctionView, write: &FunctionWrite) -> Vec<String> {
    let (Ok(name), Ok(runtime)) = (before.name.parse(), before.runtime.parse()) else { return Vec::new() };
    let defaults = FunctionSpec::new(name, runtime, "");
    let (scale, said) = (&before.scale, write.scale.clone().unwrap_or_default());
    let one =
        |key: &str, unsaid: bool, is: &str, default: String| (unsaid && is != default).then(|| format!("{key} {is}"));
    let d = &defaults;
    let concurrency = if before.web.is_some() { model::WEB_CONCURRENCY } else { d.scale.concurrency };
    let floor = before.at_least.map_or(String::new(), |floor| floor.to_string());
    let keys = [
        one("memory", write.memory.is_none(), &before.memory, d.memory.to_string()),
        one("timeout", write.timeout.is_none(), &before.timeout, model::show_duration(d.timeout)),
        one("cpu", write.cpu.is_none(), &before.cpu.map_or(String::new(), |cpu| cpu.to_string()), String::new()),
        one("tmp", write.tmp.is_none(), &before.tmp, d.tmp.to_string()),
        one("isolation", write.isolation.is_none(), &before.isolation.to_string(), d.isolation.to_string()),
        one(
            "web",
            write.web.is_none(),
            &before.web.as_ref().map_or(String::new(), |web| web.port.to_string()),
            String::new(),
        ),
        one("command", write.command.is_none(), &before.command.clone().unwrap_or_default().join(" "), String::new()),
        one("image", write.image.is_none(), before.image.as_deref().unwrap_or_default(), String::new()),
        one("at-least", write.at_least.is_none(), &floor, String::new()),
        one("egress", write.egress.is_none(), &before.egress.to_string(), d.egress.to_string()),
        one("min", said.min.is_none(), &scale.min.to_string(), d.scale.min.to_string()),
        one("max", said.max.is_none(), &scale.max.to_string(), d.scale.max.to_string()),
        one("concurrency", said.concurrency.is_none(), &scale.concurrency.to_string(), concurrency.to_string()),
        one("idle", said.idle.is_none(), &scale.idle, d.scale.idle.to_string()),
        one("snapstart", write.snapstart.is_none(), &before.snapstart.to_string(), d.snapstart.to_string()),
        one(
            "records.payloads",
            write.records.as_ref().is_none_or(|records| records.payloads.is_none()),
            before.records.payloads.as_str(),
            d.records.payloads.to_string(),
        ),
        one("invoke-mode", write.invoke_mode.is_none(), &before.invoke_mode.to_string(), d.invoke_mode.to_string()),
        one("url", write.url.is_none(), &before.url.to_string(), d.url.to_string()),
    ];
    let env = before.env.keys().filter(|name| !write.env.as_ref().is_some_and(|env| env.contains_key(*name)));
    keys.into_iter().flatten().chain(env.map(|name| format!("env {name}"))).chain(access::kept(before, write)).collect()
}
