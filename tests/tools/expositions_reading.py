"""What an exposition must say about a report: an independent reading, to hold the exporter against.

The rules are written down a second time here, in another language and with another JSON reader. The facts about the statistics
(keys, kinds, units, names) come from fixtures/catalogue.tsv, which is generated from the exporter's own table and reviewed as a
file. Given the bytes of a bridge's response, `read` says which samples must be there, in either naming, and what each family is.
"""

import calendar
import csv
import dataclasses
import json
import math
import pathlib
import re
import time

CATALOGUE = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "catalogue.tsv"

NAMINGS = ("standard", "legacy")

# What is done to a value of this unit in standard names, and how a help text must name the unit.
SCALE = {"Milliseconds": "/1000", "BitsPerSecond": "/8", "KilobitsPerSecond": "x125", "Megabytes": "x1000000"}
BRIDGE_UNIT = {
    "Milliseconds": "milliseconds",
    "BitsPerSecond": "bits per second",
    "KilobitsPerSecond": "kilobits per second",
    "Megabytes": "megabytes",
    "DateTime": "yyyy-MM-dd HH:mm:ss.SSS",
}

# What no bridge ever sent is exposed up to here, and counted beyond: objects in objects, bytes of an unknown key (with those of
# the objects around it), unknown keys, elements of an array.
NESTING = 16
LONGEST_KEY = 200
MOST_UNKNOWN = 1024
MOST_BUCKETS = 1024


@dataclasses.dataclass(frozen=True)
class Row:
    """One statistic of the catalogue."""

    metric: str
    kind: str
    base_unit: str
    stats_key: str
    stats_unit: str
    native_key: str
    native_unit: str
    help: str

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

    def keys_in_help(self):
        """How the help text must name the keys."""

        def named(keys, unit):
            return keys + (f", {BRIDGE_UNIT[unit]}" if unit in BRIDGE_UNIT else "")

        if len(self.sources()) == 1:
            return named(self.key, self.unit)
        if self.stats_unit == self.native_unit:
            return named(f"{self.stats_key} or {self.native_key}", self.unit)
        return f"{named(self.stats_key, self.stats_unit)}, or {named(self.native_key, self.native_unit)}"


def catalogue():
    """The rows, in the order of the catalogue."""
    with CATALOGUE.open(encoding="utf-8", newline="") as file:
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
    """The members of a JSON object as pairs, duplicates and all."""

    def last(self):
        """Of a key that comes twice, the last counts."""
        return dict(self)


def parse_json(text):
    """Reads JSON; numbers stay text, objects stay pairs."""

    def refuse(word):
        raise Malformed(f"{word} is no JSON")

    try:
        decoder = json.JSONDecoder(object_pairs_hook=Members, parse_int=Number, parse_float=Number, parse_constant=refuse)
        return decoder.decode(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error


@dataclasses.dataclass
class Family:
    """What is known about the samples of one name, in both formats."""

    name: str  # as Prometheus stores it: with _total, _info
    kind: str  # gauge, counter, info, sizes, labelled, histogram, unknown
    unit: str = ""
    row: Row | None = None
    # Whether the value is exposed as it came, in the bridge's own unit.
    untouched: bool = False

    def help_ends(self):
        """How the help text must end: with the keys in brackets, and the bridge's unit if the value is converted."""
        if self.row is None:
            return "."
        if self.kind == "info" and not self.untouched:
            # One metric for all that a bridge says in words. Its help text does not change with what is there.
            return " (version, release, region, relay_id)."
        return f" ({self.row.keys_in_help()})."

    def openmetrics(self):
        """The name and the type of the family in OpenMetrics."""
        if self.kind == "counter":
            return (self.name[: -len("_total")], "counter") if self.name.endswith("_total") else (self.name, "unknown")
        if self.kind == "info":
            return self.name[: -len("_info")], "info"
        return self.name, {"sizes": "gaugehistogram", "labelled": "gauge"}.get(self.kind, self.kind)

    def text(self):
        """The names and the types of the families in text 0.0.4. A distribution as it is now is three."""
        if self.kind == "sizes":
            return [(self.name, "histogram"), (f"{self.name}_gcount", "gauge"), (f"{self.name}_gsum", "gauge")]
        return [(self.name, {"info": "gauge", "labelled": "gauge", "unknown": "untyped"}.get(self.kind, self.kind))]

    def reserved(self):
        """The names that no other family may have, in one format or the other."""
        base, _ = self.openmetrics()
        suffixes = {
            "counter": ["", "_total", "_created"] if self.name.endswith("_total") else [""],
            "info": ["", "_info"],
            "sizes": ["", "_bucket", "_gcount", "_gsum", "_count", "_sum"],
            "histogram": ["", "_bucket", "_count", "_sum", "_created"],
        }
        return {base + suffix for suffix in suffixes.get(self.kind, [""])}


@dataclasses.dataclass
class Reading:
    """What an exposition must say."""

    up: int = 1
    reason: str = ""
    # (name, labels as sorted pairs) -> the values it may have; several only where two keys of the report claim one name and
    # nothing says which of them has it.
    samples: dict = dataclasses.field(default_factory=dict)
    families: list = dataclasses.field(default_factory=list)
    # Values that have no metric.
    unexposed: int = 0
    # Samples that may be there or not, as (identity, value). One that is not there is one more unexposed value.
    optional: list = dataclasses.field(default_factory=list)
    # How many of those must be there.
    of_optional: int = 0

    def expose(self, family, samples):
        self.families.append(family)
        for labels, value, suffix in samples:
            self.samples[identity(family.name + suffix, labels)] = [value]


def identity(name, labels):
    """What tells samples apart. An upper bound is a number, however it is written; the commit of the build is left out."""
    labels = {label: value for label, value in dict(labels).items() if (name, label) != ("jitsi_exporter_build_info", "revision")}
    pairs = ((label, repr(float(value)) if label == "le" else value) for label, value in labels.items())
    return name, tuple(sorted(pairs))


def shown(sample):
    """A sample as a person would write it."""
    name, labels = sample
    return name + ("{" + ",".join(f"{label}={value!r}" for label, value in labels) + "}" if labels else "")


class Converted(float):
    """A value that was calculated: it must be the same double, however it is written."""


def same(text, value):
    """Whether the text of a sample is this value: an integer digit for digit, a float as the same double."""
    if isinstance(value, int):
        return text == str(value)
    number = float(text.replace("Inf", "inf"))
    return number == value or (math.isnan(number) and math.isnan(value))


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


def convert(value, scale):
    """A number of the bridge in the base unit."""
    if not scale:
        return value
    operation, factor = re.fullmatch(r"([x/])(\d+)", scale).groups()
    factor = int(factor)
    if isinstance(value, int):
        if operation == "x" and abs(value * factor) < 2**64:
            return Converted(value * factor)
        if operation == "/" and value % factor == 0:
            return Converted(value // factor)
    try:
        result = float(value) * float(factor) if operation == "x" else float(value) / float(factor)
    except OverflowError:
        return None
    return None if math.isinf(result) and not math.isinf(value) else Converted(result)


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
    milliseconds = int(milliseconds.group(1)[:3].ljust(3, "0")) if milliseconds else 0
    return Converted((seconds * 1000 + milliseconds) / 1000.0) if seconds >= 0 else None


def count(value):
    """A number of things: an integer that is not negative, also if written as a float."""
    value = number(value)
    if value is None or not value >= 0 or math.isinf(value) or value != int(value):
        return None
    return int(value)


def distribution(value):
    """The bounds with the cumulative counts, and the sum of what was observed. In any of three forms: an array, which may itself
    stand in a string, the buckets of the bridge's own metrics, and the ranges of 2021."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = parse_json(value)
        except Malformed:
            return None
    if isinstance(value, Members):
        members = value.last()
        return ranges(members) if "buckets" in members else buckets(members)
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_BUCKETS:
        return None
    counts = [count(element) for element in value]
    if None in counts:
        return None
    total = sum(size * n for size, n in enumerate(counts))
    bounds = [float(size) for size in range(len(counts) - 1)] + [math.inf]
    return checked(list(zip(bounds, accumulated(counts), strict=True)), total)


def accumulated(counts):
    return [sum(counts[: i + 1]) for i in range(len(counts))]


def buckets(members):
    """`{"bucket_le_5.0": 3.0, ..., "bucket_le_+Inf": 3.0, "count": 3.0, "sum": 10.0}`"""
    cumulative = []
    for key, n in members.items():
        bound = re.fullmatch(r"bucket_le_(.*)", key, re.S)
        if bound and bound.group(1) == "+Inf":
            cumulative.append((math.inf, count(n)))
        elif bound:
            limit = number(Number(bound.group(1))) if re.fullmatch(r"-?\d+(\.\d+)?", bound.group(1), re.ASCII) else None
            cumulative.append((None if limit is None else float(limit), count(n)))
    if any(None in bucket for bucket in cumulative):
        return None
    cumulative.sort()
    counts = [n for _, n in cumulative]
    if not counts or counts != sorted(counts) or count(members.get("count")) != counts[-1]:
        return None
    return checked(cumulative, number(members.get("sum")))


def ranges(members):
    """`{"total_value": 9, "buckets": {"<= 7": 1, "> 7": 2}}`, not cumulative."""
    if not isinstance(members["buckets"], Members):
        return None
    counts = {}
    for key, n in members["buckets"].last().items():
        bound = re.fullmatch(r"(<=|>) (\d+)", key)
        if bound:
            counts[float(bound.group(2)) if bound.group(1) == "<=" else math.inf] = count(n)
    if None in counts.values():
        return None
    bounds = sorted(counts)
    cumulative = accumulated([counts[bound] for bound in bounds])
    return checked(list(zip(bounds, cumulative, strict=True)), number(members.get("total_value")))


def checked(cumulative, total):
    """What both formats demand."""
    bounds = [bound for bound, _ in cumulative]
    if not bounds or bounds[-1] != math.inf or len(bounds) > MOST_BUCKETS or len(set(bounds)) != len(bounds):
        return None
    if cumulative[-1][1] >= 2**64 or total is None or not 0 <= total < math.inf or (isinstance(total, int) and total >= 2**64):
        return None
    return cumulative, total


def unicode_text(text):
    """Half a surrogate pair is not text."""
    try:
        text.encode("utf-8")
        return True
    except UnicodeEncodeError:
        return False


def known(row, key, value, naming):
    """The family and the samples of a statistic of the catalogue, or None if its value is not what it should be."""
    legacy = naming == "legacy"
    name = f"jitsi_{row.key}" if legacy else row.metric
    sent = row.sources()[key]
    scale, unit = (SCALE.get(sent, ""), row.base_unit) if not legacy else ("", "")
    if legacy and sent != row.unit:
        # The one difference between the two sources.
        assert (sent, row.unit) == ("BitsPerSecond", "KilobitsPerSecond")
        scale = "/1000"
    plain = {"boolean": "gauge", "timestamp": "gauge"}.get(row.kind, row.kind)
    family = Family(name, plain, unit, row, legacy)
    match row.kind:
        case "gauge" | "counter":
            n = number(value)
            if n is None or (row.kind == "counter" and not n >= 0):
                return None
            n = convert(n, scale)
            return None if n is None else (family, [({}, n, "")])
        case "boolean":
            n = truth(value)
            return None if n is None else (family, [({}, n, "")])
        case "timestamp":
            n = unix_time(value) if not legacy else number(value) if isinstance(value, Number) else None
            return None if n is None else (family, [({}, n, "")])
        case "info":
            if not isinstance(value, str) or not unicode_text(value):
                return None
            if legacy:
                family = Family(f"{name}_info", "info", "", row, legacy)
            return family, [({row.key: str(value)}, 1, "")]
        case "sizes" | "histogram":
            read = distribution(value)
            if read is None:
                return None
            cumulative, total = read
            if row.kind == "sizes" and legacy:
                sizes = [bound for bound, _ in cumulative[:-1]]
                if sizes != [float(size) for size in range(len(sizes))]:
                    # A bucket holds several sizes.
                    return None
                family.kind = "labelled"
                counts = [n for _, n in cumulative]
                single = [n - before for n, before in zip(counts, [0, *counts], strict=False)]
                return family, [({"conference_size": str(size)}, n, "") for size, n in enumerate(single)]
            samples = [({"le": bound}, n, "_bucket") for bound, n in cumulative]
            if row.kind == "sizes":
                return family, [*samples, ({}, cumulative[-1][1], "_gcount"), ({}, total, "_gsum")]
            return family, [*samples, ({}, cumulative[-1][1], "_count"), ({}, Converted(total), "_sum")]
    raise AssertionError(row.kind)


def arguable(row, key, value, naming):
    """What the contract leaves open: a value that may be read or not. The sample it would be."""
    legacy = naming == "legacy"
    name = f"jitsi_{row.key}" if legacy else row.metric
    n = number(value)
    if row.kind in ("gauge", "counter") and isinstance(value, bool):
        return convert(int(value), "" if legacy else SCALE.get(row.sources()[key], "")), name
    if row.kind == "boolean" and n is not None:
        return n, name
    if row.kind == "counter" and legacy and n is not None:
        # Of unknown type in OpenMetrics, where it then may be negative; "untouched", but a counter all the same.
        return n, name
    return None


OWN = [
    Family("jitsi_up", "gauge"),
    Family("jitsi_scrape_error", "labelled"),
    Family("jitsi_scrape_duration_seconds", "gauge", "seconds"),
    Family("jitsi_unexposed_values", "gauge"),
    Family("jitsi_exporter_build_info", "info"),
]


def names_of(path):
    """`jitsi_` and the key made valid. Half a surrogate pair may become one underscore or three, as it is one character that
    nobody can write and three bytes."""
    base = "jitsi_" + re.sub(r"[^A-Za-z0-9_]", "_", path)
    if unicode_text(path):
        return [base]
    wide = "".join("___" if "\ud800" <= c <= "\udfff" else c for c in path)
    return [base, "jitsi_" + re.sub(r"[^A-Za-z0-9_]", "_", wide)]


def unknown(prefix, members, nesting, found):
    """The numbers and booleans in an object, by path. Returns how many other values there are."""
    others = 0
    for key, value in members.last().items():
        path = prefix + key
        if len(path.encode("utf-8", "surrogatepass")) > LONGEST_KEY:
            others += 1
        elif isinstance(value, Members):
            if nesting > 0:
                others += unknown(path + "_", value, nesting - 1, found)
            else:
                others += 1
        elif isinstance(value, bool):
            found.append((path, int(value)))
        elif isinstance(value, Number) and number(value) is not None:
            found.append((path, number(value)))
        else:
            others += 1
    return others


def read(body, naming):
    """What an exposition must say about the answer of a bridge."""
    try:
        document = parse_json(body.decode("utf-8"))
    except (Malformed, UnicodeDecodeError):
        return Reading(up=0, reason="malformed")
    if isinstance(document, list) and not isinstance(document, Members) and len(document) == 1:
        document = document[0]
    if not isinstance(document, Members) or not STATISTICS.intersection(document.last()):
        return Reading(up=0, reason="no_statistics")

    reading = Reading()
    members = document.last()
    strange = Members((key, value) for key, value in members.items() if key not in KEYS)
    info = None
    exposed = set()
    names = set()
    for row in ROWS:
        done = False
        for key in row.sources():
            if key not in members:
                continue
            value = members[key]
            if isinstance(value, Members) and row.kind not in ("sizes", "histogram"):
                # A statistic that has become several is as good as unknown.
                if key not in exposed:
                    strange.append((key, value))
                    exposed.add(key)
                continue
            if done:
                continue
            result = known(row, key, value, naming)
            if result is None:
                sample = arguable(row, key, value, naming)
                if sample is not None and sample[0] is not None:
                    reading.optional.append((identity(sample[1], {}), sample[0]))
                continue
            family, samples = result
            if row.kind == "info" and naming == "standard":
                # One metric for all four.
                if info is None:
                    info = ({}, 1, "")
                    reading.families.append(family)
                info[0].update(samples[0][0])
            elif family.name in names:
                # Two rows can have one name: three builds of 2016 sent one counter under another key.
                continue
            else:
                names.add(family.name)
                reading.expose(family, samples)
                if naming == "legacy" and row.key.startswith("total_ice_"):
                    # One of the older exporters printed these four without the prefix.
                    reading.expose(Family(row.key, "counter", "", row, True), samples)
            exposed.add(key)
            done = True
    reading.unexposed += sum(key in KEYS and key not in exposed for key in members)
    if info is not None:
        reading.samples[identity("jitsi_bridge_info", info[0])] = [1]

    reserved = set().union(*(family.reserved() for family in [*OWN, *reading.families]))
    found = []
    reading.unexposed += unknown("", strange, NESTING, found)
    claims = {}
    for path, value in found:
        names = names_of(path)
        if reserved.intersection(names):
            reading.unexposed += 1
        else:
            claims.setdefault(tuple(names), []).append((path, value))
    if len(claims) > MOST_UNKNOWN:
        # Which of them does not matter.
        for names, claimed in claims.items():
            reading.optional += [(identity(names[0], {}), value) for _, value in claimed]
        reading.unexposed += sum(map(len, claims.values()))
        reading.of_optional = MOST_UNKNOWN
        claims = {}
    for names, claimed in claims.items():
        reading.unexposed += len(claimed) - 1
        reading.families.append(Family("|".join(names), "unknown"))
        reading.samples[identity("|".join(names), {})] = [value for _, value in claimed]
    return reading
