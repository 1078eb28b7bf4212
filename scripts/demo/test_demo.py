# SPDX-License-Identifier: MPL-2.0
"""Checks of the demonstration's own Python: run by scripts/test.sh."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MEDIA = pathlib.Path(os.environ.get("GSTMVP_MEDIA", ROOT / "target/media"))
RECORDING = MEDIA / "medical.txt.bz2"

# LSL reads its configuration once, at the first use: before pylsl is imported.
_work = tempfile.TemporaryDirectory(prefix="gstmvp-demo-test-")
WORK = pathlib.Path(_work.name)
CFG = WORK / "lsl.cfg"
CFG.write_text((HERE / "lsl.cfg").read_text().replace("@SESSION@", f"test-{os.getpid()}"))
os.environ["LSLAPICFG"] = str(CFG)

import pylsl  # noqa: E402

from recording import RATE, STREAMS, decimate, load, signals  # noqa: E402


def sine(hz, rate, seconds=20):
    return np.sin(2 * np.pi * hz * np.arange(rate * seconds) / rate)


class Decimate(unittest.TestCase):
    def test_keeps_the_band_and_the_time(self):
        for s in STREAMS:
            hz = s.rate / 8
            out = decimate(sine(hz, RATE), RATE // s.rate)
            want = sine(hz, s.rate)
            edge = 2 * s.rate
            self.assertLess(np.abs(out - want)[edge:-edge].max(), 0.01, s.name)

    def test_nothing_folds_back(self):
        for s in STREAMS:
            out = decimate(sine(s.rate * 0.9, RATE), RATE // s.rate)
            edge = 2 * s.rate
            self.assertLess(np.abs(out[edge:-edge]).max(), 0.001, s.name)


# Where scripts/test.sh has built it.
OFFLINE = pathlib.Path(os.environ.get("GST_PLUGIN_PATH", ROOT / "target/debug")) / "mvp-offline"


@unittest.skipUnless(RECORDING.exists(), f"{RECORDING} is not here: scripts/setup.sh fetches it")
@unittest.skipUnless(OFFLINE.exists(), f"{OFFLINE} is not built: cargo build --bin mvp-offline")
@unittest.skipUnless(os.environ.get("ORT_DYLIB_PATH"), "ORT_DYLIB_PATH does not name libonnxruntime")
class TheHeartOfOnePerson(unittest.TestCase):
    """The shipped model says the same of one person's ECG and of their BVP."""

    def arousal(self, *names):
        arguments = []
        for s in STREAMS:
            if s.name not in names:
                continue
            rows = np.empty(len(self.samples[s.name]), [("t", "<u8"), ("v", "<f8")])
            rows["t"] = np.arange(len(rows)) * 1_000_000_000 // s.rate
            rows["v"] = self.samples[s.name]
            path = WORK / f"{s.name}.bin"
            path.write_bytes(rows.tobytes())
            arguments += ["--signal", f"{s.name.lower()}={s.rate}:{path}"]
        done = subprocess.run(
            [OFFLINE, "answer", ROOT / "models/default", *arguments],
            capture_output=True, text=True, check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        said = {r["window-end"]: r["arousal"] for r in map(json.loads, done.stdout.splitlines())}
        return said

    def test_answers_agree(self):
        self.samples = signals(load(RECORDING))
        ecg, ppg, eda = (
            self.arousal(*names) for names in (("EDA", "ECG"), ("EDA", "PPG"), ("EDA",))
        )
        ends = sorted(ecg.keys() & ppg.keys() & eda.keys())
        self.assertGreater(len(ends), 100)
        a, b, without = (np.array([said[t] for t in ends]) for said in (ecg, ppg, eda))
        apart = np.abs(a - b)
        r = np.corrcoef(a, b)[0, 1]
        same = np.mean((a > 0.5) == (b > 0.5))
        print(
            f"{len(ends)} answers, arousal with ECG against with BVP: mean {apart.mean():.3f}, "
            f"max {apart.max():.3f}, r {r:.3f}, same side of 0.5 {same:.3f}; "
            f"without a heart {np.abs(without - b).mean():.3f} from BVP's"
        )
        self.assertLess(apart.mean(), 0.05)
        self.assertGreater(r, 0.95)
        # Agreeing would be nothing if the heart were not heard.
        self.assertGreater(np.abs(without - b).mean(), 2 * apart.mean())


class Load(unittest.TestCase):
    def test_a_wrong_file_is_named(self):
        for content in (b"not bzip2", b""):
            bad = WORK / "bad.bz2"
            bad.write_bytes(content)
            with self.assertRaisesRegex(ValueError, "bad.bz2.*scripts/setup.sh"):
                load(bad)

    def test_the_recording_is_what_we_say(self):
        data = load(RECORDING)
        self.assertEqual(len(data), 120 * RATE)
        s = signals(data)
        # Resting skin conductance in microsiemens, R peaks near 1 mV.
        self.assertTrue((s["EDA"] > 1).all() and (s["EDA"] < 3).all())
        self.assertTrue(0.8 < s["ECG"].max() < 1.5)
        # 60-75 beats a minute, counted from the R peaks: this pins the rate.
        above = s["ECG"] > 0.6
        beats = np.count_nonzero(above[1:] & ~above[:-1])
        self.assertTrue(120 <= beats <= 150, beats)


class Send(unittest.TestCase):
    def test_a_receiver_gets_what_was_sent(self):
        save = WORK / "sent.npz"
        sender = subprocess.Popen(
            [sys.executable, HERE / "send_body.py", RECORDING, "--save", save],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            inlets, got = {}, {}
            for s in STREAMS:
                found = pylsl.resolve_byprop("source_id", f"gstmvp-demo-{s.name.lower()}", timeout=10)
                self.assertEqual(len(found), 1, s.name)
                inlets[s.name] = pylsl.StreamInlet(found[0])
                info = inlets[s.name].info(timeout=5)
                channel = info.desc().child("channels").child("channel")
                self.assertEqual(
                    (info.name(), info.type(), info.nominal_srate(), info.channel_count()),
                    (s.name, s.name, s.rate, 1),
                )
                self.assertEqual((channel.child_value("label"), channel.child_value("unit")), (s.label, s.unit))
                inlets[s.name].open_stream(timeout=5)
                got[s.name] = ([], [])
            end = time.monotonic() + 3
            late = []
            while time.monotonic() < end:
                for name, inlet in inlets.items():
                    values, stamps = inlet.pull_chunk(timeout=0.0)
                    if stamps:
                        late.append(pylsl.local_clock() - stamps[-1])
                        got[name][0].extend(v[0] for v in values)
                        got[name][1].extend(stamps)
                time.sleep(0.005)
        finally:
            inlets.clear()
            sender.send_signal(signal.SIGTERM)
            output, _ = sender.communicate(timeout=10)
        self.assertEqual(sender.returncode, 0)
        self.assertIn("ECG:", output)
        # Sent when due: never before the last sample's time, and soon after it.
        self.assertGreater(min(late), -0.001)
        self.assertLess(np.median(late), 0.05)
        sent = np.load(save)
        for s in STREAMS:
            values, stamps = map(np.array, got[s.name])
            self.assertGreaterEqual(len(values), 2 * s.rate, s.name)
            times = sent[f"{s.name}-time"]
            first = int(np.argmin(np.abs(times - stamps[0])))
            np.testing.assert_allclose(stamps, times[first : first + len(stamps)], atol=1e-6)
            np.testing.assert_array_equal(values, sent[s.name][first : first + len(values)])

    def test_it_stops_by_itself(self):
        run = subprocess.run(
            [sys.executable, HERE / "send_body.py", RECORDING, "--seconds", "1", "--only", "EDA,ECG"],
            capture_output=True,
            text=True,
            timeout=30,
        )
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("EDA: 4 samples in 4 pushes", run.stdout)
        self.assertIn("ECG: 256 samples in 16 pushes", run.stdout)
        self.assertNotIn("PPG", run.stdout)

    def test_an_unknown_stream_is_named(self):
        run = subprocess.run(
            [sys.executable, HERE / "send_body.py", RECORDING, "--only", "EEG"], capture_output=True, text=True
        )
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("EEG", run.stderr)


def result(second, **other):
    """One line of emotion.jsonl, as the surface has it."""
    fields = {
        "valence": 0.6,
        "arousal": 0.4,
        "label": "calm",
        "confidence": 0.3,
        "window-start": 0,
        "window-end": second * 10**9,
        "age": 0,
        "coverage-video": 1.0,
        "coverage-eda": 0.5,
        "quality-eda": 1.0,
        "sequence": second,
        "model": "made-up 1.0",
        "provider": "CPUExecutionProvider",
        "inference-time": 2_000_000,
        "warming-up": second < 5,
        "stale": False,
    }
    return json.dumps({**fields, **other}) + "\n"


class Results(unittest.TestCase):
    def run_script(self, name, *arguments):
        return subprocess.run(
            [sys.executable, HERE / name, *map(str, arguments)], capture_output=True, text=True, timeout=60
        )

    def write(self, *lines):
        path = WORK / "emotion.jsonl"
        path.write_text("".join(lines))
        return path

    def test_the_picture_is_drawn(self):
        results = self.write(*(result(i) for i in range(1, 9)))
        picture = WORK / "timeline.png"
        body = WORK / "body.npz"
        np.savez(body, **{"EDA": np.ones(40), "EDA-time": 100 + np.arange(40) / 4})
        run = self.run_script("plot.py", results, picture, "--body", body, "--base-time", "100")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(picture.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")

    def test_a_result_on_every_frame_counts_once(self):
        results = self.write('{"frame": 0}\n', result(1), result(1, age=33), result(2, valence=None))
        run = self.run_script("summary.py", results, "--frames-in", 60, "--frames-out", 60)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertRegex(run.stdout, "results +2, .*valence nan")
        self.assertIn("eda 0.50", run.stdout)
        self.assertNotIn("UNTRAINED", run.stdout)

    def test_an_untrained_model_is_called_so(self):
        results = self.write(result(1, trained=False))
        self.assertIn("UNTRAINED", self.run_script("summary.py", results, "--frames-in", 1, "--frames-out", 1).stdout)

    def test_less_than_expected_fails(self):
        cases = [
            ([result(1)], 30, "30 frames went in, 29"),
            ([result(1, **{"coverage-eda": 0.0})], 29, "nothing of eda"),
            ([], 29, "holds no result"),
            (["{\n"], 29, "line 1 is not JSON"),
            ([result(1), '{"valence": 1}\n'], 29, "line 2 has no field 'sequence'"),
        ]
        for lines, frames_in, message in cases:
            run = self.run_script("summary.py", self.write(*lines), "--frames-in", frames_in, "--frames-out", 29)
            self.assertNotEqual(run.returncode, 0, message)
            self.assertIn(message, run.stderr)


if __name__ == "__main__":
    unittest.main()
