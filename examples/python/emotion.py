#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Runs a pipeline with mvpfusion in it and prints a line for each new result,
read from the metadata of the video buffers. Needs only GStreamer's own Python
bindings (Debian: python3-gi, gir1.2-gstreamer-1.0).

    GST_PLUGIN_PATH=target/release python3 emotion.py \
        videotestsrc ! mvpfusion model=models/default ! fakesink

Without arguments: camera, EDA and ECG from the network, a window.
"""

import signal
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

DEFAULT_PIPELINE = """
    v4l2src ! videoconvert ! facetrack ! fusion.
    lslsrc stream-type=EDA ! fusion.eda   lslsrc stream-type=ECG ! fusion.ecg
    mvpfusion name=fusion model=models/default ! emotionoverlay ! videoconvert ! autovideosink
"""


def fields(structure):
    """The structure as a dict, in the order of its fields."""
    names = (structure.nth_field_name(i) for i in range(structure.n_fields()))
    return {name: structure.get_value(name) for name in names}


def print_result(result):
    coverage = "".join(
        f" {name[len('coverage-'):]} {value:.3f}"
        for name, value in result.items()
        if name.startswith("coverage-")
    )
    print(
        f"#{result['sequence']} at {result['window-end'] / 1e9:.3f} s: {result['label']}, "
        f"valence {result['valence']:.3f}, arousal {result['arousal']:.3f}, "
        f"confidence {result['confidence']:.3f}, coverage{coverage}"
        f"{', warming up' if result['warming-up'] else ''}{', stale' if result['stale'] else ''}",
        flush=True,
    )


def find_video_pad(pipeline):
    """The fusion's video output: every frame there carries the newest result."""
    elements = pipeline.iterate_recurse()
    while True:
        state, element = elements.next()
        if state != Gst.IteratorResult.OK:
            return None
        factory = element.get_factory()
        if factory and factory.get_name() == "mvpfusion":
            return element.get_static_pad("src")


class App:
    def __init__(self, pipeline, pad):
        self.pipeline = pipeline
        self.loop = GLib.MainLoop()
        self.failed = False
        self.asked_to_end = False
        self.sequence = None
        pad.add_probe(Gst.PadProbeType.BUFFER, self.on_frame)

    def on_frame(self, _pad, info):
        meta = info.get_buffer().get_custom_meta("GstEmotionMeta")
        if meta:
            result = fields(meta.get_structure())
            if result["sequence"] != self.sequence:
                self.sequence = result["sequence"]
                print_result(result)
        return Gst.PadProbeReturn.OK

    def problem(self, kind, message, error, debug):
        where = message.src.get_path_string() if message.src else "?"
        print(f"{kind} from {where}: {error.message}\n  {debug or 'no details'}", file=sys.stderr)

    def on_message(self, _bus, message):
        if message.type == Gst.MessageType.ERROR:
            self.problem("error", message, *message.parse_error())
            self.failed = True
            self.loop.quit()
        elif message.type == Gst.MessageType.WARNING:
            self.problem("warning", message, *message.parse_warning())
        elif message.type == Gst.MessageType.PROGRESS:
            _, code, text = message.parse_progress()
            print(f"{code}: {text}", file=sys.stderr)
        elif message.type == Gst.MessageType.EOS:
            self.loop.quit()
        return True

    def on_interrupt(self):
        """Ctrl-C ends the stream in order, a second one at once."""
        if self.asked_to_end:
            self.loop.quit()
        else:
            self.asked_to_end = True
            print("ending; press Ctrl-C again to stop at once", file=sys.stderr)
            self.pipeline.send_event(Gst.Event.new_eos())
        return GLib.SOURCE_CONTINUE

    def run(self):
        bus = self.pipeline.get_bus()
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGINT, self.on_interrupt)
        if self.pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
            self.failed = True
            message = bus.pop_filtered(Gst.MessageType.ERROR)
            if message:
                self.problem("error", message, *message.parse_error())
            else:
                print("error: the pipeline cannot start", file=sys.stderr)
        else:
            bus.add_signal_watch()
            bus.connect("message", self.on_message)
            self.loop.run()
            bus.remove_signal_watch()
        self.pipeline.set_state(Gst.State.NULL)
        return 1 if self.failed else 0


def main(arguments):
    Gst.init(None)
    try:
        pipeline = Gst.parse_launch_full(
            " ".join(arguments) or DEFAULT_PIPELINE, None, Gst.ParseFlags.FATAL_ERRORS
        )
    except GLib.Error as e:
        print(f"error: cannot build the pipeline: {e.message}", file=sys.stderr)
        return 1
    if not isinstance(pipeline, Gst.Pipeline):
        print(
            "error: the description is a single element; expected a pipeline with mvpfusion",
            file=sys.stderr,
        )
        return 1
    pad = find_video_pad(pipeline)
    if pad is None:
        print("error: the pipeline has no mvpfusion element", file=sys.stderr)
        return 1
    return App(pipeline, pad).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
