// SPDX-License-Identifier: MPL-2.0
/**
 * SECTION:element-physiofeatures
 * @title: physiofeatures
 * @see_also: lslsrc, lslsink, mvpfusion
 *
 * Tells what a physiological sensor says of the body: heart rate, heart rate variability and
 * respiration rate of an ECG or PPG, level and responses of skin conductance (EDA), and how good
 * the signal is. The sensor's buffers pass unchanged, with a GstPhysioMeta on each.
 *
 * The message `mvp-signal` says when the sensor becomes good or bad, with the reason and what to
 * do; `mvp-physio` has the features at an interval. The request pad `features` gives them as
 * samples for lslsink, the pad `events` gives each beat and each skin conductance response as a
 * line of text. Put a queue after each.
 *
 * One element reads one sensor. Of a stream with several, put one element for each in the line,
 * each with its `modality`.
 *
 * ## Example launch lines
 * |[
 * gst-launch-1.0 -m lslsrc stream-type=ECG ! physiofeatures ! fakesink
 * ]| The heart, as messages.
 * |[
 * gst-launch-1.0 lslsrc stream-type=EDA ! physiofeatures name=skin ! fakesink \
 *   skin.features ! queue ! lslsink stream-name=SkinFeatures \
 *   skin.events ! queue ! lslsink stream-name=SkinEvents
 * ]| The skin, as two streams for LabRecorder.
 *
 * Since: plugins-mvp-0.2.0
 */
use super::Modality;
use super::outputs::{self, EVENTS, FEATURES};
use crate::common;
use crate::meta::{PHYSIO_MESSAGE, PhysioMeta};
use crate::physio::{self, Stream, Wish};
use crate::sensing::{Sensor, Signal};
use conditioning::declared;
use conditioning::features::Event;
use gst::{ClockTime, glib, prelude::*, subclass::prelude::*};
use gst_common::lock;
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "physiofeatures",
        gst::DebugColorFlags::empty(),
        Some("Features of physiology"),
    )
});

const DEFAULT_INTERVAL: ClockTime = ClockTime::SECOND;
/// Intervals that one buffer or gap may span and that are each told of.
const MOST_AT_ONCE: u64 = 100;

#[derive(Debug, Clone)]
struct Settings {
    modality: Modality,
    channel: Option<String>,
    unit: Option<String>,
    interval: ClockTime,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            modality: Modality::Auto,
            channel: None,
            unit: None,
            interval: DEFAULT_INTERVAL,
        }
    }
}

/// How the buffers are read.
struct Reading {
    modality: &'static str,
    stream: Stream,
    sensor: Sensor,
}

/// A request pad, and whether it still has to get its first events.
struct Output {
    pad: gst::Pad,
    start_due: bool,
    segment_due: bool,
}

#[derive(Default)]
struct State {
    segment: Option<gst::FormattedSegment<ClockTime>>,
    reading: Option<Reading>,
    /// The caps that came last do not fit: buffers pass and are not read.
    refused: bool,
    /// Running time (ns) of the next message and sample.
    next: Option<u64>,
    group: Option<gst::GroupId>,
}

/// What a stretch of samples has brought, to be sent when no lock is held.
#[derive(Default)]
struct News {
    signal: Option<Signal>,
    features: Vec<PhysioMeta>,
    events: Vec<Event>,
    /// On the sensor's buffer.
    newest: Option<PhysioMeta>,
    modality: &'static str,
    /// Running time up to which everything is told.
    end: u64,
    /// The timestamps went back by so much (ns).
    back: Option<u64>,
}

pub struct PhysioFeatures {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    // Each is locked for itself, and none while pushing or posting.
    settings: Mutex<Settings>,
    state: Mutex<State>,
    outputs: Mutex<BTreeMap<&'static str, Output>>,
}

impl State {
    /// Takes the samples of a buffer; `None` if it has no running time.
    fn take(
        &mut self,
        buffer: &gst::Buffer,
        interval: u64,
    ) -> Result<Option<News>, gst::FlowError> {
        let (Some(segment), Some(reading)) = (&self.segment, &mut self.reading) else {
            return Ok(None);
        };
        let Some(placed) = reading.stream.place(buffer, segment) else {
            return Ok(None);
        };
        let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let mut events = Vec::new();
        if buffer.flags().contains(gst::BufferFlags::DISCONT) {
            reading.sensor.cut();
        }
        let samples = reading.stream.samples(&map);
        let back = reading.sensor.steps_back(placed.end);
        let back = back.then(|| self.next.unwrap_or(0).saturating_sub(placed.end));
        if back.is_some() {
            self.next = None;
        }
        for (time, value) in placed
            .times(&reading.stream)
            .zip(samples.skip(placed.skipped))
        {
            reading.sensor.push(time, value, |event| events.push(event));
        }
        Ok(self.reach(placed.end, interval).map(|news| News {
            events,
            back,
            ..news
        }))
    }

    /// All samples before `end` have come.
    fn reach(&mut self, end: u64, interval: u64) -> Option<News> {
        let reading = self.reading.as_mut()?;
        reading.sensor.complete(end);
        let mut news = News {
            modality: reading.modality,
            end,
            ..News::default()
        };
        let known = |time: u64, reading: &Reading| {
            let features = reading.sensor.features(time)?;
            Some(PhysioMeta::of_sensors([(reading.modality, features)]))
        };
        // An interval of 0 is none.
        if let Some(begun) = end.checked_div(interval) {
            let mut next = self
                .next
                .unwrap_or(begun.saturating_add(1).saturating_mul(interval));
            // Across a jump of the timestamps nothing was known: only its end is told of.
            if end.saturating_sub(next) / interval > MOST_AT_ONCE {
                next = begun * interval;
            }
            while next <= end {
                let features = known(next, reading);
                // What is told at a time is what was known up to then.
                let at = |meta| PhysioMeta {
                    time: ClockTime::from_nseconds(next),
                    ..meta
                };
                news.features.extend(features.map(at));
                next = next.saturating_add(interval);
                if next == u64::MAX {
                    break;
                }
            }
            self.next = Some(next);
        }
        if let Some(features) = reading.sensor.features(end) {
            news.signal = reading.sensor.verdict(&features);
            news.newest = known(end, reading);
        }
        Some(news)
    }
}

impl PhysioFeatures {
    fn interval(&self) -> u64 {
        lock(&self.settings).interval.nseconds()
    }

    fn chain(
        &self,
        pad: &gst::Pad,
        mut buffer: gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, obj = pad, "{buffer:?}");
        let interval = self.interval();
        let news = lock(&self.state).take(&buffer, interval)?;
        if let Some(news) = news {
            if let Some(newest) = &news.newest {
                let buffer = buffer.make_mut();
                let meta = match PhysioMeta::from_buffer(buffer) {
                    Some(mut other) => {
                        // Of another sensor, by an element before this one.
                        other.add(newest);
                        other.attach(buffer)
                    }
                    None => newest.attach(buffer),
                };
                if let Err(e) = meta {
                    gst::element_imp_error!(self, gst::StreamError::Failed, ("{e}"));
                    return Err(gst::FlowError::Error);
                }
            }
            // The sinks of all branches preroll before one of them may hold this thread back: one
            // buffer may bring more than a queue takes.
            for name in [FEATURES, EVENTS] {
                let _ = self.output(name, news.modality, 0);
            }
            let flow = self.srcpad.push(buffer)?;
            self.tell(news)?;
            return Ok(flow);
        }
        self.srcpad.push(buffer)
    }

    /// Posts and pushes what there is to say.
    fn tell(&self, news: News) -> Result<(), gst::FlowError> {
        let obj = self.obj();
        let post = |structure| {
            let message = gst::message::Element::builder(structure).src(&*obj).build();
            // An element without a bus posts to nobody.
            let _ = obj.post_message(message);
        };
        if let Some(back) = news.back {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Format,
                (
                    "the timestamps of the {} went back by {:.1} s: what was known is forgotten. \
                     Look at the clock of the sender, and at the element that stamps its samples",
                    news.modality,
                    back as f64 / 1e9
                )
            );
        }
        if let Some(signal) = &news.signal {
            gst::info!(CAT, imp = self, "{signal}");
            post(signal.to_structure());
        }
        for features in &news.features {
            post(features.to_structure(PHYSIO_MESSAGE));
        }
        let samples = news.features.iter();
        let samples = samples.map(|f| outputs::sample(news.modality, f)).collect();
        self.push_to(FEATURES, news.modality, samples, news.end)?;
        let lines = news.events.iter();
        let lines = lines.map(|e| outputs::line(news.modality, e)).collect();
        self.push_to(EVENTS, news.modality, lines, news.end)
    }

    /// The request pad, if it is there; it gets its first events, and a gap, where these are due.
    fn output(&self, name: &'static str, modality: &str, time: u64) -> Option<gst::Pad> {
        let (pad, start_due, segment_due) = {
            let mut outputs = lock(&self.outputs);
            let output = outputs.get_mut(name)?;
            (
                output.pad.clone(),
                std::mem::take(&mut output.start_due),
                std::mem::take(&mut output.segment_due),
            )
        };
        if start_due {
            let id = pad.create_stream_id(&*self.obj(), Some(name));
            let start = gst::event::StreamStart::builder(&id).flags(gst::StreamFlags::SPARSE);
            let group = lock(&self.state).group.unwrap_or_else(gst::GroupId::next);
            pad.push_event(start.group_id(group).build());
            pad.push_event(gst::event::Caps::new(&outputs::caps(name, modality)));
        }
        if segment_due {
            let segment = gst::FormattedSegment::<ClockTime>::new();
            pad.push_event(gst::event::Segment::new(&segment));
            pad.push_event(gap(time));
        }
        Some(pad)
    }

    /// Pushes to a request pad, if it is there; a gap up to `end` where there is nothing to push.
    fn push_to(
        &self,
        name: &'static str,
        modality: &str,
        buffers: Vec<gst::Buffer>,
        end: u64,
    ) -> Result<(), gst::FlowError> {
        let Some(pad) = self.output(name, modality, end) else {
            return Ok(());
        };
        if buffers.is_empty() {
            pad.push_event(gap(end));
        }
        for buffer in buffers {
            gst::log!(CAT, obj = pad, "{buffer:?}");
            match pad.push(buffer) {
                // The sensor goes on without who has left.
                Ok(_)
                | Err(gst::FlowError::NotLinked | gst::FlowError::Eos | gst::FlowError::Flushing) =>
                    {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Passes an event on to the request pads.
    fn event_to_outputs(&self, event: &gst::Event) {
        let pads: Vec<_> = lock(&self.outputs)
            .values()
            .map(|o| o.pad.clone())
            .collect();
        for pad in pads {
            pad.push_event(event.clone());
        }
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        gst::log!(CAT, obj = pad, "{event:?}");
        match event.view() {
            gst::EventView::StreamStart(e) => {
                *lock(&self.state) = State {
                    group: e.group_id(),
                    ..State::default()
                };
                self.restart_outputs();
            }
            gst::EventView::Caps(e) if !self.read_caps(e.caps()) => return false,
            gst::EventView::Segment(e) => {
                let Some(segment) = e.segment().downcast_ref::<ClockTime>() else {
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Format,
                        (
                            "the stream comes in {:?} segments; expected time, as lslsrc and xdfdemux give",
                            e.segment().format()
                        )
                    );
                    return false;
                };
                common::log_segment(*CAT, pad, segment);
                lock(&self.state).segment = Some(common::at_rate_1(segment));
            }
            gst::EventView::Gap(gap) => {
                let (start, duration) = gap.get();
                let end = start.saturating_add(duration.unwrap_or_default());
                let interval = self.interval();
                let news = {
                    let mut state = lock(&self.state);
                    let end = state.segment.as_ref().and_then(|s| s.to_running_time(end));
                    end.and_then(|end| state.reach(end.nseconds(), interval))
                };
                if let Some(Err(e)) = news.map(|news| self.tell(news)) {
                    gst::debug!(CAT, obj = pad, "a gap could not be told of: {e}");
                }
            }
            gst::EventView::FlushStop(_) => {
                {
                    let mut state = lock(&self.state);
                    state.segment = None;
                    state.next = None;
                    if let Some(reading) = &mut state.reading {
                        reading.sensor.flush();
                    }
                }
                for output in lock(&self.outputs).values_mut() {
                    output.segment_due = true;
                }
                self.event_to_outputs(&event);
            }
            gst::EventView::FlushStart(_) => self.event_to_outputs(&event),
            gst::EventView::Eos(_) => {
                // A pad that nothing was sent to has to begin before it ends.
                let modality = lock(&self.state).reading.as_ref().map(|r| r.modality);
                for name in [FEATURES, EVENTS] {
                    let _ = self.output(name, modality.unwrap_or("ecg"), 0);
                }
                self.event_to_outputs(&event);
            }
            _ => (),
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    /// What the caps are, as the user wishes.
    ///
    /// # Errors
    /// What was found, what is expected, and what to do.
    fn understand(&self, caps: &gst::CapsRef) -> Result<(&'static str, Stream), String> {
        let settings = lock(&self.settings).clone();
        let modality = match settings.modality.name() {
            Some(name) => name,
            None => guess(caps).map_err(|found| {
                format!(
                    "{found}; expected one sensor, ECG, PPG or EDA. Say which it is: \
                     modality=ecg, ppg or eda at {}",
                    self.obj().name()
                )
            })?,
        };
        let wish = Wish {
            channel: settings.channel,
            values: conditioning::UnitSpec {
                unit: settings.unit,
                ..Default::default()
            },
            ..Wish::default()
        };
        let stream = Stream::from_caps(caps, modality, &wish).map_err(|refusal| {
            format!(
                "{refusal}. Link the stream of the sensor, or say what it is: \
                 channel=LABEL-OR-INDEX, unit=UNIT at {}",
                self.obj().name()
            )
        })?;
        Ok((modality, stream))
    }

    /// The request pads begin anew with the next thing that they get.
    fn restart_outputs(&self) {
        for output in lock(&self.outputs).values_mut() {
            output.start_due = true;
            output.segment_due = true;
        }
    }

    fn read_caps(&self, caps: &gst::CapsRef) -> bool {
        let understood = self.understand(caps);
        let before = lock(&self.state).reading.as_ref().map(|r| r.modality);
        if let (Some(before), Ok((modality, _))) = (before, &understood)
            && before != *modality
        {
            // The channels of `features` are others.
            self.restart_outputs();
        }
        let mut state = lock(&self.state);
        match understood {
            Ok((modality, stream)) => {
                let (rate, full_scale) = (stream.rate, stream.full_scale());
                gst::info!(
                    CAT,
                    imp = self,
                    "{modality}: {}",
                    stream.describe(caps, modality)
                );
                state.refused = false;
                match &mut state.reading {
                    Some(r) if r.modality == modality && r.sensor.is_of(rate, full_scale) => {
                        r.stream = stream;
                    }
                    other => {
                        *other = Some(Reading {
                            modality,
                            stream,
                            sensor: Sensor::new(modality, rate, full_scale),
                        });
                    }
                }
                true
            }
            Err(why) => {
                let first = state.reading.take().is_none() && !state.refused;
                state.refused = true;
                drop(state);
                if first {
                    gst::element_imp_error!(self, gst::StreamError::Format, ("{why}"));
                    return false;
                }
                gst::element_imp_warning!(
                    self,
                    gst::StreamError::Format,
                    ("{why}. Until a stream comes that fits, the buffers pass and are not read")
                );
                true
            }
        }
    }
}

fn gap(time: u64) -> gst::Event {
    gst::event::Gap::builder(ClockTime::from_nseconds(time)).build()
}

/// The modality that the caps declare.
fn guess(caps: &gst::CapsRef) -> Result<&'static str, String> {
    let field = |name| caps.structure(0).and_then(|s| s.get::<&str>(name).ok());
    let all = ["ecg", "ppg", "eda"];
    let said = |text: &str| {
        all.into_iter()
            .filter(|m| declared::says(text, m))
            .collect::<Vec<_>>()
    };
    let (kind, labels) = (field("stream-type"), field("channel-labels"));
    for text in [kind, labels].into_iter().flatten() {
        if let [one] = said(text)[..] {
            return Ok(one);
        }
    }
    Err(format!(
        "the stream is of type '{}' with the labels '{}'",
        kind.unwrap_or("none"),
        labels.unwrap_or("none")
    ))
}

#[glib::object_subclass]
impl ObjectSubclass for PhysioFeatures {
    const NAME: &'static str = "GstPhysioFeatures";
    type Type = super::PhysioFeatures;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| {
            klass
                .pad_template(name)
                .unwrap_or_else(|| unreachable!("the class has the template {name}"))
        };
        let flags = gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_ALLOCATION;
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|pad, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.chain(pad, buffer),
                )
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_event(pad, event))
            })
            // The request pads get streams of their own.
            .iterate_internal_links_function(|_, parent| {
                Self::catch_panic_pad_function(
                    parent,
                    || gst::Iterator::from_vec(vec![]),
                    |this| gst::Iterator::from_vec(vec![this.srcpad.clone()]),
                )
            })
            .flags(flags)
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .flags(flags)
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            state: Mutex::default(),
            outputs: Mutex::default(),
        }
    }
}

impl ObjectImpl for PhysioFeatures {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecEnum::builder::<Modality>("modality")
                    .nick("Modality")
                    .blurb("What the stream is, where its caps do not say. Counts from the next caps on")
                    .build(),
                glib::ParamSpecString::builder("channel")
                    .nick("Channel")
                    .blurb("Label or index (from 0) of the channel that is the signal, in a stream of several; unset: the only channel whose label names the signal. Counts from the next caps on")
                    .build(),
                glib::ParamSpecString::builder("unit")
                    .nick("Unit")
                    .blurb("Unit of the values, such as uS, nS, kOhm, mV; unset: the one that the stream declares. Values are converted to uS (eda) and mV (ecg). Counts from the next caps on")
                    .build(),
                glib::ParamSpecUInt64::builder("interval")
                    .nick("Interval")
                    .blurb("Time from one message mvp-physio, and one sample of the pad features, to the next, in nanoseconds (0: none)")
                    .maximum(3_600_000_000_000)
                    .default_value(DEFAULT_INTERVAL.nseconds())
                    .mutable_playing()
                    .build(),
            ]
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "modality" => settings.modality = value.get().unwrap_or_default(),
            "channel" => {
                let text: Option<String> = value.get().ok().flatten();
                settings.channel = text.filter(|t| !t.trim().is_empty());
            }
            "unit" => {
                let text: Option<String> = value.get().ok().flatten();
                settings.unit = text.filter(|t| !t.trim().is_empty());
            }
            "interval" => {
                let interval = value
                    .get()
                    .map_or(DEFAULT_INTERVAL, ClockTime::from_nseconds);
                settings.interval = interval;
                drop(settings);
                lock(&self.state).next = None;
            }
            name => unimplemented!("property {name}"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings);
        match pspec.name() {
            "modality" => settings.modality.to_value(),
            "channel" => settings.channel.to_value(),
            "unit" => settings.unit.to_value(),
            "interval" => settings.interval.nseconds().to_value(),
            name => unimplemented!("property {name}"),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
            if let Err(e) = obj.add_pad(pad) {
                gst::error!(CAT, imp = self, "Cannot add pad {}: {e}", pad.name());
            }
        }
    }
}

impl GstObjectImpl for PhysioFeatures {}

impl ElementImpl for PhysioFeatures {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Features of physiology",
                "Filter/Analyzer",
                "Heart rate, its variability, respiration, skin conductance level and responses, and the quality of a sensor",
                "The gst-plugin-mvp authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            use gst::{PadDirection, PadPresence};
            let sensor = physio::accepted_caps();
            [
                (
                    "sink",
                    PadDirection::Sink,
                    PadPresence::Always,
                    sensor.clone(),
                ),
                ("src", PadDirection::Src, PadPresence::Always, sensor),
                (
                    FEATURES,
                    PadDirection::Src,
                    PadPresence::Request,
                    outputs::template(FEATURES),
                ),
                (
                    EVENTS,
                    PadDirection::Src,
                    PadPresence::Request,
                    outputs::template(EVENTS),
                ),
            ]
            .into_iter()
            .filter_map(|(name, direction, presence, caps)| {
                gst::PadTemplate::new(name, direction, presence, &caps).ok()
            })
            .collect()
        });
        TEMPLATES.as_ref()
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        _name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let name = [FEATURES, EVENTS]
            .into_iter()
            .find(|n| *n == template.name_template())?;
        let pad = gst::Pad::builder_from_template(template)
            .name(name)
            .iterate_internal_links_function(|_, parent| {
                Self::catch_panic_pad_function(
                    parent,
                    || gst::Iterator::from_vec(vec![]),
                    |this| gst::Iterator::from_vec(vec![this.sinkpad.clone()]),
                )
            })
            .flags(gst::PadFlags::FIXED_CAPS)
            .build();
        {
            let mut outputs = lock(&self.outputs);
            if outputs.contains_key(name) {
                gst::warning!(CAT, imp = self, "there is a pad {name} already");
                return None;
            }
            let output = Output {
                pad: pad.clone(),
                start_due: true,
                segment_due: true,
            };
            outputs.insert(name, output);
        }
        // A pad that is added to a running element has to be activated here.
        if self.obj().current_state() > gst::State::Ready && pad.set_active(true).is_err() {
            gst::warning!(CAT, imp = self, "pad {name} could not be activated");
        }
        match self.obj().add_pad(&pad) {
            Ok(()) => Some(pad),
            Err(e) => {
                gst::error!(CAT, imp = self, "{e}");
                lock(&self.outputs).remove(name);
                None
            }
        }
    }

    fn release_pad(&self, pad: &gst::Pad) {
        lock(&self.outputs).retain(|_, output| output.pad != *pad);
        let _ = pad.set_active(false);
        if let Err(e) = self.obj().remove_pad(pad) {
            gst::warning!(CAT, imp = self, "{e}");
        }
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "changing state: {transition:?}");
        let result = self.parent_change_state(transition);
        if transition == gst::StateChange::PausedToReady {
            *lock(&self.state) = State::default();
            for output in lock(&self.outputs).values_mut() {
                output.start_due = true;
                output.segment_due = true;
            }
        }
        result
    }
}
