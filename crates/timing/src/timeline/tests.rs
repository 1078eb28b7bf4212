// SPDX-License-Identifier: MPL-2.0
use super::*;

fn config(source: Source, same_host: bool) -> Config {
    Config {
        source,
        rate: Some(100.0),
        dejitter: true,
        device_delay: 0.0,
        same_host,
    }
}

fn m(offset: f64) -> Measurement {
    Measurement {
        offset,
        uncertainty: 2e-5,
        at: 0.0,
    }
}

fn out(t: &mut Timeline) -> Vec<Stamped> {
    let mut v = Vec::new();
    t.drain(&mut v);
    v
}

/// One second of samples at 100 Hz from `start`, `late` by so much on our clock.
fn feed(t: &mut Timeline, start: f64, clock: f64, late: f64) {
    for n in 0..100 {
        let stamp = start + f64::from(n) / 100.0;
        t.push(&[stamp], stamp + clock + late);
    }
}

#[test]
fn same_host_is_exact_once_verified() {
    let mut t = Timeline::new(config(Source::Auto, true));
    feed(&mut t, 50.0, 0.0, 0.0005);
    assert!(out(&mut t).is_empty(), "held until verified");
    assert_eq!(t.mode(), Mode::Waiting);
    t.measure(m(-2.6e-5));
    t.poll(51.0);
    assert_eq!(t.mode(), Mode::SameHost);
    let v = out(&mut t);
    assert_eq!(v.len(), 100);
    for (n, s) in v.iter().enumerate() {
        assert_eq!(s.local, Some(50.0 + n as f64 / 100.0));
        assert_eq!(s.raw, 50.0 + n as f64 / 100.0);
    }
    assert_eq!(t.correction().map(|c| c.offset), Some(0.0));
    assert_eq!(t.take_notices(), []);
}

#[test]
fn device_delay_is_subtracted() {
    let mut t = Timeline::new(Config {
        device_delay: 0.0335,
        ..config(Source::Lsl, true)
    });
    t.measure(m(0.0));
    t.push(&[10.0], 10.1);
    assert!((out(&mut t)[0].local.unwrap() - 9.9665).abs() < 1e-9);
}

#[test]
fn another_clock_behind_the_same_host_name() {
    let mut t = Timeline::new(config(Source::Auto, true));
    t.measure(m(-5000.0));
    feed(&mut t, 5050.0, -5000.0, 0.001);
    assert_eq!(t.mode(), Mode::Remote);
    let v = out(&mut t);
    assert_eq!(v.len(), 100);
    for (n, s) in v.iter().enumerate() {
        assert!((s.local.unwrap() - (50.0 + n as f64 / 100.0)).abs() < 1e-6);
    }
    assert_eq!(t.take_notices(), []);
}

#[test]
fn a_bad_first_answer_of_the_same_host_is_forgotten() {
    let mut t = Timeline::new(config(Source::Lsl, true));
    t.measure(Measurement {
        uncertainty: 0.02,
        ..m(0.009)
    });
    t.push(&[50.0], 50.0);
    assert_eq!(t.mode(), Mode::Remote);
    t.measure(m(2e-5));
    assert_eq!(t.mode(), Mode::SameHost);
    t.push(&[50.01], 50.01);
    let v = out(&mut t);
    assert_eq!(v[1].local, Some(50.01));
    assert!(v[1].discont, "9 ms are a step");
    // A clock that is really another one is never close to 0.
    let mut t = Timeline::new(config(Source::Lsl, true));
    for _ in 0..10 {
        t.measure(m(0.009));
        t.poll(50.0);
    }
    t.push(&[50.0], 50.0);
    assert_eq!(t.mode(), Mode::Remote);
}

#[test]
fn a_same_host_that_turns_out_otherwise_is_left_with_a_discont() {
    let mut t = Timeline::new(config(Source::Lsl, true));
    t.measure(m(0.0));
    feed(&mut t, 50.0, 0.0, 0.0);
    out(&mut t);
    t.measure(m(-0.3));
    assert_eq!(t.mode(), Mode::SameHost, "one answer is no proof");
    t.measure(m(-0.3));
    assert_eq!(t.mode(), Mode::Remote);
    assert!(matches!(t.take_notices()[..], [Notice::OtherClock { .. }]));
    feed(&mut t, 51.0, -0.3, 0.0);
    let v = out(&mut t);
    assert!(v[0].discont && !v[1].discont);
    assert!((v[0].local.unwrap() - 50.7).abs() < 1e-6, "{:?}", v[0]);
}

#[test]
fn unix_stamps_are_mapped_under_auto_and_kept_under_lsl() {
    let unix = 1.7e9;
    let mut t = Timeline::new(config(Source::Auto, true));
    t.measure(m(0.0));
    feed(&mut t, unix, 50.0 - unix, 0.004);
    assert_eq!(t.mode(), Mode::Mapped);
    match t.take_notices()[..] {
        [Notice::StrangeStamps { age }] => assert!((age + unix - 50.0).abs() < 1.0),
        ref other => panic!("{other:?}"),
    }
    let v = out(&mut t);
    assert_eq!(v.len(), 100);
    for (n, s) in v.iter().enumerate() {
        let truth = 50.0 + n as f64 / 100.0;
        assert!((s.local.unwrap() - truth - 0.004).abs() < 1e-3, "{n}");
    }

    let mut t = Timeline::new(config(Source::Lsl, true));
    t.measure(m(0.0));
    feed(&mut t, unix, 50.0 - unix, 0.004);
    assert_eq!(t.mode(), Mode::SameHost);
    assert_eq!(out(&mut t)[0].local, Some(unix));
}

#[test]
fn nobody_answers_the_clock_measurement() {
    // Same host: its clock is ours by all we know.
    let mut t = Timeline::new(config(Source::Lsl, true));
    t.push(&[50.0], 50.0);
    t.poll(50.0 + PATIENCE - 0.1);
    assert_eq!(t.mode(), Mode::Waiting);
    t.poll(50.0 + PATIENCE + 0.1);
    assert_eq!(out(&mut t)[0].local, Some(50.0));
    assert_eq!(t.take_notices(), [Notice::NoCorrection(Mode::SameHost)]);

    // Another host: mapped under auto.
    let mut t = Timeline::new(config(Source::Auto, false));
    t.push(&[950.0], 50.0);
    t.poll(54.0);
    assert_eq!(out(&mut t)[0].local, Some(50.0));
    assert_eq!(t.take_notices(), [Notice::NoCorrection(Mode::Mapped)]);

    // Under lsl nothing is made up: old samples are dropped, and said once.
    let mut t = Timeline::new(config(Source::Lsl, false));
    feed(&mut t, 950.0, -900.0, 0.0);
    t.poll(54.0);
    assert!(out(&mut t).is_empty());
    t.poll(50.5 + HOLD);
    let v = out(&mut t);
    assert!(!v.is_empty() && v.iter().all(|s| s.local.is_none()));
    assert_eq!(t.take_notices(), [Notice::NoCorrection(Mode::Waiting)]);
    // The answer comes after all.
    t.measure(m(-900.0));
    t.poll(61.0);
    let rest = out(&mut t);
    assert_eq!(v.len() + rest.len(), 100);
    assert!(rest.iter().all(|s| s.local.is_some()));
}

#[test]
fn arrival_spreads_a_packet_over_its_time() {
    let mut t = Timeline::new(Config {
        dejitter: false,
        ..config(Source::Arrival, false)
    });
    t.push(&[1.0, 1.0, 1.0], 50.0);
    let v: Vec<f64> = out(&mut t).iter().map(|s| s.local.unwrap()).collect();
    for (a, b) in v.iter().zip([49.98, 49.99, 50.0]) {
        assert!((a - b).abs() < 2e-3, "{v:?}");
    }
}

#[test]
fn a_remote_clock_that_restarts_makes_a_new_line() {
    let mut t = Timeline::new(config(Source::Lsl, false));
    t.measure(m(-700.0));
    feed(&mut t, 750.0, -700.0, 0.0);
    out(&mut t);
    t.measure(m(40.0));
    t.measure(m(40.0));
    assert_eq!(t.take_notices(), [Notice::ClockReset]);
    feed(&mut t, 12.0, 40.0, 0.0);
    let v = out(&mut t);
    assert_eq!(v.len(), 100);
    assert!(v[0].discont);
    assert!((v[99].local.unwrap() - 52.99).abs() < 1e-5);
}

#[test]
fn a_stamp_far_ahead_or_behind_is_dropped_and_told_once() {
    for off in [60.0, 2e5, -60.0, 1e300, f64::NAN, f64::INFINITY] {
        for source in [Source::Auto, Source::Lsl, Source::Mapped] {
            let mut t = Timeline::new(config(source, true));
            t.measure(m(0.0));
            feed(&mut t, 50.0, 0.0, 0.001);
            t.push(&[51.0 + off], 51.001);
            feed(&mut t, 51.01, 0.0, 0.001);
            t.push(&[52.01 + off], 52.011);
            feed(&mut t, 52.02, 0.0, 0.001);
            let v = out(&mut t);
            let strays: Vec<_> = v.iter().filter(|s| s.stray).collect();
            assert!(strays.iter().all(|s| s.local.is_none()));
            assert_eq!(strays.len(), 2, "{off}");
            for s in v.iter().filter(|s| !s.stray) {
                assert!((s.local.unwrap() - s.raw).abs() < 2e-3, "{off} {s:?}");
            }
            match t.take_notices()[..] {
                [
                    Notice::StrayStamps {
                        off: told,
                        samples: 1,
                    },
                ] => {
                    let near = (told - off).abs() < 1.0 || told.to_bits() == off.to_bits();
                    assert!(near || off.is_nan() && told.is_nan(), "{off}: {told}");
                }
                ref other => panic!("{off}: {other:?}"),
            }
            assert!(!t.holds());
        }
    }
}

#[test]
fn the_first_stamp_may_be_wrong_too() {
    for off in [60.0, -60.0] {
        let mut t = Timeline::new(config(Source::Auto, true));
        t.measure(m(0.0));
        t.push(&[50.0 + off], 50.0);
        feed(&mut t, 50.01, 0.0, 0.0);
        assert_eq!(t.mode(), Mode::SameHost);
        let v = out(&mut t);
        assert_eq!(v.len(), 101);
        assert!(v[1..].iter().all(|s| s.local == Some(s.raw)), "{off}");
        assert!(!t.take_notices().contains(&Notice::ClockReset));
    }
}

#[test]
fn a_step_and_the_way_back() {
    let mut t = Timeline::new(config(Source::Auto, true));
    t.measure(m(0.0));
    feed(&mut t, 50.0, 0.0, 0.0);
    out(&mut t);
    // The timestamps, but not the clock that is measured.
    feed(&mut t, 111.0, -60.0, 0.0);
    let v = out(&mut t);
    assert_eq!(v.len(), 100);
    assert!(v[0].discont && v[1..].iter().all(|s| !s.discont));
    for (n, s) in v.iter().enumerate() {
        assert!((s.local.unwrap() - 51.0 - n as f64 / 100.0).abs() < 2e-3);
    }
    assert_eq!(t.mode(), Mode::Mapped);
    assert_eq!(t.take_notices(), [Notice::ClockReset]);
    t.measure(m(0.0));
    feed(&mut t, 112.0, -60.0, 0.0);
    t.poll(51.0 + REMEASURED);
    assert!(matches!(t.take_notices()[..], [Notice::StrangeStamps { age }] if age == -60.0));
    out(&mut t);
    feed(&mut t, 67.0, 0.0, 0.0);
    let v = out(&mut t);
    assert_eq!(t.mode(), Mode::SameHost);
    assert!(v[0].discont && v.iter().all(|s| s.local == Some(s.raw)));
    assert_eq!(t.take_notices(), [Notice::ClockReset]);
}

#[test]
fn a_step_of_events() {
    let mut t = Timeline::new(Config {
        rate: None,
        ..config(Source::Auto, true)
    });
    t.measure(m(0.0));
    for (stamp, arrival) in [(50.0, 50.0), (60.0, 60.0), (130.0, 70.0)] {
        t.push(&[stamp], arrival);
    }
    assert_eq!(out(&mut t).len(), 2);
    assert!(!t.holds(), "silence goes on");
    // One alone was wrong; two are another clock.
    t.push(&[80.0], 80.0);
    let v: Vec<_> = out(&mut t).iter().map(|s| (s.local, s.stray)).collect();
    assert_eq!(v, [(None, true), (Some(80.0), false)]);
    t.take_notices();
    t.push(&[150.0], 90.0);
    t.push(&[160.0], 100.0);
    let v = out(&mut t);
    assert!(v[0].discont);
    let v: Vec<_> = v.iter().map(|s| s.local).collect();
    assert_eq!(v, [Some(90.0), Some(100.0)]);
    assert_eq!(t.take_notices(), [Notice::ClockReset]);
}

#[test]
fn without_dejitter_stamps_are_left_alone_and_the_rate_is_measured() {
    let mut t = Timeline::new(Config {
        dejitter: false,
        ..config(Source::Lsl, true)
    });
    t.measure(m(0.0));
    for n in 0..2000 {
        let stamp = f64::from(n) / 97.0 + f64::from(n % 3) * 0.002;
        t.push(&[stamp], stamp);
        assert_eq!(out(&mut t)[0].local, Some(stamp));
    }
    let rate = 1.0 / t.interval().unwrap();
    assert!((rate - 97.0).abs() < 0.5, "{rate}");
}

#[test]
fn for_want_of_memory_the_oldest_go_and_the_order_stays() {
    // Before the clock is known.
    let mut t = Timeline::new(config(Source::Auto, true));
    feed(&mut t, 50.0, 0.0, 0.0);
    t.shed();
    let v = out(&mut t);
    assert_eq!(v.len(), 50);
    assert!(v.iter().all(|s| s.local.is_none() && !s.stray));
    t.measure(m(0.0));
    feed(&mut t, 51.0, 0.0, 0.0);
    t.flush();
    let v = out(&mut t);
    assert_eq!(v.len(), 150);
    assert!(v[0].discont && (v[0].raw - 50.5).abs() < 1e-9, "{:?}", v[0]);
    assert!(v.windows(2).all(|w| w[1].local > w[0].local));
    // In the dejitter: late or lost is not known, each has a time.
    feed(&mut t, 52.5, 0.0, 0.0);
    t.shed();
    assert_eq!(
        out(&mut t).iter().filter(|s| s.local.is_some()).count(),
        100
    );
}

/// What is said of the rate in 40 s of a stream of `hz` that declares 100, with jitter.
fn said_of_rate(hz: f64, dejitter: bool) -> Vec<Notice> {
    let mut t = Timeline::new(Config {
        dejitter,
        ..config(Source::Auto, true)
    });
    t.measure(m(0.0));
    for n in 0..(40.0 * hz) as u32 {
        let stamp = 50.0 + f64::from(n) / hz + f64::from(n * 7919 % 64) * 3e-3 / 64.0;
        t.push(&[stamp], stamp + 0.001);
        out(&mut t);
    }
    t.take_notices()
}

#[test]
fn a_rate_that_is_off_by_more_than_two_percent_is_told_once() {
    for dejitter in [true, false] {
        for hz in [100.0, 101.0, 99.0, 98.5] {
            assert_eq!(said_of_rate(hz, dejitter), [], "{hz} {dejitter}");
        }
        for hz in [103.0, 97.0, 50.0, 200.0] {
            match said_of_rate(hz, dejitter)[..] {
                [
                    Notice::OtherRate {
                        declared: 100.0,
                        measured,
                    },
                ] => {
                    assert!((measured / hz - 1.0).abs() < 0.02, "{hz}: {measured}");
                }
                ref other => panic!("{hz} {dejitter}: {other:?}"),
            }
        }
    }
}

#[test]
fn without_numbers_samples_are_placed_when_they_arrive() {
    for (nothing, source) in [
        (f64::NAN, Source::Auto),
        (f64::INFINITY, Source::Auto),
        (f64::NEG_INFINITY, Source::Mapped),
        (f64::NAN, Source::Lsl),
    ] {
        for known in [true, false] {
            let mut t = Timeline::new(config(source, true));
            if known {
                t.measure(m(0.0));
            }
            for n in 0..500 {
                let arrival = 50.0 + f64::from(n) / 100.0;
                t.push(&[nothing], arrival);
            }
            t.flush();
            let v = out(&mut t);
            assert_eq!(v.len(), 500);
            let placed: Vec<_> = v.iter().filter(|s| s.local.is_some()).collect();
            if source == Source::Lsl {
                assert!(placed.is_empty());
                continue;
            }
            assert_eq!(t.mode(), Mode::Arrival);
            assert!(placed.len() >= 298, "{}", placed.len());
            for s in placed {
                assert!((s.local.unwrap() - s.arrival).abs() < 0.02, "{s:?}");
            }
            let told = t.take_notices();
            let numbers = told.iter().filter(|n| **n == Notice::NoNumbers);
            assert_eq!(numbers.count(), 1, "{told:?}");
        }
    }
}
