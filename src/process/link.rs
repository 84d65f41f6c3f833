//! What PID 1 and `claudebox serve` say to each other.
//!
//! One message is one packet of text over a pair of sockets. `serve` has its end as standard input, because a child gets
//! no descriptors but the standard ones. The text is parsed by hand: PID 1 stays small, and the other end belongs to the
//! user Claude runs as, so whatever is no message is dropped with a warning and changes nothing.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;

use crate::sys::packet::{self, Wait};

/// No message is longer, in bytes.
const LONGEST: usize = LONGEST_STATE + 8;
/// Nothing that is said of the CLI is longer, in bytes.
pub const LONGEST_STATE: usize = 600;
/// After this many invalid packets in a row the link is closed, so that a flood cannot starve PID 1's signal handling.
const MAX_INVALID_PACKETS: usize = 16;
/// No run's id is longer, in bytes.
const LONGEST_RUN_ID: usize = 64;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// From `serve`: its doors are open.
    Ready,
    /// From `serve`: it is about to end because its work is done, and so is the box's. Without this word its end is an
    /// accident, whatever the exit code: anybody in the box can send it a TERM, and it ends in order then.
    Done,
    /// To `serve`: answer, if you can.
    Ping,
    /// From `serve`: the answer. It comes from where the doors are served, so a server that hangs is silent.
    Pong,
    /// From `serve`: end everything that belongs to a run.
    End {
        /// The run.
        run: RunId,
        /// Its worker, a child of `serve`. What is below it belongs to the run, it itself stays.
        worker: Option<i32>,
    },
    /// To `serve`: what belonged to the run has ended.
    Ended {
        /// The run.
        run: RunId,
        /// How many processes were ended.
        count: usize,
    },
    /// From `serve`, with its worker's standard input and output: start a worker.
    Start {
        /// Stands for it in the answer.
        number: u64,
    },
    /// To `serve`, with a descriptor of the process: it was started.
    Started {
        /// What stood for it.
        number: u64,
        /// Its pid.
        worker: i32,
    },
    /// To `serve`: it was not.
    NotStarted {
        /// What stood for it.
        number: u64,
    },
    /// To `serve`: the CLI is there (`None`), or why it is not.
    Cli(Option<String>),
    /// To `serve`: shut down, as after TERM. It comes over the link too, because PID 1 may lack the capability to send a
    /// signal to another user's process.
    Stop,
}

/// The id of a run: 1 to 64 letters, digits, `-`, `_` and `.`, so that it can stand in a message and in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunId(String);

impl RunId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = NotARunId;

    fn from_str(text: &str) -> Result<Self, NotARunId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if (1..=LONGEST_RUN_ID).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotARunId)
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// A text that cannot be the id of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run's id is 1 to {LONGEST_RUN_ID} letters, digits, dots, hyphens and underscores")]
pub struct NotARunId;

impl Message {
    /// Reads a packet; `None` if it is no message.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let text = str::from_utf8(packet).ok()?;
        if let Some(why) = text.strip_prefix("cli ") {
            let is_line = !why.is_empty() && !why.contains(char::is_control);
            return is_line.then(|| Self::Cli(Some(why.to_owned())));
        }
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["cli"] => Some(Self::Cli(None)),
            ["ready"] => Some(Self::Ready),
            ["stop"] => Some(Self::Stop),
            ["done"] => Some(Self::Done),
            ["ping"] => Some(Self::Ping),
            ["pong"] => Some(Self::Pong),
            ["start", word] => Some(Self::Start { number: number(word)? }),
            ["started", word, pid] => {
                Some(Self::Started { number: number(word)?, worker: number(pid).filter(|&pid| pid > 1)? })
            }
            ["not-started", word] => Some(Self::NotStarted { number: number(word)? }),
            ["end", run] => Some(Self::End { run: run.parse().ok()?, worker: None }),
            ["end", run, pid] => {
                let worker = number(pid).filter(|&pid| pid > 1)?;
                Some(Self::End { run: run.parse().ok()?, worker: Some(worker) })
            }
            ["ended", run, count] => Some(Self::Ended { run: run.parse().ok()?, count: number(count)? }),
            _ => None,
        }
    }
}

/// Digits and nothing else: `+1` is no number here.
fn number<N: FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => out.write_str("ready"),
            Self::Stop => out.write_str("stop"),
            Self::Done => out.write_str("done"),
            Self::Ping => out.write_str("ping"),
            Self::Pong => out.write_str("pong"),
            Self::Start { number } => write!(out, "start {number}"),
            Self::Started { number, worker } => write!(out, "started {number} {worker}"),
            Self::NotStarted { number } => write!(out, "not-started {number}"),
            Self::Cli(None) => out.write_str("cli"),
            Self::Cli(Some(why)) => write!(out, "cli {why}"),
            Self::End { run, worker: None } => write!(out, "end {run}"),
            Self::End { run, worker: Some(pid) } => write!(out, "end {run} {pid}"),
            Self::Ended { run, count } => write!(out, "ended {run} {count}"),
        }
    }
}

/// A message, and the descriptors that came with it.
pub type Received = (Message, Vec<OwnedFd>);

/// One end of the link.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
}

impl Link {
    /// Both ends of a new link.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = packet::pair()?;
        Ok((Self { socket: one }, Self { socket: other }))
    }

    /// The end on standard input, if there is one: `None` for a program that was started by hand.
    ///
    /// It is taken: standard input is empty from then on, and no child of this process gets the link by accident.
    pub fn from_stdin() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !packet::is_packet_socket(&stdin) {
            return Ok(None);
        }
        let socket = stdin.as_fd().try_clone_to_owned()?;
        nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Some(Self { socket }))
    }

    /// Sends a message, and waits while the other side reads too slowly.
    pub fn send(&self, message: &Message) -> io::Result<()> {
        packet::send(&self.socket, message.to_string().as_bytes(), Wait::Yes)
    }

    /// Sends a message, or fails with [`io::ErrorKind::WouldBlock`].
    pub fn try_send(&self, message: &Message) -> io::Result<()> {
        packet::send(&self.socket, message.to_string().as_bytes(), Wait::No)
    }

    /// Sends a message and copies of these descriptors, three at most, or fails with [`io::ErrorKind::WouldBlock`].
    pub fn try_send_with(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        packet::send_with(&self.socket, message.to_string().as_bytes(), descriptors, Wait::No)
    }

    /// Waits for the next message, and for what came with it; `None` once the other side has gone.
    pub fn receive(&self) -> io::Result<Option<Received>> {
        self.next(Wait::Yes)
    }

    /// The next message and what came with it, or [`io::ErrorKind::WouldBlock`]; `None` once the other side has gone.
    pub fn try_receive(&self) -> io::Result<Option<Received>> {
        self.next(Wait::No)
    }

    fn next(&self, wait: Wait) -> io::Result<Option<Received>> {
        let mut buffer = [0; LONGEST];
        for _ in 0..MAX_INVALID_PACKETS {
            let (length, descriptors) = packet::receive_with(&self.socket, &mut buffer, wait)?;
            if length == 0 {
                return Ok(None);
            }
            if let Some(message) = buffer.get(..length).and_then(Message::parse) {
                return Ok(Some((message, descriptors)));
            }
            tracing::warn!("a packet of {length} bytes on the link between PID 1 and serve is no message");
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "nothing but nonsense comes over the link"))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> Self {
        link.socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn run(id: &str) -> RunId {
        id.parse().unwrap()
    }

    /// A message without what came with it.
    fn words(received: Option<Received>) -> Option<Message> {
        received.map(|(message, _)| message)
    }

    #[test]
    fn descriptors_come_with_their_message() {
        let (one, other) = Link::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        one.try_send_with(&Message::Start { number: 7 }, &[writer.as_fd(), reader.as_fd()]).unwrap();
        one.send(&Message::Ready).unwrap();
        drop(writer);
        let (message, descriptors) = other.receive().unwrap().unwrap();
        assert_eq!((message, descriptors.len()), (Message::Start { number: 7 }, 2));
        let writer = descriptors.into_iter().next().unwrap();
        io::Write::write_all(&mut File::from(writer), b"through").unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(text, "through");
        assert!(other.receive().unwrap().unwrap().1.is_empty());
    }

    #[rstest]
    #[case("start 3", Message::Start { number: 3 })]
    #[case("started 3 42", Message::Started { number: 3, worker: 42 })]
    #[case("not-started 3", Message::NotStarted { number: 3 })]
    #[case("ready", Message::Ready)]
    #[case("stop", Message::Stop)]
    #[case("done", Message::Done)]
    #[case("ping", Message::Ping)]
    #[case("pong", Message::Pong)]
    #[case("cli", Message::Cli(None))]
    #[case("cli it is not there: 1 of 2 MB", Message::Cli(Some("it is not there: 1 of 2 MB".into())))]
    #[case("end a-1", Message::End { run: run("a-1"), worker: None })]
    #[case("end a-1 42", Message::End { run: run("a-1"), worker: Some(42) })]
    #[case("ended a-1 0", Message::Ended { run: run("a-1"), count: 0 })]
    fn a_message_is_one_line_of_text(#[case] text: &str, #[case] message: Message) {
        assert_eq!(Message::parse(text.as_bytes()), Some(message.clone()));
        assert_eq!(message.to_string(), text);
    }

    #[rstest]
    #[case::nothing("")]
    #[case::unknown("reboot")]
    #[case::line_feed("ready\n")]
    #[case::no_reason("cli ")]
    #[case::two_lines("cli a\nb")]
    #[case::no_run("end")]
    #[case::empty_run("end ")]
    #[case::path("end ../x")]
    #[case::pid_1("end a 1")]
    #[case::everybody("end a -1")]
    #[case::plus("end a +7")]
    #[case::no_number("end a b")]
    #[case::too_big("end a 99999999999")]
    #[case::too_many("end a 2 3")]
    #[case::no_count("ended a")]
    #[case::no_number_of_a_start("start x")]
    #[case::started_as_pid_1("started 3 1")]
    #[case::not_text("end \u{e4}")]
    fn anything_else_is_none(#[case] text: &str) {
        assert_eq!(Message::parse(text.as_bytes()), None);
    }

    #[test]
    fn the_longest_message_fits() {
        let run = run(&"x".repeat(LONGEST_RUN_ID));
        assert!("y".repeat(LONGEST_RUN_ID + 1).parse::<RunId>().is_err());
        for message in [
            Message::End { run: run.clone(), worker: Some(i32::MAX) },
            Message::Ended { run, count: usize::MAX },
            Message::Cli(Some("z".repeat(LONGEST_STATE))),
        ] {
            assert!(message.to_string().len() <= LONGEST);
        }
    }

    #[test]
    fn messages_arrive_in_order_and_then_the_end() {
        let (one, other) = Link::pair().unwrap();
        one.send(&Message::Ready).unwrap();
        one.send(&Message::End { run: run("r"), worker: None }).unwrap();
        drop(one);
        assert_eq!(words(other.receive().unwrap()), Some(Message::Ready));
        assert_eq!(words(other.try_receive().unwrap()), Some(Message::End { run: run("r"), worker: None }));
        assert_eq!(words(other.receive().unwrap()), None);
        assert_eq!(other.send(&Message::Stop).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn an_empty_link_does_not_hold_who_may_not_wait() {
        let (one, other) = Link::pair().unwrap();
        assert_eq!(other.try_receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let full = (0..1_000_000).find_map(|_| one.try_send(&Message::Stop).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_no_message_is_passed_over_whole() {
        let (one, other) = Link::pair().unwrap();
        for nonsense in [&b"ready "[..], &[0xff; 3], &[b'x'; 3 * LONGEST]] {
            packet::send(&one, nonsense, Wait::Yes).unwrap();
        }
        one.send(&Message::Stop).unwrap();
        assert_eq!(words(other.try_receive().unwrap()), Some(Message::Stop));
    }

    #[test]
    fn a_flood_of_nonsense_ends_the_link() {
        let (one, other) = Link::pair().unwrap();
        for _ in 0..MAX_INVALID_PACKETS {
            packet::send(&one, b"?", Wait::Yes).unwrap();
        }
        assert_eq!(other.receive().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn only_such_a_socket_is_a_link() {
        let (stream, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let (packets, _) = Link::pair().unwrap();
        assert!(packet::is_packet_socket(&packets));
        assert!(!packet::is_packet_socket(&stream) && !packet::is_packet_socket(&File::open("/dev/null").unwrap()));
    }

    proptest! {
        #[test]
        fn whatever_is_understood_reads_back_the_same(packet in prop::collection::vec(any::<u8>(), 0..LONGEST)) {
            if let Some(message) = Message::parse(&packet) {
                prop_assert_eq!(Message::parse(message.to_string().as_bytes()), Some(message));
            }
        }
    }
}
