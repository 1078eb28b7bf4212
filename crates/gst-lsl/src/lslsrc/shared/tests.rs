// SPDX-License-Identifier: MPL-2.0
use super::*;
use std::sync::Arc;

fn chunk(arrival: f64) -> Item {
    Item::Chunk {
        chunk: Chunk {
            stamps: vec![arrival; 3],
            ..Chunk::default()
        },
        arrival,
        waited: 0.0,
    }
}

fn next(shared: &Shared, timeout: Duration) -> Next {
    shared.next(timeout, Reading::AtOnce, || 0.0)
}

#[test]
fn samples_that_nobody_takes_are_dropped_but_no_news() {
    let shared = Shared::default();
    shared.push(Item::ClockReset);
    for n in 0..40 {
        shared.push(chunk(f64::from(n)));
        if n == 5 {
            shared.push(Item::Lost);
        }
    }
    // 0 to 28 are more than 10 s older than 39.
    assert_eq!(shared.dropped(), 29 * 3);
    let next = || next(&shared, Duration::ZERO);
    assert!(matches!(next(), Next::Item(Item::ClockReset)));
    assert!(matches!(next(), Next::Item(Item::Lost)));
    for n in 29..40 {
        match next() {
            Next::Item(Item::Chunk { arrival, .. }) => assert_eq!(arrival, f64::from(n)),
            _ => panic!("a chunk is missing"),
        }
    }
    assert!(matches!(next(), Next::Timeout));
}

#[test]
fn waiting_can_be_interrupted() {
    let shared = Arc::new(Shared::default());
    let other = shared.clone();
    let waiter = std::thread::spawn(move || {
        let begin = Instant::now();
        let next = next(&other, Duration::from_secs(20));
        (matches!(next, Next::Flushing), begin.elapsed())
    });
    std::thread::sleep(Duration::from_millis(20));
    shared.set_flushing(true);
    let (flushing, took) = waiter.join().expect("joins");
    assert!(flushing && took < Duration::from_secs(5));
    shared.push(Item::Lost);
    assert!(matches!(next(&shared, Duration::ZERO), Next::Flushing));
    shared.set_flushing(false);
    assert!(matches!(
        next(&shared, Duration::ZERO),
        Next::Item(Item::Lost)
    ));
}

/// As much as a sample that came at `arrival` and has so many bytes.
fn large(arrival: f64, bytes: usize) -> Item {
    Item::Chunk {
        chunk: Chunk {
            bytes: vec![0; bytes],
            stamps: vec![arrival],
            ..Chunk::default()
        },
        arrival,
        waited: 0.0,
    }
}

fn memory(shared: &Shared) -> usize {
    shared.lock().bytes
}

#[test]
fn the_queue_is_bounded_in_bytes_too() {
    const MIB: usize = 1 << 20;
    let shared = Shared::default();
    shared.set_playing(true);
    for n in 0..60 {
        shared.push(large(f64::from(n) * 1e-3, MIB));
    }
    assert_eq!((shared.dropped(), shared.take_overflow()), (0, None));
    for n in 60..200 {
        shared.push(large(f64::from(n) * 1e-3, MIB));
        assert!(memory(&shared) <= QUEUE_BYTES);
    }
    let (seconds, bytes) = shared.take_overflow().expect("told");
    assert!(
        (0.06..0.07).contains(&seconds) && bytes > QUEUE_BYTES,
        "{seconds} {bytes}"
    );
    assert_eq!(shared.take_overflow(), None, "once");
    let dropped = shared.dropped();
    assert!((136..140).contains(&dropped), "{dropped}");
    // The newest are left.
    let next = || next(&shared, Duration::ZERO);
    let mut left = 0;
    while let Next::Item(Item::Chunk { arrival, .. }) = next() {
        assert!((arrival - (dropped + left) as f64 * 1e-3).abs() < 1e-9);
        left += 1;
    }
    assert_eq!(left + dropped, 200);
    assert_eq!(memory(&shared), 0);
    // It has caught up: the next time is told again.
    for n in 0..70 {
        shared.push(large(f64::from(n) * 1e-3, MIB));
    }
    assert!(shared.take_overflow().is_some());
}

#[test]
fn what_is_larger_than_the_queue_does_not_get_in() {
    let shared = Shared::default();
    shared.set_playing(true);
    shared.push(chunk(0.0));
    shared.push(large(0.0, QUEUE_BYTES + 1));
    assert_eq!(shared.dropped(), 3 + 1);
    assert!(shared.take_overflow().is_some());
    assert!(matches!(next(&shared, Duration::ZERO), Next::Timeout));
}

#[test]
fn what_is_dropped_in_a_pause_is_no_news() {
    let shared = Shared::default();
    for n in 0..40 {
        shared.push(chunk(f64::from(n)));
    }
    assert!(shared.dropped() > 0);
    assert_eq!(shared.take_overflow(), None);
}
