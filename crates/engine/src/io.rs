//! The host's ends of the streams into one sandbox: what an instance's owner polls. No task of its own.
//!
//! Reading goes through a buffer of the thread, so that an instance that waits holds no buffer. A frame whose
//! beginning is there grows its decoder's own.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use driver::Streams;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixStream, unix::pipe};
use wire::{Decoder, Frame, Side, Stream, WireError};

use crate::log::{Sink, Splitter};
use crate::socket::{Socket, take_off};

/// What is read at once into the thread's buffer: a pipe's whole content.
const SCRATCH: usize = 64 * 1024;

/// Most that is taken from one stream when it is drained: more than a pipe or a socket holds, so that all that
/// was there is taken, and a writer that never stops is not followed for ever.
const DRAIN: usize = 2 * 1024 * 1024;

/// First buffer for an answer.
const ANSWER: usize = 8 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into());
}

pub struct Io {
    control: Option<UnixStream>,
    control_in: Decoder,
    invoke: Socket,
    invoke_in: Decoder,
    log: Option<pipe::Receiver>,
    lines: Splitter,
}

/// Why a stream is of no more use.
#[derive(Debug)]
pub enum Broken {
    /// The other end is closed. `unread`: it was closed with something from us unread in it.
    Closed {
        unread: bool,
    },
    Protocol(WireError),
}

// === impl Io ===

impl Io {
    /// Takes over the descriptors. Needs a Tokio runtime.
    pub fn new(streams: Streams) -> io::Result<Self> {
        let socket = |fd| {
            let socket = std::os::unix::net::UnixStream::from(fd);
            socket.set_nonblocking(true)?;
            UnixStream::from_std(socket)
        };
        let Some(invoke) = streams.invoke.into_iter().next() else {
            return Err(io::Error::other("the driver gave no invoke stream"));
        };
        Ok(Self {
            control: Some(socket(streams.control)?),
            control_in: Decoder::new(Stream::Control, Side::Guest),
            invoke: Socket::new(invoke)?,
            invoke_in: Decoder::new(Stream::Invoke, Side::Guest),
            log: Some(pipe::Receiver::from_owned_fd(streams.log)?),
            lines: Splitter::default(),
        })
    }

    /// The descriptors, for another process to go on with. Nothing may have come of which a part is in here.
    pub fn into_streams(self) -> io::Result<Streams> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        if !self.control_in.is_empty() || !self.invoke_in.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let control = self.control.ok_or_else(gone)?.into_std()?.into();
        let log = self.log.ok_or_else(gone)?.into_nonblocking_fd()?;
        Ok(Streams { control, invoke: vec![self.invoke.into_fd()?], log })
    }

    /// Takes what was printed, and has the task woken for more.
    pub fn poll_log(&mut self, cx: &mut Context<'_>, sink: &mut Sink<'_>) {
        BUFFER.with_borrow_mut(|buffer| {
            // Bounded, so that a function that only prints does not hide its own deadline.
            for _ in 0..8 {
                let Some(log) = &mut self.log else { return };
                let mut read = ReadBuf::new(buffer);
                match Pin::new(log).poll_read(cx, &mut read) {
                    Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                        self.lines.push(read.filled(), |line| sink.printed(line));
                    }
                    Poll::Ready(_) => self.log = None,
                    Poll::Pending => return,
                }
            }
            cx.waker().wake_by_ref();
        });
    }

    /// The next frame on the control stream.
    pub fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        loop {
            if let Some(frame) = self.control_in.next_frame()? {
                return Poll::Ready(Ok(frame));
            }
            let Some(control) = &mut self.control else {
                return Poll::Ready(Err(Broken::Closed { unread: false }));
            };
            let (control_in, mut read) = (&mut self.control_in, 0);
            let polled = BUFFER.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                let polled = Pin::new(control).poll_read(cx, &mut buffer);
                control_in.push(buffer.filled());
                read = buffer.filled().len();
                polled
            });
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if read > 0 => {}
                Poll::Ready(ended) => {
                    self.control = None;
                    return Poll::Ready(Err(closed(ended.err())));
                }
            }
        }
    }

    /// Takes the LOG frames that are there. Anything else is not the protocol at this time.
    pub fn poll_log_frames(&mut self, cx: &mut Context<'_>, sink: &mut Sink<'_>) -> Result<(), Broken> {
        while self.control.is_some() {
            match self.poll_control(cx) {
                Poll::Ready(frame) => log_frame(frame, sink)?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// The next frame on the invoke stream.
    pub fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Broken>> {
        loop {
            if let Some(frame) = self.invoke_in.next_frame()? {
                return Poll::Ready(Ok(frame));
            }
            let buffer = self.invoke_in.buffer();
            if buffer.capacity() == buffer.len() {
                buffer.reserve(ANSWER);
            }
            match self.invoke.poll_read(cx, buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(closed(None))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(closed(Some(error)))),
            }
        }
    }

    /// Writes to the invoke stream without copying; what is written is taken off the front of `parts`.
    pub fn poll_invoke(&mut self, cx: &mut Context<'_>, parts: &mut [&[u8]; 2]) -> Poll<Result<(), Broken>> {
        // EPIPE: nobody reads there any more, so nobody has read all of it.
        self.invoke.poll_write_all(cx, parts).map_err(|_| Broken::Closed { unread: true })
    }

    /// Writes to the control stream.
    pub fn poll_tell(&mut self, cx: &mut Context<'_>, parts: &mut [&[u8]; 2]) -> Poll<Result<(), Broken>> {
        match &mut self.control {
            Some(control) => poll_write(Pin::new(control), cx, parts),
            None => Poll::Ready(Err(Broken::Closed { unread: false })),
        }
    }

    /// Sends IMAGE with a file in memory, before anything else is written to the control stream: there is room.
    pub fn send_image(&self, image: BorrowedFd<'_>) -> io::Result<()> {
        let Some(control) = &self.control else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut frame = BytesMut::new();
        Frame::Image.encode(&mut frame).map_err(io::Error::other)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let fits = beside.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(&image)));
        debug_assert!(fits, "there is space for one");
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = rustix::net::sendmsg(control, &[IoSlice::new(&frame)], &mut beside, flags)?;
        if sent == frame.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Whether the invoke stream is quiet, as it has to be between invocations. As far as the reactor knows: no
    /// system call is made when nothing came.
    pub fn is_quiet(&self) -> bool {
        self.invoke.is_quiet() && self.invoke_in.is_empty()
    }

    /// Whether nothing came after the last whole frame of the invoke stream.
    pub fn is_in_step(&self) -> bool {
        self.invoke_in.is_empty()
    }

    /// Whether the other end takes more events: it closes the control stream before its last answer, if it is to end.
    pub fn is_open(&self) -> bool {
        self.control.is_some()
    }

    /// Closes the control stream: the other end shall end.
    pub fn hang_up(&mut self) {
        self.control = None;
    }

    /// The invoke stream itself, for what is handed over beside it.
    pub fn invoke_fd(&self) -> BorrowedFd<'_> {
        self.invoke.as_fd()
    }

    /// Takes what came while nothing ran, as far as the reactor knows.
    pub fn catch_up(&mut self, sink: &mut Sink<'_>) -> Result<(), Broken> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.poll_log(&mut cx, sink);
        self.poll_log_frames(&mut cx, sink)?;
        self.flush(sink);
        Ok(())
    }

    /// Takes all that the function had printed and logged up to now, asking the kernel itself: what was written
    /// before an answer was sent is there when the answer is, whatever the reactor has noticed.
    pub fn drain(&mut self, sink: &mut Sink<'_>) -> Result<(), Broken> {
        BUFFER.with_borrow_mut(|buffer| {
            if let Some(log) = &self.log {
                let lines = &mut self.lines;
                drain(log, buffer, |bytes| lines.push(bytes, |line| sink.printed(line)));
            }
            if let Some(control) = &self.control {
                let control_in = &mut self.control_in;
                if drain_to_end(control, buffer, |bytes| control_in.push(bytes)) != End::None {
                    self.control = None;
                }
            }
        });
        self.flush(sink);
        while let Some(frame) = self.control_in.next_frame()? {
            log_frame(Ok(frame), sink)?;
        }
        Ok(())
    }

    /// Takes what is left of an answer after the sandbox is gone. An error too says whether the event was read: the
    /// reactor need not have noticed yet.
    pub fn last_words(&mut self) -> Result<Option<Frame>, Broken> {
        let unread = BUFFER.with_borrow_mut(|buffer| {
            let invoke_in = &mut self.invoke_in;
            drain_to_end(&self.invoke, buffer, |bytes| invoke_in.push(bytes)) == End::Unread
        });
        match self.invoke_in.next_frame()? {
            None if unread => Err(Broken::Closed { unread }),
            frame => Ok(frame),
        }
    }

    fn flush(&mut self, sink: &mut Sink<'_>) {
        self.lines.flush(|line| sink.printed(line));
    }
}

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        Broken::Protocol(error)
    }
}

fn log_frame(frame: Result<Frame, Broken>, sink: &mut Sink<'_>) -> Result<(), Broken> {
    match frame {
        Ok(Frame::Log(log)) => sink.logged(log),
        Ok(frame) => return Err(unexpected(&frame)),
        // The invoke stream tells of the end; a control stream that ends alone ends nothing.
        Err(Broken::Closed { .. }) => {}
        Err(broken) => return Err(broken),
    }
    Ok(())
}

/// A frame at a time when it means nothing.
pub fn unexpected(frame: &Frame) -> Broken {
    Broken::Protocol(WireError::Body { kind: frame.kind(), what: "it does not belong here at this time" })
}

fn closed(error: Option<io::Error>) -> Broken {
    // A stream socket whose other end is closed with unread bytes in it answers with a reset.
    Broken::Closed { unread: error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionReset) }
}

fn poll_write<S: AsyncWrite + Unpin>(
    mut stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    parts: &mut [&[u8]; 2],
) -> Poll<Result<(), Broken>> {
    while !(parts[0].is_empty() && parts[1].is_empty()) {
        let slices = [IoSlice::new(parts[0]), IoSlice::new(parts[1])];
        let slices = if parts[0].is_empty() { &slices[1..] } else { &slices[..] };
        match stream.as_mut().poll_write_vectored(cx, slices) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(written)) => {
                take_off(parts, written);
            }
            // EPIPE: nobody reads there any more, so nobody has read all of it.
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Closed { unread: true })),
        }
    }
    Poll::Ready(Ok(()))
}

/// Whether the other end of a stream is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    None,
    Closed,
    /// With something from us unread in it.
    Unread,
}

/// Reads until there is nothing.
fn drain(from: impl AsFd, buffer: &mut [u8], mut take: impl FnMut(&[u8])) {
    // A pipe that gave less than was asked for had no more.
    read_on(from, buffer, |bytes, full| {
        take(bytes);
        full
    });
}

/// Reads until there is nothing, and sees whether that is the end.
fn drain_to_end(from: impl AsFd, buffer: &mut [u8], mut take: impl FnMut(&[u8])) -> End {
    read_on(from, buffer, |bytes, _| {
        take(bytes);
        true
    })
}

/// Gives what is read to `more`, with whether the buffer was full, as long as that says so.
fn read_on(from: impl AsFd, buffer: &mut [u8], mut more: impl FnMut(&[u8], bool) -> bool) -> End {
    let mut taken = 0;
    while taken < DRAIN {
        match rustix::io::read(from.as_fd(), &mut *buffer) {
            Ok(0) => return End::Closed,
            Ok(read) => {
                taken += read;
                if !more(&buffer[..read], read == buffer.len()) {
                    return End::None;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return End::Unread,
            Err(_) => return End::None,
        }
    }
    End::None
}
