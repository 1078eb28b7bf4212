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
    assert_eq!(shared.take_dropped(), 29 * 3);
    assert_eq!(shared.take_dropped(), 0);
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
