//! Which route a request is for: a tree of path segments for each host. Pure; made whole and swapped whole.
//!
//! A host of its own comes before `*.example.org`, the longer name first, and those before any host. On each, segment by
//! segment, text comes before `{param}` and that before `{greedy+}`; at the end a method comes before ANY. What fits
//! less well is tried when what fits better has no route for this method. A slash at the path's end means nothing.
//!
//! Paths that could be read in two ways (`//`, `..`, backslashes, broken escapes) have no route at all: what stands
//! before one route must not be passed by way of another that a function's own server takes for the same. For the same
//! reason a function with a route that asks who calls does not get, by another route, what it may take for that one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use model::{Function, FunctionName, HttpRoute, RouteHost, RoutePattern, Segment};
use percent_encoding::percent_decode_str;

use crate::rate::Limiter;

/// All routes of all functions.
#[derive(Default)]
pub struct RouteTable {
    exact: HashMap<String, Node>,
    /// The longest name first.
    below: Vec<(String, Node)>,
    any: Node,
    all: Vec<Arc<Entry>>,
}

/// A route of a function, and what is counted of it.
pub struct Entry {
    pub function: FunctionName,
    pub route: HttpRoute,
    /// `POST /thumbs/{name}`, as API Gateway names it.
    pub key: String,
    pub limiter: Option<Arc<Limiter>>,
    /// The routes of the same function that ask who calls, maybe this one too.
    guarded: Arc<[RoutePattern]>,
}

#[derive(Default)]
struct Node {
    texts: HashMap<String, Node>,
    param: Option<Box<Node>>,
    /// Routes that end here, and those that take all that is left.
    ends: Ends,
    greedy: Ends,
}

#[derive(Default)]
struct Ends(Vec<Arc<Entry>>);

/// The route of a request.
pub struct Match {
    pub entry: Arc<Entry>,
    /// What the path has in the place of parameters, decoded, in order.
    pub parameters: Vec<(String, String)>,
}

/// What was found for a request.
pub enum Found {
    Route(Match),
    /// There are routes for other methods.
    Method(Vec<&'static str>),
    Nothing,
}

/// A path, segment by segment, decoded.
pub struct Path<'a>(Vec<Cow<'a, str>>);

/// The path can be read in more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path has empty segments, dots as segments, backslashes or broken escapes, which no route takes")]
pub struct AmbiguousPath;

// === impl Path ===

impl<'a> Path<'a> {
    /// Of a request's path as it came.
    pub fn read(raw: &'a str) -> Result<Self, AmbiguousPath> {
        let path = raw.strip_prefix('/').ok_or(AmbiguousPath)?;
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            // `//` is no other way to say `/`.
            return if raw == "/" { Ok(Self(Vec::new())) } else { Err(AmbiguousPath) };
        }
        path.split('/').map(decoded).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a function's own server may take this path for one of another route, which it is not: who decodes before
    /// splitting sees an encoded slash as one, who knows parameters of segments cuts at `;`, who folds case sees no difference.
    fn evades(&self, route: &RoutePattern) -> bool {
        let hidden = self.0.iter().any(|segment| segment.contains(['/', ';']));
        hidden
            || (self.fits(route, |one, other| one.to_lowercase() == other.to_lowercase()) && !self.fits(route, str::eq))
    }

    fn fits(&self, route: &RoutePattern, same: fn(&str, &str) -> bool) -> bool {
        let segments = route.segments();
        let greedy = matches!(segments.last(), Some(Segment::Greedy(_)));
        let long_enough = if greedy { self.0.len() >= segments.len() } else { self.0.len() == segments.len() };
        let each = |(segment, given): (&Segment, &Cow<'_, str>)| match segment {
            Segment::Static(wanted) => same(wanted, given),
            Segment::Param(_) | Segment::Greedy(_) => true,
        };
        long_enough && segments.iter().zip(&self.0).all(each)
    }
}

// === impl Entry ===

impl Entry {
    /// The route that asks who calls, for whose path the function itself may take this one.
    pub fn evaded(&self, path: &Path<'_>) -> Option<&RoutePattern> {
        self.guarded.iter().find(|one| **one != self.route.route && path.evades(one))
    }
}

fn decoded(segment: &str) -> Result<Cow<'_, str>, AmbiguousPath> {
    let mut rest = segment.as_bytes();
    while let Some(at) = memchr::memchr(b'%', rest) {
        let escape = rest.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        escape.ok_or(AmbiguousPath)?;
        rest = &rest[at + 3..];
    }
    let text = percent_decode_str(segment).decode_utf8().map_err(|_| AmbiguousPath)?;
    let bad = matches!(&*text, "" | "." | "..") || text.contains('\\') || text.chars().any(char::is_control);
    if bad { Err(AmbiguousPath) } else { Ok(text) }
}

// === impl RouteTable ===

impl RouteTable {
    /// The routes of these functions. Limits of routes that are as they were in `before` go on counting.
    pub fn new<'a>(functions: impl IntoIterator<Item = &'a Function>, before: Option<&Self>) -> Self {
        let mut table = Self::default();
        for function in functions {
            let guarded = function.spec.routes.iter().filter(|one| !one.auth.is_none());
            let guarded: Arc<[RoutePattern]> = guarded.map(|one| one.route.clone()).collect();
            for route in &function.spec.routes {
                let name = &function.spec.name;
                let same = |one: &&Arc<Entry>| {
                    let Entry { function, route: was, .. } = &***one;
                    function == name && (&was.route, was.rate, was.burst) == (&route.route, route.rate, route.burst)
                };
                let kept = before.and_then(|before| before.all.iter().find(same)).and_then(|one| one.limiter.clone());
                let limiter =
                    route.rate.map(|rate| kept.unwrap_or_else(|| Arc::new(Limiter::new(rate, route.burst()))));
                let key = route.route.key();
                let (function, route, guarded) = (name.clone(), route.clone(), guarded.clone());
                table.insert(Arc::new(Entry { function, route, key, limiter, guarded }));
            }
        }
        // Those of equal length have no name in common.
        table.below.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        table
    }

    fn insert(&mut self, entry: Arc<Entry>) {
        let mut node = match entry.route.route.host() {
            RouteHost::Any => &mut self.any,
            RouteHost::Exact(name) => self.exact.entry(name.clone()).or_default(),
            RouteHost::Below(name) => {
                let place = self.below.iter().position(|(one, _)| one == name).unwrap_or_else(|| {
                    self.below.push((name.clone(), Node::default()));
                    self.below.len() - 1
                });
                &mut self.below[place].1
            }
        };
        let mut greedy = false;
        for segment in entry.route.route.segments() {
            node = match segment {
                Segment::Static(text) => node.texts.entry(text.clone()).or_default(),
                Segment::Param(_) => node.param.get_or_insert_default(),
                Segment::Greedy(_) => {
                    greedy = true;
                    break;
                }
            };
        }
        let ends = if greedy { &mut node.greedy } else { &mut node.ends };
        ends.0.push(entry.clone());
        self.all.push(entry);
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The trees of routes that name this host.
    fn named<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a Node> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let exact = self.exact.get(&host);
        let fits =
            move |name: &str| host.strip_suffix(name).is_some_and(|above| above.len() > 1 && above.ends_with('.'));
        exact.into_iter().chain(self.below.iter().filter(move |(name, _)| fits(name)).map(|(_, node)| node))
    }

    /// Whether there are routes that name this host.
    pub fn names(&self, host: &str) -> bool {
        self.named(host).next().is_some()
    }

    /// The best route that names the host.
    pub fn find_named(&self, host: &str, path: &Path<'_>, method: &Method) -> Found {
        best(self.named(host), path, method)
    }

    /// The best route, whether it names the host or not.
    pub fn find(&self, host: &str, path: &Path<'_>, method: &Method) -> Found {
        best(self.named(host).chain([&self.any]), path, method)
    }
}

fn best<'a>(trees: impl Iterator<Item = &'a Node>, path: &Path<'_>, method: &Method) -> Found {
    let mut others = Vec::new();
    for tree in trees {
        if let Some(entry) = tree.find(&path.0, method, &mut others) {
            return Found::Route(Match { parameters: parameters(&entry, &path.0), entry });
        }
    }
    others.sort_unstable();
    others.dedup();
    if others.is_empty() { Found::Nothing } else { Found::Method(others) }
}

fn parameters(entry: &Entry, path: &[Cow<'_, str>]) -> Vec<(String, String)> {
    let taken = |(place, segment): (usize, &Segment)| match segment {
        Segment::Static(_) => None,
        Segment::Param(name) => Some((name.clone(), path[place].to_string())),
        Segment::Greedy(name) => Some((name.clone(), path[place..].join("/"))),
    };
    entry.route.route.segments().iter().enumerate().filter_map(taken).collect()
}

// === impl Node ===

impl Node {
    /// No node is come to twice, so this takes no longer than the table is large.
    fn find(&self, rest: &[Cow<'_, str>], method: &Method, others: &mut Vec<&'static str>) -> Option<Arc<Entry>> {
        let Some((first, below)) = rest.split_first() else { return self.ends.of(method, others) };
        let text = self.texts.get(&**first).and_then(|node| node.find(below, method, others));
        text.or_else(|| self.param.as_ref()?.find(below, method, others)).or_else(|| self.greedy.of(method, others))
    }
}

// === impl Ends ===

impl Ends {
    fn of(&self, method: &Method, others: &mut Vec<&'static str>) -> Option<Arc<Entry>> {
        let named = |wanted: Option<&str>| self.0.iter().find(|one| one.route.route.method() == wanted);
        let found = named(Some(method.as_str())).or_else(|| named(None));
        // Who can be asked for the page can be asked for its head.
        let found = found.or_else(|| named(Some("GET")).filter(|_| *method == Method::HEAD));
        if found.is_none() {
            others.extend(self.0.iter().filter_map(|one| one.route.route.method()));
        }
        found.cloned()
    }
}

#[cfg(test)]
mod tests;
