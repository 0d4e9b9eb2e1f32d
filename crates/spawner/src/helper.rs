//! The other end of the protocol, in a helper process of the spawner's: any [`Driver`]s, for a server that is not
//! trusted with what they need.
//!
//! ```text
//! hello ─► packets: Start ─► driver.start ─► Started | Refused        Kill ─► handle.kill, or the start dropped
//!    │                           └─► handle.exited ─► Exited
//!    └─► the server is gone: end
//! ```

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use driver::{Driver, Exit, Handle, Sandbox, StartError};
use model::InstanceId;
use tokio::io::unix::AsyncFd;
use tokio::task::{AbortHandle, JoinSet};

use crate::protocol::{Event, Files, Request};
use crate::socket;

struct Helper {
    socket: AsyncFd<OwnedFd>,
    drivers: Vec<Arc<dyn Driver>>,
    sandboxes: HashMap<InstanceId, State>,
    tasks: JoinSet<Done>,
}

enum State {
    Starting(AbortHandle),
    Running(Arc<dyn Handle>),
}

enum Done {
    Start(InstanceId, Result<Sandbox, StartError>),
    Adopt(InstanceId, Result<(), StartError>),
    Exit(InstanceId, Exit),
}

/// Serves the drivers, each of another isolation, over the socket that the spawner left, until the server at its other end is gone. What still
/// runs then is killed, by its handles' drop.
pub async fn serve(socket: OwnedFd, drivers: Vec<Arc<dyn Driver>>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    // SAFETY: an OwnedFd names the same open descriptor until it is dropped, which AsyncFd does last.
    let socket = unsafe { AsyncFd::register(socket)? };
    let mut helper = Helper { socket, drivers, sandboxes: HashMap::new(), tasks: JoinSet::new() };
    let capabilities = helper.drivers.iter().map(|driver| driver.capability()).collect();
    helper.tell(&Event::Hello { capabilities }, vec![]).await?;
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            request = next(&helper.socket, &mut buffer) => match request? {
                Some(request) => helper.obey(request).await?,
                None => return Ok(()),
            },
            Some(done) = helper.tasks.join_next() => match done {
                Ok(done) => helper.report(done).await?,
                Err(error) if error.is_cancelled() => {}
                Err(error) => return Err(io::Error::other(error)),
            },
        }
    }
}

async fn next(socket: &AsyncFd<OwnedFd>, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        let mut ready = socket.readable().await?;
        match ready.try_io(|socket| socket::receive(socket.get_ref(), buffer)) {
            Ok(Ok(received)) => return Ok(received.map(|(request, _no_fds)| request)),
            // A server that was killed with packets of ours unread.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
}

// === impl Helper ===

impl Helper {
    async fn obey(&mut self, request: Request) -> io::Result<()> {
        match request {
            // For who supervises the server; a helper does not.
            Request::Ready => {}
            Request::Start { isolation, spec } => {
                let id = spec.id.clone();
                let driver = match self.drivers.iter().find(|driver| driver.isolation() == isolation) {
                    None => Err(StartError::Unavailable { isolation, reason: "no such driver".into() }),
                    Some(_) if self.sandboxes.contains_key(&id) => {
                        Err(StartError::Spec(format!("sandbox {id} exists already")))
                    }
                    Some(driver) => spec.validate().map(|()| driver.clone()),
                };
                let driver = match driver {
                    Ok(driver) => driver,
                    Err(error) => return self.tell(&Event::Refused { id, error }, vec![]).await,
                };
                let name = id.clone();
                let start = self.tasks.spawn(async move { Done::Start(name, driver.start(spec).await) });
                self.sandboxes.insert(id, State::Starting(start));
            }
            Request::Kill { id } => match self.sandboxes.get(&id) {
                Some(State::Running(handle)) => handle.kill(),
                Some(State::Starting(start)) => {
                    start.abort();
                    self.sandboxes.remove(&id);
                }
                None => {}
            },
            Request::Adopt { id, code } => match self.sandboxes.get(&id) {
                Some(State::Running(handle)) => {
                    let adopted = handle.adopt(code);
                    self.tasks.spawn(async move { Done::Adopt(id, adopted.await) });
                }
                _ => {
                    let error = Some(StartError::Spec(format!("there is no sandbox {id}")));
                    self.tell(&Event::Adopted { id, error }, vec![]).await?;
                }
            },
        }
        Ok(())
    }

    async fn report(&mut self, done: Done) -> io::Result<()> {
        match done {
            // Finished, and killed before this could be told.
            Done::Start(id, _) if !self.sandboxes.contains_key(&id) => Ok(()),
            Done::Start(id, Err(error)) => {
                self.sandboxes.remove(&id);
                self.tell(&Event::Refused { id, error }, vec![]).await
            }
            Done::Start(id, Ok(Sandbox { streams, handle, steps, .. })) => {
                let files = handle.files();
                let which = Files::of(&files);
                let fds = Files::pack(streams, files);
                let (exited, name) = (handle.exited(), id.clone());
                self.tasks.spawn(async move { Done::Exit(name, exited.await) });
                self.sandboxes.insert(id.clone(), State::Running(handle));
                self.tell(&Event::Started { id, files: which, steps }, fds).await
            }
            Done::Adopt(id, adopted) => {
                let error = adopted.err();
                self.tell(&Event::Adopted { id, error }, vec![]).await
            }
            Done::Exit(id, exit) => {
                self.sandboxes.remove(&id);
                self.tell(&Event::Exited { id, exit }, vec![]).await
            }
        }
    }

    async fn tell(&self, event: &Event, fds: Vec<OwnedFd>) -> io::Result<()> {
        let packet = socket::encode(event)?;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        loop {
            let mut ready = self.socket.writable().await?;
            match ready.try_io(|socket| socket::send(socket.get_ref().as_fd(), &packet, &fds)) {
                // It is gone, and the next read says so.
                Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }
}
