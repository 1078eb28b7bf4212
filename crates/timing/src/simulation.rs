// SPDX-License-Identifier: MPL-2.0
//! The whole way from timestamps to local time, against senders whose truth is known.

use super::{Config, Measurement, Mode, Notice, Source, Stamped, Timeline, noise::Noise};
use proptest::prelude::*;

/// A sender: its clock, its packets and its way here.
#[derive(Debug, Clone)]
struct Sender {
    rate: f64,
    packet: usize,
    /// Standard deviation of the packets' timestamps around the truth, seconds.
    jitter: f64,
    /// Its clock reads `(1 + drift) * truth + epoch`.
    epoch: f64,
    drift: f64,
    /// Nothing sent by then arrives: a loss.
    lost: std::ops::Range<f64>,
    /// Share of packets lost at any time.
    loss: f64,
    /// What should arrive then comes all together at its end, with the timestamps it had.
    late: std::ops::Range<f64>,
    /// Whether late packets are stamped when they come.
    stamped_late: bool,
    /// Least and mean half round trip of the clock measurements, seconds; 0: none.
    way: (f64, f64),
    /// Samples taken then have timestamps that are off by so much.
    spoilt: (std::ops::Range<f64>, f64),
    seed: u64,
}

impl Default for Sender {
    fn default() -> Self {
        Self {
            rate: 128.0,
            packet: 16,
            jitter: 0.0,
            epoch: 0.0,
            drift: 0.0,
            lost: 0.0..0.0,
            loss: 0.0,
            late: 0.0..0.0,
            stamped_late: false,
            way: (20e-6, 200e-6),
            spoilt: (0.0..0.0, 0.0),
            seed: 1,
        }
    }
}

/// Truth and what came out.
type Pairs = Vec<(f64, Stamped)>;

impl Sender {
    fn clock(&self, truth: f64) -> f64 {
        truth * (1.0 + self.drift) + self.epoch
    }

    /// Plays from `begin` to `end` (truth, seconds) into `timeline`.
    fn play(&self, timeline: &mut Timeline, begin: f64, end: f64) -> Pairs {
        let mut noise = Noise::new(self.seed);
        let mut truths = Vec::new();
        let mut out = Vec::new();
        let mut next_measure = begin + 0.1;
        let mut n = 0;
        let mut polled = begin;
        loop {
            let last = begin + (n + self.packet - 1) as f64 / self.rate;
            if last >= end {
                break;
            }
            let mut stamp = last + noise.normal() * self.jitter;
            let mut arrival = last.max(stamp) + 0.001 + noise.uniform() * 0.002;
            if self.late.contains(&arrival) {
                arrival = self.late.end;
                if self.stamped_late {
                    stamp = arrival;
                }
            }
            let gone = self.lost.contains(&last) || noise.uniform() < self.loss;
            while polled < arrival {
                if self.way.1 > 0.0 && polled >= next_measure {
                    next_measure += 2.0;
                    // As liblsl does: the best of eight.
                    let half = (0..8)
                        .map(|_| self.way.0 - self.way.1 * noise.uniform().max(1e-9).ln())
                        .fold(f64::INFINITY, f64::min);
                    let error = half * (2.0 * noise.uniform() - 1.0);
                    timeline.measure(Measurement {
                        offset: polled - self.clock(polled) + error,
                        uncertainty: half,
                        at: self.clock(polled),
                    });
                }
                timeline.poll(polled);
                polled += 0.02;
            }
            if !gone {
                let stamps: Vec<f64> = (0..self.packet)
                    .map(|i| stamp - (self.packet - 1 - i) as f64 / self.rate)
                    .map(|t| self.clock(t))
                    .zip(n..)
                    .map(|(stamp, i)| {
                        let spoilt = self.spoilt.0.contains(&(begin + i as f64 / self.rate));
                        stamp + if spoilt { self.spoilt.1 } else { 0.0 }
                    })
                    .collect();
                truths.extend((n..n + self.packet).map(|i| begin + i as f64 / self.rate));
                timeline.push(&stamps, arrival);
                timeline.drain(&mut out);
            }
            n += self.packet;
        }
        timeline.flush();
        timeline.drain(&mut out);
        assert_eq!(out.len(), truths.len(), "every sample comes out");
        let mut before = f64::NEG_INFINITY;
        for s in &out {
            if let Some(local) = s.local {
                assert!(s.discont || local >= before, "time goes back to {local}");
                before = local;
            }
        }
        truths.into_iter().zip(out).collect()
    }
}

fn config(source: Source) -> Config {
    Config {
        source,
        rate: None,
        dejitter: true,
        device_delay: 0.0,
        same_host: false,
    }
}

fn timeline(sender: &Sender, source: Source) -> Timeline {
    Timeline::new(Config {
        rate: Some(sender.rate),
        ..config(source)
    })
}

struct Figures {
    p50: f64,
    p99: f64,
    max: f64,
}

/// Absolute errors, milliseconds, of the samples taken in `from..to`.
fn figures(what: &str, pairs: &Pairs, from: f64, to: f64) -> Figures {
    let mut errors: Vec<f64> = pairs
        .iter()
        .filter(|(truth, _)| (from..to).contains(truth))
        .map(|(truth, s)| (s.local.expect("a time") - truth).abs() * 1e3)
        .collect();
    assert!(
        !errors.is_empty(),
        "{what}: nothing between {from} and {to}"
    );
    errors.sort_by(f64::total_cmp);
    let at = |p: f64| errors[((errors.len() - 1) as f64 * p).round() as usize];
    let f = Figures {
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
    };
    println!(
        "{what}: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms of {} samples",
        f.p50,
        f.p99,
        f.max,
        errors.len()
    );
    f
}

#[test]
fn an_hour_at_100_ppm() {
    for ppm in [100.0, -100.0] {
        for jitter in [0.0, 0.003] {
            let sender = Sender {
                drift: ppm * 1e-6,
                epoch: -700.0,
                jitter,
                ..Sender::default()
            };
            let mut t = timeline(&sender, Source::Auto);
            let pairs = sender.play(&mut t, 1000.0, 4600.0);
            let f = figures(
                &format!("an hour at {ppm} ppm, jitter {jitter} s"),
                &pairs,
                1000.0,
                4600.0,
            );
            assert!(f.p99 <= 2.0, "{ppm}: {}", f.p99);
            let told = t.drift().expect("known") * 1e6;
            assert!((told + ppm).abs() < 1.0, "{told}");
            assert_eq!(t.mode(), Mode::Remote);
            assert_eq!(t.take_notices(), []);
        }
    }
}

#[test]
fn a_far_clock_over_a_bad_way() {
    let sender = Sender {
        epoch: 5000.0,
        drift: 40e-6,
        way: (0.5e-3, 3e-3),
        ..Sender::default()
    };
    let pairs = sender.play(&mut timeline(&sender, Source::Auto), 100.0, 400.0);
    let f = figures("+5000 s, answers after 4 ms", &pairs, 102.0, 400.0);
    assert!(f.p99 <= 2.0, "{}", f.p99);
}

#[test]
fn gaps_are_not_smeared() {
    let sender = Sender {
        jitter: 0.003,
        lost: 160.0..164.0,
        epoch: 5000.0,
        drift: 30e-6,
        ..Sender::default()
    };
    let pairs = sender.play(&mut timeline(&sender, Source::Auto), 100.0, 260.0);
    let f = figures("4 s gap at 128 Hz", &pairs, 164.5, 260.0);
    assert!(f.max < 10.0, "{}", f.max);
    assert_eq!(pairs.iter().filter(|(_, s)| s.discont).count(), 1);

    let sender = Sender {
        rate: 4.0,
        packet: 1,
        jitter: 0.003,
        lost: 220.0..280.0,
        ..sender
    };
    let pairs = sender.play(&mut timeline(&sender, Source::Auto), 100.0, 460.0);
    let f = figures("60 s gap at 4 Hz", &pairs, 280.5, 460.0);
    assert!(f.max < 10.0, "{}", f.max);
    assert_eq!(pairs.iter().filter(|(_, s)| s.discont).count(), 1);
}

#[test]
fn packets_of_73_with_and_without_a_late_burst() {
    let sender = Sender {
        rate: 130.0,
        packet: 73,
        jitter: 0.010,
        ..Sender::default()
    };
    for seed in 0..20 {
        let sender = Sender {
            seed: 70 + seed,
            ..sender.clone()
        };
        let pairs = sender.play(&mut timeline(&sender, Source::Auto), 100.0, 400.0);
        let f = figures("packets of 73", &pairs, 130.0, 400.0);
        assert!(f.p99 <= 10.0, "{seed}: {}", f.p99);
        assert!(pairs.iter().all(|(_, s)| !s.discont), "{seed}");
    }
    for stamped_late in [false, true] {
        let sender = Sender {
            late: 250.0..252.0,
            stamped_late,
            ..sender.clone()
        };
        let pairs = sender.play(&mut timeline(&sender, Source::Auto), 100.0, 400.0);
        let what = format!("a burst 2 s late, stamped late: {stamped_late}");
        let f = figures(&what, &pairs, 130.0, 400.0);
        assert!(f.p99 <= 10.0, "{what}: {}", f.p99);
        assert!(f.max <= 30.0, "{what}: {}", f.max);
        assert_eq!(pairs.iter().filter(|(_, s)| s.discont).count(), 0, "{what}");
    }
}

#[test]
fn packets_lost_at_random() {
    let sender = Sender {
        jitter: 0.004,
        loss: 0.05,
        packet: 8,
        ..Sender::default()
    };
    let pairs = sender.play(&mut timeline(&sender, Source::Auto), 100.0, 700.0);
    let f = figures("one packet of twenty lost", &pairs, 130.0, 700.0);
    // Packets of 62.5 ms: what is wrong for a moment is wrong by less than one.
    assert!(f.p50 <= 3.0 && f.p99 <= 62.5, "{} {}", f.p50, f.p99);
    let sender = Sender {
        rate: 4.0,
        packet: 1,
        jitter: 0.02,
        ..sender
    };
    let pairs = sender.play(&mut timeline(&sender, Source::Auto), 100.0, 1300.0);
    let f = figures("one sample of twenty lost", &pairs, 160.0, 1300.0);
    assert!(f.p99 <= 20.0, "{}", f.p99);
}

#[test]
fn restarts_with_new_clocks() {
    let mut worst = 0f64;
    for n in 0..20u32 {
        let sender = Sender {
            epoch: f64::from(n) * 777.7 - 5000.0,
            drift: (f64::from(n) - 10.0) * 10e-6,
            seed: u64::from(n) + 3,
            ..Sender::default()
        };
        // As the element does: each connection has a time line of its own.
        let mut t = timeline(&sender, Source::Auto);
        let begin = 6000.0 + f64::from(n) * 10.0;
        let pairs = sender.play(&mut t, begin, begin + 8.0);
        let f = figures("after a restart", &pairs, begin, begin + 8.0);
        worst = worst.max(f.max);
        assert_eq!(t.take_notices(), []);
    }
    assert!(worst < 5.0, "{worst}");
}

#[test]
fn a_clock_that_is_set_during_a_connection() {
    // Clean timestamps and jittered ones.
    for jitter in [0.0, 0.002] {
        let before = Sender {
            epoch: 5000.0,
            jitter,
            ..Sender::default()
        };
        let after = Sender {
            epoch: -300.0,
            ..before.clone()
        };
        let mut t = timeline(&before, Source::Auto);
        before.play(&mut t, 100.0, 160.0);
        let pairs = after.play(&mut t, 160.0, 220.0);
        // Two answers of the new clock are the proof.
        let f = figures("a clock that was set", &pairs, 163.0, 220.0);
        assert!(f.max < 10.0, "{}", f.max);
        assert_eq!(t.take_notices(), [Notice::ClockReset]);
    }
}

#[test]
fn stamps_that_are_no_lsl_time() {
    for ppm in [-100.0, 20.0] {
        let sender = Sender {
            epoch: 1.7e9,
            drift: ppm * 1e-6,
            packet: 4,
            jitter: 0.002,
            way: (0.0, 0.0),
            ..Sender::default()
        };
        let pairs = sender.play(&mut timeline(&sender, Source::Mapped), 100.0, 3700.0);
        // The way here takes 1 to 3 ms, which nobody can know.
        let f = figures(&format!("Unix time, {ppm} ppm"), &pairs, 100.0, 3700.0);
        assert!(f.p99 <= 8.0, "{}", f.p99);
    }
}

/// A sender with timestamps that are wrong from `from` on, for `wrong`; by more than jitter and
/// its packets explain.
fn spoilt() -> impl Strategy<Value = (Sender, Source)> {
    (
        prop::sample::select(vec![
            (4.0, 1),
            (8.0, 2),
            (51.2, 1),
            (128.0, 16),
            (1000.0, 32),
        ]),
        prop::sample::select(vec![0.0, 0.003]),
        prop::sample::select(vec![0.0, -700.0, 1.7e9]),
        prop::sample::select(vec![Source::Auto, Source::Lsl, Source::Mapped]),
        (120.0..140.0f64, 0.0..7.0f64, any::<bool>(), 0..1000u64),
    )
        .prop_map(
            |((rate, packet), jitter, epoch, source, (at, size, ahead, seed))| {
                let least = 1.0 + 3.0 / rate + packet as f64 / rate;
                let off = least * 10f64.powf(size) * if ahead { 1.0 } else { -1.0 };
                let sender = Sender {
                    rate,
                    packet,
                    jitter,
                    epoch,
                    seed,
                    spoilt: (at..at, off),
                    ..Sender::default()
                };
                (sender, source)
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A sample whose timestamp is far off, or a packet of them: they are dropped, and nothing
    /// else is another.
    #[test]
    fn what_is_wrong_once_is_dropped((mut sender, source) in spoilt(), one: bool) {
        let at = sender.spoilt.0.start;
        let length = if one { 1 } else { sender.packet } as f64 / sender.rate;
        let packet = sender.packet as f64 / sender.rate;
        let begin = 100.0 + ((at - 100.0) / packet).floor() * packet;
        // From the middle between two samples, for rounding.
        let half = 0.5 / sender.rate;
        sender.spoilt.0 = begin - half..begin + length - half;
        let mut t = timeline(&sender, source);
        let pairs = sender.play(&mut t, 100.0, 170.0);
        for (truth, s) in &pairs {
            prop_assert_eq!(s.stray, sender.spoilt.0.contains(truth), "{} {:?}", truth, s);
            if let Some(local) = s.local {
                prop_assert!((local - truth).abs() < 0.03, "{} {:?}", truth, s);
            } else {
                prop_assert!(s.stray, "{} {:?}", truth, s);
            }
        }
        let notices = t.take_notices();
        prop_assert!(
            matches!(notices[..], [Notice::StrayStamps { samples: 1, .. }]),
            "{:?}", notices
        );
    }

    /// Timestamps that stay far off are of another clock: nothing is lost, and soon all is
    /// right again.
    #[test]
    fn what_stays_is_another_clock((mut sender, source) in spoilt()) {
        let (from, off) = (sender.spoilt.0.start, sender.spoilt.1);
        // Less in the past is late on the same clock.
        let off = if off.abs() < 15.0 { 15.0 * off } else { off };
        prop_assume!(source != Source::Lsl);
        sender.spoilt = (from..f64::INFINITY, off);
        let mut t = timeline(&sender, source);
        let pairs = sender.play(&mut t, 100.0, 170.0);
        for (truth, s) in &pairs {
            prop_assert!(!s.stray, "{} {:?}", truth, s);
            let local = s.local.expect("a time");
            prop_assert!((local - truth).abs() < 0.03, "{} {:?}", truth, s);
        }
        let disconts = pairs.iter().filter(|(_, s)| s.discont).map(|(truth, _)| *truth);
        let disconts: Vec<f64> = disconts.collect();
        prop_assert!(disconts.len() == 1 && disconts[0] >= from, "{:?}", disconts);
        prop_assert!(disconts[0] < from + 1.0 / sender.rate + 1e-6, "{:?} {}", disconts, from);
        let resets = t.take_notices();
        let resets = resets.iter().filter(|n| **n == Notice::ClockReset).count();
        prop_assert_eq!(resets, 1);
    }

    /// Whatever comes: each sample leaves once and in order, time goes back only where
    /// that is said, and nothing is not a number.
    #[test]
    fn nothing_is_lost_or_turned_round(
        rate in prop::sample::select(vec![0.0, 1.0, 4.0, 51.2, 130.0, 1000.0]),
        source in prop::sample::select(vec![Source::Auto, Source::Lsl, Source::Mapped, Source::Arrival]),
        dejitter: bool,
        same_host: bool,
        chunks in prop::collection::vec(
            (0.0..3.0f64, -2.0..2.0f64, 1usize..40, 0u8..20, -1e4..1e4f64),
            1..120,
        ),
    ) {
        let mut t = Timeline::new(Config {
            rate: (rate > 0.0).then_some(rate),
            dejitter,
            same_host,
            ..config(source)
        });
        let (mut now, mut epoch, mut sent, mut out) = (1000.0, 0.0, Vec::new(), Vec::new());
        for (pause, jitter, n, what, value) in chunks {
            now += pause;
            match what {
                0 => epoch = value * 1e3,
                1 => t.clock_reset(),
                2..7 => t.measure(Measurement {
                    offset: -epoch + value * 1e-7,
                    uncertainty: jitter.abs() * 1e-3,
                    at: now + epoch,
                }),
                _ => (),
            }
            let step = if rate > 0.0 { 1.0 / rate } else { 0.1 };
            let stamps: Vec<f64> = (0..n)
                .map(|i| now + epoch + jitter * 0.1 - (n - 1 - i) as f64 * step)
                .collect();
            t.push(&stamps, now);
            sent.extend(stamps);
            t.poll(now + 0.01);
            t.drain(&mut out);
        }
        t.flush();
        t.drain(&mut out);
        prop_assert_eq!(out.iter().map(|s| s.raw).collect::<Vec<_>>(), sent);
        prop_assert!(!t.holds());
        let mut arrival = 0.0;
        for s in &out {
            prop_assert!(s.local.is_none_or(f64::is_finite), "{:?}", s);
            prop_assert!(s.arrival >= arrival);
            arrival = s.arrival;
        }
        if dejitter && rate > 0.0 && !t.is_irregular() {
            let mut before: Option<f64> = None;
            for s in &out {
                let Some(local) = s.local else { continue };
                prop_assert!(
                    s.discont || before.is_none_or(|b| local >= b),
                    "{:?} to {}", before, local
                );
                before = Some(local);
            }
        }
        prop_assert!(t.interval().is_none_or(|i| i.is_finite()));
        prop_assert!(t.drift().is_none_or(|d| d.abs() <= 1e-3));
    }
}
