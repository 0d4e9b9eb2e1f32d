//! The audit log: what goes into it, and reading it. How it is kept: `store::audit`.
//!
//! Every operation that changes something, and every login, is recorded with how it was answered, also where it was
//! refused for its scopes. Neither bodies nor queries are: names of operations and paths, in which a token that strayed
//! there is blotted out.

use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use model::{Fault, FaultCode, TokenId};
use serde::{Deserialize, Serialize};
use store::audit::{AuditCheck, AuditRecord};
use store::{AuditEntry, AuditQuery, StoreError};
use tracing::Instrument as _;
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::access::{Need, Operation};
use crate::error::{ApiError, ErrorBody};
use crate::extract::Params;
use crate::holders::Holder;
use crate::logs::moment;
use crate::session::{LoggedIn, Peer};

/// Records in an answer unless it is asked for more or less, and at most.
const USUAL: usize = 100;
const MOST: usize = 1000;
/// What begins and ends browsers' sessions.
const SESSIONS: [&str; 3] = ["login", "logout", "login_link"];
/// Characters of an object.
const LONGEST: usize = 200;

/// What a request asks, for its record.
pub(crate) struct Asked(Option<AuditEntry>);

/// What was done it to, where the path does not say; beside the answer.
#[derive(Debug, Clone)]
pub(crate) struct Object(pub String);

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// From 1, without a gap.
    pub seq: u64,
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub at: String,
    /// Whose token; null: nobody's, as of a login that failed, or Hearth's own.
    #[schema(value_type = Option<String>, example = "tok_1a2b3c4d5e6f")]
    pub token: Option<TokenId>,
    /// The same in words.
    #[schema(example = "ci")]
    pub by: Option<String>,
    /// Where the request came from.
    pub ip: Option<String>,
    /// The operation's id in this document; of AWS's API with `lambda:` before its name.
    #[schema(example = "put_function")]
    pub action: String,
    #[schema(example = "functions/f")]
    pub object: String,
    /// Of the answer.
    pub status: u16,
    /// Of an answer that is an error.
    #[schema(value_type = Option<String>, example = "HEARTH-C002")]
    pub code: Option<FaultCode>,
    /// SHA-256 of this record and the one before.
    pub hash: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// Newest first.
    pub records: Vec<AuditView>,
}

/// What became of the chain of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditCheckView {
    /// Whether each record follows the one before, unchanged.
    pub whole: bool,
    /// Where it is broken first, and how.
    pub broken: Option<String>,
    /// How many are kept.
    pub records: u64,
    /// The oldest that is kept; 0: there is none.
    pub first: u64,
    pub last: u64,
    /// The hash of the last: noted elsewhere, it vouches for all before it.
    pub head: String,
    /// The record whose hash was asked for; null: none has it.
    pub found: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// At most so many, 1 to 1000; default 100.
    limit: Option<usize>,
    /// Only those before this one: the `seq` of the last one, for the next page.
    before: Option<u64>,
    /// Only those of this token.
    #[param(value_type = Option<String>)]
    token: Option<TokenId>,
    /// Only those of this operation.
    action: Option<String>,
    /// Only those from then on: RFC 3339, or a time back from now like `10m`.
    since: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// A hash that was noted earlier: 64 hexadecimal digits.
    hash: Option<String>,
}

/// Who changed what, newest first
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "audit", tag = "audit", params(Which),
    responses((status = 200, body = AuditList), (status = 400, body = ErrorBody)))]
pub(crate) async fn list(State(api): State<Api>, Params(which): Params<Which>) -> Result<Json<AuditList>, ApiError> {
    let limit = which.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::invalid(format!("limit = {limit} is out of range: expected 1 to {MOST}")));
    }
    let since = which.since.as_deref().map(|since| moment("since", since)).transpose()?;
    let query = AuditQuery { limit, before: which.before, token: which.token, action: which.action, since };
    let records = api.audit.read(query).await?;
    Ok(Json(AuditList { records: records.into_iter().map(AuditView::from).collect() }))
}

/// Check that no record was changed, removed or put in
#[utoipa::path(get, path = "/api/v1/audit/check", operation_id = "check_audit", tag = "audit", params(Expected),
    responses((status = 200, body = AuditCheckView), (status = 400, body = ErrorBody)))]
pub(crate) async fn check(
    State(api): State<Api>,
    Params(expected): Params<Expected>,
) -> Result<Json<AuditCheckView>, ApiError> {
    if let Some(hash) = &expected.hash
        && (hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(ApiError::invalid("hash: expected 64 hexadecimal digits"));
    }
    let hash = expected.hash.map(|hash| hash.to_ascii_lowercase());
    let AuditCheck { records, first, last, head, broken, found } = api.audit.check(hash).await?;
    Ok(Json(AuditCheckView { whole: broken.is_none(), broken, records, first, last, head, found }))
}

// === impl Asked ===

impl Asked {
    /// What is to be recorded of a request of our API, if anything.
    pub fn of(operation: Operation, request: &Request) -> Self {
        if !operation.audited {
            return Self(None);
        }
        let path = request.uri().path();
        let object = path.strip_prefix("/api/v1/").unwrap_or(path);
        Self(Some(entry(operation.name, object, request.extensions().get().copied())))
    }

    /// An error where it shall not be done since it could not be recorded.
    pub async fn ready(&self, api: &Api, operation: Operation) -> Result<(), ApiError> {
        // Whoever is to mend it has to get in.
        if self.0.is_none() || matches!(operation.need, Need::Nothing | Need::Token) {
            return Ok(());
        }
        ready(api).await
    }

    /// The same of a request of one of AWS's APIs: `lambda:CreateFunction`.
    pub async fn of_aws(api: &Api, action: &str, object: &str, from: Option<Peer>) -> Result<Self, ApiError> {
        ready(api).await?;
        Ok(Self(Some(entry(action, object, from))))
    }

    /// Records how it was answered, before that goes out.
    pub async fn answered(self, api: &Api, holder: Option<&Holder>, mut response: Response) -> Response {
        let logged_in = response.extensions_mut().remove::<LoggedIn>();
        let object = response.extensions_mut().remove::<Object>();
        let Some(mut entry) = self.0 else { return response };
        if let Some(Object(object)) = object {
            entry.object = harmless(&object);
        }
        let code = response.extensions().get::<Fault>().map(|fault| fault.code);
        let holder = logged_in.as_ref().map(|LoggedIn(holder)| &**holder).or(holder);
        record(api, entry, holder, response.status(), code).await;
        response
    }

    /// The same of AWS's API.
    pub async fn ended(self, api: &Api, holder: &Holder, status: StatusCode, code: Option<FaultCode>) {
        if let Some(entry) = self.0 {
            record(api, entry, Some(holder), status, code).await;
        }
    }
}

/// Carries out what is to be recorded, and records it, also when whoever asked for it has hung up meanwhile: what is
/// half done would be done without a record. As long as what it does is bounded, so is this.
pub(crate) async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn record(api: &Api, entry: AuditEntry, holder: Option<&Holder>, status: StatusCode, code: Option<FaultCode>) {
    // Nor shall strangers: a login is recorded where it went well or was tried with something wrong.
    let tried = status == StatusCode::UNAUTHORIZED;
    // What anybody with a token may do as often as they like, and changes nothing that lasts, is like a failure.
    let changed = status.is_success() && !SESSIONS.contains(&entry.action.as_str());
    let worth = changed || holder.map_or(tried, |holder| holder.may_be_told_of(Instant::now()));
    if !worth {
        return;
    }
    let token = holder.map(|holder| holder.id.clone());
    let by = holder.map(|holder| holder.name.to_string());
    let entry = AuditEntry { token, by, status: status.as_u16(), code, ..entry };
    let (action, object) = (entry.action.clone(), entry.object.clone());
    // It is done: the answer says so all the same, and nothing more is done before the log can be written again.
    if let Err(error) = api.audit.append(entry).await {
        tracing::error!(%error, action, object, "a record of the audit log could not be written");
    }
}

async fn ready(api: &Api) -> Result<(), ApiError> {
    api.audit.ready().await.map_err(|error| match error {
        StoreError::DiskFull => error.into(),
        _ => {
            let message = "the audit log cannot be written: nothing is changed until it can";
            Fault::new(FaultCode::Store, message).with_detail(error).into()
        }
    })
}

fn entry(action: &str, object: &str, from: Option<Peer>) -> AuditEntry {
    AuditEntry {
        token: None,
        by: None,
        ip: from.map(|Peer(address)| address.to_canonical()),
        action: action.to_owned(),
        object: harmless(object),
        status: 0,
        code: None,
    }
}

/// Without control characters, and with what looks like a token of ours blotted out.
fn harmless(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = ["hth_", "hak_"].iter().filter_map(|prefix| rest.find(prefix)).min() {
        shown.push_str(&rest[..at + 4]);
        shown.push('…');
        rest = rest[at + 4..].trim_start_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
    }
    shown.push_str(rest);
    shown.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}

impl From<AuditRecord> for AuditView {
    fn from(AuditRecord { seq, at, entry, prev: _, hash }: AuditRecord) -> Self {
        let AuditEntry { token, by, ip, action, object, status, code } = entry;
        Self { seq, at, token, by, ip: ip.map(|ip| ip.to_string()), action, object, status, code, hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_strayed_into_a_path_is_blotted_out() {
        let token = crate::Token::generate().unwrap();
        let shown = harmless(&format!("tokens/{}/x\n", token.as_str()));
        assert_eq!(shown, "tokens/hth_…/x");
        assert_eq!(harmless("a%20hak_1hth_2"), "a%20hak_…");
        assert_eq!(harmless("functions/f"), "functions/f");
        assert_eq!(harmless(&"x".repeat(999)).len(), LONGEST);
    }
}
