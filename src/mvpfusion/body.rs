// SPDX-License-Identifier: MPL-2.0
//! What the sensors tell of the body: features on every frame, and a message when a sensor becomes
//! good or bad.

use super::imp::{CAT, MvpFusion};
use crate::meta::PhysioMeta;
use crate::sensing::Sensor;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_common::lock;
use std::sync::{Arc, Mutex};

/// Locked by itself, like a track.
pub(super) type SharedSensor = Arc<Mutex<Sensor>>;

impl MvpFusion {
    pub(super) fn sensor(&self, name: &str) -> Option<SharedSensor> {
        self.state().sensors.get(name).cloned()
    }

    /// Sets how the samples of `name` come. Where they come as before, the sensor stays.
    pub(super) fn configure_sensor(&self, name: &str, rate: f64, full_scale: Option<[f64; 2]>) {
        let same = self
            .sensor(name)
            .is_some_and(|s| lock(&s).is_of(rate, full_scale));
        if !same {
            let sensor = Arc::new(Mutex::new(Sensor::new(name, rate, full_scale)));
            self.state().sensors.insert(name.to_string(), sensor);
        }
    }

    /// Puts what the sensors tell on a frame of running time `time` (ns). A frame that does not
    /// wait gets the newest of its time; one that waits has had all samples up to the last hop.
    pub(super) fn mark_body(
        &self,
        buffer: &mut gst::BufferRef,
        time: u64,
        live: bool,
    ) -> Result<(), glib::BoolError> {
        let (sensors, until) = {
            let state = self.state();
            if state.sensors.is_empty() {
                return Ok(());
            }
            let until = match live {
                true => time.saturating_add(1),
                false => time.min(state.last_hop * state.hop),
            };
            (state.sensors.clone(), until)
        };
        let mut known = Vec::with_capacity(sensors.len());
        let mut signals = Vec::new();
        for (name, sensor) in &sensors {
            let mut sensor = lock(sensor);
            if let Some(features) = sensor.features(until) {
                signals.extend(sensor.verdict(&features));
                known.push((name.as_str(), features));
            }
        }
        for signal in signals {
            gst::info!(CAT, imp = self, "{signal}");
            let obj = self.obj();
            let message = gst::message::Element::builder(signal.to_structure()).src(&*obj);
            // An element without a bus posts to nobody.
            let _ = obj.post_message(message.build());
        }
        match known.is_empty() {
            true => Ok(()),
            false => PhysioMeta::of_sensors(known).attach(buffer),
        }
    }
}
