use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::advance;

const WAITS: Waits =
    Waits { head: Duration::from_secs(10), idle: Duration::from_secs(75), write: Duration::from_mins(1) };

fn pair(room: usize) -> (DuplexStream, Bounded<DuplexStream>, InFlight) {
    let (client, stream) = duplex(room);
    let in_flight = InFlight::default();
    (client, Bounded::new(stream, WAITS, in_flight.clone()), in_flight)
}

async fn read(stream: &mut Bounded<DuplexStream>) -> io::Result<usize> {
    stream.read(&mut [0; 64]).await
}

/// How long a read waits until it gives up.
async fn gives_up_after(stream: &mut Bounded<DuplexStream>) -> u64 {
    let start = Instant::now();
    assert_eq!(read(stream).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    start.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_is_given_up_as_a_whole() {
    let (mut client, mut stream, _) = pair(64);
    for _ in 0..3 {
        client.write_all(b"x").await.unwrap();
        read(&mut stream).await.unwrap();
        advance(Duration::from_secs(3)).await;
    }
    assert_eq!(gives_up_after(&mut stream).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_as_long_as_it_likes() {
    let (mut client, mut stream, in_flight) = pair(64);
    client.write_all(b"head").await.unwrap();
    read(&mut stream).await.unwrap();
    let _answering = in_flight.begin();
    let hour = tokio::time::timeout(Duration::from_hours(1), read(&mut stream)).await;
    assert!(hour.is_err(), "{hour:?}");
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_is_idle_for_longer_than_a_head_may_take() {
    let (mut client, mut stream, in_flight) = pair(64);
    client.write_all(b"head").await.unwrap();
    read(&mut stream).await.unwrap();
    // Answered between two reads, nine seconds after the accept.
    advance(Duration::from_secs(9)).await;
    drop(in_flight.begin());
    assert_eq!(gives_up_after(&mut stream).await, 75);
}

#[tokio::test(start_paused = true)]
async fn the_next_head_has_its_own_time() {
    let (mut client, mut stream, in_flight) = pair(64);
    drop(in_flight.begin());
    let half_a_minute = tokio::time::timeout(Duration::from_secs(30), read(&mut stream)).await;
    assert!(half_a_minute.is_err());
    client.write_all(b"he").await.unwrap();
    read(&mut stream).await.unwrap();
    assert_eq!(gives_up_after(&mut stream).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up() {
    let (_client, mut stream, _) = pair(4);
    let start = Instant::now();
    assert_eq!(stream.write_all(b"more than four").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_is_served() {
    let (mut client, mut stream, _) = pair(4);
    let reader = tokio::spawn(async move {
        let mut read = Vec::new();
        while read.len() < 12 {
            tokio::time::sleep(Duration::from_secs(59)).await;
            let mut some = [0; 4];
            let count = client.read(&mut some).await.unwrap();
            read.extend_from_slice(&some[..count]);
        }
        read
    });
    stream.write_all(b"twelve bytes").await.unwrap();
    assert_eq!(reader.await.unwrap(), b"twelve bytes");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_quiet_is_not_stalled() {
    let (mut client, mut stream, in_flight) = pair(4);
    let _answering = in_flight.begin();
    for _ in 0..3 {
        stream.write_all(b"ev").await.unwrap();
        client.read_exact(&mut [0; 2]).await.unwrap();
        advance(Duration::from_mins(10)).await;
    }
}
