//! Bytes both ways between two connections, until both directions have ended or nothing has come for a while.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

/// How much is read at once, bytes.
const PIECE: usize = 16 * 1024;

/// Relays until both have closed, either fails, or both are silent for `idle`.
pub(super) async fn relay<A, B>(one: &mut A, other: &mut B, idle: Duration) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let last = LastByte(Mutex::new(Instant::now()));
    let (mut one_in, mut one_out) = tokio::io::split(one);
    let (mut other_in, mut other_out) = tokio::io::split(other);
    let both = async {
        tokio::try_join!(copy(&mut one_in, &mut other_out, &last), copy(&mut other_in, &mut one_out, &last)).map(drop)
    };
    tokio::select! {
        ended = both => ended,
        () = last.is_older_than(idle) => Ok(()),
    }
}

/// When the last byte came.
struct LastByte(Mutex<Instant>);

impl LastByte {
    fn get(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    async fn is_older_than(&self, idle: Duration) {
        loop {
            let until = self.get() + idle;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    last: &LastByte,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        last.now();
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
        last.now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    #[tokio::test(start_paused = true)]
    async fn a_half_that_has_closed_leaves_the_other_open() {
        let ((mut client, mut near), (mut far, mut server)) = (duplex(64), duplex(64));
        let relayed = tokio::spawn(async move { relay(&mut near, &mut far, Duration::from_mins(10)).await });
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        relayed.await.unwrap().unwrap();
        assert_eq!((question.as_str(), answer.as_str()), ("question", "answer"));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_a_byte_begins_the_time_anew() {
        let ((mut client, mut near), (mut far, _server)) = (duplex(64), duplex(64));
        let begun = Instant::now();
        let relayed = tokio::spawn(async move { relay(&mut near, &mut far, Duration::from_mins(10)).await });
        tokio::time::sleep(Duration::from_secs(500)).await;
        client.write_all(b"x").await.unwrap();
        relayed.await.unwrap().unwrap();
        assert_eq!(begun.elapsed().as_secs(), 1100);
    }
}
