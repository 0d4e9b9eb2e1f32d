//! A function of `lambda_runtime`: it gives back its event, or does what that says.

use std::env::var;
use std::fmt;
use std::process::exit;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

static CALLS: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
struct NoMilk(u32);

impl fmt::Display for NoMilk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} litres of milk are missing", self.0)
    }
}

impl std::error::Error for NoMilk {}

async fn answer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let (event, about) = event.into_parts();
    match event["do"].as_str() {
        Some("error") => Err("as asked".into()),
        Some("typed-error") => Err(Box::new(NoMilk(2))),
        Some("panic") => panic!("at the disco"),
        Some("exit") => exit(3),
        Some("sleep") => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(Value::Null)
        }
        Some("log") => {
            println!("to standard output");
            eprintln!("to standard error");
            Ok("logged".into())
        }
        Some("count") => Ok(calls.into()),
        Some("large") => Ok("x".repeat(7_000_000).into()),
        Some("context") => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
            Ok(json!({
                "request_id": about.request_id,
                "arn": about.invoked_function_arn,
                "remaining_ms": about.deadline.saturating_sub(now),
                "trace": about.xray_trace_id,
                "name": about.env_config.function_name,
                "memory": about.env_config.memory.to_string(),
                "greeting": var("GREETING").unwrap_or_default(),
                "handler": var("_HANDLER")?,
                "root": var("LAMBDA_TASK_ROOT")?,
            }))
        }
        _ => Ok(event),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if var("FAIL_INIT").is_ok() {
        eprintln!("no database");
        exit(4);
    }
    run(service_fn(answer)).await
}
