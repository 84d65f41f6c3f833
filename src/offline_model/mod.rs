//! The offline model: a loopback Messages API that lets the real CLI run with no account.
//!
//! Trying claudebox, and testing it, must not need a key, a network or money. This role answers the CLI's
//! requests from inside the binary: `ANTHROPIC_BASE_URL` points at the printed address, any key will do, and every
//! answer says in [`LABEL`] that no model wrote it.
//!
//! What is answered is chosen by a word at the start of the prompt ([`SCENARIOS`]), so that one prompt brings about
//! a tool call, a slow reply, a rate limit or a cut connection. The rules:
//!
//! - The prompt is the last text block of the last message of the user, with `<system-reminder>` blocks taken out
//!   and white space trimmed: the CLI adds text of its own to what the user typed.
//! - When a tool's result is newer than the prompt, the turn is the second half of that prompt's scenario.
//! - When the request offers a `StructuredOutput` tool (`--json-schema`), an answer ends by calling it with an
//!   instance of its schema; a request with a JSON `output_config.format` (the CLI's own title prompts) is answered
//!   with such an instance as text. The `schema` module says which keywords the
//!   generator knows.
//!
//! | module | what it decides |
//! |---|---|
//! | `request` | what of a request's JSON matters here |
//! | `scenario` | prompt -> scenario |
//! | `reply` | request and scenario -> blocks of a message, or an API error |
//! | `blocks` | the blocks of a message, and of a list |
//! | `text` | what every text begins with, and how much it repeats |
//! | `tokens` | how much of a request a cache would have |
//! | `wire` | a message -> JSON, or the pieces of an event stream |
//! | `schema` | JSON schema -> an instance of it |
//! | `server` | the HTTP routes; the only one that does anything |
//!
//! It never listens on anything but loopback: it answers whoever reaches it, with shell commands too.

mod blocks;
mod reply;
mod request;
mod scenario;
mod schema;
mod server;
mod text;
mod tokens;
mod wire;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use scenario::SCENARIOS;
pub use text::LABEL;

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOptions {
    /// Where to listen: a loopback address. Port 0 lets the kernel choose one.
    pub listen: SocketAddr,
}

impl Default for ModelOptions {
    /// `127.0.0.1:0`.
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) }
    }
}

/// Why the offline model could not serve.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Error {
    /// The address is not a loopback address; nothing was bound.
    #[error("the offline model cannot listen on {listen}: only a loopback address is allowed (127.0.0.0/8 or [::1])")]
    NotLoopback { listen: SocketAddr },
    #[error("the offline model's runtime did not start")]
    Runtime(#[source] io::Error),
    /// SIGTERM and SIGINT cannot be watched, so the server could not be stopped in order.
    #[error("the offline model cannot watch for SIGTERM and SIGINT")]
    Signals(#[source] io::Error),
    #[error("the offline model cannot listen on {listen}")]
    Bind {
        listen: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The address could not be written to stdout, so nobody would find the server.
    #[error("the offline model cannot announce its address on stdout")]
    Announce(#[source] io::Error),
    #[error("the offline model stopped serving")]
    Serve(#[source] io::Error),
}

/// Serves until SIGTERM or SIGINT, then returns at once; streams still open are cut.
///
/// Writes one line, `http://ADDRESS:PORT`, to stdout as soon as connections are accepted. Both signals must be
/// unblocked in the calling thread. Builds its own single-threaded runtime, so it must not be called from one.
///
/// # Errors
/// [`Error::NotLoopback`] before anything is done; the others as their names say.
pub fn serve(options: &ModelOptions) -> Result<(), Error> {
    let listen = options.listen;
    if !listen.ip().is_loopback() {
        return Err(Error::NotLoopback { listen });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    // Dropping the runtime drops the connections' tasks with it: an open stream never delays the end.
    runtime.block_on(serve_until_signal(listen))
}

async fn serve_until_signal(listen: SocketAddr) -> Result<(), Error> {
    // Watched before the address is announced: whoever reads the line may signal at once.
    let terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let bind_failed = |source| Error::Bind { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(bind_failed)?;
    announce(listener.local_addr().map_err(bind_failed)?).map_err(Error::Announce)?;
    server::run(listener, either(terminate, interrupt)).await.map_err(Error::Serve)
}

/// The kernel queues connections from the bind on, so the line is true even before the first accept.
fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "http://{address}")?;
    stdout.flush()
}

async fn either(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => tracing::debug!("SIGTERM: the offline model ends"),
        _ = interrupt.recv() => tracing::debug!("SIGINT: the offline model ends"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("0.0.0.0:0")]
    #[case("192.0.2.1:80")]
    #[case("[::]:0")]
    #[case("[2001:db8::1]:443")]
    fn an_address_others_can_reach_is_refused(#[case] listen: &str) {
        let options = ModelOptions { listen: listen.parse().unwrap() };
        let error = serve(&options).unwrap_err();
        assert!(matches!(error, Error::NotLoopback { .. }));
        let message = error.to_string();
        assert!(message.contains(listen) && message.contains("127.0.0.0/8"), "{message}");
    }

    #[test]
    fn the_default_is_a_free_loopback_port() {
        assert_eq!(ModelOptions::default().listen, "127.0.0.1:0".parse().unwrap());
    }
}
