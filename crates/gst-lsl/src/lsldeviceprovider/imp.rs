// SPDX-License-Identifier: MPL-2.0
/**
 * provider-lsldeviceprovider:
 *
 * Lists the streams of the Lab Streaming Layer (LSL) on the network as devices of the
 * class `Source/Physio`. The properties of a device are `name`, `type`, `source-id`,
 * `hostname`, `uid`, `session-id`, `channels`, `rate` and `format`; its element is a
 * `lslsrc` that receives this stream and no other.
 *
 * Streams answer within a second, so a probe or the start of a monitor takes a second. Without
 * liblsl there are no devices; a warning in the debug log says why.
 *
 * ## Example
 * |[
 * gst-device-monitor-1.0 Source/Physio
 * ]| Lists all streams.
 *
 * Since: plugins-mvp-0.1.0
 */
use super::LslDevice;
use gst::{glib, prelude::*, subclass::prelude::*};
use gst_common::lock;
use lsl::{Library, Match, Query, Resolver};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, LazyLock, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "lsldeviceprovider",
        gst::DebugColorFlags::empty(),
        Some("Lab Streaming Layer device provider"),
    )
});

pub(super) const CLASS: &str = "Source/Physio";
/// All streams that can be reached answer within this.
const SETTLE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(250);
/// A stream that has not answered for this long is gone.
const FORGET: Duration = Duration::from_secs(5);

/// Ends the watching thread.
#[derive(Default)]
struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Sleeps; false when it is time to end.
    fn sleep(&self, time: Duration) -> bool {
        let stopped = lock(&self.stopped);
        let (stopped, _) = self
            .changed
            .wait_timeout_while(stopped, time, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        !*stopped
    }

    fn stop(&self) {
        *lock(&self.stopped) = true;
        self.changed.notify_all();
    }
}

#[derive(Default)]
pub struct LslDeviceProvider {
    watch: Mutex<Option<(Arc<Stop>, JoinHandle<()>)>>,
}

#[glib::object_subclass]
impl ObjectSubclass for LslDeviceProvider {
    const NAME: &'static str = "GstLslDeviceProvider";
    type Type = super::LslDeviceProvider;
    type ParentType = gst::DeviceProvider;
}

impl ObjectImpl for LslDeviceProvider {}
impl GstObjectImpl for LslDeviceProvider {}

impl DeviceProviderImpl for LslDeviceProvider {
    fn metadata() -> Option<&'static gst::subclass::DeviceProviderMetadata> {
        static METADATA: LazyLock<gst::subclass::DeviceProviderMetadata> = LazyLock::new(|| {
            gst::subclass::DeviceProviderMetadata::new(
                "LSL device provider",
                CLASS,
                "Lists the streams of the Lab Streaming Layer (LSL)",
                "The gst-plugin-mvp authors",
            )
        });
        Some(&*METADATA)
    }

    fn probe(&self) -> Vec<gst::Device> {
        let Some(resolver) = self.resolver() else {
            return Vec::new();
        };
        gst::debug!(CAT, imp = self, "probing for {SETTLE:?}");
        std::thread::sleep(SETTLE);
        let found = resolver.results();
        gst::debug!(
            CAT,
            imp = self,
            "{} stream(s) answered",
            found.streams.len()
        );
        for Match { description, .. } in &found.streams {
            gst::debug!(
                CAT,
                imp = self,
                "found {description}, uid {}",
                description.uid
            );
        }
        for why in &found.refused {
            gst::warning!(CAT, imp = self, "{why}");
        }
        found
            .streams
            .into_iter()
            .filter_map(|found| LslDevice::new(found.description))
            .map(Cast::upcast)
            .collect()
    }

    fn start(&self) -> Result<(), gst::LoggableError> {
        let Some(resolver) = self.resolver() else {
            return Ok(());
        };
        gst::debug!(CAT, imp = self, "watching the network");
        let stop = Arc::<Stop>::default();
        let mut known = Known::default();
        // The devices must be listed when the start is over.
        std::thread::sleep(SETTLE);
        known.update(&self.obj(), &resolver);
        let thread = std::thread::Builder::new()
            .name("lsl-devices".into())
            .spawn({
                let stop = stop.clone();
                let provider = self.obj().downgrade();
                move || {
                    while stop.sleep(POLL) {
                        let Some(provider) = provider.upgrade() else {
                            break;
                        };
                        known.update(&provider, &resolver);
                    }
                }
            })
            .map_err(|e| gst::loggable_error!(CAT, "No thread to watch the network: {e}"))?;
        *lock(&self.watch) = Some((stop, thread));
        Ok(())
    }

    fn stop(&self) {
        gst::debug!(CAT, imp = self, "stopping");
        let watch = lock(&self.watch).take();
        if let Some((stop, thread)) = watch {
            stop.stop();
            // The thread holds a reference for moments and may drop the last one.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl LslDeviceProvider {
    fn resolver(&self) -> Option<Resolver> {
        let resolver = Library::load(None)
            .and_then(|library| Resolver::new(library, &Query::default(), FORGET));
        resolver
            .inspect(|_| {
                if let Ok(library) = Library::load(None) {
                    gst::debug!(CAT, imp = self, "liblsl from {}", library.origin());
                }
            })
            .inspect_err(|e| gst::warning!(CAT, imp = self, "No LSL devices: {e}"))
            .ok()
    }
}

/// The most different reasons to leave streams out that are logged.
const MOST_TOLD: usize = 32;

#[derive(Default)]
struct Known {
    /// The devices that were announced, by the uid of the stream; `None`: it has no caps.
    devices: BTreeMap<String, Option<LslDevice>>,
    /// Why other streams are no devices.
    refused: BTreeSet<String>,
}

impl Known {
    fn update(&mut self, provider: &super::LslDeviceProvider, resolver: &Resolver) {
        let found = resolver.results();
        for why in found.refused {
            if self.refused.len() < MOST_TOLD && !self.refused.contains(&why) {
                gst::warning!(CAT, obj = provider, "{why}");
                self.refused.insert(why);
            }
        }
        let streams = found.streams;
        let uids: BTreeSet<_> = streams.iter().map(|m| m.description.uid.clone()).collect();
        self.devices.retain(|uid, device| {
            let there = uids.contains(uid);
            if let (false, Some(device)) = (there, device) {
                gst::info!(CAT, obj = provider, "Gone: {}", device.display_name());
                provider.device_remove(device);
            }
            there
        });
        for Match { description, .. } in streams {
            let uid = description.uid.clone();
            self.devices.entry(uid.clone()).or_insert_with(|| {
                gst::info!(CAT, obj = provider, "Found {description}, uid {uid}");
                let device = LslDevice::new(description);
                match &device {
                    Some(device) => provider.device_add(device),
                    None => gst::warning!(CAT, obj = provider, "It has no caps"),
                }
                device
            });
        }
    }
}
