//! What the tests share: a bridge that behaves as it is told, and the exporter as a process.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The sample report of a current bridge.
pub const CURRENT: &str = include_str!("../../fixtures/2026-08-head.json");

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

/// What a fake bridge does with a connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    KeepAlive,
    Close,
}

/// A bridge that behaves as it is told. Ends with its value.
pub struct FakeBridge {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    hits: AtomicUsize,
    connections: AtomicUsize,
    accepted: AtomicUsize,
    stop: AtomicBool,
    requests: Mutex<Vec<String>>,
    streams: Mutex<Vec<TcpStream>>,
}

impl FakeBridge {
    /// A bridge that calls `answer` with the connection and the number of the request, for each request.
    pub fn start(answer: impl Fn(&mut TcpStream, usize) -> Then + Send + Sync + 'static) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").expect("a free port"), answer)
    }

    /// The same on a given listener.
    pub fn listen(
        listener: TcpListener,
        answer: impl Fn(&mut TcpStream, usize) -> Then + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        let state = Arc::new(State::default());
        let answer = Arc::new(answer);
        let own = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if own.stop.load(Ordering::SeqCst) {
                    break;
                }
                own.accepted.fetch_add(1, Ordering::SeqCst);
                own.connections.fetch_add(1, Ordering::SeqCst);
                own.streams.lock().unwrap().extend(stream.try_clone());
                let (state, answer) = (Arc::clone(&own), Arc::clone(&answer));
                thread::spawn(move || {
                    serve(stream, &state, &*answer);
                    state.connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, state }
    }

    /// A bridge that answers each request with this JSON, and keeps its connections.
    pub fn json(body: &str) -> Self {
        let answer = response("200 OK", "application/json", body);
        Self::start(move |stream, _| {
            let _ = stream.write_all(answer.as_bytes());
            Then::KeepAlive
        })
    }

    /// A bridge that sends these bytes and closes.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |stream, _| {
            let _ = stream.write_all(&bytes);
            Then::Close
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}/colibri/stats", self.address)
    }

    /// How many requests have come.
    pub fn hits(&self) -> usize {
        self.state.hits.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many connections have been made.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// The heads of the requests that have come.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

impl Drop for FakeBridge {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        for stream in self.state.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, state: &State, answer: &dyn Fn(&mut TcpStream, usize) -> Then) {
    while let Some(head) = read_head(&mut stream) {
        state.requests.lock().unwrap().push(head);
        let number = state.hits.fetch_add(1, Ordering::SeqCst);
        if answer(&mut stream, number) == Then::Close {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// An HTTP answer with a length.
pub fn response(status: &str, content_type: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The exporter, as a process. Ends with its value.
pub struct Exporter {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Exporter {
    /// Starts it before a bridge, on a port that the system chooses.
    pub fn before(bridge: &str, args: &[&str]) -> Self {
        let mut all = vec!["--url", bridge, "--listen-address", "127.0.0.1:0"];
        all.extend(args);
        Self::start(&all, &[])
    }

    /// Starts it with just these arguments and this environment.
    pub fn start(args: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn(command(args, environment)).unwrap_or_else(|log| panic!("{args:?} does not start: {log:?}"))
    }

    /// Starts a command, and gives its log if it ends instead of listening.
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
        // An address for everybody is reached on the loopback.
        let ip = if self.address.ip().is_unspecified() { [127, 0, 0, 1].into() } else { self.address.ip() };
        SocketAddr::new(ip, self.address.port())
    }

    /// The address it says it listens on.
    pub fn listens_on(&self) -> SocketAddr {
        self.address
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

    pub fn metrics(&self) -> String {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
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

    /// Sends bytes and reads until the exporter closes.
    pub fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address()).expect("the exporter listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
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
        // What is killed leaves no record of what it ran through.
        if std::env::var_os(COVERAGE).is_some() && matches!(self.child.try_wait(), Ok(None)) {
            // Nothing may fail while another failure is unwinding.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            eventually(Duration::from_secs(10), || self.child.try_wait().expect("a child"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exporter with these arguments, and nothing in its environment but this.
pub fn command(args: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = bare(env!("CARGO_BIN_EXE_jitsiexporter").as_ref());
    command.args(args).envs(environment.iter().copied());
    command
}

/// A program without an environment.
pub fn bare(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(std::env::var_os(COVERAGE).map(|path| (COVERAGE, path))).stdin(Stdio::null());
    command
}

/// Where a program that was built for it writes down which of its lines ran: `make coverage`.
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

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(own, _)| *own == name).map(|(_, value)| value)
    }
}

/// The value of a sample, by its name with labels as they are written.
pub fn sample<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

/// The value of the label `reason`, if the bridge is not up.
pub fn reason(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|line| line.strip_prefix("jitsi_scrape_error{reason=\""))?;
    assert!(line.ends_with("\"} 1"), "{line}");
    let (reason, code) = line.split_once('"')?;
    assert_eq!(code.starts_with(",code=\""), reason == "status", "{line}");
    Some(reason)
}

/// Asks again and again until there is something, or the time is up.
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
