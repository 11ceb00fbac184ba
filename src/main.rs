//! Wires arguments, listener, signals and exit code; everything else is in the library.

use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use jitsiexporter::bridge::{Bridge, BridgeUrl, Roots};
use jitsiexporter::cli::{self, Command, Config, VERSION};
use jitsiexporter::demo::Demo;
use jitsiexporter::exporter::Exporter;
use jitsiexporter::log;
use jitsiexporter::metrics::format::Format;
use jitsiexporter::serve::http::Timeouts;
use jitsiexporter::serve::web_config::WebConfig;
use jitsiexporter::serve::{http, listen};
use jitsiexporter::words::{plain, quoted};
use nix::sys::signal::{SigSet, Signal};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// The allocator of the static builds. musl's own allocator returns memory to the system after every scrape and asks for it again
/// in the next one, which is slow.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The exit code of a usage error, as in most Unix programs.
const USAGE: u8 = 2;

/// The exit code after a second signal: 128 plus the number of SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;

/// Why the program ends: the exit code, and a line for the log.
struct Failure {
    code: u8,
    why: String,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self { code: 1, why }
    }
}

fn main() -> ExitCode {
    run().unwrap_or_else(|Failure { code, why }| {
        log::line(format_args!("{why}"));
        ExitCode::from(code)
    })
}

fn run() -> Result<ExitCode, Failure> {
    // Arguments that are not UTF-8 are converted lossily, so that the parser can reject them by name.
    let typed: Vec<_> = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let variables = std::env::vars_os();
    let variables = variables.map(|(name, value)| [name, value].map(|text| text.to_string_lossy().into_owned()).into());
    let mut variables: Vec<(String, String)> =
        variables.filter(|(name, _): &(String, _)| name.starts_with(cli::PREFIX)).collect();
    variables.sort();
    match cli::parse(&typed, &variables).map_err(|why| Failure { code: USAGE, why })? {
        Command::Print(text) => print(text.as_bytes())?,
        Command::Serve(config) => {
            // A SIGHUP before its handler is installed would end the process.
            let _ = SigSet::from(Signal::SIGHUP).thread_block();
            unblock(&[Signal::SIGTERM, Signal::SIGINT]);
            return serve(&config);
        }
        Command::Once(config) => {
            unblock(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
            return once(&config);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Unblocks signals that the program handles: a parent may have blocked them, and they would never arrive.
fn unblock(signals: &[Signal]) {
    let signals: SigSet = signals.iter().copied().collect();
    // Cannot fail for a valid set of signals.
    let _ = signals.thread_unblock();
}

fn print(text: &[u8]) -> Result<(), String> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(|error| format!("cannot print: {}", plain(&error)))
}

/// A runtime of one thread, which accepts connections and waits for signals. Each connection is served in its own thread.
fn runtime() -> Result<Runtime, String> {
    let failed = |error: io::Error| format!("cannot start: {}", plain(&error));
    // tokio panics if it has no descriptors for its signals, so check that some are free.
    let room = [UnixStream::pair(), UnixStream::pair(), UnixStream::pair()];
    room.into_iter().collect::<io::Result<Vec<_>>>().map_err(failed)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)
}

/// The exporter for the bridge at the URL, or for the simulated bridge if there is no URL. Opens the files that options name.
fn exporter(config: &Config) -> Result<(Exporter, BridgeUrl), Failure> {
    let roots = config.ca_file.as_ref().map(|(path, option)| {
        let failed = |error| format!("{option}: {} {error}", quoted(&path.to_string_lossy()));
        Roots::read(path).map_err(|error| Failure { code: USAGE, why: failed(error) })
    });
    let roots = roots.transpose()?;
    let url = config.url.clone().map_or_else(demo, Ok)?;
    Ok((Exporter::new(Bridge::new(url.clone(), roots), config.names(), config.timeout, config.max_scrapes), url))
}

/// Serves the simulated bridge on a separate thread, for as long as the process lives.
fn demo() -> Result<BridgeUrl, String> {
    let failed = |error: io::Error| format!("cannot serve the simulated bridge: {}", plain(&error));
    let runtime = runtime()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let serve = move || {
        runtime.block_on(http::serve(vec![listener], Arc::new(Demo), None, Timeouts::DEFAULT, std::future::pending()))
    };
    std::thread::Builder::new().name("demo".to_owned()).spawn(serve).map_err(failed)?;
    BridgeUrl::parse(&format!("http://{address}/colibri/stats"))
}

/// One scrape to standard output.
fn once(config: &Config) -> Result<ExitCode, Failure> {
    let (exporter, _) = exporter(config)?;
    config.notices.iter().for_each(|notice| log::line(format_args!("{notice}")));
    let scrape = exporter.scrape(Format::Text);
    print(&scrape.text)?;
    Ok(if scrape.error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why an address cannot be bound, and what to do about it.
fn cannot_listen(listen: &listen::Listen, error: &io::Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => {
            let port = listen.port;
            &format!(
                "; another program has it, \"ss -ltnp sport = :{port}\" shows which (as root). Stop it, or choose another --listen-address"
            )
        }
        ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
        ErrorKind::PermissionDenied => "; ports below 1024 are for root, or for programs with CAP_NET_BIND_SERVICE",
        _ => "",
    };
    format!("cannot listen on {listen}: {}{remedy}", plain(error))
}

fn serve(config: &Config) -> Result<ExitCode, Failure> {
    // The files are opened before the handlers are installed: SIGTERM ends a wait for a named pipe, such as a process substitution.
    let (exporter, url) = exporter(config)?;
    let web_config = config.web_config_file.as_deref().map(WebConfig::load).transpose()?.map(Arc::new);
    let runtime = runtime()?;
    // The handlers are installed before the first log line, because a script may wait for that line and then stop the exporter.
    let _entered = runtime.enter();
    let handle = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {}", plain(&error)));
    let mut hangup = handle(SignalKind::hangup())?;
    let mut interrupt = handle(SignalKind::interrupt())?;
    let mut terminate = handle(SignalKind::terminate())?;
    unblock(&[Signal::SIGHUP]);
    let scheme = if web_config.as_ref().is_some_and(|web_config| web_config.is_tls()) { "https" } else { "http" };
    let listeners = listen::bind(&config.listen).map_err(|(listen, error)| cannot_listen(listen, &error))?;
    let urls = listen::urls(scheme, &listeners);
    let chosen = config.legacy_names_by.as_ref().map(|option| format!("legacy, because of {option}"));
    let names = chosen.as_deref().unwrap_or("standard");
    log::line(format_args!("{VERSION} listens on {urls}, bridge {url:#}, names {names}"));
    config.notices.iter().for_each(|notice| log::line(format_args!("{notice}")));

    let code = runtime
        .block_on(async {
            let (stop, stopped) = tokio::sync::oneshot::channel();
            let reload = web_config.clone();
            let signals = async move {
                let mut stop = Some(stop);
                loop {
                    tokio::select! {
                        _ = hangup.recv() => {
                            look_again(reload.as_deref());
                            continue;
                        }
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    // The first signal stops gracefully, the second one at once.
                    let Some(stop) = stop.take() else { return };
                    let _ = stop.send(());
                }
            };
            let stopped = async { drop(stopped.await) };
            tokio::select! {
                served = http::serve(listeners, Arc::new(exporter), web_config, Timeouts::DEFAULT, stopped) => {
                    served?;
                    log::line(format_args!("stopped"));
                    Ok(ExitCode::SUCCESS)
                }
                () = signals => {
                    log::line(format_args!("stopped by a second signal"));
                    Ok(ExitCode::from(INTERRUPTED))
                }
            }
        })
        .map_err(|error: io::Error| format!("cannot serve: {}", plain(&error)))?;
    // Requests that still run after the grace period end with the process.
    runtime.shutdown_background();
    Ok(code)
}

/// Handles SIGHUP, which hooks send after they renew a certificate. Changes are also noticed without it, for each client.
fn look_again(web_config: Option<&WebConfig>) {
    match web_config {
        Some(web_config) => {
            log::line(format_args!("SIGHUP: reading the web configuration and its files again"));
            web_config.reload();
        }
        None => log::line(format_args!("SIGHUP: nothing to do, there is no web configuration")),
    }
}
