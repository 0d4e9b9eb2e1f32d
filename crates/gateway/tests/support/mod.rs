//! A gateway over a fake engine, and a client that speaks bytes.

#![allow(dead_code, reason = "each test file uses its part")]

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engine::{ReplyBody, Streamed, WebCall};
use gateway::{
    Caller, Enqueued, Gateway, Invoker, KeyWorth, Keys, Limits, NewEvent, Options, Response, Right, serve_ingress,
};
use http_body_util::BodyExt;
use model::{
    CodeHash, Fault, FaultCode, Function, FunctionError, FunctionName, FunctionSpec, InstanceId, Invocation, Outcome,
    Qualifier, Record, RecordOutcome, Reply, Revision, RoutePattern, Runtime, SecretName, Timestamp,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Answers by the function's name; every other name is not deployed.
#[derive(Clone, Default)]
pub struct Fake {
    pub calls: Arc<AtomicUsize>,
}

/// The event that every idempotency key names.
pub const EARLIER: &str = "2f0e4b5a-0000-4000-8000-000000000000";
pub const TOKEN: &str = "hth_good";
/// Lets its holder call echo, and know of page.
pub const NARROW: &str = "hth_narrow";
pub const KEY: &str = "HKIAAEBAGBAFAYDQQCIK";
pub const SECRET: &str = "qkPy0Qmkz5rYv7bVvOlxfJ1zQ2yqgS4mXbT8rQ5e";

pub struct FakeKeys;

/// What stands for a code of this message.
pub fn code(message: &[u8]) -> [u8; 32] {
    [message.iter().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte)); 32]
}

impl Keys for FakeKeys {
    fn secret(&self, access_key_id: &str) -> Option<String> {
        (access_key_id == KEY).then(|| SECRET.into())
    }
    fn token_ok(&self, token: &str) -> bool {
        token == TOKEN || token == NARROW
    }
    fn may_invoke(&self, caller: &Caller, function: &FunctionName) -> Right {
        match (caller, function.as_str()) {
            (Caller::Token(token), _) if token == TOKEN => Right::Invoke,
            (Caller::AccessKey(_), _) | (_, "echo") => Right::Invoke,
            (_, "page") => Right::Know,
            _ => Right::Nothing,
        }
    }
    fn api_key(&self, key: &str, function: &FunctionName, _: &RoutePattern) -> KeyWorth {
        match key {
            "good" => KeyWorth::Valid,
            "of-page" if function.as_str() == "page" => KeyWorth::Valid,
            "of-page" => KeyWorth::Elsewhere,
            _ => KeyWorth::Unknown,
        }
    }
    fn signed<'a>(
        &'a self,
        secret: &'a SecretName,
        message: &'a [&'a [u8]],
        codes: &'a [[u8; 32]],
    ) -> Pin<Box<dyn Future<Output = Result<bool, Fault>> + Send + 'a>> {
        Box::pin(async move {
            if secret.as_str() == "gone" {
                return Err(Fault::new(FaultCode::SecretUnusable, "the secret gone is not there"));
            }
            // No HMAC: a sum is enough to tell one body from another.
            Ok(codes.contains(&code(&message.concat())))
        })
    }
}

impl Invoker for Fake {
    fn function(&self, name: &FunctionName) -> Option<Arc<Function>> {
        let known = [
            "echo", "page", "split", "nonsense", "boom", "timeout", "busy", "gone", "broken", "hidden", "slow", "log",
            "init",
        ];
        known.contains(&name.as_str()).then(|| {
            let mut spec = FunctionSpec::new(name.clone(), Runtime::python("3.11"), "app.handler");
            spec.url = name.as_str() != "hidden";
            let code = CodeHash::from_digest(&[0; 32]);
            Arc::new(Function {
                spec,
                version: Default::default(),
                revision: Revision(1),
                code,
                code_size: 1,
                modified: Timestamp(0),
            })
        })
    }

    fn resolve(&self, name: &FunctionName, qualifier: Option<&Qualifier>) -> Option<Arc<Function>> {
        // Of each there is the alias `live`, and nothing else.
        let known = [None, Some("$LATEST"), Some("live")];
        let qualifier = qualifier.map(ToString::to_string);
        known.contains(&qualifier.as_deref()).then(|| self.function(name))?
    }

    async fn stream(&self, invocation: Invocation) -> Result<Streamed, Fault> {
        // Pieces are the engine's own: what comes in them is tested there, and from outside.
        Ok(Streamed::Whole(Box::new(self.invoke(invocation).await?)))
    }

    async fn invoke(&self, invocation: Invocation) -> Result<Outcome, Fault> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let json = |value: Value| Ok(Reply::Success(Bytes::from(value.to_string())));
        let failure = |code, kind: &str| {
            let payload = json!({"errorType": kind, "errorMessage": "no"}).to_string().into();
            Ok(Reply::Failure(FunctionError { payload, fault: Fault::new(code, "no") }))
        };
        let reply: Result<Reply, Fault> = match invocation.function.as_str() {
            "page" => json(json!({
                "statusCode": 201, "headers": {"Content-Type": "text/html", "X-A": "1", "Connection": "close"},
                "cookies": ["a=1", "hearth_session=x"], "body": "<p>",
            })),
            "split" => json(json!({"statusCode": 200, "headers": {"x": "a\r\nset-cookie: b=c"}})),
            "nonsense" => Ok(Reply::Success(Bytes::from_static(b"{"))),
            "boom" => failure(FaultCode::HandlerError, "Boom"),
            "timeout" => failure(FaultCode::Timeout, "Sandbox.Timedout"),
            "busy" => Err(Fault::new(FaultCode::TooManyRequests, "busy is at its maximum of 2")
                .with_retry_after(Duration::from_millis(1200))),
            "init" => Err(Fault::new(FaultCode::InitFailed, "No module named 'app'")),
            "broken" => Err(Fault::new(FaultCode::Internal, "a defect").with_detail("/secret")),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                json(json!({"statusCode": 200, "body": "done"}))
            }
            _ => Ok(Reply::Success(invocation.payload.clone())),
        };
        let record = Record {
            request_id: invocation.id,
            function: invocation.function.clone(),
            revision: Revision(1),
            version: Default::default(),
            instance: None,
            door: invocation.door,
            received: invocation.received,
            cold: false,
            stem: false,
            isolation: None,
            outcome: RecordOutcome::Ok,
            error: None,
            queued_us: 0,
            sandbox_us: None,
            runtime_us: None,
            init_us: None,
            handler_us: 0,
            memory_peak: None,
            cpu_us: None,
            request_bytes: 0,
            response_bytes: 0,
            qualifier: None,
            memory: None,
            billed_ms: 0,
            replay_of: None,
            payloads: model::Kept::No,
            stages: vec![],
            trace: None,
        };
        let tail = invocation.tail.then(|| [b"x".repeat(5000), b"END".to_vec()].concat());
        Ok(Outcome { reply: reply?, instance: InstanceId::random(), tail, record })
    }

    async fn enqueue(&self, event: NewEvent) -> Result<Enqueued, Fault> {
        match event.function.as_str() {
            "busy" => Err(Fault::new(FaultCode::TooManyRequests, "the queue of busy is full")
                .with_retry_after(Duration::from_secs(1))),
            "broken" => {
                let fault = Fault::new(FaultCode::Store, "the disk has no room for events");
                Err(fault.with_retry_after(Duration::from_secs(10)))
            }
            // A key names one event.
            _ if event.key.is_some() => Ok(Enqueued { id: EARLIER.parse().unwrap(), repeated: true }),
            _ => Ok(Enqueued { id: event.id, repeated: false }),
        }
    }

    async fn web(&self, call: WebCall) -> Result<http::Response<ReplyBody>, Fault> {
        Err(Fault::new(FaultCode::NotFound, format!("{} is no web function", call.function)))
    }
}

pub fn gateway() -> Gateway<Fake> {
    Gateway::new(Fake::default(), FakeKeys, Options::default())
}

/// The body of an answer.
pub async fn body(response: Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

/// A listening ingress.
pub struct Server {
    pub address: SocketAddr,
    pub fake: Fake,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Server {
    pub async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let fake = Fake::default();
        let gateway = Gateway::new(fake.clone(), FakeKeys, Options { limits, ..Options::default() });
        let ended = tokio::spawn(serve_ingress(listener, None, gateway, async {
            let _ = stopped.await;
        }));
        Self { address, fake, stop, ended }
    }

    pub fn calls(&self) -> usize {
        self.fake.calls.load(Ordering::SeqCst)
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads all that comes back until the server closes.
    pub async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_all(&mut stream).await
    }

    /// Tells it to end; the handle is done when it has.
    pub fn stop(self) -> JoinHandle<()> {
        let _ = self.stop.send(());
        self.ended
    }
}

/// Everything until the other side closes, which must be soon.
pub async fn read_all(stream: &mut TcpStream) -> String {
    let mut out = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut out)).await;
    // A reset after the answer is a close too.
    drop(read.expect("the server must close"));
    String::from_utf8_lossy(&out).into_owned()
}
