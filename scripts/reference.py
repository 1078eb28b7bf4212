#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Writes the elements, pads and properties in docs/reference.md from the built plugin.

    scripts/reference.py [--plugin FILE]           write them
    scripts/reference.py [--plugin FILE] --check   fail, and say how to mend it, where the page
                                                   is not current

FILE is libgstmvp.so; without it the one in $GST_PLUGIN_PATH, or target/debug. Needs Python
with GStreamer's bindings (python3-gi, gir1.2-gstreamer-1.0): `$GSTMVP_PYTHON` of
target/env.sh is one. Only what the plugin itself defines is written, so the page does not
depend on the version of GStreamer.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference.md"
BEGIN = "<!-- elements: written by scripts/reference.py -->"
END = "<!-- end of elements -->"

# GST_PARAM_MUTABLE_READY, _PAUSED, _PLAYING and GST_PARAM_CONTROLLABLE of gstparamspecs.h.
CHANGEABLE = {1 << 10: "NULL, READY", 1 << 11: "up to PAUSED", 1 << 12: "any state"}
CONTROLLABLE = 1 << 9
TYPES = {
    "gchararray": "string",
    "gboolean": "boolean",
    "gint": "int",
    "guint": "uint",
    "gint64": "int64",
    "guint64": "uint64",
    "gfloat": "float",
    "gdouble": "double",
    "GstFraction": "fraction",
    "GstStructure": "structure",
}
LARGEST = {"int": 2**31 - 1, "uint": 2**32 - 1, "int64": 2**63 - 1, "uint64": 2**64 - 1}


def cell(text: object) -> str:
    """Text for a cell of a table."""
    escaped = str(text).replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
    # $ begins a formula in some renderers.
    return escaped.replace("$", "\\$")


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head), *rows]]


class Reference:
    def __init__(self, plugin: Path) -> None:
        try:
            import gi

            gi.require_version("Gst", "1.0")
            from gi.repository import GObject, Gst
        except (ImportError, ValueError) as e:
            sys.exit(f"error: {sys.executable} has no bindings of GStreamer ({e}); scripts/setup.sh makes $GSTMVP_PYTHON")

        self.gst, self.gobject = Gst, GObject
        Gst.init(None)
        self.plugin = Gst.Plugin.load_file(str(plugin))

    def text(self) -> str:
        registry = self.gst.Registry.get()
        features = registry.get_feature_list_by_plugin(self.plugin.get_name())
        lines: list[str] = []
        for feature in sorted(features, key=lambda f: (self.kind(f), f.get_name())):
            lines += self.feature(feature)
        return "\n".join(lines).rstrip("\n")

    def kind(self, feature) -> int:
        order = [self.gst.ElementFactory, self.gst.DeviceProviderFactory, self.gst.TypeFindFactory]
        for at, factory in enumerate(order):
            if isinstance(feature, factory):
                return at
        sys.exit(f"error: {feature.get_name()} is a {type(feature).__name__}; teach scripts/reference.py about it")

    def feature(self, feature) -> list[str]:
        name = feature.get_name()
        if isinstance(feature, self.gst.TypeFindFactory):
            endings = ", ".join(f"`.{e}`" for e in feature.get_extensions() or [])
            return [f"### `{name}` (type of file)", "", f"Recognised by its content. Usual ending: {endings}.", ""]
        described = [feature.get_metadata(k) for k in ("long-name", "description", "klass")]
        lines = [f"### `{name}`", "", f"{described[0]}. {described[1]}. Class `{described[2]}`, rank {feature.get_rank()}."]
        # The parent's own properties are documented by GStreamer.
        if isinstance(feature, self.gst.ElementFactory):
            thing = feature.create(None)
            own = thing.__gtype__
            lines[-1] += f" Derived from `{own.parent.name}`."
            lines += ["", *self.pads(feature)]
        else:
            thing = feature.get()
            own = thing.__gtype__
            lines.append("")
        lines += self.properties(own, "")
        for signal in self.gobject.signal_list_names(own) or []:
            lines += [f"Signal `{signal}`.", ""]
        return lines

    def pads(self, factory) -> list[str]:
        by_caps: dict[str, list] = {}
        for template in factory.get_static_pad_templates():
            by_caps.setdefault(self.caps(template.get_caps()), []).append(template)
        lines = []
        for caps, templates in by_caps.items():
            names = []
            for t in templates:
                presence = t.presence.value_nick
                names.append(f"`{t.name_template}` ({t.direction.value_nick}, {presence})")
            lines += [("Pad " if len(names) == 1 else "Pads ") + ", ".join(names) + ":", "", "```text", caps, "```", ""]
        by_type: dict[str, list] = {}
        for template in factory.create(None).get_pad_template_list():
            if template.props.gtype.name not in ("GstPad", "void", "invalid"):
                by_type.setdefault(template.props.gtype.name, []).append(template)
        for templates in by_type.values():
            names = ", ".join(f"`{t.props.name_template}`" for t in templates)
            of = (" of pad " if len(templates) == 1 else " of pads ") + names
            lines += self.properties(templates[0].props.gtype, of)
        return lines

    def caps(self, caps) -> str:
        """One structure a paragraph, one field a line; equal ones with other features once."""
        if caps.is_any():
            return "ANY"
        found: dict[str, list[str]] = {}
        for i in range(caps.get_size()):
            structure, features = caps.get_structure(i), caps.get_features(i)
            fields = []
            for n in range(structure.n_fields()):
                field = structure.nth_field_name(n)
                value = re.sub(r"\((?:\w+)\)", "", self.serialised(structure, field))
                value = value.replace(str(2**31 - 1), "max")
                # Newer versions of GStreamer know more.
                if field == "format" and value.count(",") > 50:
                    value = "every raw video format of GStreamer"
                fields.append(f"  {field}: {value}")
            name = structure.get_name()
            if features is not None and features.to_string() != "memory:SystemMemory":
                name += f"({features.to_string()})"
            found.setdefault("\n".join(sorted(fields)), []).append(name)
        return "\n".join(", ".join(names) + ("\n" + fields if fields else "") for fields, names in found.items())

    def serialised(self, structure, field: str) -> str:
        alone = structure.copy()
        alone.remove_all_fields()
        copy = structure.copy()
        for n in reversed(range(copy.n_fields())):
            other = copy.nth_field_name(n)
            if other != field:
                copy.remove_field(other)
        # "name, field=(type)value;"
        return copy.to_string().split("=", 1)[1].rstrip(";")

    def properties(self, own, of: str) -> list[str]:
        specs = [s for s in self.gobject.list_properties(own) if s.owner_type == own]
        if not specs:
            return []
        rows, enums = [], []
        for spec in sorted(specs, key=lambda s: s.name):
            kind = TYPES.get(spec.value_type.name)
            if kind is None:
                kind = "flags" if spec.value_type.is_a(self.gobject.TYPE_FLAGS) else "enum"
                enums.append(spec)
            rows.append(
                [f"`{spec.name}`", kind, self.default(spec, kind), self.range(spec, kind), self.access(spec), cell(spec.blurb)]
            )
        head = ["property", "type", "default", "range", "changed in", "meaning"]
        lines = [*([f"Properties{of}:", ""] if of else []), *table(head, rows), ""]
        for spec in enums:
            choices = self.values(spec)
            lines += [f"Values of `{spec.name}`:", ""]
            lines += [f"- `{nick}`: {cell(name)}" for nick, name in choices]
            lines += [""]
        return lines

    def values(self, spec) -> list[tuple[str, str]]:
        """Nick and description of each value of an enumeration."""
        if hasattr(spec, "enum_class"):
            found = spec.enum_class.__enum_values__
            return [(found[v].value_nick, found[v].value_name) for v in sorted(found)]
        found = spec.flags_class.__flags_values__
        return [(found[v].first_value_nick, found[v].first_value_name) for v in sorted(found)]

    def access(self, spec) -> str:
        if not spec.flags & self.gobject.ParamFlags.WRITABLE:
            return "read only"
        for flag, text in CHANGEABLE.items():
            if int(spec.flags) & flag:
                return text + (", controllable" if int(spec.flags) & CONTROLLABLE else "")
        return "any state"

    def default(self, spec, kind: str) -> str:
        if not spec.flags & self.gobject.ParamFlags.WRITABLE:
            return ""
        value = spec.default_value
        if kind == "fraction":
            return f"`{self.fraction(spec)[0]}`"
        if value is None:
            return "unset"
        if kind == "boolean":
            return f"`{str(value).lower()}`"
        if kind == "enum":
            return f"`{value.value_nick}`"
        if kind == "flags":
            return f"`{'+'.join(value.value_nicks) or '0'}`"
        if kind == "double":
            return f"`{value:g}`"
        return f"`{value}`"

    def range(self, spec, kind: str) -> str:
        if kind == "fraction":
            return "`{1}` – `{2}`".format(*self.fraction(spec))
        if not hasattr(spec, "minimum") or not spec.flags & self.gobject.ParamFlags.WRITABLE:
            return ""
        low, high = (self.number(v, kind) for v in (spec.minimum, spec.maximum))
        return f"{low} – {high}"

    @staticmethod
    def number(value, kind: str) -> str:
        if kind in LARGEST and value == LARGEST[kind]:
            return "max"
        return f"`{value:g}`" if kind == "double" else f"`{value}`"

    def fraction(self, spec) -> tuple[str, str, str]:
        """Default, least and largest: gst-inspect-1.0 tells what the bindings cannot."""
        out = subprocess.run(
            ["gst-inspect-1.0", spec.owner_type.name and self.element_of(spec.owner_type)],
            check=True, stdout=subprocess.PIPE, text=True,
        ).stdout
        lines = out.splitlines()
        at = next(i for i, l in enumerate(lines) if l.startswith(f"  {spec.name} "))
        found = next(m for l in lines[at:] if (m := re.search(r"Fraction\. Range: (\S+) - (\S+) Default: (\S+)", l)))
        return found[3], found[1], found[2].replace(str(2**31 - 1), "max")

    def element_of(self, gtype) -> str:
        for feature in self.gst.Registry.get().get_feature_list_by_plugin(self.plugin.get_name()):
            if isinstance(feature, self.gst.ElementFactory) and feature.get_element_type() == gtype:
                return feature.get_name()
        sys.exit(f"error: no element is a {gtype.name}")


def plugin_file(given: str | None) -> Path:
    if given:
        path = Path(given)
    else:
        folder = os.environ.get("GST_PLUGIN_PATH", "").split(os.pathsep)[0] or ROOT / "target" / "debug"
        path = Path(folder) / "libgstmvp.so"
    if not path.is_file():
        sys.exit(f"error: {path} is not there; run cargo build, or name the plugin with --plugin")
    return path.resolve()


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes the elements in docs/reference.md from the built plugin.")
    parser.add_argument("--plugin", metavar="FILE", help="libgstmvp.so")
    parser.add_argument("--check", action="store_true", help="only compare, and fail where the page is not current")
    arguments = parser.parse_args()
    plugin = plugin_file(arguments.plugin)
    old = PAGE.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"error: {PAGE.relative_to(ROOT)} has no lines '{BEGIN}' and '{END}'")
    with tempfile.TemporaryDirectory() as folder:
        # A registry of its own with this plugin alone.
        (Path(folder) / plugin.name).symlink_to(plugin)
        os.environ.update(GST_REGISTRY=f"{folder}/registry", GST_PLUGIN_PATH=folder, GST_PLUGIN_SYSTEM_PATH="")
        os.environ.pop("GST_PLUGIN_PATH_1_0", None)
        os.environ.pop("GST_PLUGIN_SYSTEM_PATH_1_0", None)
        text = Reference(plugin).text()
    new = f"{before}{BEGIN}\n{text}\n{END}{after}"
    if new == old:
        return
    if arguments.check:
        import difflib

        difference = list(difflib.unified_diff(old.splitlines(), new.splitlines(), "the page", "the plugin", lineterm="", n=0))
        print("\n".join(difference[:20]), file=sys.stderr)
        sys.exit(f"error: {PAGE.relative_to(ROOT)} is not what the plugin has; build it, run scripts/reference.py and commit the page")
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
