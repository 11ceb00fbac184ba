"""What an exposition must say about a report: an independent reading, to compare the exporter with.

The rules are written down a second time here, in another language and with another JSON reader. The facts about the statistics
(keys, kinds, units, names, help texts) come from fixtures/catalogue.tsv, which is generated from the exporter's own table and
reviewed as a file. Given the bytes of a bridge's response, `read` says which samples and which families must be there.
"""

import calendar
import collections
import csv
import dataclasses
import json
import math
import re
import time
from fractions import Fraction

from programs import FIXTURES, ROOT

NAMINGS = ("standard", "legacy")
FORMATS = ("openmetrics", "text")

# How a value of this unit is converted in standard names.
SCALE = {"Milliseconds": "/1000", "BitsPerSecond": "/8", "KilobitsPerSecond": "x125", "Megabytes": "x1000000"}

# The limits for what no bridge ever sent: objects in objects, bytes of an unknown key (with those of the objects around it),
# unknown keys, elements of an array.
NESTING = 16
LONGEST_KEY = 200
MOST_UNKNOWN = 1024
MOST_BUCKETS = 1024

DURATION = "jitsi_scrape_duration_seconds"
VERSION = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.M)[1]


class Row(collections.namedtuple("Row", "metric kind base_unit stats_key stats_unit native_key native_unit help")):
    """One statistic of the catalogue."""

    @property
    def key(self):
        """The key that legacy names have: that of /colibri/stats, if there is one."""
        return self.stats_key or self.native_key

    @property
    def unit(self):
        """The unit that legacy names have."""
        return self.stats_unit or self.native_unit

    def sources(self):
        """The keys with their units, the one that wins first."""
        return {key: unit for key, unit in ((self.stats_key, self.stats_unit), (self.native_key, self.native_unit)) if key}


def catalogue():
    """The rows, in the order of the catalogue."""
    with (FIXTURES / "catalogue.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Row(**row | {"kind": row["kind"].lower()}) for row in rows]


ROWS = catalogue()
KEYS = {key for row in ROWS for key in row.sources()}
# Labels alone do not make a bridge: /about/version has a version too.
STATISTICS = {key for row in ROWS if row.kind != "info" for key in row.sources()}


class Malformed(Exception):
    """The response is not JSON."""


class Number(str):
    """A JSON number, as it was written."""


class Members(list):
    """The members of a JSON object as pairs, duplicates included."""

    def last(self):
        """Of a key that comes twice, the last counts."""
        return dict(self)


def parse_json(text):
    """Reads JSON; numbers stay text, objects stay pairs."""

    def refuse(word):
        raise Malformed(f"{word} is not JSON")

    try:
        decoder = json.JSONDecoder(object_pairs_hook=Members, parse_int=Number, parse_float=Number, parse_constant=refuse)
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error


@dataclasses.dataclass
class Family:
    """The metadata of the samples of one name, in both formats."""

    name: str  # as Prometheus stores it: with _total, _info
    kind: str  # gauge, counter, info, sizes, labelled, histogram, unknown
    unit: str = ""
    help: str | None = None  # None where any text will do

    def types(self, form):
        """The names and the types of the families. In text 0.0.4 a distribution as it is now is three."""
        if form == "text":
            if self.kind == "sizes":
                return {self.name: "histogram", f"{self.name}_gcount": "gauge", f"{self.name}_gsum": "gauge"}
            return {self.name: {"info": "gauge", "labelled": "gauge"}.get(self.kind, self.kind)}
        if self.kind == "counter":
            is_total = self.name.endswith("_total")
            return {self.name.removesuffix("_total"): "counter" if is_total else "unknown"}
        if self.kind == "info":
            return {self.name.removesuffix("_info"): "info"}
        return {self.name: {"sizes": "gaugehistogram", "labelled": "gauge"}.get(self.kind, self.kind)}

    def reserved(self):
        """The names that no other family may have, in one format or the other."""
        base = next(iter(self.types("openmetrics")))
        suffixes = {
            "counter": ["", "_total", "_created"] if self.name.endswith("_total") else [""],
            "info": ["", "_info"],
            "sizes": ["", "_bucket", "_gcount", "_gsum", "_count", "_sum"],
            "histogram": ["", "_bucket", "_count", "_sum", "_created"],
        }
        return {base + suffix for suffix in suffixes.get(self.kind, [""])}


class Reading:
    """What an exposition must say, but for the duration of the scrape."""

    def __init__(self, reason=None):
        # (name, labels as sorted pairs) -> the value: an integer as it is, a float however it is written.
        self.samples = {}
        self.families = []
        self.expose(Family("jitsi_up", "gauge"), [({}, int(reason is None), "")])
        self.expose(Family(DURATION, "gauge", "seconds"), [])
        self.expose(Family("jitsi_exporter_build_info", "info"), [({"version": VERSION}, 1, "")])
        if reason:
            self.expose(Family("jitsi_scrape_error", "labelled"), [({"reason": reason}, 1, "")])
        # The number of values that have no metric, set at the end.
        self.expose(Family("jitsi_unexposed_values", "gauge"), [({}, 0, "")])

    def expose(self, family, samples):
        self.families.append(family)
        for labels, value, suffix in samples:
            self.samples[identity(family.name + suffix, labels)] = value


def identity(name, labels):
    """What tells samples apart. An upper bound is a number, however it is written; the commit of the build is left out."""
    labels = {label: value for label, value in labels.items() if (name, label) != ("jitsi_exporter_build_info", "revision")}
    pairs = ((label, repr(float(value)) if label == "le" else value) for label, value in labels.items())
    return name, tuple(sorted(pairs))


def same(found, wanted):
    """Whether a value is the wanted one: an integer digit for digit, a float as the same double."""
    if isinstance(wanted, int):
        return isinstance(found, int) and found == wanted
    return found == wanted or (math.isnan(found) and math.isnan(wanted))


def differences(found, wanted):
    """The samples that are missing, wrong or invented, as sentences. `found` also has the duration of the scrape."""
    found = dict(found)
    duration = found.pop(identity(DURATION, {}), math.nan)
    if not 0 <= duration < 10:
        yield f"wrong: {DURATION} {duration}"
    for sample, value in wanted.items():
        name = f"{sample[0]}{dict(sample[1]) or ''}"
        if sample not in found:
            yield f"missing: {name} {value}"
        elif not same(found[sample], value):
            yield f"wrong: {name} {found[sample]}, should be {value}"
    for name, labels in found.keys() - wanted.keys():
        yield f"invented: {name}{dict(labels) or ''} {found[name, labels]}"


def metadata_differences(found, families, form):
    """What is wrong with the metadata, as sentences. `found` has type, unit and help by name."""
    wanted = {name: (kind, family) for family in families for name, kind in family.types(form).items()}
    if found.keys() != wanted.keys():
        yield f"families in one place only: {sorted(found.keys() ^ wanted.keys())[:5]}"
    for name in found.keys() & wanted.keys():
        kind, family = wanted[name]
        should = (kind, family.unit if form == "openmetrics" else "", family.help or found[name][2])
        if found[name] != should or not found[name][2]:
            yield f"{name} is {found[name]}, should be {should}"


# Values


def number(value):
    """The number that a JSON value is or contains: an int if it was written as one and has at most 64 bits, or a float."""
    if isinstance(value, Number):
        text = str(value)
    elif isinstance(value, str):
        text = value.strip()
        words = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
        if text in words:
            return words[text]
        if not re.fullmatch(r"-?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?", text, re.ASCII):
            return None
        text = text.replace(",", ".")
    else:
        return None
    if re.fullmatch(r"-?\d+", text) and -(2**63) <= int(text) < 2**64:
        return int(text)
    result = float(text)
    return None if math.isinf(result) else result


def factor(unit):
    """How many base units one of these is."""
    scale = SCALE.get(unit, "x1")
    return Fraction(int(scale[1:])) if scale[0] == "x" else Fraction(1, int(scale[1:]))


def convert(value, scale):
    """A number of the bridge in the base unit."""
    if not scale:
        return value
    factor = int(scale[1:])
    try:
        # Integers are converted to a float last.
        result = float(value * factor) if scale[0] == "x" else value / factor
    except OverflowError:
        return None
    return None if math.isinf(result) and not math.isinf(value) else result


def truth(value):
    if isinstance(value, bool):
        return int(value)
    return {"true": 1, "1": 1, "false": 0, "0": 0}.get(str(value)) if isinstance(value, str) else None


def unix_time(value):
    """A time in UTC, as Unix time."""
    time_of_day = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"
    if not isinstance(value, str) or not re.fullmatch(time_of_day, value, re.ASCII):
        return None
    try:
        seconds = calendar.timegm(time.strptime(value[:10] + value[11:19], "%Y-%m-%d%H:%M:%S"))
    except ValueError:
        return None
    milliseconds = re.match(r"\.(\d+)", value[19:])
    milliseconds = int(milliseconds[1][:3].ljust(3, "0")) if milliseconds else 0
    return (seconds * 1000 + milliseconds) / 1000.0 if seconds >= 0 else None


def count(value):
    """A number of things: an integer that is not negative, also if written as a float."""
    value = number(value)
    if value is None or not 0 <= value < math.inf or value != int(value):
        return None
    return int(value)


def distribution(value):
    """The bounds with the cumulative counts, and the sum of what was observed. In any of three forms: an array, which may itself
    stand in a string; buckets, as in the bridge's own metrics; the ranges of 2021. None if it is none of them."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = parse_json(value)
        except Malformed:
            return None
    if isinstance(value, Members):
        members = value.last()
        buckets, total = ranges(members) if "buckets" in members else bridge_buckets(members)
    elif isinstance(value, list) and len(value) <= MOST_BUCKETS:
        counts = [count(element) for element in value]
        total = None if None in counts else sum(size * n for size, n in enumerate(counts))
        buckets = cumulative({(size if size + 1 < len(counts) else math.inf): n for size, n in enumerate(counts)})
    else:
        return None
    bounds, counts = [bound for bound, _ in buckets], [n for _, n in buckets]
    if None in counts or None in bounds or not 1 <= len(bounds) <= MOST_BUCKETS or len(set(bounds)) != len(bounds):
        return None
    if bounds[-1] != math.inf or counts != sorted(counts) or counts[-1] >= 2**64:
        return None
    if total is None or not 0 <= total < math.inf or (isinstance(total, int) and total >= 2**64):
        return None
    return buckets, total


def cumulative(counts):
    """The buckets of counts by upper bound."""
    if None in counts.values():
        return []
    bounds = sorted(counts)
    return [(float(bound), sum(counts[below] for below in bounds[: i + 1])) for i, bound in enumerate(bounds)]


def bridge_buckets(members):
    """`{"bucket_le_5.0": 3.0, ..., "bucket_le_+Inf": 3.0, "count": 3.0, "sum": 10.0}`"""
    buckets = []
    for key, n in members.items():
        bound = re.fullmatch(r"bucket_le_(\+Inf|.*)", key, re.S)
        if bound and not re.fullmatch(r"\+Inf|-?\d+(\.\d+)?", bound[1], re.ASCII):
            return [], None
        if bound:
            buckets.append((float(bound[1]), count(n)))
    if any(n is None for _, n in buckets):
        return [], None
    buckets.sort()
    if not buckets or count(members.get("count")) != buckets[-1][1]:
        return [], None
    return buckets, number(members.get("sum"))


def ranges(members):
    """`{"total_value": 9, "buckets": {"<= 7": 1, "> 7": 2}}`, not cumulative."""
    counts = {}
    for key, n in members["buckets"].last().items() if isinstance(members["buckets"], Members) else []:
        bound = re.fullmatch(r"(<=|>) (\d+)", key)
        if bound:
            counts[float(bound[2]) if bound[1] == "<=" else math.inf] = count(n)
    return cumulative(counts), number(members.get("total_value"))


def is_unicode(text):
    """Half a surrogate pair is not."""
    return not re.search("[\ud800-\udfff]", text)


# Statistics


def known(row, key, value, naming):
    """The family and the samples of a statistic of the catalogue, or None if its value is not what it should be."""
    legacy = naming == "legacy"
    sent = row.sources()[key]
    name, scale, unit = (f"jitsi_{row.key}", "", "") if legacy else (row.metric, SCALE.get(sent, ""), row.base_unit)
    if legacy and sent != row.unit:
        # Legacy names have the unit of one source.
        ratio = factor(sent) / factor(row.unit)
        scale = f"x{ratio}" if ratio.denominator == 1 else f"/{1 / ratio}"
    family = Family(name, {"boolean": "gauge", "timestamp": "gauge"}.get(row.kind, row.kind), unit, row.help)
    single = None
    match row.kind:
        case "gauge" | "counter":
            single = number(value)
            if single is not None and (row.kind == "gauge" or single >= 0):
                single = convert(single, scale)
            else:
                single = None
        case "boolean":
            single = truth(value)
        case "timestamp":
            # Older exporters expose a number as it is, and no text.
            single = unix_time(value) if not legacy else number(value) if isinstance(value, Number) else None
        case "info":
            # A number is taken as it was written.
            if not isinstance(value, str) or not is_unicode(value):
                return None
            family.name += "_info" if legacy else ""
            return family, [({row.key: str(value)}, 1, "")]
        case "sizes" | "histogram":
            return distribution_samples(row, family, value, legacy)
    return None if single is None else (family, [({}, single, "")])


def distribution_samples(row, family, value, legacy):
    read = distribution(value)
    if read is None:
        return None
    buckets, total = read
    counts = [n for _, n in buckets]
    if row.kind == "sizes" and legacy:
        if [bound for bound, _ in buckets[:-1]] != list(range(len(buckets) - 1)):
            # A bucket holds several sizes.
            return None
        family.kind = "labelled"
        single = [n - before for n, before in zip(counts, [0, *counts])]
        return family, [({"conference_size": str(size)}, n, "") for size, n in enumerate(single)]
    suffix = "_g" if row.kind == "sizes" else "_"
    samples = [({"le": bound}, n, "_bucket") for bound, n in buckets]
    total = total if row.kind == "sizes" else float(total)
    return family, [*samples, ({}, counts[-1], f"{suffix}count"), ({}, total, f"{suffix}sum")]


def unknown(members):
    """The numbers and booleans in an object by path, in the order in which they get a name, and the number of other values."""
    found, others, objects = [], 0, [("", members, NESTING)]
    while objects:
        prefix, members, nesting = objects.pop()
        for key, value in sorted(members.last().items()):
            path = prefix + key
            has_room = len(found) + len(objects) < MOST_UNKNOWN and len(path.encode("utf-8", "surrogatepass")) <= LONGEST_KEY
            if has_room and isinstance(value, Members) and nesting > 0:
                objects.append((path + "_", value, nesting - 1))
            elif has_room and isinstance(value, bool):
                found.append((path, int(value)))
            elif has_room and isinstance(value, Number) and number(value) is not None:
                found.append((path, number(value)))
            else:
                others += 1
    return found, others


def read(body, naming):
    """What an exposition must say about the response of a bridge."""
    try:
        document = parse_json(body.decode("utf-8"))
    except (Malformed, UnicodeDecodeError):
        return Reading("malformed")
    if isinstance(document, list) and not isinstance(document, Members) and len(document) == 1:
        document = document[0]
    if not isinstance(document, Members) or not STATISTICS.intersection(document.last()):
        return Reading("no_statistics")

    reading = Reading()
    members = document.last()
    strange = Members((key, value) for key, value in members.items() if key not in KEYS)
    bridge_info = {}
    exposed, names = set(), set()
    for row in ROWS:
        done = False
        for key in row.sources():
            value = members.get(key)
            if isinstance(value, Members) and row.kind not in ("sizes", "histogram"):
                # A statistic that has become several is as good as unknown.
                if key not in exposed:
                    strange.append((key, value))
                    exposed.add(key)
                continue
            result = known(row, key, value, naming) if key in members and not done else None
            # Two rows can have one name: three builds of 2016 sent one counter under another key.
            if result is None or result[0].name in names:
                continue
            family, samples = result
            if row.kind == "info" and naming == "standard":
                # One metric for all four.
                bridge_info |= samples[0][0]
            else:
                names.add(family.name)
                reading.expose(family, samples)
            if naming == "legacy" and row.key.startswith("total_ice_"):
                # One of the older exporters printed these four without the prefix.
                reading.expose(Family(row.key, "counter", "", row.help), samples)
            exposed.add(key)
            done = True
    if bridge_info:
        text = "Information about the bridge (version, release, region, relay_id)."
        reading.expose(Family("jitsi_bridge_info", "info", "", text), [(bridge_info, 1, "")])

    found, others = unknown(strange)
    unexposed = others + sum(key in KEYS and key not in exposed for key in members)
    own = [Family("jitsi_scrape_error", "labelled"), *reading.families]
    taken = set().union(*(family.reserved() for family in own))
    for path, value in found:
        # Half a surrogate pair is three bytes that cannot stand in a name.
        name = "jitsi_" + re.sub(r"[^A-Za-z0-9_]", "_", re.sub("[\ud800-\udfff]", "___", path))
        if name in taken:
            unexposed += 1
        else:
            taken.add(name)
            reading.expose(Family(name, "unknown"), [({}, value, "")])
    reading.samples[identity("jitsi_unexposed_values", {})] = unexposed
    return reading
