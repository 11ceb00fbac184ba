//! Wires arguments, listener, signals and exit code; everything else is in the library.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;

use jitsiexporter::bridge::{Bridge, BridgeUrl};
use jitsiexporter::cli::{self, Command, Config, VERSION};
use jitsiexporter::demo::Demo;
use jitsiexporter::exporter::Exporter;
use jitsiexporter::file::plain;
use jitsiexporter::log;
use jitsiexporter::metrics::format::Format;
use jitsiexporter::serve::http::Timeouts;
use jitsiexporter::serve::web_config::WebConfig;
use jitsiexporter::serve::{http, listen};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// The allocator of the static builds. musl's own returns memory to the system and asks for it again in every scrape, which
/// doubles the time of one.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// A usage error, as in most Unix programs.
const USAGE: u8 = 2;

/// A stop by a second signal: 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let typed: Vec<_> = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    // Arguments that are not UTF-8 are converted lossily, so that the parser can reject them by name.
    let environment = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let command = match cli::parse(&typed, environment) {
        Ok(command) => command,
        Err(error) => {
            log::line(format_args!("{error}"));
            return ExitCode::from(USAGE);
        }
    };
    let done = match command {
        Command::Print(text) => print(&text),
        Command::Serve(config) => run(&config, serve),
        Command::Once(config) => run(&config, once),
    };
    done.unwrap_or_else(|error| {
        log::line(format_args!("{error}"));
        ExitCode::FAILURE
    })
}

fn print(text: &str) -> Result<ExitCode, String> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| format!("cannot print: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Starts what both ways of running need: the runtime, the bridge (of `--demo`, if it is wanted) and its exporter.
fn run(config: &Config, what: fn(&Running, &Config) -> Result<ExitCode, String>) -> Result<ExitCode, String> {
    // One thread that accepts connections and waits for signals; the work is done in the threads of the connections.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let url = config.url.clone().map_or_else(demo, Ok)?;
    let bridge = Bridge::new(url.clone(), config.roots.clone());
    let exporter = Exporter::new(bridge, config.names(), config.timeout, config.max_scrapes);
    let running = Running { runtime, exporter: Arc::new(exporter), url };
    let code = what(&running, config);
    // Whatever still runs after the grace period ends with the process.
    running.runtime.shutdown_background();
    code
}

struct Running {
    runtime: Runtime,
    exporter: Arc<Exporter>,
    url: BridgeUrl,
}

/// Serves the simulated bridge on a separate thread, for as long as the process lives.
fn demo() -> Result<BridgeUrl, String> {
    let failed = |error: std::io::Error| format!("cannot serve the simulated bridge: {error}");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let serve = move || -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(http::serve(vec![listener], Arc::new(Demo), None, Timeouts::DEFAULT, std::future::pending()))
    };
    std::thread::Builder::new().name("demo".to_owned()).spawn(serve).map_err(failed)?;
    BridgeUrl::parse(&format!("http://{address}/colibri/stats"))
}

/// One scrape to standard output.
fn once(running: &Running, _: &Config) -> Result<ExitCode, String> {
    let scrape = running.exporter.scrape(Format::Text);
    print(&scrape.text)?;
    Ok(if scrape.error.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn serve(running: &Running, config: &Config) -> Result<ExitCode, String> {
    let web_config = config.web_config_file.as_deref().map(WebConfig::load).transpose()?;
    let scheme = if web_config.as_ref().is_some_and(WebConfig::is_tls) { "https" } else { "http" };
    // Before the first log line: a script that waits for it may stop the exporter at once.
    let _entered = running.runtime.enter();
    let failed = |error| format!("cannot wait for signals: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let listeners =
        config.listen.bind().map_err(|error| format!("cannot listen on {}: {}", config.listen, plain(&error)))?;
    let urls = listen::urls(scheme, &listeners);
    let chosen = config.legacy_names_by.as_ref().map(|option| format!("legacy, because of {option}"));
    let names = chosen.as_deref().unwrap_or("standard");
    log::line(format_args!("{VERSION} listens on {urls}, bridge {:#}, names {names}", running.url));
    if !config.ignored.is_empty() {
        log::line(format_args!("no effect: {} (each scrape asks the bridge)", config.ignored.join(", ")));
    }

    let exporter = Arc::clone(&running.exporter);
    running
        .runtime
        .block_on(async {
            let (stop, stopped) = tokio::sync::oneshot::channel();
            let signals = async move {
                let mut stop = Some(stop);
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    // The first signal stops gracefully, the second one at once.
                    let Some(stop) = stop.take() else { return };
                    let _ = stop.send(());
                }
            };
            tokio::select! {
                served = http::serve(listeners, exporter, web_config, Timeouts::DEFAULT, async { drop(stopped.await) }) => {
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
        .map_err(|error: std::io::Error| format!("cannot serve: {error}"))
}
