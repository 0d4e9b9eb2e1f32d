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
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::protocol::{Event, Files, PROTOCOL, Request};
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
    Socket(InstanceId, Result<OwnedFd, StartError>),
    Exit(InstanceId, Exit),
}

/// Serves the drivers, each of another isolation, over the socket that the spawner left, until the server at its other
/// end is gone, and every one that was introduced by it. What still runs of a server then is killed, by its handles' drop.
pub async fn serve(socket: OwnedFd, drivers: Vec<Arc<dyn Driver>>) -> io::Result<()> {
    let (introduce, mut introduced) = mpsc::channel(4);
    let mut servers = JoinSet::new();
    servers.spawn(serve_one(socket, drivers.clone(), introduce.clone()));
    loop {
        tokio::select! {
            Some(next) = introduced.recv() => drop(servers.spawn(serve_one(next, drivers.clone(), introduce.clone()))),
            Some(ended) = servers.join_next() => {
                ended.map_err(io::Error::other)??;
                // Introduced with its last breath.
                match introduced.try_recv() {
                    Ok(next) => drop(servers.spawn(serve_one(next, drivers.clone(), introduce.clone()))),
                    Err(_) if servers.is_empty() => return Ok(()),
                    Err(_) => {}
                }
            }
        }
    }
}

async fn serve_one(socket: OwnedFd, drivers: Vec<Arc<dyn Driver>>, introduce: mpsc::Sender<OwnedFd>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    // SAFETY: an OwnedFd names the same open descriptor until it is dropped, which AsyncFd does last.
    let socket = unsafe { AsyncFd::register(socket)? };
    let mut helper = Helper { socket, drivers, sandboxes: HashMap::new(), tasks: JoinSet::new() };
    let capabilities = helper.drivers.iter().map(|driver| driver.capability()).collect();
    let hello = Event::Hello { protocol: PROTOCOL, capabilities, heir: false, keeps: false };
    helper.tell(&hello, vec![]).await?;
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            request = next(&helper.socket, &mut buffer) => match request? {
                Some((Request::Next {}, fds)) => {
                    for fd in fds.into_iter().take(1) {
                        let _ = introduce.send(fd).await;
                    }
                }
                Some((request, _)) => helper.obey(request).await?,
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

async fn next(socket: &AsyncFd<OwnedFd>, buffer: &mut Vec<u8>) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
    loop {
        let mut ready = socket.readable().await?;
        match ready.try_io(|socket| socket::receive(socket.get_ref(), buffer)) {
            Ok(Ok(received)) => return Ok(received),
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
            Request::Ready {}
            | Request::Listeners {}
            | Request::Prepared { .. }
            | Request::CannotStart { .. }
            | Request::Yielded { .. }
            | Request::Opened {}
            | Request::GaveAll {}
            | Request::Give { .. }
            | Request::Next {} => {}
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
            Request::Socket { id } => match self.sandboxes.get(&id) {
                Some(State::Running(handle)) => {
                    let socket = handle.socket();
                    self.tasks.spawn(async move { Done::Socket(id, socket.await) });
                }
                _ => {
                    let error = Some(StartError::Spec(format!("there is no sandbox {id}")));
                    self.tell(&Event::Socket { id, error }, vec![]).await?;
                }
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
            Done::Socket(id, made) => {
                let (error, fds) = made.map_or_else(|error| (Some(error), vec![]), |socket| (None, vec![socket]));
                self.tell(&Event::Socket { id, error }, fds).await
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
