# SPDX-License-Identifier: MPL-2.0
"""Runs the pipeline given as the argument (with `appsink name=out`) and prints the
GstEmotionMeta and GstPhysioMeta of each buffer as a line of JSON, read by GStreamer's own bindings
alone. Used by tests/metadata.rs."""

import json
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def main():
    Gst.init(None)
    pipeline = Gst.parse_launch(sys.argv[1])
    sink = pipeline.get_by_name("out")
    pipeline.set_state(Gst.State.PLAYING)
    while True:
        sample = sink.emit("try-pull-sample", 20 * Gst.SECOND)
        if sample is None:
            break
        buffer = sample.get_buffer()
        line = {"pts": buffer.pts}
        meta = buffer.get_custom_meta("GstEmotionMeta")
        if meta:
            structure = meta.get_structure()
            assert structure.get_name() == "GstEmotionMeta"
            for i in range(structure.n_fields()):
                name = structure.nth_field_name(i)
                line[name] = structure.get_value(name)
            # The typed getters too.
            assert structure.get_double("valence") == (True, line["valence"])
            assert structure.get_uint64("sequence") == (True, line["sequence"])
            assert structure.get_string("label") == line["label"]
        meta = buffer.get_custom_meta("GstPhysioMeta")
        if meta:
            structure = meta.get_structure()
            for i in range(structure.n_fields()):
                name = structure.nth_field_name(i)
                # With a result, quality-<modality> is that of its window.
                line.setdefault(name, structure.get_value(name))
        print(json.dumps(line))
    eos = sink.get_property("eos")
    ends = Gst.MessageType.ERROR | Gst.MessageType.EOS
    # The other branch may still be writing.
    end = pipeline.get_bus().timed_pop_filtered(20 * Gst.SECOND, ends)
    error = end if end and end.type == Gst.MessageType.ERROR else None
    pipeline.set_state(Gst.State.NULL)
    if error:
        sys.exit("%s\n%s" % error.parse_error())
    if not eos:
        sys.exit("no frame for 20 s")


main()
