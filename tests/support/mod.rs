//! Shared by the tests: a fake bridge, the exporter as a process, and a reader of expositions.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod crowd;
pub mod exposition;
pub mod faults;

use std::collections::HashMap;
use std::io;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub use exposition::Exposition;

/// The sample report of a current bridge.
pub const CURRENT: &str = include_str!("../../fixtures/2026-08-head.json");

/// A moment of a current bridge's own metrics.
pub const NATIVE: &str = include_str!("../../fixtures/native/2026-08-2.3-312-media10.json");

/// The folder of the fixtures.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// The JSON files of a folder, by name.
pub fn json_files(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    assert!(!files.is_empty(), "no fixtures in {}", folder.display());
    files
}

/// What a fake bridge does with a connection after a response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    KeepAlive,
    Close,
}

/// How many request heads a fake bridge remembers.
const REMEMBERED: usize = 100;

/// A bridge whose responses come from a closure. It ends when it is dropped.
pub struct FakeBridge {
    address: SocketAddr,
    state: Arc<State>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    hits: AtomicUsize,
    accepted: AtomicUsize,
    stop: AtomicBool,
    requests: Mutex<Vec<String>>,
    open: Mutex<HashMap<usize, TcpStream>>,
}

impl FakeBridge {
    /// Calls `respond` with the connection and the number of the request, for each request. An error closes the connection.
    pub fn start(respond: impl Fn(&mut TcpStream, usize) -> io::Result<Then> + Send + Sync + 'static) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").expect("a free port"), respond)
    }

    /// Calls `respond` with the connection and the head of each request.
    pub fn by_head(respond: impl Fn(&mut TcpStream, &str) -> io::Result<Then> + Send + Sync + 'static) -> Self {
        Self::accept(TcpListener::bind("127.0.0.1:0").expect("a free port"), move |stream, state| {
            serve(stream, state, &|stream, _, head| respond(stream, head))
        })
    }

    /// The same on a given listener.
    pub fn listen(
        listener: TcpListener,
        respond: impl Fn(&mut TcpStream, usize) -> io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        Self::accept(listener, move |stream, state| serve(stream, state, &|stream, number, _| respond(stream, number)))
    }

    /// Calls `serve` with each connection, whatever the client says. The connection is closed after it.
    pub fn raw(serve: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::accept(TcpListener::bind("127.0.0.1:0").expect("a free port"), move |stream, _| serve(stream))
    }

    fn accept(
        listener: TcpListener,
        serve: impl Fn(&mut TcpStream, &State) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let serve = Arc::new(serve);
        let own = Arc::clone(&state);
        let listener = thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                if own.stop.load(Ordering::SeqCst) {
                    break;
                }
                let number = own.accepted.fetch_add(1, Ordering::SeqCst);
                own.open.lock().unwrap().extend(stream.try_clone().map(|stream| (number, stream)));
                let (state, serve) = (Arc::clone(&own), Arc::clone(&serve));
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let _ = serve(&mut stream, &state);
                    // Closes it, because the stream is the only other handle: with a reset if not everything was read.
                    state.open.lock().unwrap().remove(&number);
                });
            }
        });
        Self { address, state, listener: Some(listener) }
    }

    /// A bridge that responds to each request with this JSON, and keeps its connections open.
    pub fn json(body: &str) -> Self {
        Self::slow(Duration::ZERO, body)
    }

    /// The same after a while.
    pub fn slow(delay: Duration, body: &str) -> Self {
        let response = ok(body);
        Self::start(move |stream, _| {
            thread::sleep(delay);
            stream.write_all(response.as_bytes()).map(|()| Then::KeepAlive)
        })
    }

    /// A bridge that sends these bytes and closes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |stream, _| stream.write_all(&bytes).map(|()| Then::Close))
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}/colibri/stats", self.address)
    }

    /// Waits until this many requests have arrived.
    pub fn wait_for_requests(&self, number: usize) {
        let all = eventually(Duration::from_secs(30), || (self.hits() >= number).then_some(()));
        assert!(all.is_some(), "{} requests of {number} have arrived", self.hits());
    }

    /// How many requests have arrived.
    pub fn hits(&self) -> usize {
        self.state.hits.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.state.open.lock().unwrap().len()
    }

    /// How many connections have been made.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// The heads of the first requests.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl Drop for FakeBridge {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        for stream in self.state.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts. Once the thread has ended, the port is free.
        let _ = TcpStream::connect(self.address);
        let _ = self.listener.take().map(JoinHandle::join);
    }
}

fn serve(
    stream: &mut TcpStream,
    state: &State,
    respond: &dyn Fn(&mut TcpStream, usize, &str) -> io::Result<Then>,
) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if lines.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let number = state.hits.fetch_add(1, Ordering::SeqCst);
        if number < REMEMBERED {
            state.requests.lock().unwrap().push(head.clone());
        }
        if respond(stream, number, &head)? == Then::Close {
            return Ok(());
        }
    }
}

/// An HTTP response with a length.
pub fn response(status: &str, content_type: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The response of a bridge that works.
pub fn ok(body: &str) -> String {
    response("200 OK", "application/json", body)
}

/// The exporter as a process, which is stopped when the value is dropped.
pub struct Exporter {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Exporter {
    /// Starts it for a bridge, on a port that the system chooses.
    pub fn before(bridge: &str, args: &[&str]) -> Self {
        let mut all = vec!["--url", bridge, "--listen-address", "127.0.0.1:0"];
        all.extend(args);
        Self::start(&all, &[])
    }

    /// Starts it with just these arguments and this environment.
    pub fn start(args: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn(command(args, environment)).unwrap_or_else(|log| panic!("{args:?} does not start: {log:?}"))
    }

    /// Starts a command. Returns its log if it ends instead of listening.
    pub fn spawn(mut command: Command) -> Result<Self, Vec<String>> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the exporter runs");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut first = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                let _ = child.wait();
                return Err(first);
            };
            let url = line.split_once(" listens on http").map(|(_, url)| url.trim_start_matches('s'));
            let address = url.and_then(|url| url.strip_prefix("://")?.split_once("/metrics"));
            let address = address.and_then(|(address, _)| address.parse().ok());
            first.push(line);
            if let Some(address) = address {
                break address;
            }
        };
        let log = Arc::new(Mutex::new(first));
        let copy = Arc::clone(&log);
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| copy.lock().unwrap().push(line)));
        Ok(Self { child, address, log })
    }

    pub fn address(&self) -> SocketAddr {
        // An unspecified address is reached on the loopback.
        let ip = if self.address.ip().is_unspecified() { [127, 0, 0, 1].into() } else { self.address.ip() };
        SocketAddr::new(ip, self.address.port())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line of the log that holds a text.
    pub fn wait_for_log(&self, text: &str) -> String {
        let found = eventually(Duration::from_secs(10), || self.log().into_iter().find(|line| line.contains(text)));
        found.unwrap_or_else(|| panic!("no line with {text:?} in {:#?}", self.log()))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[])
    }

    /// One scrape, by a client that takes any format.
    pub fn metrics(&self) -> Exposition {
        self.get("/metrics").exposition()
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        // As curl does.
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
            request.push_str("Accept: */*\r\n");
        }
        for (name, value) in headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        request.push_str("\r\n");
        Answer::parse(&self.send(request.as_bytes()))
    }

    /// Connects and sends bytes. Reading from the connection has a timeout.
    pub fn open(&self, bytes: impl AsRef<[u8]>) -> TcpStream {
        open(self.address(), bytes)
    }

    /// Sends bytes and reads until the exporter closes.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        send(self.address(), bytes)
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is running");
    }

    /// Waits for the end of the process.
    pub fn wait(mut self, limit: Duration) -> Option<ExitStatus> {
        eventually(limit, || self.child.try_wait().expect("a child"))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // A killed process writes no coverage data.
        if std::env::var_os(COVERAGE).is_some() && matches!(self.child.try_wait(), Ok(None)) {
            // Errors are ignored: a panic while another one is unwinding would abort.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            eventually(Duration::from_secs(10), || self.child.try_wait().expect("a child"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects and sends bytes. Reading from the connection has a timeout.
pub fn open(address: impl ToSocketAddrs, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the exporter listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_nodelay(true).unwrap();
    // The exporter may close the connection before it has read everything.
    let _ = stream.write_all(bytes.as_ref());
    stream
}

/// Connects, sends bytes and reads until the exporter closes.
pub fn send(address: impl ToSocketAddrs, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset also ends the response: the exporter did not read everything.
    if let Err(error) = open(address, bytes).read_to_end(&mut answer) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "the exporter does not close");
    }
    answer
}

/// The exporter with these arguments, and nothing in its environment but this.
pub fn command(args: &[&str], environment: &[(&str, &str)]) -> Command {
    let binary = std::env::var_os(BINARY).unwrap_or_else(|| env!("CARGO_BIN_EXE_jitsiexporter").into());
    let mut command = Command::new(binary);
    command.env_clear().envs(std::env::var_os(COVERAGE).map(|path| (COVERAGE, path))).stdin(Stdio::null());
    command.args(args).envs(environment.iter().copied());
    command
}

/// Runs the exporter to its end: the exit code, standard output and standard error.
pub fn run(args: &[&str]) -> (Option<i32>, String, String) {
    output(&mut command(args, &[]))
}

/// Runs a command to its end: the exit code, standard output and standard error.
pub fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("the exporter runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The program to be tested, if it is not the one that was built with the tests: `make chaos` and `make soak` take the release
/// build.
pub const BINARY: &str = "JITSIEXPORTER_TEST_BINARY";

/// The variable with the path for coverage data: `make coverage`.
const COVERAGE: &str = "LLVM_PROFILE_FILE";

/// An answer of the exporter.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Reads one response with a length from a connection that is kept.
    pub fn read(connection: &mut impl BufRead) -> io::Result<Self> {
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            if connection.read_until(b'\n', &mut response)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let length: usize =
            Self::parse(&response).header("content-length").expect("a length").parse().expect("a number");
        let head = response.len();
        response.resize(head + length, 0);
        connection.read_exact(&mut response[head..])?;
        Ok(Self::parse(&response))
    }

    /// The body of a scrape.
    pub fn exposition(&self) -> Exposition {
        assert_eq!(self.status, 200, "{}", self.body);
        Exposition::of(&self.body)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}

/// Calls `ask` until it returns a value or the time is up.
pub fn eventually<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = ask() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
