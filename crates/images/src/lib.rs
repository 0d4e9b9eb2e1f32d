//! OCI images without Docker: pulled, verified, unpacked, kept.
//!
//! ```text
//! registry ─download─► tmp/<n>/blobs ─┐                     ┌─ refuses: `..`, whiteouts of nothing, sparse files, …
//! layout, archive ────────────────────┴─► layer: decode ─► entries ─► tree ─► writer ─► tmp/<n>/root
//!                                          └ holds digest, size and diff_id against what was said
//! tmp/<n>/root ─sync─► roots/<64 hex> ─sync─► roots/<64 hex>.json ─sync─► there
//! ```
//!
//! An image is one flattened root file system, named by the digest of its manifest, that never changes while it is
//! there. Everything here runs in the unprivileged server and trusts neither registry nor archive: only the digest
//! that a manifest was asked for by, and then what follows from it.
//!
//! **To wire it in.** The server opens [`Images`] once, beneath its data directory and under that directory's lock;
//! `Images` is a cheap handle to clone.
//! - Deploy of an image function: `images.pull(Request { … })` gives a [`Pull`]; show what [`Pull::next`] says as a progress bar,
//!   await [`Pull::finish`], keep the [`Image::digest`] in the function (never the reference: tags move), and call
//!   [`Images::touch`] when the function is stored and whenever an instance starts.
//! - Start of an instance: [`Images::root`] is the folder to mount read-only. Command, environment, user and
//!   working directory come from [`Image::config`] through the pure functions of [`run`]; [`Images::user`] reads
//!   the image's own `passwd` and `group`.
//! - The digests that functions refer to are in use: they go into [`Request::in_use`], [`Images::remove`] and
//!   [`Images::collect`], and nothing of theirs is removed.

#![forbid(unsafe_code)]

pub mod config;
pub mod credentials;
mod digest;
mod disk;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod layer;
mod look;
mod manifest;
mod pull;
mod reference;
pub mod run;
mod service;
mod shelf;
mod source;

pub use config::ImageConfig;
pub use credentials::Credentials;
pub use digest::Digest;
pub use error::ImageError;
pub use layer::{Limits, Skipped};
pub use look::Program;
pub use pull::{Phase, Progress, Pull, Request};
pub use reference::Reference;
pub use service::{Images, Options};
pub use shelf::{Collected, Image, Usage};
pub use source::Source;
