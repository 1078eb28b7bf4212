// SPDX-License-Identifier: MPL-2.0
use super::*;

/// What a recording of `seconds` holds of a stream whose sample `n` has the timestamp
/// `stamp(n, t)`, taken at `t` and written within half a second; an offset every 5 s.
fn examine(rate: f64, seconds: usize, stamp: impl Fn(u64, f64) -> f64) -> Examined {
    let measured: Vec<Offset> = (0..seconds)
        .step_by(5)
        .map(|s| Offset {
            time: 1000.0 + s as f64,
            value: 0.0,
        })
        .collect();
    let mut e = Examiner::new(
        Some(1.0 / rate),
        Corrector::new(&measured),
        Some((1000.0, 1000.0 + seconds as f64)),
    );
    let mut n = 0;
    for s in 0..seconds {
        if s % 5 == 0 {
            e.mark(measured[s / 5], true);
        }
        while (n as f64) < (s + 1) as f64 * rate {
            e.push(stamp(n, 1000.0 + n as f64 / rate));
            n += 1;
        }
    }
    e.finish()
}

/// The times that the samples get; `None` for strays.
fn times(e: &Examined, stamps: impl Iterator<Item = f64>) -> Vec<Option<f64>> {
    let mut placer = Placer::new(Arc::new(e.clone()));
    let mut time = |s| placer.take(s).map(|s| placer.time(s).unwrap_or(s));
    stamps.map(&mut time).collect()
}

fn check(
    rate: f64,
    name: &str,
    stamp: impl Fn(u64, f64) -> f64 + Copy,
    strays: usize,
    error: f64,
) -> Examined {
    let e = examine(rate, 60, stamp);
    let count = (60.0 * rate) as u64;
    let truth = |n: u64| 1000.0 + n as f64 / rate;
    let times = times(&e, (0..count).map(|n| stamp(n, truth(n))));
    let lost = times.iter().filter(|t| t.is_none()).count();
    assert_eq!(lost, strays, "{name} at {rate} Hz: {:?}", e.findings());
    for (n, t) in times.iter().enumerate() {
        if let Some(t) = t {
            let off = t - truth(n as u64);
            assert!(
                off.abs() <= error,
                "{name} at {rate} Hz: {n} is off by {off}"
            );
        }
    }
    let (from, to) = e.range().expect("samples");
    assert!(
        (from - 1000.0).abs() <= error + 3.0 / rate && (to - 1060.0).abs() < 1.5 + 2.0 / rate,
        "{name}: {from} {to}"
    );
    e
}

#[test]
fn strays_are_dropped_and_nothing_else_changes() {
    for rate in [1.0, 8.0, 128.0, 1000.0] {
        let e = check(rate, "all well", |_, t| t, 0, 1e-9);
        assert_eq!(e.findings(), []);
        let at = (20.0 * rate) as u64;
        for off in [60.0, -60.0, 2e5, -2e5, 1.7e9, f64::NAN, f64::INFINITY] {
            for at in [0, 1, at, (60.0 * rate) as u64 - 1] {
                let one = |n, t| if n == at { t + off } else { t };
                let e = check(rate, &format!("{off} at {at}"), one, 1, 1e-9);
                let [Finding::Strays { count: 1, .. }] = e.findings() else {
                    panic!("{off} at {at}: {:?}", e.findings());
                };
            }
            let some = |n, t| {
                if (at..at + 3).contains(&n) {
                    t + off
                } else {
                    t
                }
            };
            check(rate, "three", some, 3, 1e-9);
        }
    }
}

#[test]
fn another_clock_is_mapped_by_the_offsets() {
    for rate in [8.0, 128.0, 1000.0] {
        for (name, unit, epoch) in [
            ("since 1970", 1.0, 1.7e9),
            ("ms since 1970", 1e3, 1.7e9),
            ("us since 1970", 1e6, 1.7e9),
            ("ms since it was switched on", 1e3, -990.0),
            ("since it was switched on", 1.0, -990.0),
            ("two minutes ahead", 1.0, 120.0),
        ] {
            let e = check(rate, name, |_, t| (t + epoch) * unit, 0, 0.3);
            let found = e.findings().last().copied();
            assert!(
                matches!(found, Some(Finding::OtherClock { from: 0, ahead, means: Means::Offsets })
                    if (ahead - epoch).abs() < 1.0),
                "{name}: {found:?}"
            );
        }
    }
}

#[test]
fn a_step_that_lasts_goes_on_where_the_stream_was() {
    for rate in [8.0, 128.0] {
        let at = (20.3 * rate) as u64;
        for step in [2e5, -2e5, 100.0, 5.0, -5.0, -90.0, 1.7e9] {
            let stamp = |n, t| if n >= at { t + step } else { t };
            let e = check(rate, "step", stamp, 0, 1e-3);
            assert!(
                matches!(e.findings(), [Finding::OtherClock { from, means: Means::Continuity, .. }] if *from == at),
                "{step}: {:?}",
                e.findings()
            );
        }
    }
}

#[test]
fn a_rate_that_is_declared_wrong_is_no_unit() {
    // 1000 Hz are declared, and a sample comes each second.
    let span = Some((1000.0, 1300.0));
    let mut e = Examiner::new(Some(1e-3), Corrector::default(), span);
    (0..300).for_each(|n| e.push(1000.0 + f64::from(n)));
    let e = e.finish();
    assert_eq!((e.findings(), e.range()), (&[][..], Some((1000.0, 1299.0))));
}

#[test]
fn a_pause_is_no_step() {
    let measured: Vec<Offset> = (0..40)
        .map(|i| Offset {
            time: 1000.0 + 5.0 * f64::from(i),
            value: 0.0,
        })
        .collect();
    let mut e = Examiner::new(
        Some(0.01),
        Corrector::new(&measured),
        Some((1000.0, 1200.0)),
    );
    for (i, offset) in measured.iter().enumerate() {
        e.mark(*offset, true);
        // Nothing came for 100 s, and a device sends what it kept all at once.
        if (5..25).contains(&i) || i == 30 {
            continue;
        }
        let from = 500 * if i == 31 { 30 } else { i as u64 };
        for n in from..500 * (i as u64 + 1) {
            e.push(1000.0 + n as f64 / 100.0);
        }
    }
    let e = e.finish();
    assert!(
        !e.findings()
            .iter()
            .any(|f| matches!(f, Finding::OtherClock { .. })),
        "{e:?}"
    );
}

#[test]
fn the_place_in_a_converted_recording_says_nothing() {
    // All offsets first, or last.
    for first in [true, false] {
        let measured: Vec<Offset> = (0..720)
            .map(|i| Offset {
                time: 1000.0 + 5.0 * f64::from(i),
                value: 0.0,
            })
            .collect();
        let mut e = Examiner::new(Some(0.1), Corrector::new(&measured), Some((1000.0, 4600.0)));
        for o in measured.iter().filter(|_| first) {
            e.mark(*o, true);
        }
        (0..36_000).for_each(|n| e.push(1000.0 + f64::from(n) / 10.0));
        for o in measured.iter().filter(|_| !first) {
            e.mark(*o, true);
        }
        let e = e.finish();
        assert_eq!(e.findings(), [], "{first}");
    }
}

#[test]
fn events_are_examined_by_the_time_at_which_they_were_written() {
    let mut e = Examiner::new(None, Corrector::default(), Some((1000.0, 1500.0)));
    for i in 0..100 {
        let t = 1000.0 + 5.0 * f64::from(i);
        e.mark(
            Offset {
                time: t,
                value: 0.0,
            },
            false,
        );
        if i % 7 == 0 {
            e.push(if i == 21 { t + 61.0 } else { t + 1.0 });
        }
    }
    let e = e.finish();
    assert!(
        matches!(e.findings(), [Finding::Strays { count: 1, .. }]),
        "{e:?}"
    );
    assert_eq!(e.range(), Some((1001.0, 1491.0)));
    // A few are all that there is.
    let mut e = Examiner::new(None, Corrector::default(), None);
    e.push(5.0);
    assert_eq!(e.finish().range(), Some((5.0, 5.0)));
}

/// For a recording that cannot be read twice: what is decided stays, and is what the whole
/// stream shows.
#[test]
fn what_was_read_is_decided_as_it_comes() {
    type Clock = fn(f64) -> f64;
    let clocks: [(&str, Clock); 3] = [
        ("well", |t| t),
        ("another clock", |t| t + 1.7e9),
        ("a step", |t| if t < 1031.0 { t } else { t + 5000.0 }),
    ];
    for (name, clock) in clocks {
        let stamp = |n: u64| {
            let t = clock(1000.0 + n as f64 / 8.0);
            if n == 201 { t - 77.0 } else { t }
        };
        let mut e = Examiner::new(Some(0.125), Corrector::default(), None);
        let mut placer = Placer::new(Arc::new(Examined::unexamined()));
        let mut times = Vec::new();
        for n in 0..480 {
            if n % 40 == 0 {
                let now = 1000.0 + n as f64 / 8.0;
                let offset = Offset {
                    time: now,
                    value: 0.0,
                };
                e.learn(Corrector::new(&[offset]), Some((1000.0, now)));
                e.mark(offset, true);
            }
            e.push(stamp(n));
            // As where the first seconds are kept until playing begins.
            let next = times.len() as u64;
            if n >= 170 && e.settled() > next {
                placer.learn(e.so_far());
                for n in next..e.settled() {
                    let right = placer.take(stamp(n));
                    times.push(right.map(|s| placer.time(s).unwrap_or(s)));
                }
            }
        }
        assert!(times.len() > 470, "{name}");
        for (n, time) in times.iter().enumerate() {
            match time {
                None => assert_eq!(n, 201, "{name}"),
                Some(time) => {
                    let off = time - (1000.0 + n as f64 / 8.0);
                    assert!(n != 201 && off.abs() < 0.3, "{name}: {n} is off by {off}");
                }
            }
        }
    }
}
