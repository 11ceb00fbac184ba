#!/usr/bin/env bash
# One would guess that parse-prometheus-text-format gives a histogram the labels that its samples have beside le, as it does for gauges:
# one entry for each handler, say.
# What happens: all samples of the family become one entry without labels. Its buckets are those of the last label set, and count and sum
# are missing. Without a label the same histogram is complete.
# Who meets it: Node.js programs that read request durations by handler or by status, which is how most services have them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund parse-prometheus-text-format@1.1.1
echo "parse-prometheus-text-format 1.1.1:"
node - <<'END'
const assert = require("assert");
const parse = require("parse-prometheus-text-format");
const histogram = (label, n) => {
    const inside = label ? `{${label}}` : "";
    const bucket = (le, count) => `x_bucket{${label ? label + "," : ""}le="${le}"} ${count}\n`;
    return bucket("1", n) + bucket("+Inf", 2 * n) + `x_sum${inside} ${3 * n}\nx_count${inside} ${2 * n}\n`;
};
const read = (...histograms) => {
    const metrics = parse("# TYPE x histogram\n" + histograms.join(""))[0].metrics;
    console.log(JSON.stringify(metrics));
    return metrics;
};
const plain = { buckets: { "1": "1", "+Inf": "2" }, count: "2", sum: "3" };
assert.deepStrictEqual(read(histogram("", 1)), [plain]);
assert.deepStrictEqual(read(histogram('handler="a"', 1), histogram('handler="b"', 10)), [{ buckets: { "1": "10", "+Inf": "20" } }]);
END
