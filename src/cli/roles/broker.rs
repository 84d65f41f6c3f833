//! `broker`: holds the credential, and is the way out. A process that the box looks after.

use std::ffi::OsString;
use std::net::AddrParseError;
use std::path::PathBuf;

use clap::Parser;

use super::super::failure::Failure;
use super::super::log;
use super::super::misread::Misread;
use crate::broker::protocol::Door;
use crate::broker::{self, Error, Listen, Options};
use crate::config::environment::Environment;
use crate::config::name;
use crate::exit_code::ExitCode;

/// The first argument.
pub(in super::super) const ROLE: &str = "broker";

/// Hold the credential of the API, and hand on what runs may ask for
///
/// The credential is read from `ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN` or `CLAUDE_CODE_OAUTH_TOKEN`. Prints `ready` on
/// standard output once it listens.
#[derive(Debug, Parser)]
#[command(name = "claudebox broker", max_term_width = 110)]
struct Arguments {
    /// The socket where runs are opened; standard input, if it is left out
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// The folder of the runs' sockets
    #[arg(long, value_name = "FOLDER")]
    sockets: PathBuf,
    /// Serve a proxy for CONNECT at this address, or with the socket that standard output is
    #[arg(long, value_name = "ADDRESS:PORT|stdout", requires = "allow", value_parser = listen)]
    egress: Option<Listen>,
    /// The list of hosts that the proxy lets through
    #[arg(long, value_name = "FILE", requires = "egress")]
    allow: Option<PathBuf>,
    /// Write each verdict to this file
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
}

fn listen(value: &str) -> Result<Listen, AddrParseError> {
    if value == "stdout" { Ok(Listen::HandedOver) } else { value.parse().map(Listen::At) }
}

/// Whether this role is meant, rather than a prompt that begins with its name.
pub(in super::super) fn is_meant(rest: &[OsString]) -> bool {
    rest.first().is_some_and(|first| first.as_encoded_bytes().starts_with(b"-"))
}

/// `broker`.
pub(in super::super) fn run(rest: &[OsString], env: &impl Environment) -> Result<ExitCode, Failure> {
    // Before the credential is read: nobody of the same user is to read it here.
    nix::sys::prctl::set_dumpable(false).map_err(Failure::internal)?;
    let words = std::iter::once("claudebox broker".into()).chain(rest.iter().cloned());
    let arguments = match Arguments::try_parse_from::<_, OsString>(words) {
        Ok(arguments) => arguments,
        Err(error) => return Misread::from(error).answer(),
    };
    log::start(false, log::Style::of_box(env));
    let Arguments { control, sockets, egress, allow, audit } = arguments;
    // Not on the command line, which everybody in the box can read.
    let standing = env.get(name::BROKER_STANDING).and_then(|door| {
        let (socket, stand_in) = door.to_str()?.split_once(':')?;
        Some(Door { socket: socket.to_owned(), stand_in: stand_in.to_owned() })
    });
    let options = Options { control, sockets, standing, egress: egress.zip(allow), audit };
    match broker::serve(&options, env) {
        Ok(()) => Ok(ExitCode::Ok),
        Err(error @ (Error::Start(_) | Error::Announce(_))) => Err(Failure::internal(error)),
        Err(error) => Err(Failure::config(error)),
    }
}
