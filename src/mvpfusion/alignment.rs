// SPDX-License-Identifier: MPL-2.0
//! Whether video and physiology lie at one time.
//!
//! Three things are compared while data come: where in the recording each branch is at one
//! running time (stream time), how a sample's time compares with the clock at which it came,
//! and how late samples are beside the frames of their time. Times are nanoseconds.

use std::collections::{BTreeMap, VecDeque};

const SECOND: i64 = 1_000_000_000;
/// Branches whose stream times differ by no more lie at one time.
const SAME: i64 = SECOND / 2;
/// A branch that is told of by more than this beyond what was told is told of again.
const ANEW: i64 = 2 * SECOND;
/// How far samples may be ahead of the clock.
const EARLY: i64 = SECOND;
/// The same of frames, where a queue may run ahead; and how far they may be behind it, beside
/// the latency of what feeds them.
const FRAME_EARLY: i64 = 2 * SECOND;
const FRAME_LATE: i64 = 3 * SECOND;
/// Samples may come so much later than the settle time allows.
const SLACK: i64 = SECOND / 4;
/// No more warnings of one kind about one branch than this.
const MOST_TOLD: u32 = 10;
/// Kept of the segments and of the hops of a branch.
const PIECES: usize = 16;
const HOPS: usize = 64;

/// What is wrong with the times of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// At one running time it is at another place of the recording than the video.
    StreamTime,
    /// Its times are ahead of the clock.
    Ahead,
    /// They come later than the settle time allows, or, of video, than its latency explains.
    Behind,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::StreamTime => "stream-time",
            Self::Ahead => "ahead",
            Self::Behind => "behind",
        }
    }
}

/// A branch has left the time of the others, or is back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// The signal; `None`: the video.
    pub(super) signal: Option<String>,
    pub(super) reason: Reason,
    /// By how much its data are of later (positive) or earlier times than they should be.
    pub(super) offset: i64,
    /// Running time of the newest frame.
    pub(super) time: u64,
    /// False: it is over.
    pub(super) begins: bool,
}

/// How long something has been so.
#[derive(Debug, Clone, Copy, Default)]
struct Lasting {
    since: Option<u64>,
    count: u32,
}

/// When something has been so for long enough: times that it was seen, and ns.
#[derive(Debug, Clone, Copy)]
struct Enough {
    count: u32,
    lasts: u64,
}

/// Seeks reach one branch after the other.
const STREAM_TIME: Enough = Enough {
    count: 3,
    lasts: 500_000_000,
};
const AHEAD: Enough = Enough {
    count: 3,
    lasts: 1_000_000_000,
};
/// What was held up on its way comes late at first.
const BEHIND: Enough = Enough {
    count: 5,
    lasts: 3_000_000_000,
};

/// Tells once when a state begins and once when it is over.
#[derive(Debug, Clone, Copy, Default)]
struct Watch {
    lasting: Lasting,
    /// The offset that was told.
    told: Option<i64>,
    times: u32,
}

impl Watch {
    /// `trouble` and `well` may both be false: between the two nothing changes. At the `end`
    /// nothing more comes that could last.
    fn judge(&mut self, state: Judged, enough: Enough, now: u64, end: bool) -> Option<bool> {
        let anew = |told: i64| state.anew && state.trouble && (state.offset - told).abs() > ANEW;
        let changes = match self.told {
            None => state.trouble,
            Some(told) => state.well || anew(told),
        };
        if !changes {
            self.lasting = Lasting::default();
            return None;
        }
        let since = *self.lasting.since.get_or_insert(now);
        self.lasting.count += u32::from(!end);
        let long = end || now.saturating_sub(since) >= enough.lasts;
        if self.lasting.count < enough.count || !long {
            return None;
        }
        self.lasting = Lasting::default();
        self.told = state.trouble.then_some(state.offset);
        self.times += u32::from(state.trouble);
        (self.times <= MOST_TOLD).then_some(state.trouble)
    }
}

/// One look at a branch.
#[derive(Debug, Clone, Copy)]
struct Judged {
    offset: i64,
    trouble: bool,
    well: bool,
    /// Another offset than the one that was told is another event.
    anew: bool,
}

/// The times of one branch.
#[derive(Debug, Default)]
struct Branch {
    /// Its segments: the running time at which each begins, and stream time less running time.
    pieces: VecDeque<(u64, Option<i64>)>,
    /// The time of the newest sample.
    newest: Option<u64>,
    /// The newest sample before the end of each hop.
    before: VecDeque<(u64, u64)>,
    /// How much later than its time the newest came.
    late: Option<i64>,
    /// What feeds it is live: its stream time says nothing.
    live: bool,
    watches: [Watch; 3],
}

impl Branch {
    fn segment(&mut self, base: u64, offset: Option<i64>) {
        self.pieces.retain(|(from, _)| *from < base);
        self.pieces.push_back((base, offset));
        if self.pieces.len() > PIECES {
            self.pieces.pop_front();
        }
    }

    /// Nothing of before counts, except what was told.
    fn flush(&mut self) {
        let mut watches = self.watches;
        for watch in &mut watches {
            watch.lasting = Lasting::default();
        }
        *self = Self {
            live: self.live,
            watches,
            ..Self::default()
        };
    }

    fn take(&mut self, time: u64, hop: u64, late: Option<i64>) {
        self.newest = self.newest.max(Some(time));
        self.late = late;
        let after = time / hop.max(1) + 1;
        match self.before.back_mut() {
            Some((h, newest)) if *h >= after => *newest = (*newest).max(time),
            _ => self.before.push_back((after, time)),
        }
        if self.before.len() > HOPS {
            self.before.pop_front();
        }
    }

    /// Stream time less running time, at a running time.
    fn offset_at(&self, time: u64) -> Option<i64> {
        let mut pieces = self.pieces.iter().rev();
        pieces.find(|(from, _)| *from <= time)?.1
    }

    /// The newest sample before the end of hop `hop`.
    fn newest_before(&self, hop: u64) -> Option<u64> {
        let mut before = self.before.iter().rev();
        before.find(|(h, _)| *h <= hop).map(|(_, time)| *time)
    }

    fn watch(&mut self, reason: Reason) -> &mut Watch {
        &mut self.watches[reason as usize]
    }
}

/// What the clock says of data that come: the running time now, as seconds of the film, and
/// how late samples may be beside the frames of their time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live {
    pub(super) now: u64,
    pub(super) settle: u64,
}

/// Follows the times of all branches.
#[derive(Debug, Default)]
pub(super) struct Alignment {
    video: Branch,
    pads: BTreeMap<String, Branch>,
    /// Latency of what feeds the video.
    latency: u64,
    /// Of the newest frame.
    time: u64,
    told: u64,
}

fn later(a: u64, b: u64) -> i64 {
    (i128::from(a) - i128::from(b)).clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

impl Alignment {
    fn branch(&mut self, signal: Option<&str>) -> &mut Branch {
        match signal {
            None => &mut self.video,
            Some(name) => self.pads.entry(name.to_string()).or_default(),
        }
    }

    /// From running time `base` on, stream time is running time and `offset`.
    pub(super) fn segment(&mut self, signal: Option<&str>, base: u64, offset: Option<i64>) {
        self.branch(signal).segment(base, offset);
    }

    /// The branch begins anew. What was told of it stays told until it is over.
    pub(super) fn flush(&mut self, signal: Option<&str>) {
        self.branch(signal).flush();
    }

    /// The pad is gone.
    pub(super) fn forget(&mut self, signal: &str) {
        self.pads.remove(signal);
    }

    /// Whether what feeds a branch is live, and its latency.
    pub(super) fn set_live(&mut self, signal: Option<&str>, live: bool, latency: u64) {
        self.branch(signal).live = live;
        if signal.is_none() {
            self.latency = latency;
        }
    }

    pub(super) fn is_live(&self, signal: Option<&str>) -> bool {
        match signal {
            None => self.video.live,
            Some(name) => self.pads.get(name).is_some_and(|b| b.live),
        }
    }

    /// How often it was told that something does not lie at one time.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// How late the newest frame came, by the clock.
    pub(super) fn frames_late(&self) -> i64 {
        self.video.late.unwrap_or(0)
    }

    /// Face units of time `time` have come.
    pub(super) fn face(&mut self, time: u64) {
        self.video.newest = self.video.newest.max(Some(time));
    }

    /// The timestamps of the frames have jumped back.
    pub(super) fn frames_go_back(&mut self) {
        self.video.newest = None;
    }

    /// A frame of running time `time` comes at `real` on a clock that never steps. `rests`:
    /// the pads that cannot be compared now.
    pub(super) fn frame(
        &mut self,
        time: u64,
        live: Option<Live>,
        real: u64,
        rests: impl Fn(&str) -> bool,
    ) -> Vec<Finding> {
        self.time = time;
        let mut found = self.compare(real, false, rests);
        self.video.late = live.map(|l| later(l.now, time));
        // Alone, there is nothing that video could lie beside.
        if let Some(late) = self.video.late
            && self.pads.values().any(|b| b.newest.is_some())
        {
            let most = FRAME_LATE + later(self.latency, 0);
            let ahead = judged(-late, FRAME_EARLY, FRAME_EARLY / 2);
            let behind = judged(late, most, most - SECOND);
            for (reason, sign, state, enough) in [
                (Reason::Ahead, 1, ahead, AHEAD),
                (Reason::Behind, -1, behind, BEHIND),
            ] {
                let watch = self.video.watch(reason);
                if let Some(begins) = watch.judge(state, enough, real, false) {
                    let offset = sign * state.offset;
                    found.push(self.finding(None, reason, offset, begins));
                }
            }
        }
        found
    }

    /// Nothing more of the video comes.
    pub(super) fn end(&mut self, real: u64, rests: impl Fn(&str) -> bool) -> Vec<Finding> {
        self.compare(real, true, rests)
    }

    /// Where in the recording the pads are, and where the video is.
    fn compare(&mut self, real: u64, end: bool, rests: impl Fn(&str) -> bool) -> Vec<Finding> {
        let Some(film) = self.video.offset_at(self.time).filter(|_| !self.video.live) else {
            return Vec::new();
        };
        let time = self.time;
        let mut changes = Vec::new();
        for (name, branch) in &mut self.pads {
            if branch.newest.is_none() || branch.live || rests(name) {
                continue;
            }
            let Some(body) = branch.offset_at(time) else {
                continue;
            };
            let offset = body.saturating_sub(film);
            let state = Judged {
                offset,
                trouble: offset.saturating_abs() > SAME,
                well: offset.saturating_abs() < SAME / 2,
                anew: true,
            };
            let watch = branch.watch(Reason::StreamTime);
            if let Some(begins) = watch.judge(state, STREAM_TIME, real, end) {
                changes.push((name.clone(), offset, begins));
            }
        }
        let finding =
            |(name, offset, begins)| self.finding(Some(name), Reason::StreamTime, offset, begins);
        changes.into_iter().map(finding).collect()
    }

    /// Samples up to `time` come on a pad; `end`: nothing more comes.
    pub(super) fn sample(
        &mut self,
        signal: &str,
        time: u64,
        hop: u64,
        live: Option<Live>,
        real: u64,
    ) -> Vec<Finding> {
        let late = live.map(|l| later(l.now, time));
        self.branch(Some(signal)).take(time, hop, late);
        match live {
            Some(live) => self.clock(signal, live, real, false),
            None => Vec::new(),
        }
    }

    /// Nothing more comes on a pad.
    pub(super) fn end_of(&mut self, signal: &str, live: Option<Live>, real: u64) -> Vec<Finding> {
        match live {
            Some(live) => self.clock(signal, live, real, true),
            None => Vec::new(),
        }
    }

    /// Compares the samples of a pad with the clock and with how late the frames come.
    fn clock(&mut self, signal: &str, live: Live, real: u64, end: bool) -> Vec<Finding> {
        let frames = self.video.late.map(|late| late.max(0));
        let branch = self.branch(Some(signal));
        let Some(late) = branch.late else {
            return Vec::new();
        };
        let ahead = judged(-late, EARLY, EARLY / 2);
        let mut looks = vec![(Reason::Ahead, 1, ahead, AHEAD)];
        if let Some(frames) = frames {
            let settle = later(live.settle, 0);
            let behind = judged(late - frames, settle + SLACK, settle);
            looks.push((Reason::Behind, -1, behind, BEHIND));
        }
        let mut changes = Vec::new();
        for (reason, sign, state, enough) in looks {
            if let Some(begins) = branch.watch(reason).judge(state, enough, real, end) {
                changes.push((reason, sign * state.offset, begins));
            }
        }
        let finding = |(reason, offset, begins)| {
            self.finding(Some(signal.to_string()), reason, offset, begins)
        };
        changes.into_iter().map(finding).collect()
    }

    fn finding(
        &mut self,
        signal: Option<String>,
        reason: Reason,
        offset: i64,
        begins: bool,
    ) -> Finding {
        self.told += u64::from(begins);
        Finding {
            signal,
            reason,
            offset,
            time: self.time,
            begins,
        }
    }

    /// The newest sample of each modality less `time`, the running time of a frame. Where
    /// frames wait only samples of the answered hops count, those before the end of `hop`:
    /// the others come sooner or later, as threads run.
    pub(super) fn against(&self, time: u64, hop: Option<u64>) -> Vec<(String, i64)> {
        let newest = |b: &Branch| match hop {
            Some(hop) => b.newest_before(hop),
            None => b.newest,
        };
        let video = self.video.newest.map(|t| ("video".into(), later(t, time)));
        let pads = self.pads.iter();
        let pads = pads.filter_map(|(name, b)| Some((name.clone(), later(newest(b)?, time))));
        video.into_iter().chain(pads).collect()
    }

    /// The same for the newest frame, as it is now.
    pub(super) fn now(&self) -> Vec<(String, i64)> {
        self.against(self.time, None)
    }
}

fn judged(offset: i64, trouble: i64, well: i64) -> Judged {
    Judged {
        offset,
        trouble: offset > trouble,
        well: offset < well,
        anew: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = SECOND as u64;
    const MS: u64 = 1_000_000;

    /// Plays `seconds` of frames and samples without a clock, ten a second of each; a real
    /// second passes in each.
    fn play(a: &mut Alignment, from: u64, to: u64) -> Vec<Finding> {
        let mut found = Vec::new();
        for i in from * 10..to * 10 {
            let t = i * S / 10;
            found.extend(a.sample("eda", t, S, None, t));
            found.extend(a.frame(t, None, t, |_| false));
        }
        found
    }

    fn begin(offset: i64) -> Alignment {
        let mut a = Alignment::default();
        a.segment(None, 0, Some(0));
        a.segment(Some("eda"), 0, Some(offset));
        a
    }

    fn shape(found: &[Finding]) -> Vec<(Option<&str>, Reason, i64, bool)> {
        let one = |f: &Finding| (f.signal.clone(), f.reason, f.offset, f.begins);
        let of = |f| {
            let (signal, reason, offset, begins) = one(f);
            let signal = signal.map(|s| match &*s {
                "eda" => "eda",
                _ => "another",
            });
            (signal, reason, offset, begins)
        };
        found.iter().map(of).collect()
    }

    #[test]
    fn other_stream_times_are_told_once_and_so_is_the_end_of_it() {
        for offset in [20 * SECOND, -3 * SECOND, SECOND] {
            let mut a = begin(offset);
            let eda = Some("eda");
            let told = (eda, Reason::StreamTime, offset, true);
            assert_eq!(shape(&play(&mut a, 0, 10)), [told]);
            // A seek of the whole pipeline.
            a.flush(eda);
            a.flush(None);
            a.segment(eda, 0, Some(30 * SECOND));
            a.segment(None, 0, Some(30 * SECOND));
            let over = (eda, Reason::StreamTime, 0, false);
            assert_eq!(shape(&play(&mut a, 0, 10)), [over]);
            // And one that the video follows alone.
            a.flush(None);
            a.segment(None, 0, Some(40 * SECOND));
            let told = (eda, Reason::StreamTime, -10 * SECOND, true);
            assert_eq!(shape(&play(&mut a, 0, 10)), [told]);
            assert_eq!(a.told(), 2);
        }
    }

    #[test]
    fn a_little_apart_is_no_matter() {
        for offset in [0, SECOND / 4, -SECOND / 4] {
            assert_eq!(play(&mut begin(offset), 0, 20), []);
        }
        // Neither a stream time that is not known, nor that of a live source.
        let mut a = begin(0);
        a.segment(Some("eda"), 0, None);
        assert_eq!(play(&mut a, 0, 20), []);
        let mut a = begin(50 * SECOND);
        a.set_live(Some("eda"), true, 0);
        assert_eq!(play(&mut a, 0, 20), []);
    }

    #[test]
    fn a_seek_reaches_one_branch_after_the_other() {
        let mut a = begin(0);
        play(&mut a, 0, 10);
        a.flush(Some("eda"));
        a.segment(Some("eda"), 0, Some(20 * SECOND));
        let mut found = Vec::new();
        for i in 0..20 {
            let real = 10 * S + i * 20 * MS;
            found.extend(a.sample("eda", i * S / 10, S, None, real));
            found.extend(a.frame(10 * S, None, real, |_| false));
        }
        a.flush(None);
        a.segment(None, 0, Some(20 * SECOND));
        found.extend(play(&mut a, 0, 10));
        assert_eq!(found, []);
    }

    #[test]
    fn rounds_of_a_loop_are_compared_each_with_its_own() {
        let mut a = begin(0);
        play(&mut a, 0, 9);
        // The body is read ahead into the next round.
        a.segment(Some("eda"), 10 * S, Some(-10 * SECOND));
        assert_eq!(play(&mut a, 9, 10), []);
        a.segment(None, 10 * S, Some(-10 * SECOND));
        assert_eq!(play(&mut a, 10, 15), []);
        // A body that is 3 s shorter.
        a.segment(Some("eda"), 17 * S, Some(-17 * SECOND));
        a.segment(None, 20 * S, Some(-20 * SECOND));
        let told = (Some("eda"), Reason::StreamTime, 3 * SECOND, true);
        assert_eq!(shape(&play(&mut a, 20, 25)), [told]);
    }

    #[test]
    fn the_end_of_a_short_film_is_long_enough() {
        let mut a = begin(5 * SECOND);
        for i in 0..5 {
            a.sample("eda", i, S, None, i);
            assert_eq!(a.frame(i, None, i, |_| false), []);
        }
        assert_eq!(a.end(5, |_| true), []);
        let told = (Some("eda"), Reason::StreamTime, 5 * SECOND, true);
        assert_eq!(shape(&a.end(5, |_| false)), [told]);
        assert_eq!(a.end(5, |_| false), []);
    }

    /// Live: frames that come `frame` late and samples that come `sample(t)` late, 20 s long.
    fn live(
        a: &mut Alignment,
        from: u64,
        frame: i64,
        sample: impl Fn(u64) -> Option<i64>,
    ) -> Vec<Finding> {
        let mut found = Vec::new();
        for i in from * 10..(from + 20) * 10 {
            let now = 100 * S + i * S / 10;
            let live = Some(Live { now, settle: S / 2 });
            let at = |late: i64| now.saturating_add_signed(-late);
            if let Some(late) = sample(i) {
                found.extend(a.sample("eda", at(late), S, live, now));
            }
            found.extend(a.frame(at(frame), live, now, |_| false));
        }
        found
    }

    #[test]
    fn samples_ahead_of_the_clock_and_behind_the_frames_are_told() {
        let eda = Some("eda");
        for (frame, late, reason) in [
            (0, -20 * SECOND, Reason::Ahead),
            (2 * SECOND, -3 * SECOND, Reason::Ahead),
            (0, 5 * SECOND, Reason::Behind),
            (SECOND, 2 * SECOND, Reason::Behind),
        ] {
            let mut a = begin(0);
            let offset = if reason == Reason::Ahead {
                -late
            } else {
                frame - late
            };
            let found = live(&mut a, 0, frame, |_| Some(late));
            assert_eq!(shape(&found), [(eda, reason, offset, true)]);
            let found = live(&mut a, 20, frame, |_| Some(frame));
            let over = shape(&found);
            assert!(
                matches!(over[..], [(Some("eda"), r, _, false)] if r == reason),
                "{over:?}"
            );
        }
    }

    #[test]
    fn video_off_the_clock_is_told_itself() {
        for (frame, reason) in [(-30 * SECOND, Reason::Ahead), (8 * SECOND, Reason::Behind)] {
            let found = live(&mut begin(0), 0, frame, |_| Some(0));
            assert_eq!(shape(&found), [(None, reason, -frame, true)]);
            // Nothing lies beside it.
            assert_eq!(live(&mut begin(0), 0, frame, |_| None), []);
        }
        // The latency of a source is no fault.
        let mut a = begin(0);
        a.set_live(None, true, 8 * S);
        assert_eq!(live(&mut a, 0, 8 * SECOND, |_| Some(0)), []);
    }

    #[test]
    fn what_is_usual_live_is_not_told() {
        let held_up = |i: u64| match i {
            50..100 => None,
            // What was kept comes at once.
            100..110 => Some((110 - i as i64) * SECOND / 2),
            _ => Some(0),
        };
        type Sample<'a> = &'a dyn Fn(u64) -> Option<i64>;
        let cases: [(&str, Sample); 7] = [
            ("late start", &|i| (i > 150).then_some(0)),
            ("lost", &|i| (i < 50).then_some(0)),
            ("gap", &|i| (!(50..120).contains(&i)).then_some(0)),
            ("sparse", &|i| i.is_multiple_of(60).then_some(0)),
            ("one ahead", &|i| {
                Some(if i == 70 { -60 * SECOND } else { 0 })
            }),
            ("some late", &|i| {
                Some(if i % 9 < 7 { 2 * SECOND } else { 0 })
            }),
            ("held up", &held_up),
        ];
        for (name, sample) in cases {
            for frame in [0, SECOND] {
                assert_eq!(live(&mut begin(0), 0, frame, sample), [], "{name}");
            }
        }
    }

    #[test]
    fn the_newest_sample_against_a_frame() {
        let mut a = begin(0);
        assert_eq!(a.against(S, None), []);
        for ms in [500, 1400, 2600, 4000] {
            a.sample("eda", ms * MS, S, None, 0);
        }
        a.face(1900 * MS);
        let all = |hop| {
            let of = a.against(2 * S, hop).into_iter();
            of.map(|(name, by)| (name, by / MS as i64))
                .collect::<Vec<_>>()
        };
        let video = ("video".to_string(), -100);
        let eda = |by| ("eda".to_string(), by);
        assert_eq!(all(None), [video.clone(), eda(2000)]);
        for (hop, by) in [(1, -1500), (2, -600), (3, 600), (4, 600), (5, 2000)] {
            assert_eq!(all(Some(hop)), [video.clone(), eda(by)], "{hop}");
        }
        a.flush(Some("eda"));
        assert_eq!(
            a.against(2 * S, None),
            [video].map(|(name, by)| (name, by * MS as i64))
        );
    }
}
