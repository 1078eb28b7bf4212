// SPDX-License-Identifier: MPL-2.0
//! What the bus is told of inputs that do not lie at one time.

use super::alignment::{Finding, Live, Reason};
use super::imp::{CAT, MvpFusion};
use super::state::State;
use gst::ClockTime;
use gst::prelude::*;
use gst::subclass::prelude::*;

/// Names of the element messages: inputs do not lie at one time; they do again.
const MISALIGNED: &str = "mvp-misaligned";
const ALIGNED: &str = "mvp-aligned";

/// What a warning says beside the finding.
struct About {
    /// The pad that is told of.
    pad: String,
    settle: u64,
    /// Latency (ns) of the frames by the clock.
    frames_late: i64,
    /// What feeds the pad is live.
    live: bool,
}

fn seconds(ns: i64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

impl Finding {
    /// What was found and what was expected, and what to do.
    fn words(&self, about: &About) -> (String, String) {
        let pad = &about.pad;
        let by = seconds(self.offset.saturating_abs());
        let later = if self.offset > 0 { "after" } else { "before" };
        match (self.reason, &self.signal) {
            (Reason::StreamTime, _) => (
                format!(
                    "at running time {} the samples of pad {pad} are of a moment {by} {later} that \
                     of the frames in the recording (stream time); expected the same moment",
                    ClockTime::from_nseconds(self.time)
                ),
                "Seek the whole pipeline and not one branch, with the flags FLUSH and ACCURATE; \
                 take away what moves one branch alone: an offset of a pad, an element that \
                 changes segments, another start of the file"
                    .into(),
            ),
            (Reason::Ahead, None) => (
                format!("the frames are {by} ahead of the clock; expected frames of now"),
                "Put clocksync before facetrack where the film comes from a file; else look at \
                 what stamps the video"
                    .into(),
            ),
            (Reason::Behind, None) => (
                format!(
                    "the frames are {by} behind the clock, more than the latency of their source \
                     explains; expected frames of now"
                ),
                "If the picture is late too, lower its size or rate, or facetrack's rate; if it is \
                 not, its timestamps are wrong: look at what stamps the video"
                    .into(),
            ),
            (Reason::Ahead, Some(_)) => (
                format!(
                    "the newest sample of pad {pad} is {by} ahead of the clock; expected samples of \
                     the past"
                ),
                match about.live {
                    true => "Its timestamps are wrong: look at the clock of the sender, at \
                             device-delay and at offsets of pads; timestamp-source=arrival at \
                             lslsrc does without timestamps"
                        .into(),
                    false => "What feeds it is not live and runs ahead: put clocksync before the \
                              pad, or set sync=wait"
                        .into(),
                },
            ),
            (Reason::Behind, Some(_)) => (
                format!(
                    "the samples of pad {pad} come {by} later than the frames of their time; \
                     expected at most settle-time, {}: they miss their windows",
                    seconds(i64::try_from(about.settle).unwrap_or(i64::MAX))
                ),
                format!(
                    "If the sensor is so late, set settle-time={} at {{}}; if it is not, its \
                     timestamps are wrong: look at the clock of the sender, at device-delay and at \
                     offsets of pads; timestamp-source=arrival at lslsrc does without timestamps",
                    needed(self.offset)
                ),
            ),
        }
    }
}

/// The settle time for samples that come by `offset` later than frames: half a second more.
fn needed(offset: i64) -> u64 {
    (offset.unsigned_abs() / 500_000_000 + 2) * 500_000_000
}

impl MvpFusion {
    /// What the clock says now; `None` where frames wait, and while nothing plays.
    pub(super) fn live_now(&self) -> Option<Live> {
        let (rate, base, settle) = {
            let state = self.state();
            if state.live != Some(true) {
                return None;
            }
            (state.rate(), state.base(), state.settle)
        };
        let since = self.running_time()?.saturating_sub(base);
        // Seconds of the film, as all other times.
        let now = base + (since as f64 * rate) as u64;
        Some(Live { now, settle })
    }

    /// A frame of running time `time` has come.
    pub(super) fn align_frame(&self, time: u64) {
        let (live, real) = (self.live_now(), real());
        let found = {
            let mut guard = self.state();
            let State {
                alignment,
                physio_pads,
                ..
            } = &mut *guard;
            let rests = |name: &str| {
                let pad = physio_pads.get(name);
                pad.is_none_or(|p| p.eos || p.awaits_flush || p.flushing)
            };
            alignment.frame(time, live, real, rests)
        };
        self.tell_alignment(found);
    }

    /// The video has ended.
    pub(super) fn align_end(&self) {
        let found = {
            let mut guard = self.state();
            let State {
                alignment,
                physio_pads,
                ..
            } = &mut *guard;
            let rests = |name: &str| {
                let pad = physio_pads.get(name);
                pad.is_none_or(|p| p.awaits_flush || p.flushing)
            };
            alignment.end(real(), rests)
        };
        self.tell_alignment(found);
    }

    /// Samples of `name` up to running time `newest` have come; `None`: nothing more comes.
    pub(super) fn align_samples(&self, name: &str, newest: Option<u64>) {
        let (live, real) = (self.live_now(), real());
        let found = {
            let mut state = self.state();
            let hop = state.hop;
            match newest {
                Some(newest) => state.alignment.sample(name, newest, hop, live, real),
                None => state.alignment.end_of(name, live, real),
            }
        };
        self.tell_alignment(found);
    }

    /// Looks which branches are live.
    pub(super) fn look_upstream(&self) {
        for pad in self.obj().sink_pads() {
            let mut query = gst::query::Latency::new();
            let (live, latency, _) = match pad.peer_query(&mut query) {
                true => query.result(),
                false => Default::default(),
            };
            let name = pad.name();
            let signal = (name != "sink").then(|| name.strip_prefix("physio_").unwrap_or(&name));
            let mut state = self.state();
            // It may have been released meanwhile.
            if signal.is_none_or(|s| state.physio_pads.contains_key(s)) {
                let latency = latency.nseconds();
                state.alignment.set_live(signal, live, latency);
            }
        }
    }

    /// Posts what was found. Call it without a lock.
    fn tell_alignment(&self, found: Vec<Finding>) {
        for finding in found {
            let signal = finding.signal.as_deref();
            let about = {
                let state = self.state();
                let pad = signal.and_then(|s| state.physio_pads.get(s)?.pad.clone());
                About {
                    pad: pad.map_or("sink".into(), |p| p.name().to_string()),
                    settle: state.settle,
                    frames_late: state.alignment.frames_late(),
                    live: state.alignment.is_live(signal),
                }
            };
            let (text, remedy) = finding.words(&about);
            let remedy = remedy.replace("{}", &self.obj().name());
            let mut message = gst::Structure::builder(match finding.begins {
                true => MISALIGNED,
                false => ALIGNED,
            })
            .field("pad", &about.pad)
            .field("modality", signal.unwrap_or("video"))
            .field("reason", finding.reason.as_str())
            .field("offset", finding.offset)
            .field("running-time", finding.time);
            if finding.begins {
                message = message.field("remedy", &remedy);
                gst::element_imp_warning!(
                    self,
                    gst::StreamError::Failed,
                    ("inputs do not lie at one time: {text}. {remedy}"),
                    ["frames come {} late", seconds(about.frames_late)]
                );
            } else {
                gst::info!(
                    CAT,
                    imp = self,
                    "pad {} lies at one time with the others again",
                    about.pad
                );
            }
            let message = gst::message::Element::builder(message.build())
                .src(&*self.obj())
                .build();
            // An element without a bus posts to nobody.
            let _ = self.obj().post_message(message);
        }
    }
}

/// A clock that never steps, ns.
fn real() -> u64 {
    u64::try_from(gst::glib::monotonic_time()).unwrap_or(0) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_names_pad_offset_and_remedy() {
        let about = About {
            pad: "eda".into(),
            settle: 500_000_000,
            frames_late: 0,
            live: false,
        };
        for (signal, reason, offset, wants) in [
            (
                Some("eda"),
                Reason::StreamTime,
                20,
                ["pad eda", "20.000 s after", "Seek the whole"],
            ),
            (
                Some("eda"),
                Reason::StreamTime,
                -5,
                ["pad eda", "5.000 s before", "an offset"],
            ),
            (
                Some("eda"),
                Reason::Ahead,
                20,
                ["pad eda", "20.000 s ahead", "clocksync"],
            ),
            (
                Some("eda"),
                Reason::Behind,
                -5,
                ["pad eda", "5.000 s later", "settle-time=6000000000"],
            ),
            (
                None,
                Reason::Ahead,
                30,
                ["the frames", "30.000 s ahead", "clocksync"],
            ),
            (
                None,
                Reason::Behind,
                -8,
                ["the frames", "8.000 s behind", "stamps the video"],
            ),
        ] {
            let finding = Finding {
                signal: signal.map(Into::into),
                reason,
                offset: offset * 1_000_000_000,
                time: 7,
                begins: true,
            };
            let (text, remedy) = finding.words(&about);
            let all = format!("{text}. {remedy}");
            assert!(wants.iter().all(|w| all.contains(w)), "{all}");
            assert!(text.contains("expected"), "{text}");
        }
    }
}
