//! Goal 11, the second half: throughput of 16 clients, against Debian's nginx in front of the same handler. Behind nginx
//! are as many Python processes as Hearth has instances, each on a Unix socket of its own (`functions/upstream.py`), the
//! least loaded first, over connections that are kept.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::installed;
use crate::hearth::{self, Folder, PYTHON};
use crate::http::Connection;
use crate::load::{self, Target};
use crate::report::{Note, Outcome, Unit};
use crate::stats::Random;
use crate::suite::Suite;
use crate::warm;

const CLIENTS: usize = 16;
const START: Duration = Duration::from_secs(10);

/// nginx and what is behind it; all end with this value.
struct Nginx {
    master: Child,
    upstreams: Vec<Child>,
    address: SocketAddr,
    _folder: Folder,
}

pub fn run(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let Some(program) = installed("nginx") else {
        return Ok(Outcome::Skipped("not installed: apt-get install nginx-light".into()));
    };
    let hearth = suite.plain()?;
    let plan = suite.warm_plan();
    let name = "warm-nginx";
    warm::deploy(&hearth, name, PYTHON)?;
    // As many as this load brings up.
    load::run(&hearth.target(name), CLIENTS, plan.warm_up)?;
    let count = hearth.instances(name)?.max(1);
    let nginx = Nginx::start(&program, &hearth.folder().join(PYTHON.folder), count)?;
    let other = warm::Other { against: "nginx", address: nginx.address, pid: None };
    let mut arm = warm::measure(&hearth, name, &other, CLIENTS, plan, &mut Random::from_clock())?;
    arm.notes.push(Note::new("processes behind nginx", Unit::Count, count as f64));
    nginx.stop()?;
    Ok(Outcome::Measured(arm))
}

// === impl Nginx ===

impl Nginx {
    fn start(program: &Path, task: &Path, count: usize) -> anyhow::Result<Self> {
        let folder = Folder::make()?;
        let at = folder.path();
        let script = at.join("upstream.py");
        fs::write(&script, include_str!("../../functions/upstream.py"))?;
        let sockets: Vec<PathBuf> = (0..count).map(|index| at.join(format!("{index}.sock"))).collect();
        let mut upstreams = Vec::new();
        for socket in &sockets {
            // Its input is a pipe of ours: it ends with us.
            let mut command = Command::new("/usr/bin/python3");
            command.args(["-I", "-S"]).arg(&script).arg(socket).arg(task).stdin(Stdio::piped());
            upstreams.push(command.spawn().context("start a process behind nginx")?);
        }
        // Workers of another user could not reach the sockets: as root all stays root's.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let servers = sockets.iter().fold(String::new(), |mut text, socket| {
            let _ = writeln!(text, "server unix:{};", socket.display());
            text
        });
        let path = at.display();
        let config = format!(
            "{user} worker_processes auto; daemon off; pid {path}/nginx.pid; error_log {path}/error.log warn;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n access_log off; keepalive_requests 1000000000; client_body_temp_path {path}/body;\n\
             proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;\n\
             scgi_temp_path {path}/scgi;\n\
             upstream handlers {{ least_conn; {servers} keepalive 64; keepalive_requests 1000000000; }}\n\
             server {{ listen {address}; location / {{ proxy_pass http://handlers; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; }} }}\n}}\n"
        );
        let file = at.join("nginx.conf");
        fs::write(&file, config)?;
        let log = File::create(at.join("nginx.log"))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).arg("-p").arg(at).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let master = command.spawn().context("start nginx")?;
        let mut nginx = Self { master, upstreams, address, _folder: folder };
        nginx.until_ready()?;
        Ok(nginx)
    }

    fn until_ready(&mut self) -> anyhow::Result<()> {
        let target = Target::new(self.address, "/");
        let until = Instant::now() + START;
        loop {
            let answered = Connection::open(target.address).and_then(|mut c| load::check(&c.call(&target.request)?));
            let Err(error) = answered else { return Ok(()) };
            let log = || fs::read_to_string(self._folder.path().join("nginx.log")).unwrap_or_default();
            ensure!(self.master.try_wait()?.is_none(), "nginx ended while it was starting: {}", log());
            ensure!(Instant::now() < until, "nginx did not answer within {START:?}: {error:#}; {}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(mut self) -> anyhow::Result<()> {
        hearth::terminate(&self.master);
        let status = hearth::wait(&mut self.master, START).context("stop nginx")?;
        ensure!(status.success(), "nginx ended with {status}");
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if matches!(self.master.try_wait(), Ok(None)) {
            // Its workers end with it only when it is asked.
            hearth::terminate(&self.master);
            let _ = hearth::wait(&mut self.master, START);
        }
        for child in &mut self.upstreams {
            drop(child.stdin.take());
            let _ = hearth::wait(child, START);
        }
    }
}
