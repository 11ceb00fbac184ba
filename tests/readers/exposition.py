"""A strict reader of OpenMetrics 1.0 and of text 0.0.4, as far as the exporter uses them.

It shares no code with the readers that it is compared with. It raises `Invalid` for everything that the specifications forbid, and for
what they allow but the exporter never writes: exemplars, timestamps, NaN, infinities.
"""

import collections
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL})(?:,{LABEL})*)\}})? (\S+)")
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")

# The suffixes of the samples of each type. The type of a sample with another suffix is None.
GAUGE = {"": None}
HISTOGRAM = {"_bucket": "le", "_count": None, "_sum": None}
TYPES = {
    "openmetrics": {
        "counter": {"_total": None}, "gauge": GAUGE, "unknown": GAUGE, "info": {"_info": None}, "histogram": HISTOGRAM,
        "gaugehistogram": {"_bucket": "le", "_gcount": None, "_gsum": None},
    },
    "text": {"counter": GAUGE, "gauge": GAUGE, "untyped": GAUGE, "histogram": HISTOGRAM},
}

Sample = collections.namedtuple("Sample", "type name labels value")


class Invalid(Exception):
    """The exposition breaks a rule of its format."""


def require(condition, message):
    if not condition:
        raise Invalid(message)


def series(name, labels):
    """A name with its labels, as a line has them. Bounds of buckets are numbers, however they are written."""
    pairs = ((label, repr(float(value)) if label == "le" else value) for label, value in sorted(labels.items()))
    inner = ",".join(f'{label}="{value}"' for label, value in pairs)
    return f"{name}{{{inner}}}" if inner else name


def parse(text, form):
    """The samples of an exposition by series, in their order."""
    require(text.endswith("\n"), "the last line does not end")
    lines = text[:-1].split("\n")
    if form == "openmetrics":
        require(lines.pop() == "# EOF", "the last line is not # EOF")
    samples, seen, family = {}, set(), {}
    for line in lines:
        if line.startswith("#"):
            mark, keyword, name, value = [*line.split(" ", 3), "", "", ""][:4]
            require(mark == "#" and keyword in ("HELP", "TYPE", "UNIT"), f"a comment: {line}")
            if family.get("name") != name:
                check_family(family)
                family = {"name": name, "samples": []}
                require(name not in seen, f"the lines of {name} are not together")
                seen.add(name)
            require(keyword not in family and not family["samples"], f"a second or a late {keyword}: {line}")
            family[keyword] = value
            require(keyword != "TYPE" or value in TYPES[form], f"not a type: {line}")
            require(keyword != "UNIT" or form == "openmetrics" and name.endswith("_" + value), f"not the unit of the name: {line}")
            continue
        match = SAMPLE.fullmatch(line)
        require(match, f"not a sample: {line}")
        name, labels, value = match.groups()
        require("TYPE" in family, f"a sample without a type: {line}")
        suffixes = TYPES[form][family["TYPE"]]
        suffix = name.removeprefix(family["name"]) if name.startswith(family["name"]) else None
        require(suffix in suffixes, f"not a name of {family['name']} ({family['TYPE']}): {line}")
        pairs = [pair.split("=", 1) for pair in re.findall(LABEL, labels or "")]
        unescape = lambda quoted: re.sub(r"\\(.)", lambda c: {"n": "\n"}.get(c[1], c[1]), quoted[1:-1])
        labels = {label: unescape(quoted) for label, quoted in pairs}
        require(len(labels) == len(pairs), f"a label comes twice: {line}")
        require(suffixes[suffix] is None or suffixes[suffix] in labels, f"a bucket without a bound: {line}")
        require(NUMBER.fullmatch(value), f"not a finite number: {line}")
        sample = Sample(family["TYPE"], name, labels, float(value))
        accumulates = sample.type in ("counter", "histogram", "gaugehistogram")
        require(not accumulates or sample.value >= 0, f"negative: {line}")
        require(series(name, labels) not in samples, f"a second sample of one series: {line}")
        samples[series(name, labels)] = sample
        family["samples"].append(sample)
    check_family(family)
    return samples


def check_family(family):
    """Checks that a family has samples, and that its buckets ascend to the count and come before it, which some parsers require."""
    if not family:
        return
    require(family["samples"], f"{family['name']} has no samples")
    buckets = [(float(sample.labels["le"]), sample.value) for sample in family["samples"] if sample.name.endswith("_bucket") and "le" in sample.labels]
    if family["TYPE"] in ("histogram", "gaugehistogram"):
        require(buckets == sorted(buckets) and len(dict(buckets)) == len(buckets), f"the buckets of {family['name']} do not ascend")
        counts = [count for _, count in buckets]
        require(counts == sorted(counts) and buckets and buckets[-1][0] == float("inf"), f"the counts of {family['name']} fall, or +Inf is missing")
        [count] = [sample.value for sample in family["samples"] if sample.name.endswith("count")] or [None]
        require(count == counts[-1], f"the count of {family['name']} is not its last bucket")


def check_sequence(before, after):
    """Checks two scrapes of one process of the bridge: types are the same, counters do not fall."""
    for name, sample in after.items():
        earlier = before.get(name, sample)
        require(earlier.type == sample.type, f"{name} was a {earlier.type} and is a {sample.type}")
        accumulates = sample.type in ("counter", "histogram") and not sample.name.endswith("_sum")
        require(not accumulates or sample.value >= earlier.value, f"{name} fell from {earlier.value} to {sample.value}")


# Valid, and the same with one fault each: what is replaced, by what, and which words the refusal has.
EXAMPLE = """\
# HELP a Help.
# TYPE a counter
a_total 1
# TYPE b_seconds gauge
# UNIT b_seconds seconds
b_seconds{x="1"} 2.5
b_seconds{x="2"} 3e-05
# TYPE c histogram
c_bucket{le="1.0"} 1
c_bucket{le="+Inf"} 3
c_count 3
c_sum 7
# EOF
"""
FAULTS = [
    ("# EOF\n", "", "not # EOF"),
    ("# EOF\n", "# EOF\n# EOF\n", "a comment"),
    ("# EOF\n", "# EOF", "does not end"),
    ("# EOF", "# TYPE a counter\na_total 2\n# EOF", "not together"),
    ("a_total 1", "a_total 1\na_total 1", "second sample"),
    ("a_total 1", "a_total -1", "negative"),
    ("a_total 1", "a 1", "not a name"),
    ("a_total 1", "a_total NaN", "not a finite number"),
    ("a_total 1", "a_total +Inf", "not a finite number"),
    ("a_total 1\n", "", "no samples"),
    ("a_total 1", "a_total  1", "not a sample"),
    ("# TYPE a counter\n", "", "without a type"),
    ("# TYPE a counter", "# TYPE a counter\n# TYPE a gauge", "a second"),
    ("# TYPE a counter", "# TYPE a untyped", "not a type"),
    ("# UNIT b_seconds seconds", "# UNIT b_seconds bytes", "not the unit"),
    ('{x="1"}', '{x="1",x="2"}', "comes twice"),
    ('{x="1"}', '{x="\\t"}', "not a sample"),
    ('x="2"', 'x="1"', "second sample"),
    ('{le="1.0"}', "", "without a bound"),
    ('{le="1.0"} 1', '{le="1.0"} 4', "fall"),
    ('{le="+Inf"} 3', '{le="2.0"} 3', "+Inf is missing"),
    ("c_count 3", "c_count 4", "not its last bucket"),
]


def check_faults():
    """The faults that this reader fails to reject, as sentences."""
    first = parse(EXAMPLE, "openmetrics")
    if [sample.value for sample in first.values()] != [1, 2.5, 3e-05, 1, 3, 3, 7]:
        yield f"the strict reader misreads its example: {first}"
    for old, new, words in FAULTS:
        try:
            parse(EXAMPLE.replace(old, new, 1), "openmetrics")
            yield f"the strict reader accepts {new!r} for {old!r}"
        except Invalid as refusal:
            if words not in str(refusal):
                yield f"the strict reader says {refusal} of {new!r}"
    try:
        check_sequence(first, parse(EXAMPLE.replace("a_total 1", "a_total 0"), "openmetrics"))
        yield "the strict reader accepts a counter that falls"
    except Invalid:
        pass
