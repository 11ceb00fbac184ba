"""What an exposition must say about a report: an independent reading, to hold the exporter against.

Nothing here is taken from the exporter's code. The facts about the statistics stand in expositions_catalogue.tsv (key, kind,
unit, scale, metric); the rules are written down a second time, in another language and with another JSON reader. Given the
bytes of a bridge's answer, `read` says which samples must be there, in either naming, and what each family is.
"""

import calendar
import csv
import dataclasses
import json
import math
import pathlib
import re
import time

CATALOGUE = pathlib.Path(__file__).with_name("expositions_catalogue.tsv")

NAMINGS = ("standard", "legacy")

# How a help text must name the bridge's unit where the value is converted.
BRIDGE_UNIT = {
    "/1000": "milliseconds",
    "/8": "bits per second",
    "x125": "kilobits per second",
    "x1000000": "megabytes",
    "parse": "yyyy-MM-dd HH:mm:ss.SSS",
}

# What no bridge ever sent is exposed up to here, and counted beyond: objects in objects, bytes of an unknown key (with those of
# the objects around it), unknown keys, elements of an array.
NESTING = 16
LONGEST_KEY = 200
MOST_UNKNOWN = 2048
MOST_SIZES = 1024


@dataclasses.dataclass(frozen=True)
class Row:
    """One statistic of the catalogue."""

    key: str
    kind: str
    unit: str
    scale: str
    metric: str


def catalogue():
    """The rows by key."""
    with CATALOGUE.open(encoding="utf-8", newline="") as file:
        rows = [Row(**row) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return {row.key: row for row in rows}


ROWS = catalogue()


class Malformed(Exception):
    """The answer is no JSON."""


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
    key: str = ""
    # Whether the value is exposed as it came, in the bridge's own unit.
    untouched: bool = False

    def help_ends(self):
        """How the help text may end: with the key in brackets, and the bridge's unit if the value is converted."""
        keys = [self.key] if self.key in ROWS else []
        if self.kind == "info" and not self.untouched and keys:
            # One metric for all that a bridge says in words. Its help text does not change with what is there.
            return (" (version, release, region, relay_id).",)
        units = {key: BRIDGE_UNIT.get(ROWS[key].scale) for key in keys}
        plain = [f" ({key})." for key in keys if self.untouched or not units[key]]
        return (*plain, *(f" ({key}, {unit})." for key, unit in units.items() if unit)) or (".",)

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
    """`yyyy-MM-dd HH:mm:ss.SSS` in UTC, as Unix time."""
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", value, re.ASCII):
        return None
    try:
        seconds = calendar.timegm(time.strptime(value[:19], "%Y-%m-%d %H:%M:%S"))
    except ValueError:
        return None
    return Converted((seconds * 1000 + int(value[20:])) / 1000.0)


def count(value):
    """A number of things: an integer that is not negative, also if written as a float."""
    value = number(value)
    if value is None or not value >= 0 or math.isinf(value) or value != int(value):
        return None
    return int(value)


def sizes(value):
    """The elements of an array of counts, which may itself stand in a string."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = parse_json(value)
        except Malformed:
            return None
    if not isinstance(value, list) or isinstance(value, Members) or not 1 <= len(value) <= MOST_SIZES:
        return None
    counts = [count(element) for element in value]
    if None in counts or sum(counts) >= 2**64 or sum(size * n for size, n in enumerate(counts)) >= 2**64:
        return None
    return counts


def histogram(value):
    """The bounds with the cumulative counts, and the sum of what was observed."""
    if not isinstance(value, Members):
        return None
    members = value.last()
    total = number(members.get("total_value"))
    if total is None or not 0 <= total < math.inf or not isinstance(members.get("buckets"), Members):
        return None
    bounds = {}
    for key, n in members["buckets"].last().items():
        bound = re.fullmatch(r"(<=|>) (\d+)", key)
        if bound:
            bounds[float(bound.group(2)) if bound.group(1) == "<=" else math.inf] = count(n)
    if math.inf not in bounds or len(bounds) < 2 or None in bounds.values() or sum(bounds.values()) >= 2**64:
        return None
    running, cumulative = 0, []
    for bound in sorted(bounds):
        running += bounds[bound]
        cumulative.append((bound, running))
    return cumulative, Converted(total)


def unicode_text(text):
    """Half a surrogate pair is no text."""
    try:
        text.encode("utf-8")
        return True
    except UnicodeEncodeError:
        return False


def known(row, value, naming):
    """The family and the samples of a statistic of the catalogue, or None if its value is not what it should be."""
    legacy = naming == "legacy"
    name = f"jitsi_{row.key}" if legacy else row.metric
    scale, unit = ("", "") if legacy else (row.scale, row.unit)
    plain = {"boolean": "gauge", "timestamp": "gauge"}.get(row.kind, row.kind)
    family = Family(name, plain, unit, row.key, legacy)
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
            n = None if legacy else unix_time(value)
            return None if n is None else (family, [({}, n, "")])
        case "info":
            if not isinstance(value, str) or not unicode_text(value):
                return None
            if legacy:
                family = Family(f"{name}_info", "info", "", row.key, legacy)
            return family, [({row.key: str(value)}, 1, "")]
        case "sizes":
            counts = sizes(value)
            if counts is None:
                return None
            if legacy:
                family.kind = "labelled"
                return family, [({"conference_size": str(size)}, n, "") for size, n in enumerate(counts)]
            bounds = [float(size) for size in range(len(counts) - 1)] + [math.inf]
            samples = [({"le": bound}, sum(counts[: i + 1]), "_bucket") for i, bound in enumerate(bounds)]
            weighted = sum(size * n for size, n in enumerate(counts))
            return family, [*samples, ({}, sum(counts), "_gcount"), ({}, weighted, "_gsum")]
        case "histogram":
            read = histogram(value)
            if read is None:
                return None
            cumulative, total = read
            samples = [({"le": bound}, n, "_bucket") for bound, n in cumulative]
            return family, [*samples, ({}, cumulative[-1][1], "_count"), ({}, total, "_sum")]
    raise AssertionError(row.kind)


def arguable(row, value, naming):
    """What the contract leaves open: a value that may be read or not. The sample it would be."""
    legacy = naming == "legacy"
    name = f"jitsi_{row.key}" if legacy else row.metric
    n = number(value)
    if row.kind in ("gauge", "counter") and isinstance(value, bool):
        return convert(int(value), "" if legacy else row.scale), name
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
    if not isinstance(document, Members) or not document:
        return Reading(up=0, reason="no_statistics")

    reading = Reading()
    strange = Members()
    info = None
    members = document.last()
    for key, value in members.items():
        if key not in ROWS:
            strange.append((key, value))
    for key, row in ROWS.items():
        if key not in members:
            continue
        value = members[key]
        if key == "total_conferences" and naming == "standard":
            # Three builds of 2016 sent it under this key, all others under total_conferences_completed.
            if "total_conferences_completed" in members and known(ROWS["total_conferences_completed"], members["total_conferences_completed"], naming):
                reading.unexposed += 1
                continue
        result = known(row, value, naming)
        if result is None and isinstance(value, Members) and row.kind != "histogram":
            # A statistic that has become several is as good as unknown.
            strange.append((key, value))
            continue
        if result is None:
            sample = arguable(row, value, naming)
            if sample is not None and sample[0] is not None:
                reading.optional.append((identity(sample[1], {}), sample[0]))
            reading.unexposed += 1
            continue
        family, samples = result
        if row.kind == "info" and naming == "standard":
            # One metric for all four.
            if info is None:
                info = ({}, 1, "")
                reading.families.append(family)
            info[0].update(samples[0][0])
            continue
        reading.expose(family, samples)
        if naming == "legacy" and key.startswith("total_ice_"):
            # One of the older exporters printed these four without the prefix.
            reading.expose(Family(key, "counter", "", key, True), samples)
    if info is not None:
        reading.samples[identity(ROWS["version"].metric, info[0])] = [1]

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
