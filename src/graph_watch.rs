// SPDX-License-Identifier: MPL-2.0
//! How long `facetrack` and `mvpfusion` let ONNX Runtime load and run a graph.

use gst::{ClockTime, glib, prelude::*};
use gst_common::{Step, Then, Watched};
use onnx::{Control, Doing};
use std::time::Duration;

/// TensorRT takes minutes for an engine, so it may take so many times as long as a load.
const BUILD_FACTOR: u32 = 60;
const MAX_TIMEOUT: u64 = 86_400_000_000_000;

/// The limits of one graph, as the properties give them; 0 is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    pub(crate) load: ClockTime,
    pub(crate) run: ClockTime,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            load: ClockTime::from_seconds(30),
            run: ClockTime::from_seconds(10),
        }
    }
}

impl Timeouts {
    pub(crate) fn properties() -> [glib::ParamSpec; 2] {
        let default = Self::default();
        let spec = |name: &str, nick: &str, blurb: &str, default: ClockTime| {
            glib::ParamSpecUInt64::builder(name)
                .nick(nick)
                .blurb(blurb)
                .maximum(MAX_TIMEOUT)
                .default_value(default.nseconds())
                .mutable_ready()
                .build()
        };
        [
            spec(
                "load-timeout",
                "Load time-out",
                "How long loading one graph may take, in nanoseconds (0: for ever); building a TensorRT engine may take 60 times as long. Then a warning, and frames pass without results",
                default.load,
            ),
            spec(
                "run-timeout",
                "Run time-out",
                "How long one run of a graph may take, in nanoseconds (0: for ever). Then a warning, and the frames meanwhile pass without a result; after three in a row no graph is run any more",
                default.run,
            ),
        ]
    }
}

/// Watches what ONNX Runtime does under one [`Control`].
pub(crate) struct GraphWatch {
    pub(crate) control: Control,
    pub(crate) timeouts: Timeouts,
    /// The code of the element's progress messages.
    pub(crate) progress: &'static str,
    /// What frames lack where a graph does not end: `results`, `faces`.
    pub(crate) lacking: &'static str,
}

impl GraphWatch {
    fn limit(&self, doing: Doing) -> Option<Duration> {
        let (time, factor) = match doing {
            Doing::Loading => (self.timeouts.load, 1),
            Doing::Building => (self.timeouts.load, BUILD_FACTOR),
            Doing::Running => (self.timeouts.run, 1),
        };
        (!time.is_zero()).then(|| Duration::from(time) * factor)
    }

    fn warning(&self, step: &Step, then: Then) -> String {
        let lacking = self.lacking;
        let (property, consequence, remedy) = match then {
            Then::NotLoaded => (
                "load-timeout",
                format!(
                    "Loading is called off, and frames pass without {lacking} until the element \
                     has been in READY"
                ),
                "use another model; where this one is known to be good, raise load-timeout",
            ),
            Then::NoAnswer => (
                "run-timeout",
                format!(
                    "It is called off, and frames pass without {lacking} until a run ends in time"
                ),
                "use a smaller model or a faster execution-provider, or raise run-timeout",
            ),
            Then::NoMore => (
                "run-timeout",
                format!(
                    "That was so several times in a row: no graph is run any more, and frames \
                     pass without {lacking} until the element has been in READY"
                ),
                "use another model or a faster execution-provider, or raise run-timeout",
            ),
        };
        format!(
            "{} has taken {:.1} s; expected at most {:.1} s ({property}). {consequence}. Remedy: \
             {remedy}",
            step.what,
            step.since.elapsed().as_secs_f64(),
            step.limit.unwrap_or_default().as_secs_f64(),
        )
    }

    fn seen(&self, step: onnx::Step) -> Step {
        let what = match step.doing {
            Doing::Loading => "loading",
            Doing::Building => "building the TensorRT engine of",
            Doing::Running => "running",
        };
        Step {
            number: step.number,
            what: format!("{what} {}", step.graph),
            since: step.since,
            limit: self.limit(step.doing),
        }
    }
}

impl Watched for GraphWatch {
    fn step(&self) -> Option<Step> {
        self.control.step().map(|step| self.seen(step))
    }

    fn shortest(&self) -> Option<Duration> {
        let limits = [self.limit(Doing::Loading), self.limit(Doing::Running)];
        limits.into_iter().flatten().min()
    }

    fn call_off(&self, number: u64) {
        self.control.call_off(number);
    }

    fn cancel(&self) {
        self.control.cancel();
    }

    fn tell(&self, element: &gst::Element, step: &Step, then: Then) {
        if then == Then::NotLoaded {
            // Applications wait for the end of what has begun.
            let text = format!("{} takes too long", step.what);
            let kind = gst::ProgressType::Canceled;
            let progress = gst::message::Progress::builder(kind, self.progress, &text);
            // An element without a bus posts to nobody.
            let _ = element.post_message(progress.src(element).build());
        }
        gst::element_warning!(
            element,
            gst::LibraryError::Failed,
            ("{}", self.warning(step, then))
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn watch(load: u64, run: u64) -> GraphWatch {
        GraphWatch {
            control: Control::default(),
            timeouts: Timeouts {
                load: ClockTime::from_seconds(load),
                run: ClockTime::from_seconds(run),
            },
            progress: "model",
            lacking: "results",
        }
    }

    #[test]
    fn a_warning_names_the_graph_the_time_the_property_and_the_remedy() {
        let watch = watch(30, 10);
        for (doing, then, words) in [
            (
                Doing::Loading,
                Then::NotLoaded,
                ["loading fusion.onnx", "30.0 s (load-timeout)"],
            ),
            (
                Doing::Building,
                Then::NotLoaded,
                ["engine of fusion.onnx", "1800.0 s (load-timeout)"],
            ),
            (
                Doing::Running,
                Then::NoAnswer,
                ["running fusion.onnx", "10.0 s (run-timeout)"],
            ),
            (
                Doing::Running,
                Then::NoMore,
                ["no graph is run any more", "10.0 s (run-timeout)"],
            ),
        ] {
            let step = watch.seen(onnx::Step {
                number: 1,
                graph: "fusion.onnx".into(),
                doing,
                since: Instant::now(),
            });
            let text = watch.warning(&step, then);
            for word in words
                .into_iter()
                .chain(["taken 0.0 s", "without results", "Remedy: "])
            {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
    }

    #[test]
    fn nought_is_no_limit() {
        assert_eq!(watch(0, 0).shortest(), None);
        assert_eq!(watch(0, 10).shortest(), Some(Duration::from_secs(10)));
        assert_eq!(watch(0, 10).limit(Doing::Building), None);
        assert_eq!(watch(5, 10).shortest(), Some(Duration::from_secs(5)));
        assert_eq!(
            watch(5, 10).limit(Doing::Building),
            Some(Duration::from_secs(300))
        );
    }
}
