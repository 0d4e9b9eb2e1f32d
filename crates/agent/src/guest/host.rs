//! The streams to the host: control for the life of the function, invoke for its events.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use bytes::{Bytes, BytesMut};
use wire::{Decoder, Frame, Init, Invoke, Side, Stream, WireError};

/// Numbers of `docs/wire.md`.
const CONTROL: RawFd = 3;
const INVOKE: RawFd = 4;

/// Longest payload of one DATA frame that is sent.
const PIECE: usize = 1024 * 1024;

/// The control stream.
pub struct Host {
    control: Mutex<UnixStream>,
}

/// The invoke stream, from which events are taken.
pub struct Invokes {
    stream: UnixStream,
    decoder: Decoder,
}

/// The invoke stream, for answers.
pub struct Answers {
    stream: UnixStream,
}

// === impl Host ===

impl Host {
    /// Takes over the descriptors that the agent was started with. Called once.
    pub fn inherit() -> io::Result<(Self, Invokes)> {
        let (control, invoke) = (take(CONTROL)?, take(INVOKE)?);
        let invokes = Invokes { stream: invoke, decoder: Decoder::new(Stream::Invoke, Side::Host) };
        Ok((Self { control: Mutex::new(control) }, invokes))
    }

    pub fn hello(&self, runtime: &str) -> io::Result<()> {
        self.tell(&Frame::Hello { version: wire::VERSION, runtime: runtime.to_owned() })
    }

    /// Waits for INIT. A stem waits long. Its end is the host's end.
    pub fn init(&self) -> io::Result<Init> {
        let mut decoder = Decoder::new(Stream::Control, Side::Host);
        let mut control = self.reader()?;
        loop {
            match decoder.next_frame().map_err(not_wire)? {
                Some(Frame::Init(json)) => return serde_json::from_slice(&json).map_err(io::Error::other),
                Some(frame) => return Err(io::Error::other(format!("a {} frame instead of INIT", frame.kind()))),
                None => read_into(&mut control, &mut decoder)?,
            }
        }
    }

    /// Ends the agent when the host closes the control stream, or says anything more on it.
    pub fn follow(&self) -> io::Result<()> {
        self.follow_until(|ended| super::end(if ended { 0 } else { 1 }))
    }

    /// Calls that when the host closes the control stream, or, with false, when it says anything more on it.
    pub fn follow_until(&self, then: impl FnOnce(bool) + Send + 'static) -> io::Result<()> {
        let mut control = self.reader()?;
        std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            let ended = matches!(control.read(&mut [0; 1]), Ok(0));
            then(ended);
        })?;
        Ok(())
    }

    /// Closes the control stream: the host sends no other event.
    pub fn hang_up(&self) {
        let control = self.control.lock().unwrap_or_else(|broken| broken.into_inner());
        let _ = control.shutdown(std::net::Shutdown::Write);
    }

    fn reader(&self) -> io::Result<UnixStream> {
        self.control.lock().unwrap_or_else(|broken| broken.into_inner()).try_clone()
    }

    pub fn ready(&self) -> io::Result<()> {
        self.tell(&Frame::Ready)
    }

    /// Tells why there is no function, and ends.
    pub fn init_error(&self, error: Bytes) -> ! {
        let _ = self.tell(&Frame::InitError(error));
        super::end(1)
    }

    fn tell(&self, frame: &Frame) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes).map_err(not_wire)?;
        self.control.lock().unwrap_or_else(|broken| broken.into_inner()).write_all(&bytes)
    }
}

// === impl Invokes ===

impl Invokes {
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    pub fn answers(&self) -> io::Result<Answers> {
        Ok(Answers { stream: self.stream.try_clone()? })
    }

    /// For who reads it in another way.
    pub fn into_stream(self) -> OwnedFd {
        self.stream.into()
    }

    /// Waits for the next event, whole. The end of the stream ends the agent: the host wants no more of it.
    pub fn next(&mut self) -> io::Result<Invoke> {
        let Frame::Invoke(mut invoke) = self.frame()? else { return Err(unexpected()) };
        if invoke.last {
            return Ok(invoke);
        }
        let mut payload = BytesMut::from(&invoke.payload[..]);
        loop {
            match self.frame()? {
                Frame::Data(more) => payload.extend_from_slice(&more),
                Frame::End => break,
                _ => return Err(unexpected()),
            }
        }
        invoke.payload = payload.freeze();
        Ok(invoke)
    }

    fn frame(&mut self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().map_err(not_wire)? {
                return Ok(frame);
            }
            read_into(&mut self.stream, &mut self.decoder)?;
        }
    }
}

// === impl Answers ===

impl Answers {
    /// The same once more.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()? })
    }

    /// The result, whole. One that is longer than a frame goes in pieces: the host says what is too long.
    pub fn response(&mut self, payload: Bytes) -> io::Result<()> {
        if payload.len() <= PIECE {
            return self.send(&Frame::Response { last: true, payload });
        }
        let mut rest = payload;
        self.send(&Frame::Response { last: false, payload: rest.split_to(PIECE) })?;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE));
            self.send(&Frame::Data(piece))?;
        }
        self.send(&Frame::End)
    }

    /// The beginning of an answer that is passed on as it comes.
    pub fn begin(&mut self, content_type: &str) -> io::Result<()> {
        self.send(&Frame::Stream { content_type: content_type.to_owned(), payload: Bytes::new() })
    }

    /// More of it. Waits while the host does not read.
    pub fn data(&mut self, piece: &[u8]) -> io::Result<()> {
        self.send(&Frame::Data(Bytes::copy_from_slice(piece)))
    }

    /// The end of it.
    pub fn finish(&mut self) -> io::Result<()> {
        self.send(&Frame::End)
    }

    /// The error JSON of a function that failed.
    pub fn error(&mut self, json: Bytes) -> io::Result<()> {
        self.send(&Frame::Error(json))
    }

    fn send(&mut self, frame: &Frame) -> io::Result<()> {
        let mut head = BytesMut::new();
        let payload = frame.encode_head(&mut head).map_err(not_wire)?;
        let mut parts = [io::IoSlice::new(&head), io::IoSlice::new(payload)];
        let mut parts = &mut parts[..];
        while !parts.iter().all(|part| part.is_empty()) {
            match self.stream.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => io::IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// `{"errorType": …, "errorMessage": …}`
pub fn error_json(kind: &str, message: &str) -> Bytes {
    serde_json::json!({ "errorType": kind, "errorMessage": message }).to_string().into()
}

/// What ended, as a program that was started next shall not see it.
fn take(number: RawFd) -> io::Result<UnixStream> {
    // SAFETY: plain numbers; one that is not open is an error.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, was inherited, and is taken once, by `Host::inherit`.
    Ok(unsafe { UnixStream::from_raw_fd(number) })
}

fn read_into(stream: &mut UnixStream, decoder: &mut Decoder) -> io::Result<()> {
    let mut buffer = [0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            // The host wants no more.
            Ok(0) => super::end(0),
            Ok(read) => {
                decoder.push(&buffer[..read]);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn not_wire(error: WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the host sent a frame that does not belong here at this time")
}
